"""Limit the bytes of pixels that all threads of a process hold at once, whatever the sizes of its images are."""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache

MOST_BYTES = 600_000_000
MOST_READ_BYTES = 150_000_000
# An image of this size stays counted until its pixels are freed; thousands of smaller ones fit anyway.
KEPT_BYTES = 500_000
LARGE_BYTES = 8_000_000  # from this size on, memory is returned to the system
_PATIENCE_S = 60.0
_M_MMAP_THRESHOLD = -3

# The owner of the images that are loaded: the images of one question are counted together.
HOLDER: ContextVar[object | None] = ContextVar("HOLDER", default=None)


@dataclass
class ByteBudget:
    """A semaphore of bytes.

    A single image is always admitted. If nothing is at work inside `held` and nothing changes for a minute, one more is
    admitted, and the next one a minute later: too much memory is better than a deadlock. On a busy machine one large
    image takes longer than that to decode, so a wait for images at work never ends by itself.
    """

    most: int
    _used: int = 0
    _at_work: int = 0  # blocks of `held` that have not ended
    _changed: float = field(default_factory=time.monotonic)
    _held: Counter[int] = field(default_factory=Counter)  # bytes by holder, the oldest holder first
    oldest: int | None = None
    _room: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def held(self, n_bytes: int) -> Iterator[Charge]:
        """Hold the bytes inside the block; `Charge.keep` extends this beyond the block."""
        holder = _holder()
        with self._room:
            while not (self._admits(holder, n_bytes) or self._is_stuck()):
                self._room.wait(_PATIENCE_S)
            self._at_work += 1
            self._take(holder, n_bytes)
        if n_bytes >= LARGE_BYTES:
            _give_memory_back()
        charge = Charge(self, holder, n_bytes)
        try:
            yield charge
        finally:
            with self._room:
                self._at_work -= 1
            charge.settle()

    def give_back(self, holder: int, n_bytes: int) -> None:
        """Release bytes."""
        with self._room:
            self._take(holder, -n_bytes)
            self._room.notify_all()

    def _is_stuck(self) -> bool:
        return not self._at_work and time.monotonic() - self._changed >= _PATIENCE_S

    def _take(self, holder: int, n_bytes: int) -> None:
        self._used += n_bytes
        self._changed = time.monotonic()
        self._held[holder] += n_bytes
        if not self._held[holder]:
            del self._held[holder]
        self.oldest = next(iter(self._held), None)

    def _admits(self, holder: int, n_bytes: int) -> bool:
        # The question that has held decoded images for the longest time always continues: when it ends, it releases
        # them. Many questions that each hold one image and wait for a second one would wait for each other.
        is_first = HOLDER.get() is not None and DECODING.oldest == holder
        return is_first or self._used == 0 or self._used + n_bytes <= self.most


@cache
def _give_memory_back() -> None:
    """Let glibc return large blocks to the system: by default it keeps them, separately for each thread."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1_000_000)


class Charge:
    """The bytes that one decoding holds."""

    def __init__(self, budget: ByteBudget, holder: int, n_bytes: int) -> None:
        self._budget, self._holder, self._n_bytes = budget, holder, n_bytes

    def keep(self, pixels: object, n_bytes: int) -> None:
        """Hold the bytes of an image beyond the block, until its pixels are freed."""
        if n_bytes < KEPT_BYTES:
            return
        kept = min(n_bytes, self._n_bytes)
        self._n_bytes -= kept
        weakref.finalize(pixels, self._budget.give_back, self._holder, kept).atexit = False

    def settle(self) -> None:
        """Release the bytes that are not kept."""
        self._budget.give_back(self._holder, self._n_bytes)


def _holder() -> int:
    return id(HOLDER.get() or threading.current_thread())


# Two budgets: one for decoding (files' bytes and pixels), one for files that wait to be decoded. With a single one,
# waiting files could use all of it, and decoding, which releases memory, could not continue.
DECODING = ByteBudget(MOST_BYTES)
READING = ByteBudget(MOST_READ_BYTES)
