"""What a worker keeps of many large images until they are committed: in a file without a name, not in memory.

A chunk of 128 questions with images of 10 MB is 1.3 GB, and an engine works on four chunks. The file has no name: so
nothing of it is left behind however the process ends. The task that writes the chunk opens it as the process's own.
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

LEAST_BYTES = 65_536  # smaller ones stay in memory
_REFERENCE = re.compile(r"spooled:([0-9a-f]{64}):(\d+):(\d+):(\d+):(\d+)")


class SpoolGone(MmprError):
    """Kept bytes cannot be read here: this is another machine, or their process has ended."""


@dataclass(frozen=True, slots=True)
class SpooledBytes:
    """Bytes in a process's file: its number, the file's descriptor there, where they begin, how many they are."""

    pid: int
    descriptor: int
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes, in any process of the same user on the same machine; raises `SpoolGone` elsewhere."""
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
    """The kept images of one lease; ends with `close`. Threads may share it."""

    _file: IO[bytes] | None = None
    _size: int = 0
    _known: dict[str, SpooledBytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, content: bytes, sha256: str) -> SpooledBytes | None:
        """Keep bytes in the file, once; None where they are few, or the disk is full: they stay where they are."""
        if len(content) < LEAST_BYTES:
            return None
        with self._lock:
            if sha256 not in self._known:
                try:
                    self._known[sha256] = self._written(content)
                except (OSError, ValueError):  # full; closed, for its lease has failed
                    return None
            return self._known[sha256]

    def without_bytes(self, question: Question) -> Question:
        """The question, whose images are kept here where it holds their bytes itself (`data:`)."""
        return replace(question, images=tuple(map(self._kept, question.images))) if question.images else question

    def close(self) -> None:
        """Forget everything."""
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
            left = left[os.pwrite(self._file.fileno(), left, self._size + len(content) - len(left)) :]
        self._size += len(content)
        return SpooledBytes(os.getpid(), self._file.fileno(), self._size - len(content), len(content))


def spooled_reference(reference: str) -> SpooledBytes | None:
    """Where the whole reference is that `Spool.without_bytes` took; None where it took none."""
    found = _REFERENCE.fullmatch(reference)
    return None if found is None else SpooledBytes(*map(int, found.groups()[1:]))


def stored_reference(reference: str) -> str:
    """A reference as a run folder keeps it: by its hash where its bytes are in the spool."""
    found = _REFERENCE.fullmatch(reference)
    return reference if found is None else f"sha256:{found[1]}"
