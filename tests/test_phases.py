"""What a build waits for while its engines start: the actor reports it, from vLLM's log and the Hub's cache."""

import json

import pytest
from conftest import ScriptedEngine, script

from mmpr import pool
from mmpr.builder.progress import Progress
from mmpr.builder.progress_views import JsonView, _Lines, waiting
from mmpr.engines.protocol import Pulse, report_phase
from mmpr.engines.vllm import StartPhases
from mmpr.pool import Beat, Done, Lease, Placement

LOG = (
    ("INFO 11-30 Starting to load model pocket...", "loading weights"),
    ("INFO 11-30 Loading weights took 0.2 seconds", "loading weights"),
    ("INFO 11-30 Starting torch.compile", "compiling"),
    ("INFO 11-30 Profiling CUDA graph memory: PIECEWISE=51", "capturing CUDA graphs"),
    ("INFO 11-30 Warming up model for the compilation...", "compiling"),
)


def test_the_phase_is_what_vllms_log_says_last(tmp_path):
    log = tmp_path / "worker.out"
    log.write_text("Starting torch.compile\n")  # of what ran in this process before
    phases = StartPhases("org/model", log)
    assert phases.now() == "starting vLLM"
    for line, words in LOG:
        with log.open("a") as lines:
            lines.write(line + "\n")
        assert phases.now() == words


def test_weights_that_are_coming_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    blobs = tmp_path / "models--org--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0a.incomplete").write_bytes(b"0" * 160_000_000)
    (tmp_path / "worker.out").write_text("")
    phases = StartPhases("org/model", tmp_path / "worker.out")
    assert phases.now() == "downloading weights, 0.2 GB so far"
    (tmp_path / "worker.out").write_text("Starting to load model org/model...\n")
    assert phases.now().startswith("downloading")
    (blobs / "0a.incomplete").rename(blobs / "0a")
    assert phases.now() == "loading weights"


def test_a_process_without_a_log_only_starts(tmp_path):
    assert StartPhases("m", tmp_path / "none").now() == "starting vLLM"


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((), ""),
        (("compiling",), "compiling"),
        (("compiling", "loading weights", "compiling"), "2 compiling, 1 loading weights"),
    ],
)
def test_the_phases_of_many_engines_are_one_line(phases, words):
    progress = Progress(10, 0)
    progress.see(Beat((), len(phases), phases=phases))
    assert progress.phases == words
    line = _Lines(progress).engines()
    assert line.startswith(f"engines     {len(phases)} starting: {words}") and "\n" not in line
    assert progress.figures()["phase"] == f"starting engines: {words}".removesuffix(": ")


def test_a_log_for_machines_has_each_phase_once(capsys):
    progress = Progress(10, 0)
    view = JsonView(progress, "run")
    with waiting("reading the source", as_json=True):
        pass
    beats = [
        Beat((), 1, phases=("waiting for room",)),
        Beat((), 1, phases=("downloading weights, 0.1 GB so far",)),
        Beat((), 1, phases=("downloading weights, 0.7 GB so far",)),
        Beat((), 1, phases=("compiling",)),
        Beat((Pulse(running=1, alive_s=0.5),), 0, ((0, "a"),)),
        Beat((Pulse(generated_tokens=9, alive_s=1.0),), 0, ((0, "a"),)),
        Beat((Pulse(generated_tokens=99, alive_s=2.0),), 0, ((0, "a"),)),
    ]
    for beat in beats:
        progress.see(beat)
        view.see(beat)
    printed = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    phases = ["reading the source", "waiting for room", "downloading weights", "compiling", "answering"]
    assert [line["words"] for line in printed] == phases and {line["event"] for line in printed} == {"phase"}


async def slow_engine():
    """Says what it does, and takes its time."""
    import asyncio

    for words in ("loading weights", "compiling"):
        report_phase(words)
        await asyncio.sleep(2.5)
    return ScriptedEngine(script)


async def work(engine, lease, context):
    return lease.chunk


def test_an_actor_that_starts_says_what_it_does(cluster):
    engines = pool.Pool(slow_engine, work, Placement(engines=1))
    try:
        events = list(engines.run([Lease(0, None)]))
        engines.end()
    finally:
        engines.close()
    beats = [event for event in events if isinstance(event, Beat)]
    seen = [words for beat in beats for words in beat.phases]
    assert {"loading weights", "compiling"} <= set(seen) and seen.index("loading weights") < seen.index("compiling")
    assert any(isinstance(event, Done) for event in events)
