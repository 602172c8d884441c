"""Real Ray, real actors, real deaths; the engines are scripted."""

import asyncio
import functools
import http.client
import itertools
import json
import math
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray
from ray import cloudpickle

from mmpr import pool
from mmpr.engines.protocol import Pulse, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import EngineDead, EngineStartError, MmprError, RunFolderError
from mmpr.pool import Died, Done, Failed, Lease, Placement, Pool, UnfitNode, engine_pool
from mmpr.types import Message, Prompt, Stage

pytestmark = pytest.mark.usefixtures("cluster")  # all builds of this file join one Ray

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module


async def scripted():
    return ScriptedEngine()


async def refuses_to_start():
    raise EngineStartError("model 'x': no such path")


async def ask_all(engine, lease, bench, *, deadly=frozenset(), harsh=frozenset()):
    """A work of our own: payload is a list of rows; a deadly row ends the engine, a harsh one the whole process."""
    quarantined = dict(lease.quarantined)
    texts = {row: f"quarantined: {words}" for row, words in quarantined.items()}
    for row in itertools.chain(*lease.groups(lease.payload)):
        if lease.alone:
            await bench.announce([row])
        if row in deadly:
            raise EngineDead(f"died of {row}")
        if row in harsh:
            os.kill(os.getpid(), signal.SIGKILL)
        prompt = Prompt(str(row), Stage.SAMPLE, (Message("user", "?"),))
        (response,) = await engine.generate(prompt, Sampling())
        texts[row] = response.text
    return await bench.beside(_keep, texts)


def _keep(texts):
    return texts


def _fail(_):
    raise RunFolderError("the disk is full")


async def fail_beside(engine, lease, bench):
    return await bench.beside(_fail, lease.payload)


def run(work, chunks, *, make_engine=scripted, probe=None, **placement):
    wanted = Placement(**{"engines": 2, "pause_s": 0.01, "wait_s": 60, **placement})
    engines = Pool(make_engine, work, wanted, probe=probe)
    try:
        return list(engines.run([Lease(i, rows) for i, rows in enumerate(chunks)]))
    finally:
        engines.close()


def rows_of(events):
    return sorted(row for event in events if isinstance(event, Done) for row in event.report)


def test_every_chunk_comes_back_once_and_with_an_attempt_of_its_own():
    events = run(ask_all, [[1, 2], [3], [4, 5], [6]])
    done = [event for event in events if isinstance(event, Done)]
    assert rows_of(events) == [1, 2, 3, 4, 5, 6]
    assert len({event.lease.attempt for event in done}) == 4


def test_the_last_event_counts_all_tokens_up_to_the_end():
    """The work of a chunk takes far less than the second between two beats."""
    events = run(ask_all, [[1, 2], [3], [4, 5], [6]], engines=2)
    counted = sum(pulse.generated_tokens for pulse in events[-1].pulses)
    texts = [text for event in events if isinstance(event, Done) for text in event.report.values()]
    assert counted == sum(len(ScriptedEngine().encode(text)) for text in texts) > 0


@pytest.mark.parametrize("way", ["deadly", "harsh"])
def test_the_question_that_kills_is_quarantined_and_no_innocent_one_is(way):
    work = functools.partial(ask_all, **{way: frozenset({4})})
    events = run(work, [[1, 2, 3], [4, 5], [6]], engines=1, restarts=8)
    texts = {row: text for e in events if isinstance(e, Done) for row, text in e.report.items()}
    assert sorted(texts) == [1, 2, 3, 4, 5, 6]
    assert [row for row, text in texts.items() if text.startswith("quarantined")] == [4]
    assert sum(isinstance(event, Died) for event in events) == 4


def test_a_wrong_model_ends_the_run_at_once_with_its_cause():
    with pytest.raises(EngineStartError, match="no such path"):
        run(ask_all, [[1]], make_engine=refuses_to_start)


def test_an_engine_that_fits_no_node_ends_in_one_clear_line():
    with pytest.raises(EngineStartError, match=r"4 GPU\(s\) on one node.*engine_wait_s"):
        run(ask_all, [[1]], engines=1, gpus=4, wait_s=1)


async def die_of_a_server(engine, lease, bench):
    """The first chunk finds the server gone; the others then find their engine closed."""
    if lease.chunk:
        while not engine.closed:
            await asyncio.sleep(0.01)
        raise EngineDead("this engine was closed")
    raise EngineDead("http://host/v1: nothing was answered for 120 s")


class _Closable(ScriptedEngine):
    closed = False

    async def close(self):
        self.closed = True


async def closable():
    return _Closable()


def test_engines_that_all_die_are_named_with_the_first_cause_of_the_last_death():
    with pytest.raises(EngineStartError, match="2 times and died each time, the last one so: http://host/v1: nothing"):
        run(die_of_a_server, [[1], [2]], make_engine=closable, engines=1, restarts=1)


def test_a_cluster_without_a_gpu_has_room_for_no_gpu_engine():
    assert pool.n_engines(Placement(gpus=1)) == 0
    assert pool.n_engines(Placement(gpus=0)) == 1
    with pytest.raises(EngineStartError, match="no engine could be placed"):
        run(ask_all, [[1]], engines=None, gpus=1, wait_s=1)


def test_a_node_that_ray_does_not_know_yet_is_asked_again_and_costs_no_attempt(monkeypatch):
    ids = iter(["ab" * 28] * 3)  # more often than an engine may be started
    known = engine_pool.emptiest_node
    monkeypatch.setattr(engine_pool, "emptiest_node", lambda *given: next(ids, None) or known(*given))
    assert rows_of(run(ask_all, [[1], [2]], engines=1, restarts=0)) == [1, 2]


