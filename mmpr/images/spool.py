"""Keep the bytes of large images in a file instead of memory until they are committed.

A chunk of 128 questions with images of 10 MB has 1.3 GB, and an engine works on four chunks. The file has no name, so
that nothing is left behind however the process ends. The task that writes the chunk opens it through /proc.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import IO

from mmpr.errors import MmprError
from mmpr.types import Question

LEAST_BYTES = 65_536  # smaller images stay in memory
_REFERENCE = re.compile(r"spooled:([0-9a-f]{64}):(\d+):(\d+):(\d+):(\d+)")


class SpoolGone(MmprError):
    """Spooled bytes cannot be read here: this is another machine, or their process has ended."""


@dataclass(frozen=True, slots=True)
class SpooledBytes:
    """Bytes in a process's file: the process, the file's descriptor there, offset and size."""

    pid: int
    descriptor: int
    offset: int
    size: int

    def read(self) -> bytes:
        """Read the bytes in any process of the same user on the same machine; raises `SpoolGone` elsewhere."""
        try:
            with open(f"/proc/{self.pid}/fd/{self.descriptor}", "rb", buffering=0) as file:  # noqa: PTH123  no path
                file.seek(self.offset)
                content = b"".join(iter(lambda: file.read(self.size - file.tell() + self.offset), b""))
        except OSError as error:
            raise SpoolGone(f"kept images cannot be read ({error.strerror})") from error
        if len(content) != self.size:
            raise SpoolGone("kept images cannot be read (cut short)")
        return content


@dataclass
class Spool:
    """The spooled images of one lease, until `close`; safe for threads."""

    _file: IO[bytes] | None = None
    _size: int = 0
    _known: dict[str, SpooledBytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, content: bytes, sha256: str) -> SpooledBytes | None:
        """Write bytes to the file once; return None for few bytes or a full disk: then they stay in memory."""
        if len(content) < LEAST_BYTES:
            return None
        with self._lock:
            if sha256 not in self._known:
                try:
                    self._known[sha256] = self._written(content)
                except (OSError, ValueError):  # the disk is full, or the spool was closed because its lease has failed
                    return None
            return self._known[sha256]

    def without_bytes(self, question: Question) -> Question:
        """Return the question with its embedded images (`data:`) moved to the spool."""
        return replace(question, images=tuple(map(self._kept, question.images))) if question.images else question

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()

    def _kept(self, reference: str) -> str:
        if len(reference) < LEAST_BYTES or not reference.startswith("data:"):
            return reference
        content = reference.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        at = self.put(content, sha256)
        return reference if at is None else f"spooled:{sha256}:{at.pid}:{at.descriptor}:{at.offset}:{at.size}"

    def _written(self, content: bytes) -> SpooledBytes:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="mmpr-images-", buffering=0)  # noqa: SIM115  open for the lease
        left = memoryview(content)
        while left:
            # `pwrite` may write less than it was given, at most 2 GiB
            left = left[os.pwrite(self._file.fileno(), left, self._size + len(content) - len(left)) :]
        self._size += len(content)
        return SpooledBytes(os.getpid(), self._file.fileno(), self._size - len(content), len(content))


def spooled_reference(reference: str) -> SpooledBytes | None:
    """Return the place of a reference that `Spool.without_bytes` moved; None for other references."""
    found = _REFERENCE.fullmatch(reference)
    return None if found is None else SpooledBytes(*map(int, found.groups()[1:]))


def stored_reference(reference: str) -> str:
    """Return a reference as the run folder stores it: a hash if its bytes are in the spool."""
    found = _REFERENCE.fullmatch(reference)
    return reference if found is None else f"sha256:{found[1]}"
