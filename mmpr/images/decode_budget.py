"""How many bytes of pixels a process holds at once, over all its threads, whatever the sizes of its images."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache

MOST_BYTES = 600_000_000
MOST_READ_BYTES = 150_000_000
# An image of so many bytes stays charged for as long as somebody holds its pixels; of smaller ones many thousands fit.
KEPT_BYTES = 500_000
LARGE_BYTES = 8_000_000  # from here on memory is given back to the system
_PATIENCE_S = 60.0
_M_MMAP_THRESHOLD = -3

# Whose images are loaded: those of one question are held together.
HOLDER: ContextVar[object | None] = ContextVar("HOLDER", default=None)


@dataclass
class ByteBudget:
    """A semaphore of bytes. One image alone is always admitted; and where a minute passes in which nobody gives
    anything back, another: better full than stuck."""

    most: int
    _used: int = 0
    _held: Counter[int] = field(default_factory=Counter)  # the same by holder, the oldest first
    oldest: int | None = None
    _room: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def held(self, n_bytes: int) -> Iterator[Charge]:
        """Hold so many bytes within the block, and what `Charge.keep` says beyond it."""
        holder = _holder()
        with self._room:
            while not self._admits(holder, n_bytes):
                if not self._room.wait(_PATIENCE_S):  # nothing was given back for so long
                    break
            self._take(holder, n_bytes)
        if n_bytes >= LARGE_BYTES:
            _give_memory_back()
        charge = Charge(self, holder, n_bytes)
        try:
            yield charge
        finally:
            charge.settle()

    def give_back(self, holder: int, n_bytes: int) -> None:
        """So many bytes are free again."""
        with self._room:
            self._take(holder, -n_bytes)
            self._room.notify_all()

    def _take(self, holder: int, n_bytes: int) -> None:
        self._used += n_bytes
        self._held[holder] += n_bytes
        if not self._held[holder]:
            del self._held[holder]
        self.oldest = next(iter(self._held), None)

    def _admits(self, holder: int, n_bytes: int) -> bool:
        # The question that has held decoded images for longest always continues: with its end it gives them back, while
        # many that each hold one image and wait for a second would wait for each other.
        is_first = HOLDER.get() is not None and DECODING.oldest == holder
        return is_first or self._used == 0 or self._used + n_bytes <= self.most


@cache
def _give_memory_back() -> None:
    """Let glibc return what an image took: else it learns to keep such blocks, for every thread its own."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1_000_000)


class Charge:
    """What one decoding holds."""

    def __init__(self, budget: ByteBudget, holder: int, n_bytes: int) -> None:
        self._budget, self._holder, self._n_bytes = budget, holder, n_bytes

    def keep(self, pixels: object, n_bytes: int) -> None:
        """Beyond the block, hold the bytes of an image until its pixels are freed."""
        if n_bytes < KEPT_BYTES:
            return
        kept = min(n_bytes, self._n_bytes)
        self._n_bytes -= kept
        weakref.finalize(pixels, self._budget.give_back, self._holder, kept).atexit = False

    def settle(self) -> None:
        """Give back what is not kept."""
        self._budget.give_back(self._holder, self._n_bytes)


def _holder() -> int:
    return id(HOLDER.get() or threading.current_thread())


# What is decoded, with the files' bytes beside the pixels; and the bytes of files until they are decoded. Of two
# budgets, for what waits to be decoded must not keep what others have read from being given back.
DECODING = ByteBudget(MOST_BYTES)
READING = ByteBudget(MOST_READ_BYTES)
