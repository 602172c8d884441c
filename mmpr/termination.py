"""Handle SIGTERM and Ctrl-C from a command's first moment to its last: one line, exit code 75 or 130, once.

While a build works, it handles SIGTERM itself (`builder.stopping`); this module is for the time before and after. It
imports little at the top, because until its handlers are set, a signal ends Python in the default way.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGTERM = "SIGTERM"
EXIT_AGAIN, EXIT_INTERRUPTED = 75, 130
AGAIN = "run the same command again to continue"
_RETRY_S = 0.05
_stopping = ""  # the reason, after `RunStopped` was raised


def quit_at_once() -> None:
    """Make a signal end the process: nothing has begun, and code that is being imported may catch an exception."""
    signal.signal(signal.SIGTERM, _quit)
    # it may be ignored, as for a background job of a shell
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)


def rise() -> None:
    """Make the first SIGTERM raise `RunStopped` and ignore later ones; Ctrl-C raises as usual.

    This applies only if `quit_at_once` was called before.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is _quit:
            sys.unraisablehook = _raise_again
            signal.signal(number, _rise)


def ignore() -> None:
    """Ignore all signals: the command has ended except for Python's own cleanup."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is _rise:
            signal.signal(number, signal.SIG_IGN)


def stop(why: str) -> None:
    """Raise `RunStopped`, but only once: repeated signals must not interrupt the cleanup.

    Raises:
        RunStopped: at the first call.
    """
    from mmpr.errors import RunStopped

    global _stopping
    if not _stopping:
        _stopping = why
        raise RunStopped(why)


def cause_of(end: KeyboardInterrupt) -> KeyboardInterrupt:
    """Return the `RunStopped` that an interrupt stands for, or the interrupt itself.

    If a handler raises while Ray's C++ core waits, Ray replaces the exception by a `KeyboardInterrupt`. A SIGTERM would
    then end with the exit code of Ctrl-C.
    """
    from mmpr.errors import RunStopped

    return RunStopped(_stopping) if _stopping and not isinstance(end, RunStopped) else end


def postpone_amid_import(number: int, frame: FrameType | None) -> bool:
    """Let a signal that interrupts an import arrive again when the import has ended.

    An exception inside an import would leave a half-initialized module: C code of numpy drops it, imports again, and
    fails with another error.

    Args:
        number: the signal.
        frame: the interrupted frame.

    Returns:
        Whether it was postponed; then the handler has nothing to do.
    """
    first = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            first = frame
        frame = frame.f_back
    if first is None:
        return False
    if first.f_back is None:
        _send_again(number)
    else:
        _send_when_back_in(first.f_back, number)
    return True


def begin() -> None:
    """Allow a new piece of work (a library's second build) to be stopped again."""
    global _stopping
    _stopping = ""


def _quit(number: int, _: FrameType | None) -> None:
    stopped = number == signal.SIGTERM
    os.write(2, f"mmpr: {f'stopped ({SIGTERM})' if stopped else 'interrupted'}; {AGAIN}\n".encode())
    os._exit(EXIT_AGAIN if stopped else EXIT_INTERRUPTED)


def _rise(number: int, frame: FrameType | None) -> None:
    if postpone_amid_import(number, frame):
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    stop(SIGTERM)


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Send the signal again: Python ignores exceptions in destructors and in callbacks of C code."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    interrupted = type(unraisable.exc_value) is KeyboardInterrupt
    begin()
    _send_again(signal.SIGINT if interrupted else signal.SIGTERM)


def _send_again(number: int) -> None:
    import threading

    retry = threading.Timer(_RETRY_S, os.kill, (os.getpid(), number))
    retry.daemon = True
    retry.start()


def _send_when_back_in(frame: FrameType, number: int) -> None:
    """Send the signal when this importing frame continues; a timer would find no gap between consecutive imports."""

    def resumed(frame: FrameType, _: str, __: object) -> None:
        sys.settrace(None)
        frame.f_trace, frame.f_trace_opcodes = None, False
        signal.raise_signal(number)

    frame.f_trace, frame.f_trace_opcodes = resumed, True
    sys.settrace(lambda *_: None)