def test_a_fault_of_the_work_beside_the_engine_rises_as_it_is():
    with pytest.raises(RunFolderError, match="disk is full"):
        run(fail_beside, [[1]])


async def stumble(engine, lease, bench, *, marks, times):
    """Raises an unexpected error several times per chunk, in turn in a task beside the engine and in its actor."""
    tries = len(list(Path(marks).glob(f"{lease.chunk}-*")))
    (Path(marks) / f"{lease.chunk}-{tries}").touch()
    if tries < times:
        return await bench.beside(_divide, 0) if lease.chunk % 2 else 1 // 0
    return lease.payload


def _divide(by):
    return 1 // by


def test_work_that_fails_as_nobody_foresaw_is_tried_again_and_ends_the_run_only_in_the_end(tmp_path):
    (once := tmp_path / "once").mkdir()
    events = run(functools.partial(stumble, marks=str(once), times=2), [[1], [2], [3]])
    assert rows_of(events) == [1, 2, 3]
    assert sum(isinstance(event, Failed) for event in events) == 6
    (ever := tmp_path / "ever").mkdir()
    with pytest.raises(MmprError, match="ZeroDivisionError"):
        run(functools.partial(stumble, marks=str(ever), times=99), [[1], [2]])


class Hanging(ScriptedEngine):
    """Takes every request of row 4 and answers none."""

    async def generate(self, prompt, sampling):
        if prompt.question_id == "4":
            self.stuck_since = time.monotonic()
            await asyncio.Event().wait()
        return await super().generate(prompt, sampling)

    def pulse(self):
        stuck_s = time.monotonic() - getattr(self, "stuck_since", math.inf)
        return Pulse(running=1, step_age_s=stuck_s) if stuck_s > 0 else super().pulse()


async def hanging():
    return Hanging()


def test_an_engine_that_hangs_is_replaced_and_the_question_it_hangs_on_is_quarantined():
    events = run(ask_all, [[1, 2, 3], [4, 5]], make_engine=hanging, engines=1, stall_s=1, restarts=8)
    texts = {row: text for e in events if isinstance(e, Done) for row, text in e.report.items()}
    assert [row for row, text in texts.items() if text.startswith("quarantined")] == [4]
    assert sorted(texts) == [1, 2, 3, 4, 5]
    assert all("no step for" in event.words for event in events if isinstance(event, Died))


def test_a_node_that_cannot_do_the_work_ends_the_run_where_it_is_the_only_one():
    with pytest.raises(EngineStartError, match=r"no node can do the work; \S+: cannot write /out"):
        run(ask_all, [[1]], engines=1, probe=functools.partial(_refuse, "cannot write /out"))


def _refuse(words):
    raise RunFolderError(words)


def _refuse_once(mark):
    """Fits from the second time on, as a mount that comes back."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return
    raise RunFolderError("cannot write /out")


def test_a_node_that_is_mended_gets_work_and_was_named_once(tmp_path):
    events = run(ask_all, [[1, 2], [3]], probe_s=0.1, probe=functools.partial(_refuse_once, str(tmp_path / "mark")))
    assert rows_of(events) == [1, 2, 3]
    assert [event.words for event in events if isinstance(event, UnfitNode)] == ["cannot write /out"]


def test_map_tasks_keeps_the_order_and_raises_what_the_function_raised():
    assert list(pool.map_tasks(abs, [-3, 2, -1], in_flight=2)) == [3, 2, 1]
    with pytest.raises(RunFolderError, match="disk is full"):
        list(pool.map_tasks(_fail, [1]))


async def starts_slowly(marks):
    """An engine that leaves a mark when it is made, a while after it was asked for."""
    await asyncio.sleep(0.5)
    (Path(marks) / secrets.token_hex(4)).touch()
    return ScriptedEngine()


async def double(engine, lease, bench):
    return [2 * row for row in lease.payload]


def test_other_work_goes_to_the_same_engines_those_that_still_start_included(tmp_path):
    engines = Pool(functools.partial(starts_slowly, str(tmp_path)), ask_all, Placement(engines=2, wait_s=60))
    try:
        first = [event for event in engines.run([Lease(0, [1])]) if isinstance(event, Done)]
        assert sorted(first[0].report) == [1] and engines.is_idle
        engines.assign(double, None)
        again = [event.report for event in engines.run([Lease(c, [c]) for c in range(8)]) if isinstance(event, Done)]
        assert sorted(again) == [[2 * c] for c in range(8)]
    finally:
        engines.close()
    assert len(list(tmp_path.iterdir())) <= 2


def test_engines_whose_leases_did_not_come_back_take_no_other_work():
    engines = Pool(scripted, ask_all, Placement(engines=1, wait_s=60))
    try:
        events = engines.run([Lease(0, [1]), Lease(1, [2])])
        next(event for event in events if isinstance(event, Done))
        engines.stop(0.0)
        assert not engines.is_idle
    finally:
        engines.close()


# -- strangers --------------------------------------------------------------------------------------------------------


def _ports():
    """Those on which this process and Ray's servers below it listen."""
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = set()
    for one in ours:
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            found |= {c.laddr.port for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def _accepts_a_job(port, path):
    stranger = http.client.HTTPConnection(ray.util.get_node_ip_address(), port, timeout=10)
    try:
        stranger.request("POST", path, json.dumps({"entrypoint": "true"}), {"Content-Type": "application/json"})
        return stranger.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False  # it does not speak HTTP
    finally:
        stranger.close()


def test_whoever_reaches_the_ports_of_a_builds_own_ray_can_run_nothing_there():
    ports = _ports()
    paths = ("/api/jobs/", "/api/job_agent/jobs/")
    assert ports and not [(port, path) for port in ports for path in paths if _accepts_a_job(port, path)]
