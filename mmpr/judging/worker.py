"""The symbolic worker: Math-Verify as a second opinion, in a process that its parent may kill at any time.

Started as `python -m mmpr.judging.worker`. Reads {"truth", "answer"} with a length in front, replies {"equal"}; one
failure of sympy, of whatever type, is one reply, and this is the one place where that is so.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from typing import BinaryIO

_MEMORY_BYTES = 4 * 1024**3
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _bound_memory() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class _LineReader:
    """Reads each reference once, because its further answers follow."""

    def __init__(self) -> None:
        self._reference = ""
        self._gold: list[object] = []

    def equal(self, reference: str, answer: str) -> bool | None:
        """Whether Math-Verify finds both equal; None if it cannot read one."""
        from math_verify import parse, verify

        if reference != self._reference:
            self._reference, self._gold = reference, parse(f"\\boxed{{{reference}}}", parsing_timeout=None)
        said = parse(f"\\boxed{{{answer}}}", parsing_timeout=None)
        if not self._gold or not said:
            return None
        return bool(verify(self._gold, said, timeout_seconds=None))


def _reply(out: BinaryIO, message: dict[str, object]) -> None:
    body = json.dumps(message).encode()
    out.write(struct.pack(">I", len(body)) + body)
    out.flush()


def serve(source: BinaryIO, out: BinaryIO) -> None:
    """Answer requests until the parent closes the pipe."""
    _reply(out, {"ready": True})
    reader = _LineReader()
    while len(head := source.read(4)) == 4:
        message = json.loads(source.read(struct.unpack(">I", head)[0]))
        try:
            said = reader.equal(message["truth"], message["answer"])
        except Exception:  # noqa: BLE001  # sympy raises what it likes; the worker's edge turns it into "cannot say"
            said = None
        _reply(out, {"equal": said})


if __name__ == "__main__":
    _die_with_parent()
    _bound_memory()
    replies = os.fdopen(os.dup(1), "wb")  # output that a library prints must not reach the pipe
    os.dup2(2, 1)
    import math_verify  # noqa: F401  # loaded before "ready": its seconds are not the first comparison's

    serve(sys.stdin.buffer, replies)
