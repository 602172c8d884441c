"""One driver per run folder: claimed at the start, renewed by a thread, released at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmpr.errors import DriverReplaced, RunFolderError
from mmpr.run.driver_claim import DriverClaim, claim_driver
from mmpr.run.folder import DRIVER, RunFolder
from mmpr.run.json_records import JsonObject

_HEARTBEAT_S = 10.0
_MOST_FAILED = 6  # in a row; a single failure may be a short network problem


@contextmanager
def claimed(folder: RunFolder) -> Iterator[Heartbeat]:
    """Claim the folder for this process while the block runs.

    Raises:
        RunFolderError: another driver lives; the message names it.
    """
    claim = claim_driver(folder, heartbeat_s=_HEARTBEAT_S)
    heartbeat = Heartbeat(claim)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()
        claim.release()


class Heartbeat(threading.Thread):
    """Renews a driver's claim in its own thread, so that a long step (a slow finish) is not taken for a dead driver."""

    def __init__(self, claim: DriverClaim) -> None:
        super().__init__(name="mmpr-heart", daemon=True)
        self._claim = claim
        self._ended = threading.Event()
        self._fault: RunFolderError | None = None
        self._state: JsonObject = {}

    def update(self, state: JsonObject) -> None:
        """Set the state that the next heartbeat writes; plain JSON that replaces the state before."""
        self._state = state

    def run(self) -> None:
        """Renew the claim until stopped, or until another driver has taken over."""
        failed = 0
        while self._fault is None and not self._ended.wait(self._claim.driver.heartbeat_s):
            try:
                self._claim.beat(self._state)
                failed = 0
            except DriverReplaced as error:
                self._fault = error
            except Exception as error:  # noqa: BLE001 each filesystem has its own errors; this thread must not end
                failed += 1
                if failed >= _MOST_FAILED:
                    path = self._claim.folder.store.path(DRIVER)
                    self._fault = RunFolderError(f"{path}: {failed} heartbeats in a row failed: {error}")

    def check(self) -> None:
        """Raise the error that ended the heartbeats.

        Raises:
            RunFolderError: another driver has taken over, or the folder cannot be written.
        """
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._ended.set()
        self.join()
