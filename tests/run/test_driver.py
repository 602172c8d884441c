from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from mmpr.errors import RunFolderError
from mmpr.run import RunFolder, claim_driver
from run import making


def _rewrite(folder: RunFolder, **changed: Any) -> None:
    found = json.loads(folder.store.read_bytes("driver.json"))
    folder.store.write_bytes("driver.json", json.dumps({**found, **changed}).encode())


def test_a_second_driver_is_refused_in_one_line_while_the_first_lives(url: str) -> None:
    folder = making.new_run(url)
    claim_driver(folder)
    with pytest.raises(RunFolderError, match=rf"in use by pid {os.getpid()} on .*, seen 0 s ago"):
        claim_driver(folder)


def test_a_released_folder_can_be_claimed_again(url: str) -> None:
    folder = making.new_run(url)
    claim_driver(folder).release()
    assert not folder.store.exists("driver.json")
    claim_driver(folder)


def test_a_dead_process_on_this_host_is_taken_over_at_once(url: str) -> None:
    folder = making.new_run(url)
    claim_driver(folder)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    _rewrite(folder, pid=ended.pid)
    claim_driver(folder)


def test_another_process_with_the_same_number_is_not_the_driver(url: str) -> None:
    folder = making.new_run(url)
    claim_driver(folder)
    _rewrite(folder, process_start=1.0)  # a container restarted: the same pid, another life
    claim_driver(folder)


def test_another_host_counts_as_dead_after_four_heartbeats_of_silence(url: str) -> None:
    folder = making.new_run(url)
    claim_driver(folder, heartbeat_s=10)
    _rewrite(folder, host="elsewhere", beat_at=time.time() - 35)
    with pytest.raises(RunFolderError, match="on elsewhere, seen 35 s ago"):
        claim_driver(folder)
    _rewrite(folder, host="elsewhere", beat_at=time.time() - 45)
    claim_driver(folder)


def test_a_driver_that_was_replaced_learns_of_it_and_leaves_the_other_alone(url: str) -> None:
    folder = making.new_run(url)
    first = claim_driver(folder)
    _rewrite(folder, process_start=1.0)
    second = claim_driver(folder)
    with pytest.raises(RunFolderError, match="is now built by pid"):
        first.beat()
    first.release()
    second.beat()


def test_a_damaged_claim_is_as_good_as_none(url: str) -> None:
    folder = making.new_run(url)
    folder.store.write_bytes("driver.json", b'{"host": "x')
    claim_driver(folder)
