"""What an engine reports about its time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mmpr.builder.answer import answer
from mmpr.engines.protocol import EngineClock, Pulse
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ImageError
from mmpr.types import Question, Reason
from tests.recipes import make_recipe

RECIPE = make_recipe(n=2, max_tokens=64, draft_max_tokens=64)


class Time:
    """Passes only when told to."""

    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


@pytest.fixture
def time():
    return Time()


def seconds(clock):
    found = clock.on(Pulse())
    return found.busy_s, found.preparing_s, found.alive_s


def test_a_second_goes_into_one_thing_only(time):
    clock = EngineClock(time)
    time.s += 1  # nothing to do
    with clock.preparing():
        time.s += 2  # an image is opened, and the engine stands
        with clock.serving(), clock.serving():
            time.s += 4  # another is opened, and the engine works
        time.s += 8
    time.s += 16
    assert seconds(clock) == (4, 10, 31)


def test_what_is_under_way_counts_until_now(time):
    clock = EngineClock(time)
    with clock.serving():
        time.s += 3
        assert (seconds(clock), clock.running) == ((3, 0, 3), 1)
    assert (seconds(clock), clock.running) == ((3, 0, 3), 0)


@pytest.mark.parametrize("around", [EngineClock.serving, EngineClock.preparing])
def test_a_request_that_fails_is_over(time, around):
    clock = EngineClock(time)
    with pytest.raises(ValueError, match="refused"), around(clock):
        raise ValueError("refused")
    time.s += 5
    assert seconds(clock) == (0, 0, 5)


def test_an_engine_that_waits_for_a_question_s_image_says_so(time):
    engine = ScriptedEngine()
    engine.clock = EngineClock(time)

    def slowly(references):
        time.s += 7
        return ()

    asyncio.run(answer(Question("q", "s", 0, "What?", images=("a.png",), answer=("2",)), engine, RECIPE, slowly))
    assert seconds(engine.clock) == (0, 7, 7)


async def test_images_that_do_not_come_delay_no_question_without_one():
    come = threading.Event()

    def never(_):
        come.wait(60)
        raise ImageError(Reason.IMAGE_UNREACHABLE, "silent")

    seen = [
        Question(f"s{i}", "source", i, "How many?", images=(f"http://silent/{i}.png",), answer=("2",))
        for i in range(100)
    ]
    waiting = [asyncio.create_task(answer(one, ScriptedEngine(), RECIPE, never)) for one in seen]
    await asyncio.sleep(0)
    plain = Question("q", "source", 1000, "How many?", answer=("2",))
    answered = await answer(plain, ScriptedEngine(), RECIPE, never)
    assert answered.responses and await asyncio.to_thread(len, "a thread is free")
    assert not any(task.done() for task in waiting)
    come.set()
    assert {(await task).skip.reason for task in waiting} == {Reason.IMAGE_UNREACHABLE}
