"""The parent's side of the symbolic worker: one process, length-prefixed JSON, killed at its time limit."""

from __future__ import annotations

import json
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from mmpr.errors import JudgeError

# The start of Python and sympy does not count for the answer: a new worker gets this long to report that it is ready.
_START_LIMIT_S = 120.0


class TimeLimit(JudgeError):
    """One comparison exceeded its time limit; its worker was killed."""


class SymbolicProcess:
    """A second opinion in a process of its own. A `subprocess`, because Ray's workers may have no children of
    multiprocessing; it ends when its standard input closes or its parent dies.

    Args:
        time_limit_s: seconds for one comparison.
        clock: seconds that only grow.
        command: what to start; tests hand in one that hangs.
    """

    def __init__(
        self,
        *,
        time_limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._command = command or (sys.executable, "-m", "mmpr.judging.worker")
        self._process: subprocess.Popen[bytes] | None = None

    def equal(self, reference: str, answer: str) -> bool | None:
        """Whether two LaTeX expressions are equal; None if the worker cannot read one.

        Raises:
            TimeLimit: it took too long.
        """
        process = self._running()
        try:
            _send(process, {"truth": reference, "answer": answer})
            reply = self._receive(process, self._time_limit_s)
        except (BrokenPipeError, EOFError):  # the worker died, for example of memory
            self.close()
            return None
        said = reply.get("equal")
        return said if isinstance(said, bool) else None

    @property
    def pid(self) -> int | None:
        """The worker's process id; None if no worker runs."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """Kill the worker, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # bytes that were not sent to a dead worker
                    continue

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._receive(self._process, _START_LIMIT_S)
        return self._process

    def _receive(self, process: subprocess.Popen[bytes], limit_s: float) -> dict[str, object]:
        deadline = self._clock() + limit_s
        size = struct.unpack(">I", self._exactly(process, 4, deadline))[0]
        reply: dict[str, object] = json.loads(self._exactly(process, size, deadline))
        return reply

    def _exactly(self, process: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
        assert process.stdout is not None
        chunks = b""
        while len(chunks) < count:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - self._clock()))
            if not ready:
                self.close()
                raise TimeLimit(f"a symbolic comparison took more than {self._time_limit_s} s")
            chunk = process.stdout.read(count - len(chunks))
            if not chunk:
                raise EOFError
            chunks += chunk
        return chunks


def _send(process: subprocess.Popen[bytes], message: dict[str, str]) -> None:
    assert process.stdin is not None
    body = json.dumps(message).encode()
    process.stdin.write(struct.pack(">I", len(body)) + body)
    process.stdin.flush()
