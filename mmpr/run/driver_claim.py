"""The process that drives a run: `driver.json`, claimed at the start, renewed while the run lasts, released at the end.

The claim avoids wasted work; it is no lock. Two drivers at once waste an engine's time, but cannot commit a chunk
twice.
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

# A claim counts as dead after this many heartbeats without a sign.
_MISSED_BEATS = 4
# Start times of the same process, read twice, differ by rounding.
_START_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Driver:
    """The content of `driver.json`. The defaults describe a driver that is dead.

    Args:
        token: random id of the claim.
        host, pid: where its process runs.
        process_start: Unix seconds; distinguishes processes with the same pid (in containers both may be 7).
        heartbeat_s: seconds between heartbeats.
        beat_at: Unix seconds of the last heartbeat.
        state: the state of the run that the driver reported then.
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
        """Whether the driver lives: on this host its process must run, on others its last heartbeat must be recent."""
        if self.host == socket.gethostname():
            return _process_lives(self.pid, self.process_start)
        return time.time() - self.beat_at < _MISSED_BEATS * self.heartbeat_s

    @property
    def silent_s(self) -> float:
        """Seconds since the last heartbeat."""
        return max(0.0, time.time() - self.beat_at)


@dataclass(frozen=True, slots=True)
class DriverClaim:
    """The claim that this process has on a folder."""

    folder: RunFolder
    driver: Driver

    def beat(self, state: JsonObject | None = None) -> None:
        """Write a heartbeat.

        Args:
            state: plain JSON for processes that watch the run, such as `mmpr status`.

        Raises:
            DriverReplaced: another driver has taken over, because this one was silent for too long.
            RunFolderError: the claim cannot be written.
        """
        found = read_driver(self.folder)
        # this process was suspended, or its disk was slow, for four heartbeats
        if found is not None and found.token != self.driver.token:
            raise DriverReplaced(f"{self.folder.url} is now built by pid {found.pid} on {found.host}; this build ends")
        self.folder.store.write_bytes(DRIVER, self.content(state))

    def release(self) -> None:
        """Delete the claim, unless another driver has taken the folder over."""
        found = read_driver(self.folder)
        if found is not None and found.token == self.driver.token:
            self.folder.store.delete(DRIVER)

    def content(self, state: JsonObject | None = None) -> bytes:
        """Return `driver.json` with the current time."""
        return to_json(asdict(replace(self.driver, beat_at=time.time(), state=state or {})))


def claim_driver(folder: RunFolder, *, heartbeat_s: float = 10.0) -> DriverClaim:
    """Claim a run folder for this process.

    Args:
        heartbeat_s: seconds between calls of `beat`. A claim that is silent for four heartbeats is taken over; on the
            same host it is taken over as soon as its process has ended.

    Raises:
        RunFolderError: another driver lives; names host, pid and the age of its last heartbeat.
    """
    # stored with the pid, because a container that starts again gives its first process the same pid
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
    """Return the claim in the folder, None if there is none; a damaged file reads as a dead driver."""
    try:
        return record_of(Driver, folder.store.read_bytes(DRIVER), unknown="ignore")
    except FileNotFoundError:
        return None
    except ValueError:
        return Driver()


def refuse_in_use(folder: RunFolder) -> None:
    """Refuse a folder that a driver may change; for commands that only read it.

    Raises:
        RunFolderError: a driver lives; names host, pid and the age of its last heartbeat.
    """
    found = read_driver(folder)
    if found is not None and found.lives:
        raise _in_use(folder, found)


def _process_lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _START_TOLERANCE_S
        # a killed driver stays a zombie if its container has no init process
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
