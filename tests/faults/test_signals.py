"""SIGTERM at any moment of a build, as schedulers send it: exit code 75, one line on stderr, nothing left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mmpr.builder.stopping import stop_signal
from tests.faults.arms import look
from tests.faults.harness import Fault, FaultyCommand, dataset

STOPPED = "mmpr: stopped (SIGTERM); run the same command again to continue"
INTERRUPTED = "mmpr: interrupted; run the same command again to continue"
MMPR = (sys.executable, "-m", "mmpr")


def test_signals_to_a_group_to_all_and_in_storms_end_with_75_at_any_moment(ours):
    moments = [
        Fault("open", "/driver.json", 1, "storm"),  # the driver claims the run folder
        Fault("open", "/server.log", 1, "SIGTERM-group"),  # Ray starts
        Fault("os.link", "/chunks/", 2, "SIGTERM-all"),
        Fault("open", "/data/", 1, "SIGTERM-group"),  # the shards of the dataset
    ]
    build = ours.build("signals", shared=False)
    ledger = build.run([[fault] for fault in moments])
    assert (ledger.fired, set(ledger.exits)) == (len(moments), {0, 75}), ledger
    assert set(ledger.words[:-1]) == {STOPPED}
    look(build.out)
    assert dataset(build.out) == dataset(ours.clean())


@pytest.mark.slow
def test_signals_at_drawn_moments_of_a_whole_build_lose_nothing(ours):
    ours.own_build(np.random.default_rng(5), starts=12)
    assert set(ours.tallies["own Ray"].exits) <= {0, 75}


@pytest.mark.parametrize("kind", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "module",
    ["/cli/__pycache__/verbs", "typer/__pycache__/main", "numpy/__pycache__/__init__", "pydantic/__pycache__/__init__"],
)
def test_a_signal_amid_imports_is_heard_as_soon_as_they_end(tmp_path, module, kind):
    words = [*MMPR, "build", "--source", tmp_path / "none.jsonl", "--out", tmp_path / "run"]
    command = FaultyCommand(words, tmp_path / "run", tmp_path / "plans")
    code = command.start([Fault("open", module, 1, kind)])
    assert command.ledger.fired == 1
    assert (code, command.ledger.words) == ((75, (STOPPED,)) if kind == "SIGTERM" else (130, (INTERRUPTED,)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.3, 0.8])
def test_a_signal_at_any_moment_of_a_short_command_ends_it_in_a_line_or_not_at_all(after_s):
    build = subprocess.Popen([*MMPR, "settings"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    build.send_signal(signal.SIGTERM)
    _, printed = build.communicate()
    # Before its first line runs, a process has no handler, so the system ends it.
    assert (build.returncode, printed) in ((75, STOPPED + "\n"), (0, ""), (-signal.SIGTERM, ""))


def test_a_driver_that_is_killed_for_good_takes_its_whole_ray_with_it():
    code = "import time\nfrom mmpr import pool\nwith pool.connected(None): print(1, flush=True); time.sleep(99)"
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert driver.stdout.read(1) == b"1"
    below = psutil.Process(driver.pid).children(recursive=True)
    assert len(below) > 5
    driver.kill()
    driver.communicate()
    psutil.wait_procs(below, timeout=60)
    assert not [process for process in below if _lives(process)]
    assert not list(Path("/tmp").glob(f"mmpr-ray-{driver.pid}-*"))


def test_a_sigterm_while_ray_waits_for_a_task_is_no_ctrl_c():
    code = """if True:
        import os, signal, threading, time
        from mmpr import pool
        from mmpr.builder.stopping import stop_signal
        try:
            with stop_signal(), pool.connected(None):
                threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
                list(pool.map_tasks(time.sleep, [60]))
        except KeyboardInterrupt as end:
            print(repr(end))
    """
    waited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert waited.stdout == "RunStopped('SIGTERM')\n", waited


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_signal_after_the_summary_is_not_heard_and_the_handlers_come_back():
    def heard(*_):
        raise AssertionError("heard")

    before = signal.signal(signal.SIGINT, heard)
    try:
        with stop_signal() as stopping:
            stopping.ignore()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            assert stopping.why is None
        assert signal.getsignal(signal.SIGINT) is heard
    finally:
        signal.signal(signal.SIGINT, before)
