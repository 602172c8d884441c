"""SIGTERM to a command, from its first moment to its last: one line, exit 75, however often it comes.

A build takes the signal for itself while it works (`builder.stopping`); what is here holds before and after.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from mmpr.errors import RunStopped

SIGTERM = "SIGTERM"
EXIT_AGAIN = 75
AGAIN = "run the same command again to go on"
_RETRY_S = 0.05
_stopping = False


def quit_at_once() -> None:
    """From now on SIGTERM ends the process: nothing was begun, and an exception amid imports may be swallowed."""
    signal.signal(signal.SIGTERM, _quit)


def rise() -> None:
    """From now on the first SIGTERM raises `RunStopped` and later ones do nothing; only where a command began so."""
    if signal.getsignal(signal.SIGTERM) is _quit:
        sys.unraisablehook = _raise_again
        signal.signal(signal.SIGTERM, _rise)


def ignore() -> None:
    """From now on SIGTERM does nothing: the command has ended in all but Python's own clearing up."""
    if signal.getsignal(signal.SIGTERM) is _rise:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stop(why: str) -> None:
    """Raise `RunStopped`, unless that was done before: a storm of signals must not disturb the clearing up.

    Raises:
        RunStopped: the first time.
    """
    global _stopping
    if not _stopping:
        _stopping = True
        raise RunStopped(why)


def importing(frame: FrameType | None) -> bool:
    """Whether the frame that a signal interrupts is part of an import; the signal is then sent again in a moment.

    An exception there leaves half a module behind: C code of numpy's drops it, imports once more, and fails by an
    error of its own.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _send_again()
            return True
        frame = frame.f_back
    return False


def begin() -> None:
    """A new piece of work (a library's second build) may be stopped again."""
    global _stopping
    _stopping = False


def _quit(_: int, __: FrameType | None) -> None:
    os.write(2, f"mmpr: stopped ({SIGTERM}); {AGAIN}\n".encode())
    os._exit(EXIT_AGAIN)


def _rise(_: int, frame: FrameType | None) -> None:
    if not importing(frame):
        stop(SIGTERM)


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """A destructor or a callback of C code was running when the signal came: Python drops what rises there."""
    if not isinstance(unraisable.exc_value, RunStopped):
        sys.__unraisablehook__(unraisable)
        return
    begin()
    _send_again()


def _send_again() -> None:
    retry = threading.Timer(_RETRY_S, os.kill, (os.getpid(), signal.SIGTERM))
    retry.daemon = True
    retry.start()
