"""Cut a source's rows into the ranges that engines lease."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from mmpr.sources.source_records import Index, LeaseRange, Span


def ranges(
    index: Index, *, chunk_questions: int = 128, limit: int | None = None, seed: int = 0, first_row: int = 0
) -> Iterator[LeaseRange]:
    """Every row once, in order, `chunk_questions` a range and the rest in the last.

    Ranges are fixed by counts alone. Rows appended to a file leave the ranges before them as they were, if the new ones
    are cut with `first_row` = the last old range's `stop`.

    Args:
        index: of the source.
        chunk_questions: rows a range.
        limit: a sample of so many rows instead of all of them; see `sample`.
        seed: of the sample.
        first_row: ordinal of the first row to take.
    """
    if limit is not None and limit < index.n_rows - first_row:
        yield from _sampled(index, sample(index, limit, seed, first_row=first_row), chunk_questions)
        return
    for start in range(first_row, index.n_rows, chunk_questions):
        yield LeaseRange(index.spans(start, min(chunk_questions, index.n_rows - start)))


def sample(index: Index, limit: int, seed: int, *, first_row: int = 0) -> Iterator[int]:
    """`limit` ordinals in rising order, spread over the whole source: one from each of `limit` equal stretches.

    By hash and not by `random`, whose draws may change with the Python that resumes the run.
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
    """The range of some rows, in rising order."""
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
