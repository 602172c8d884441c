"""Send Ray's own messages to a file beside Ray's other logs, and never to the terminal; errors of mmpr name the file.

Ray's C++ core writes to descriptor 2 while a driver joins (with a missing token, one warning per second). Messages
about lost nodes, with the last twenty lines of a raylet's log, are printed on the driver's stdout.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray._private import worker as ray_worker

_NAME = "mmpr-driver-{}.log"
_log: Path | None = None


def ray_log() -> str:
    """Return the end of a line that names the file with Ray's messages; empty if they go to the terminal."""
    return "" if _log is None else f"; Ray's messages: {_log}"


@contextmanager
def heard() -> Iterator[list[str]]:
    """Hide what is written to descriptor 2 inside the block; after it, the list has the lines."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


@contextmanager
def kept(lines: list[str]) -> Iterator[None]:
    """Append `lines` and everything that Ray's Python side prints or logs inside the block to the file."""
    global _log
    _log = _logs_folder() / _NAME.format(os.getpid())
    handler = logging.FileHandler(_log, delay=True, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    ray_logger = logging.getLogger("ray")
    before, propagates = ray_logger.handlers[:], ray_logger.propagate
    ray_logger.handlers[:], ray_logger.propagate = [handler], False

    def keep(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        record = "\n".join(map(str, data.get("lines", ())))
        handler.handle(logging.makeLogRecord({"msg": f"({data.get('pid')}) {record}", "levelno": logging.WARNING}))

    # Ray has no setting for this output: its listener calls this function of its module.
    printer, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, keep
    if lines:
        keep({"pid": "start", "lines": lines})
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = printer
        ray_logger.handlers[:], ray_logger.propagate = before, propagates
        with suppress(OSError):
            handler.close()
        _log = None


def _logs_folder() -> Path:
    """Return the log folder of this Ray session, which the dashboard shows, or else the temporary folder."""
    node = ray_worker._global_node
    folder = Path(node.get_logs_dir_path()) if node is not None else None
    return folder if folder is not None and os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
