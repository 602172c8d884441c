"""Real faults on real engines; `make test-slow`, before an issue is closed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.pocket.questions import write_questions

pytestmark = [pytest.mark.slow, pytest.mark.engine]
MMPR = (sys.executable, "-m", "mmpr")
OURS = "MMPR_TEST_BUILD"  # in the environment of all that a build starts


def start(folder, *words):
    words = ["build", "--source", folder / "vqa.jsonl", "--out", folder / "run", "chunk_questions=8", *words]
    return subprocess.Popen(
        [*MMPR, *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, OURS: str(folder)},
    )


def wait_for_a_commit(folder, build):
    while not list((folder / "run" / "chunks").glob("*.json")) and build.poll() is None:
        time.sleep(0.1)
    assert build.poll() is None, "the build ended before it could be disturbed"


def engine_processes(folder):
    """The engines of the build in this folder; other engines on this machine do not count."""
    return [process for process in psutil.process_iter() if _serves(process, folder)]


def _serves(process, folder):
    try:
        return "EngineCore" in " ".join(process.cmdline()) and process.environ().get(OURS) == str(folder)
    except psutil.NoSuchProcess:
        return False


def assert_complete(folder, n):
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["questions"] == n == report["paired"] + report["skipped"]
    assert subprocess.run([*MMPR, "verify", str(folder / "run")], check=False).returncode == 0


def test_a_killed_engine_process_loses_and_doubles_nothing(tmp_path):
    write_questions(tmp_path, n=60, open_fraction=0.3, seed=9)
    build = start(tmp_path)
    wait_for_a_commit(tmp_path, build)
    for process in engine_processes(tmp_path):
        process.kill()
    _, printed = build.communicate()
    assert build.returncode == 0, printed
    assert_complete(tmp_path, 60)


@pytest.mark.parametrize("killed", [False, True], ids=["to its end", "an engine killed"])
def test_an_engine_of_two_ranks_builds_and_leaves_no_shared_memory(tmp_path, killed):
    def tensors():
        return {path.name for path in Path("/dev/shm").glob("vllm_dist_*")}

    write_questions(tmp_path, n=40, open_fraction=0.3, seed=12)
    before = tensors()
    build = start(tmp_path, "tensor_parallel_size=2")
    wait_for_a_commit(tmp_path, build)
    assert tensors() - before, "two ranks share tensors"
    for process in engine_processes(tmp_path) if killed else ():
        process.kill()
    _, printed = build.communicate()
    assert build.returncode == 0, printed
    assert_complete(tmp_path, 40)
    assert tensors() <= before


def test_a_killed_driver_leaves_no_engine_and_the_next_start_completes(tmp_path):
    write_questions(tmp_path, n=60, open_fraction=0.3, seed=10)
    with start(tmp_path) as build:  # its pipes are closed here, not by the garbage collector in a later test
        wait_for_a_commit(tmp_path, build)
        build.kill()
    psutil.wait_procs(engine_processes(tmp_path), timeout=60)
    assert engine_processes(tmp_path) == []
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run" / "chunks").glob("*.json")}
    again = start(tmp_path)
    _, printed = again.communicate()
    assert again.returncode == 0, printed
    for name, content in kept.items():
        assert (tmp_path / "run" / "chunks" / name).read_bytes() == content
    assert_complete(tmp_path, 60)


def test_ctrl_c_is_one_line_and_leaves_nothing_behind(tmp_path):
    write_questions(tmp_path, n=60, open_fraction=0.3, seed=11)
    build = start(tmp_path)
    wait_for_a_commit(tmp_path, build)
    os.kill(build.pid, signal.SIGINT)
    _, printed = build.communicate()
    assert build.returncode == 130
    assert printed.splitlines()[-1].startswith("mmpr: interrupted") and "Traceback" not in printed
    psutil.wait_procs(engine_processes(tmp_path), timeout=60)
    assert engine_processes(tmp_path) == []


def test_check_with_the_engine_asks_it_and_prints_memory_and_speed(tmp_path):
    write_questions(tmp_path, n=10, open_fraction=0.3, seed=12)
    done = subprocess.run(
        [*MMPR, "check", "--source", str(tmp_path / "vqa.jsonl"), "--engine"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in ("with an image", "without an image", "memory", "tokens/s"):
        assert word in done.stdout


def test_a_model_that_is_no_checkpoint_is_one_line(tmp_path):
    write_questions(tmp_path, n=4, open_fraction=0.3, seed=13)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "nonsense"}')
    build = start(tmp_path, f"model={tmp_path / 'model'}")
    _, printed = build.communicate()
    assert build.returncode == 1 and "Traceback" not in printed
    assert "model" in printed.splitlines()[-1]
