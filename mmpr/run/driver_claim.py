"""Who drives a run now: `driver.json`, claimed at a start, beaten while it runs, released at its end.

It is advice, not safety: two drivers at once waste an engine's time, and the sidecars keep every chunk single.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, field, replace

import psutil
from pydantic import FiniteFloat

from mmpr.errors import DriverReplaced, RunFolderError
from mmpr.run.folder import DRIVER, RunFolder
from mmpr.run.json_records import JsonObject, record_of, to_json

# A claim counts as dead after so many heartbeats in silence.
_MISSED_BEATS = 4
_START_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Driver:
    """What `driver.json` says of a claim; the defaults are those of one that is long dead.

    Args:
        token: of the claim.
        host, pid: where its process runs.
        process_start: Unix seconds; a later process may have the same number (in a container both are 7).
        heartbeat_s: how often it is beaten.
        beat_at: Unix seconds of the last beat.
        state: what the driver said of the run then.
    """

    token: str = ""
    host: str = ""
    pid: int = 0
    process_start: FiniteFloat = 0.0
    heartbeat_s: FiniteFloat = 0.0
    beat_at: FiniteFloat = 0.0
    state: JsonObject = field(default_factory=dict)

    @property
    def lives(self) -> bool:
        """Whether it still works: on its own host its process says so, elsewhere its last beat."""
        if self.host == socket.gethostname():
            return _process_lives(self.pid, self.process_start)
        return time.time() - self.beat_at < _MISSED_BEATS * self.heartbeat_s

    @property
    def silent_s(self) -> float:
        """Seconds since its last beat."""
        return max(0.0, time.time() - self.beat_at)


@dataclass(frozen=True, slots=True)
class DriverClaim:
    """A process's own claim on a folder."""

    folder: RunFolder
    driver: Driver

    def beat(self, state: JsonObject | None = None) -> None:
        """Say that this driver lives, and what it does.

        Args:
            state: plain JSON for whoever watches the run from elsewhere.

        Raises:
            DriverReplaced: another driver has taken over, since this one was silent for too long.
            RunFolderError: the claim cannot be written.
        """
        found = read_driver(self.folder)
        if found is not None and found.token != self.driver.token:
            raise DriverReplaced(f"{self.folder.url} is now built by pid {found.pid} on {found.host}; this build ends")
        self.folder.store.write_bytes(DRIVER, self.content(state))

    def release(self) -> None:
        """Give the folder free, unless another driver has it."""
        found = read_driver(self.folder)
        if found is not None and found.token == self.driver.token:
            self.folder.store.delete(DRIVER)

    def content(self, state: JsonObject | None = None) -> bytes:
        """`driver.json` as of now."""
        return to_json(asdict(replace(self.driver, beat_at=time.time(), state=state or {})))


def claim_driver(folder: RunFolder, *, heartbeat_s: float = 10.0) -> DriverClaim:
    """Claim a run folder for this process.

    Args:
        heartbeat_s: how often `beat` will be called; a claim that was silent for four of them is taken over, at once
            where its process has ended on this host.

    Raises:
        RunFolderError: another driver lives; names host, pid and the age of its last beat.
    """
    start = psutil.Process().create_time()
    claim = DriverClaim(folder, Driver(secrets.token_hex(4), socket.gethostname(), os.getpid(), start, heartbeat_s))
    found = read_driver(folder)
    if found is not None and found.lives:
        raise _in_use(folder, found)
    if found is not None:
        folder.store.delete(DRIVER)
    try:
        folder.store.write_exclusive(DRIVER, claim.content())
    except FileExistsError:
        raise _in_use(folder, read_driver(folder)) from None
    return claim


def read_driver(folder: RunFolder) -> Driver | None:
    """The claim that lies there; a damaged one reads as long dead."""
    try:
        return record_of(Driver, folder.store.read_bytes(DRIVER), unknown="ignore")
    except FileNotFoundError:
        return None
    except ValueError:
        return Driver()


def refuse_in_use(folder: RunFolder) -> None:
    """For whoever only reads a folder, and wants nothing in it to change meanwhile.

    Raises:
        RunFolderError: a driver lives; names host, pid and the age of its last beat.
    """
    found = read_driver(folder)
    if found is not None and found.lives:
        raise _in_use(folder, found)


def _process_lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _in_use(folder: RunFolder, found: Driver | None) -> RunFolderError:
    if found is None:
        return RunFolderError(f"{folder.url} was claimed by another driver just now; start one at a time")
    return RunFolderError(
        f"{folder.url} is in use by pid {found.pid} on {found.host}, seen {found.silent_s:.0f} s ago; "
        "end that one first, or wait until it has been silent for a while"
    )
