"""SIGTERM as schedulers send it, from a build's first second to its last: 75, one line, nothing left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.harness import Fault, FaultyBuild
from tests.faults.test_faults import SETTINGS, assert_whole, source, undisturbed  # noqa: F401  fixtures

STOPPED = "mmpr: stopped (SIGTERM); run the same command again to go on"


def test_signals_to_a_group_to_all_and_in_storms_end_with_75_at_any_moment(source, undisturbed, tmp_path):  # noqa: F811
    moments = [
        Fault("open", "/driver.json", 1, "storm"),  # the claim
        Fault("open", "/server.log", 1, "SIGTERM-group"),  # Ray starts
        Fault("os.link", "/chunks/", 2, "SIGTERM-all"),
        Fault("open", "/data/", 1, "SIGTERM-group"),  # a dataset's shards
    ]
    build = FaultyBuild(source, tmp_path / "run", tmp_path / "plans", settings=SETTINGS)
    ledger = build.run([[fault] for fault in moments])
    assert (ledger.fired, set(ledger.exits)) == (len(moments), {0, 75}), ledger
    assert set(ledger.words[:-1]) == {STOPPED}
    assert_whole(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.5, 0.8])
def test_a_signal_while_python_still_imports_ends_with_75(after_s, tmp_path):
    words = [sys.executable, "-m", "mmpr", "build", "--source", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)]
    build = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    build.send_signal(signal.SIGTERM)
    _, told = build.communicate()
    # before its own first line a process has only the system's answer; after its last one the signal says nothing
    assert build.returncode in (75, 1, -signal.SIGTERM)
    assert len(told.splitlines()) == (build.returncode != -signal.SIGTERM), told


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


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
