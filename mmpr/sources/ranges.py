"""Cut a source's rows into the ranges that engines lease."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from mmpr.sources.source_records import Index, LeaseRange, Span


def ranges(
    index: Index, *, chunk_questions: int = 128, limit: int | None = None, seed: int = 0, first_row: int = 0
) -> Iterator[LeaseRange]:
    """Yield every row once and in order: `chunk_questions` rows per range, the rest in the last one.

    Ranges depend only on counts. Rows that are appended to a file do not change earlier ranges if they are cut with
    `first_row` = `stop` of the last old range.

    Args:
        index: of the source.
        chunk_questions: rows per range.
        limit: take a sample of this many rows instead of all; see `sample`.
        seed: of the sample.
        first_row: ordinal of the first row to take.
    """
    if limit is not None and limit < index.n_rows - first_row:
        yield from _sampled(index, sample(index, limit, seed, first_row=first_row), chunk_questions)
        return
    for start in range(first_row, index.n_rows, chunk_questions):
        yield LeaseRange(index.spans(start, min(chunk_questions, index.n_rows - start)))


def sample(index: Index, limit: int, seed: int, *, first_row: int = 0) -> Iterator[int]:
    """Yield `limit` ordinals in rising order: one from each of `limit` equal parts of the source.

    They are chosen by hash: `random` may draw others under the Python version that resumes the run.
    """
    n_rows = index.n_rows - first_row
    if limit >= n_rows:
        yield from range(first_row, index.n_rows)
        return
    for i in range(limit):
        start, stop = i * n_rows // limit, (i + 1) * n_rows // limit
        draw = int.from_bytes(hashlib.sha256(f"{seed}:{i}".encode()).digest()[:8], "big")
        yield first_row + start + draw % (stop - start)


def lease_of(index: Index, ordinals: Sequence[int]) -> LeaseRange:
    """Return the range of the given rows, which are in rising order."""
    return LeaseRange(tuple(_spans(index, ordinals)))


def _sampled(index: Index, rows: Iterable[int], chunk_questions: int) -> Iterator[LeaseRange]:
    rows = iter(rows)
    while chunk := list(islice(rows, chunk_questions)):
        yield lease_of(index, chunk)


def _spans(index: Index, rows: Sequence[int]) -> Iterator[Span]:
    first = rows[0]
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following != row + 1:
            yield from index.spans(first, row + 1 - first)
            first = following if following is not None else first
