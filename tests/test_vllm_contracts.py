"""What vLLM may do to one request, played by a stand-in for its AsyncLLM: retried, refused, or the engine's death."""

import itertools
from types import SimpleNamespace

import pytest

from mmpr.engines import vllm
from mmpr.engines.protocol import EngineClock
from mmpr.engines.vllm import VllmEngine
from mmpr.errors import EngineDead, RequestRefused
from mmpr.types import DecodedImage, Finish, Message, Prompt, Response, Stage

PROMPT = Prompt("q", Stage.SAMPLE, (Message("user", "?"),))


class Retryable(Exception):
    """As 0.33 has it."""


Retryable.__name__ = "RetryableRequestError"


class EngineDied(Exception):
    """As every version has it."""


EngineDied.__name__ = "EngineDeadError"


def result(finish):
    output = SimpleNamespace(finish_reason=finish, token_ids=[1], index=0)
    return SimpleNamespace(finished=True, outputs=[output], prompt_token_ids=[1], prompt_logprobs=None)


class Llm:
    """Gives what is scripted, one for each request; remembers what was asked."""

    def __init__(self, *script, errored=False):
        self.script, self.errored, self.asked, self.renderer = list(script), errored, [], self

    async def render_cmpl_async(self, requests):
        self.asked += requests
        return requests

    async def generate(self, *_, **__):
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        if step is not None:
            yield result(step)


def engine_on(llm, monkeypatch):
    monkeypatch.setattr(vllm, "_PAUSE_S", 0.0)
    engine = object.__new__(VllmEngine)
    engine.clock, engine._llm, engine._numbers = EngineClock(), llm, itertools.count()
    engine._threads = None  # the loop's own
    monkeypatch.setattr(VllmEngine, "prompt_ids", lambda *_: [1])
    return engine


@pytest.mark.parametrize("fault", ["error", "abort", Retryable("cache miss")])
async def test_a_request_that_vllm_breaks_off_is_asked_again(fault, monkeypatch):
    engine = engine_on(Llm(fault, fault, "stop"), monkeypatch)
    got = await engine._run(PROMPT, None)
    assert got.outputs[0].finish_reason == "stop"


async def test_an_image_is_sent_under_another_name_when_it_is_asked_again(monkeypatch):
    image = DecodedImage("a.png", "0" * 64, b"", 8, 8, "PNG", None)
    llm = Llm("error", "stop")
    prompt = Prompt("q", Stage.SAMPLE, (Message("user", "<image>?"),), (image,))
    await engine_on(llm, monkeypatch)._run(prompt, None)
    names = [request["multi_modal_uuids"]["image"][0] for request in llm.asked]
    assert len(set(names)) == 2


@pytest.mark.parametrize("fault", ["error", "abort", Retryable("again and again")])
async def test_one_that_is_always_broken_off_is_refused(fault, monkeypatch):
    engine = engine_on(Llm(*[fault] * 9), monkeypatch)
    with pytest.raises(RequestRefused, match="4 times"):
        await engine._run(PROMPT, None)


@pytest.mark.parametrize(
    "fault",
    [ValueError("bad"), TypeError("None"), KeyError("x"), RuntimeError("?"), OSError(5, "io"), AssertionError("?")],
)
async def test_whatever_a_request_raises_refuses_that_request_alone(fault, monkeypatch):
    with pytest.raises(RequestRefused):
        await engine_on(Llm(fault), monkeypatch)._run(PROMPT, None)


@pytest.mark.parametrize("script", [(EngineDied("gone"),), (None,)])
async def test_the_engines_own_death_is_no_requests_fault(script, monkeypatch):
    with pytest.raises(EngineDead):
        await engine_on(Llm(*script), monkeypatch)._run(PROMPT, None)
    with pytest.raises(EngineDead):
        await engine_on(Llm(ValueError("x"), errored=True), monkeypatch)._run(PROMPT, None)


@pytest.mark.parametrize("logprobs", [None, [], [None, None], [{}, {}], [{1: None}, {2: None}]])
def test_log_probabilities_that_are_missing_are_a_refusal(logprobs):
    with pytest.raises(RequestRefused, match="log-probability"):
        vllm._mean_logprob(logprobs, (1, 2))


def test_a_text_that_goes_round_in_circles_is_a_response_and_no_chosen_side():
    response = Response("q", Stage.SAMPLE, 0, "so so so", (), 3, Finish("repetition"))
    assert response.finish_reason is not Finish.STOP
