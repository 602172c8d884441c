"""One driver a run folder: claimed at the start, beaten from a thread of its own, released at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmpr.errors import DriverReplaced, RunFolderError
from mmpr.run.driver_claim import DriverClaim, claim_driver
from mmpr.run.folder import DRIVER, RunFolder
from mmpr.run.json_records import JsonObject

_HEARTBEAT_S = 10.0
_MOST_FAILED = 6  # heartbeats in a row; a single one is a network's moment


@contextmanager
def claimed(folder: RunFolder) -> Iterator[Heartbeat]:
    """Hold the folder for this process.

    Raises:
        RunFolderError: another driver lives; names it.
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
    """Beats a driver's claim from a thread of its own, so that nothing long (a slow finish) looks like a death."""

    def __init__(self, claim: DriverClaim) -> None:
        super().__init__(name="mmpr-heart", daemon=True)
        self._claim = claim
        self._ended = threading.Event()
        self._fault: RunFolderError | None = None
        self._state: JsonObject = {}

    def update(self, state: JsonObject) -> None:
        """What the next beat says of the run; plain JSON, replaced as a whole."""
        self._state = state

    def run(self) -> None:
        """Beat until stopped, or until another driver has taken over."""
        failed = 0
        while self._fault is None and not self._ended.wait(self._claim.driver.heartbeat_s):
            try:
                self._claim.beat(self._state)
                failed = 0
            except DriverReplaced as error:
                self._fault = error
            except Exception as error:  # noqa: BLE001 every filesystem has errors of its own, and the thread may not end
                failed += 1
                if failed >= _MOST_FAILED:
                    path = self._claim.folder.store.path(DRIVER)
                    self._fault = RunFolderError(f"{path}: {failed} heartbeats in a row failed: {error}")

    def check(self) -> None:
        """Raise what ended the beating.

        Raises:
            RunFolderError: another driver has taken over, or the folder cannot be written.
        """
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._ended.set()
        self.join()
