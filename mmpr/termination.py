"""SIGTERM and Ctrl-C to a command, from its first moment to its last: one line, exit 75 or 130, however often.

A build takes SIGTERM for itself while it works (`builder.stopping`); what is here holds before and after. Little is
imported at the top: until the handlers are set, a signal ends Python in its own way.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGTERM = "SIGTERM"
EXIT_AGAIN, EXIT_INTERRUPTED = 75, 130
AGAIN = "run the same command again to go on"
_RETRY_S = 0.05
_stopping = ""  # why, once it was raised


def quit_at_once() -> None:
    """From now on a signal ends the process: nothing was begun, and an exception amid imports may be swallowed."""
    signal.signal(signal.SIGTERM, _quit)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a shell's background
        signal.signal(signal.SIGINT, _quit)


def rise() -> None:
    """From now on the first SIGTERM raises `RunStopped` and later ones do nothing, and Ctrl-C raises as ever; only
    where a command began so.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is _quit:
            sys.unraisablehook = _raise_again
            signal.signal(number, _rise)


def ignore() -> None:
    """From now on no signal does anything: the command has ended in all but Python's own clearing up."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is _rise:
            signal.signal(number, signal.SIG_IGN)


def stop(why: str) -> None:
    """Raise `RunStopped`, unless that was done before: a storm of signals must not disturb the clearing up.

    Raises:
        RunStopped: the first time.
    """
    from mmpr.errors import RunStopped

    global _stopping
    if not _stopping:
        _stopping = why
        raise RunStopped(why)


def cause_of(end: KeyboardInterrupt) -> KeyboardInterrupt:
    """The `RunStopped` that an interrupt stands for, else the interrupt itself.

    Where a handler raises while Ray's C++ core waits, Ray drops what was raised and raises a `KeyboardInterrupt` of its
    own: a SIGTERM would end with Ctrl-C's exit code.
    """
    from mmpr.errors import RunStopped

    return RunStopped(_stopping) if _stopping and not isinstance(end, RunStopped) else end


def postpone_amid_import(number: int, frame: FrameType | None) -> bool:
    """Let a signal that interrupts an import come again as soon as that ends.

    An exception there would leave half a module behind: C code of numpy's drops it, imports once more, and fails by an
    error of its own.

    Args:
        number: the signal's.
        frame: that it interrupts.

    Returns:
        Whether it was postponed: the handler has nothing to do then.
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
    """A new piece of work (a library's second build) may be stopped again."""
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
    """A destructor or a callback of C code was running when the signal came: Python drops what rises there."""
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
    """Send the signal when this importing frame continues; imports that follow one another leave a timer no gap."""

    def resumed(frame: FrameType, _: str, __: object) -> None:
        sys.settrace(None)
        frame.f_trace, frame.f_trace_opcodes = None, False
        signal.raise_signal(number)

    frame.f_trace, frame.f_trace_opcodes = resumed, True
    sys.settrace(lambda *_: None)
