"""A server that keeps its images back: what other questions wait for meanwhile. Order is asserted, never time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from mmpr.builder.work_threads import HostSlots, WorkThreads
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ImageError
from mmpr.images import hosts_of
from mmpr.pool import ClusterOptions
from mmpr.types import Reason
from tests import test_inputs
from tests.conftest import script
from tests.test_images_remote import png

PATIENCE_S = 30.0  # until a server gives up keeping back, and the test fails by the skips that follow


@contextmanager
def serving(host, release=None):
    """A server that answers once `release` is set; how many requests it had at once is in `held`."""
    busy, lock = [0, 0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            with lock:
                busy[0] += 1
                busy[1] = max(busy)
            in_time = release is None or release.wait(PATIENCE_S)
            with lock:
                busy[0] -= 1
            self.send_response(200 if in_time else 404)
            self.send_header("Content-Length", str(len(png())))
            self.end_headers()
            self.wfile.write(png())

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}", busy
    finally:
        if release is not None:
            release.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("budget", [400_000, 4_000])  # the second: what a few questions with images fill
async def test_a_silent_server_keeps_no_other_question_waiting(tmp_path, monkeypatch, budget):
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "a.png")
    release, asked = threading.Event(), set()
    waited_for = {"text", "file", "elsewhere"} if budget > 4_000 else {"text"}

    def answers(prompt, number):
        asked.add(prompt.question_id)
        if waited_for <= asked:
            release.set()
        return script(prompt, number)

    monkeypatch.setattr(test_inputs, "ScriptedEngine", lambda _: ScriptedEngine(answers))
    with serving("127.0.0.1", release) as (slow, busy), serving("127.0.0.2") as (fast, _):
        rows = {f"slow{i}": {"image": f"{slow}/{i}.png", "question": "How many?", "answer": 2} for i in range(60)}
        rows["text"] = {"question": "What is two plus two?", "answer": 4}
        rows["file"] = {"image": "a.png", "question": "How many?", "answer": 2}
        rows["elsewhere"] = {"image": f"{fast}/a.png", "question": "How many?", "answer": 2}
        source = test_inputs.write(tmp_path, **rows)
        sizes = ("io_threads=8", "cpu_threads=1", "fetches_per_host=3", f"tokens_in_flight={budget}")
        stored, _ = await test_inputs.build(
            source, tmp_path / "run", f"allowed_hosts=[{slow},{fast}]", f"fetch_timeout_s={PATIENCE_S}", *sizes
        )
    assert {name for name, one in stored.items() if one.skip is not None} == set()
    assert len(stored) == 63 and busy[1] <= 3


async def test_slots_of_several_hosts_are_taken_together():
    slots, order = HostSlots(1, in_all=9), []

    async def fetch(name, *hosts, until=None):
        async with slots.held(hosts):
            order.append(name)
            if until is not None:
                await until.wait()

    a_free = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fetch("a", "a", until=a_free))
        await asyncio.sleep(0)
        tasks.create_task(fetch("a and b", "a", "b"))
        await asyncio.sleep(0)
        await fetch("b", "b")  # what waits for a holds no slot of b
        await fetch("none")
        a_free.set()
    assert order == ["a", "b", "none", "a and b"]


async def test_hosts_that_cannot_be_reached_have_one_slot_until_they_answer():
    slots, running = HostSlots(4, in_all=9), []

    async def fetch(hold):
        async with slots.held(["a"]):
            running.append(1)
            await hold.wait()
            running.pop()

    async def most():
        hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(fetch(hold))
            for _ in range(20):
                await asyncio.sleep(0)
            n_running = len(running)
            hold.set()
        return n_running

    with pytest.raises(ImageError):
        async with slots.held(["a"]):
            raise ImageError(Reason.IMAGE_UNREACHABLE, "silent")
    assert [await most(), await most()] == [1, 4]


async def test_what_waits_never_holds_what_computes():
    threads, release = WorkThreads(ClusterOptions(io_threads=1, cpu_threads=1)), threading.Event()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(threads.wait(release.wait, PATIENCE_S))
        assert await threads.compute(sum, [1, 2]) == 3
        assert not waiting.done()
        release.set()


def test_hosts_are_those_that_are_asked():
    assert hosts_of(["a.png", "/b.png", "file:///c.png", "data:image/png;base64,AAAA", "https://[::1", "C://"]) == set()
    frame = "https://films.example/a.mp4#frame=1/8"
    assert hosts_of(["http://A.example:8080/a.png", "s3://bucket/a.png", frame]) == {
        "a.example",
        "bucket",
        "films.example",
    }
