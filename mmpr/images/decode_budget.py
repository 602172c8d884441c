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

MOST_BYTES = 800_000_000
# A decoded image of so many bytes stays charged for as long as somebody holds its pixels; smaller ones are counted in
# tokens where they are asked about, and many of them fit.
LARGE_BYTES = 64_000_000
_PATIENCE_S = 60.0
_M_MMAP_THRESHOLD = -3

# Whose images are loaded: what one question holds never keeps that same question waiting.
HOLDER: ContextVar[object | None] = ContextVar("HOLDER", default=None)


@dataclass
class ByteBudget:
    """A semaphore of bytes. One image alone is always admitted; and where a minute passes in which nobody gives
    anything back, another: better full than stuck."""

    most: int
    _used: int = 0
    _held: Counter[int] = field(default_factory=Counter)  # the same by holder
    _room: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def held(self, n_bytes: int) -> Iterator[Charge]:
        """Hold so many bytes within the block, and what `Charge.keep` says beyond it."""
        holder = id(HOLDER.get() or threading.current_thread())
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

    def _admits(self, holder: int, n_bytes: int) -> bool:
        own = HOLDER.get() is not None and self._held[holder] > 0
        return own or self._used == 0 or self._used + n_bytes <= self.most


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
        """Beyond the block, hold the bytes of a large image until nobody has its pixels any more."""
        if n_bytes < LARGE_BYTES:
            return
        kept = min(n_bytes, self._n_bytes)
        self._n_bytes -= kept
        weakref.finalize(pixels, self._budget.give_back, self._holder, kept).atexit = False

    def settle(self) -> None:
        """Give back what is not kept."""
        self._budget.give_back(self._holder, self._n_bytes)


DECODING = ByteBudget(MOST_BYTES)
