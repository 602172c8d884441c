"""SIGTERM, or a budget that is used up: at once where the driver works alone, gently where engines hold leases."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mmpr import termination
from mmpr.termination import SIGTERM


class StopSignal:
    """What SIGTERM does now, and why the run was asked to stop; only the main thread hears the signal."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._gently: Callable[[], None] | None = None

    def listen(self) -> None:
        """Take the signal."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._arrived)

    def request(self, why: str) -> None:
        """Stop gently; the first cause is the one that is told.

        Raises:
            RunStopped: no engine holds a lease, so that there is nothing to wait for.
        """
        first, self.why = self.why is None, self.why or why
        if self._gently is None:
            if first:  # else the run is ending already
                termination.stop(self.why)
        elif first or why == SIGTERM:  # a signal after a deadline may shorten the grace, never lengthen it
            self._gently()

    def ignore(self) -> None:
        """The run is complete and has said so: from now on neither signal makes its end look like a failure."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def gently(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within, a request calls `stop` and nothing else."""
        self._gently = stop
        try:
            yield
        finally:
            self._gently = None

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._gently is not None or not termination.postpone_amid_import(number, frame):
            self.request(SIGTERM)


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Listen to SIGTERM.

    Raises:
        RunStopped: it came while no engine held a lease.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    termination.begin()
    stopping = StopSignal()
    stopping.listen()
    try:
        yield stopping
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # else it is none of Python's
                    signal.signal(number, handler)
