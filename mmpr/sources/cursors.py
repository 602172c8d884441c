"""Cursors: positions in files from which rows are read forward, kept between leases if positioning is expensive.

A compressed file cannot be read from the middle, and a Parquet row group hardly. So the cursor of a finished lease is
put on a shelf, and the next lease of the same process continues there. Leases come in rising order, so each process
unpacks a file about once, however many leases it reads. Only a repeated lease (after a death) unpacks from the
beginning.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from mmpr.errors import SourceError
from mmpr.sources.source_records import Source


@dataclass(frozen=True, slots=True)
class Raw:
    """A row before it is parsed: its number in the file, what its hash is made of, and its unparsed content."""

    number: int
    fingerprint: tuple[bytes, ...]
    content: object


class Cursor(Protocol):
    """A position in a file. `ordinal` is the index of the next row among the file's rows, blank ones not counted."""

    ordinal: int

    def advance(self, n: int) -> None:
        """Skip `n` rows."""

    def take(self, n: int) -> Iterator[Raw]:
        """Yield the next `n` rows; raises `SourceError` if the file has fewer or cannot be read."""

    def close(self) -> None:
        """Close the file."""


class RowCursor:
    """A cursor over a generator of rows that keeps its file open."""

    def __init__(self, rows: Iterator[Raw], ordinal: int, source: Source) -> None:
        self.ordinal = ordinal
        self._rows = rows
        self._source = source

    def advance(self, n: int) -> None:
        """Skip `n` rows."""
        for _ in self.take(n):
            pass

    def take(self, n: int) -> Iterator[Raw]:
        """Yield the next `n` rows."""
        stop = self.ordinal + n
        for raw in islice(self._rows, n):
            self.ordinal += 1
            yield raw
        if self.ordinal < stop:
            raise SourceError(f"{self._source.path}: ends before row {stop}: it was cut since it was indexed")

    def close(self) -> None:
        """Close the file."""
        close = getattr(self._rows, "close", None)
        if close is not None:
            close()


class Shelf:
    """Keeps a few cursors until they are needed again; each has one user at a time."""

    def __init__(self, size: int, *, until_exit: bool = False) -> None:
        self._size = size
        # generators that outlive their modules would print errors at the exit of the process
        self._until_exit = until_exit
        self._lock = threading.Lock()
        self._cursors: list[tuple[Hashable, Cursor]] = []

    def take(self, key: Hashable, low: int, high: int) -> Cursor | None:
        """Remove and return the last cursor of this file between two ordinals, both included; None if there is none."""
        with self._lock:
            fit = [i for i, (k, cursor) in enumerate(self._cursors) if k == key and low <= cursor.ordinal <= high]
            if not fit:
                return None
            # the one closest to the wanted row has the fewest rows to skip
            return self._cursors.pop(max(fit, key=lambda i: self._cursors[i][1].ordinal))[1]

    def put(self, key: Hashable, cursor: Cursor) -> None:
        """Keep a cursor; if the shelf is full, the oldest one is closed."""
        with self._lock:
            if self._until_exit:
                atexit.register(self.close)
                self._until_exit = False
            self._cursors.append((key, cursor))
            old = self._cursors[: -self._size]
            del self._cursors[: -self._size]
        for _, forgotten in old:
            forgotten.close()

    def close(self) -> None:
        """Close all cursors."""
        with self._lock:
            cursors, self._cursors = self._cursors, []
        for _, cursor in cursors:
            cursor.close()
