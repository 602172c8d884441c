"""Who drives a run now: `driver.json`, claimed at a start, beaten while it runs, released at its end.

It is advice, not safety: two drivers at once waste an engine's time, and the sidecars keep every chunk single.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from mmpr.errors import DriverReplaced, RunFolderError
from mmpr.run.folder import DRIVER, RunFolder
from mmpr.run.json_records import checked, to_json, unsealed

# A claim counts as dead after so many heartbeats in silence.
_MISSED_BEATS = 4
_START_TOLERANCE_S = 2.0
_DEAD: dict[str, Any] = {
    **dict.fromkeys(("token", "host"), ""),
    "pid": 0,
    **dict.fromkeys(("process_start", "heartbeat_s", "beat_at"), 0.0),
    "state": {},
}


@dataclass(frozen=True, slots=True)
class DriverClaim:
    """One claim. `process_start` tells a process from a later one with the same number (in a container both are 7)."""

    folder: RunFolder
    token: str
    host: str
    pid: int
    process_start: float
    heartbeat_s: float

    def beat(self, state: Mapping[str, Any] | None = None) -> None:
        """Say that this driver lives, and what it does.

        Args:
            state: plain JSON for whoever watches the run from elsewhere.

        Raises:
            DriverReplaced: another driver has taken over, since this one was silent for too long.
            RunFolderError: the claim cannot be written.
        """
        found = read_driver(self.folder)
        if found is not None and found["token"] != self.token:
            raise DriverReplaced(
                f"{self.folder.url} is driven by pid {found['pid']} on {found['host']} now; end this one"
            )
        self.folder.store.write_bytes(DRIVER, self._content(state))

    def release(self) -> None:
        """Give the folder free, unless another driver has it."""
        found = read_driver(self.folder)
        if found is not None and found["token"] == self.token:
            self.folder.store.delete(DRIVER)

    def _content(self, state: Mapping[str, Any] | None = None) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "folder"}
        return to_json({**fields, "beat_at": time.time(), "state": dict(state or {})})


def claim_driver(folder: RunFolder, *, heartbeat_s: float = 10.0) -> DriverClaim:
    """Claim a run folder for this process.

    Args:
        heartbeat_s: how often `beat` will be called; a claim that was silent for four of them is taken over, at once
            where its process has ended on this host.

    Raises:
        RunFolderError: another driver lives; names host, pid and the age of its last beat.
    """
    start = psutil.Process().create_time()
    claim = DriverClaim(folder, secrets.token_hex(4), socket.gethostname(), os.getpid(), start, heartbeat_s)
    found = read_driver(folder)
    if found is not None and driver_lives(found):
        raise _in_use(folder, found)
    if found is not None:
        folder.store.delete(DRIVER)
    try:
        folder.store.write_exclusive(DRIVER, claim._content())
    except FileExistsError:
        raise _in_use(folder, read_driver(folder)) from None
    return claim


def read_driver(folder: RunFolder) -> dict[str, Any] | None:
    """The claim that lies there, with its last `beat_at` (Unix s) and `state`; a damaged one reads as long dead."""
    try:
        content = folder.store.read_bytes(DRIVER)
    except FileNotFoundError:
        return None
    try:
        found = {**_DEAD, **unsealed(content)}
        types = {name: type(value) for name, value in _DEAD.items()}
        return {name: checked(found[name], types[name], name) for name in types}
    except ValueError:
        return dict(_DEAD)


def driver_lives(found: Mapping[str, Any]) -> bool:
    """Whether a claim's driver still works: on its own host its process says so, elsewhere its last beat."""
    if found["host"] == socket.gethostname():
        return _process_lives(found["pid"], found["process_start"])
    return bool(time.time() - found["beat_at"] < _MISSED_BEATS * found["heartbeat_s"])


def refuse_in_use(folder: RunFolder) -> None:
    """For whoever only reads a folder, and wants nothing in it to change meanwhile.

    Raises:
        RunFolderError: a driver lives; names host, pid and the age of its last beat.
    """
    found = read_driver(folder)
    if found is not None and driver_lives(found):
        raise _in_use(folder, found)


def _process_lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _in_use(folder: RunFolder, found: dict[str, Any] | None) -> RunFolderError:
    if found is None:
        return RunFolderError(f"{folder.url} was claimed by another driver just now; start one at a time")
    age_s = max(0.0, time.time() - found["beat_at"])
    return RunFolderError(
        f"{folder.url} is in use by pid {found['pid']} on {found['host']}, seen {age_s:.0f} s ago; "
        "end that one first, or wait until it has been silent for a while"
    )
