"""Stop on SIGTERM or a spent budget: at once if the driver works alone, gently if engines hold leases."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mmpr import termination
from mmpr.termination import SIGTERM


class StopSignal:
    """Decides what SIGTERM does, and keeps why the run was asked to stop. Only the main thread receives the signal."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._gently: Callable[[], None] | None = None

    def listen(self) -> None:
        """Install the signal handler."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._arrived)

    def request(self, why: str) -> None:
        """Stop gently; the first reason is the one that is reported.

        Raises:
            RunStopped: no engine holds a lease, so there is nothing to wait for.
        """
        first, self.why = self.why is None, self.why or why
        if self._gently is None:
            if first:  # otherwise the run is ending already
                termination.stop(self.why)
        elif first or why == SIGTERM:  # a signal after a deadline may shorten the grace period, but never lengthen it
            self._gently()

    def ignore(self) -> None:
        """Ignore signals: the run is complete and has reported it, so its exit code must not show a failure."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def gently(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` for a request inside the block, instead of raising."""
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
    """Install the handler of SIGTERM inside the block.

    Raises:
        RunStopped: the signal came while no engine held a lease.
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
                if handler is not None:  # None: a handler that was not installed from Python
                    signal.signal(number, handler)
