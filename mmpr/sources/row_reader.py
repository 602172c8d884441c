"""Read a lease's rows: each one becomes one `Question` or one `Skip`. Hash them, to detect changed rows."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmpr.errors import SourceError
from mmpr.sources import array_file, arrow, csv_file, jsonl, parquet, xlsx_file
from mmpr.sources.cursors import Cursor, Raw, Shelf
from mmpr.sources.row_faults import RowFault
from mmpr.sources.rows import read_row, skip
from mmpr.sources.source_records import PART_ROWS, Index, LeaseRange, Source, Span
from mmpr.types import Question, Skip

if TYPE_CHECKING:
    from hashlib import _Hash


class ReadsFormat(Protocol):
    """The functions of a format's module."""

    def index(self, source: Source) -> Index: ...
    def cursor(self, source: Source, span: Span, *, images: bool = True) -> Cursor: ...
    def values(self, raw: Raw, source: Source) -> Mapping[str, object]: ...


# A row with its place: an unreadable row is a question without text and a skip that explains why.
Row = tuple[Question, Skip | None]

_FORMATS: dict[str, ReadsFormat] = {
    "jsonl": jsonl,
    "json": array_file,
    "csv": csv_file,
    "xlsx": xlsx_file,
    "parquet": parquet,
    "arrow": arrow,
}
_SHELF = Shelf(4, until_exit=True)  # as many leases as an engine reads at once


def index(source: Source) -> Index:
    """Count a source's rows and mark where reading can start: one pass over a text file, or a Parquet footer.

    Raises:
        SourceError: the file cannot be read.
    """
    if not source.parts:
        return _FORMATS[source.format].index(source)
    ordinals, offsets, numbers, starts, n_rows = array("q"), array("q"), array("q"), array("q"), 0
    unfinished: list[int] = []
    for place, part in enumerate(source.parts):
        of_part = index(part)
        starts.append(n_rows)
        ordinals.extend(n_rows + ordinal for ordinal in of_part.ordinals)
        numbers.extend(place * PART_ROWS + number for number in of_part.numbers)
        offsets.extend(of_part.offsets)
        unfinished += [place * PART_ROWS + number for number in of_part.unfinished]
        n_rows += of_part.n_rows
    return Index(n_rows, ordinals, offsets, numbers, starts, tuple(unfinished))


def read_range(source: Source, lease: LeaseRange) -> Iterator[Question | Skip]:
    """Yield one `Question` or `Skip` per row of the lease, in order.

    Raises:
        SourceError: the file cannot be read, or has fewer rows than when the lease was cut.
    """
    return (read for _, _, read, _ in _read(source, lease, hashlib.sha256()))


def read_with_values(source: Source, lease: LeaseRange) -> Iterator[tuple[Question | Skip, Mapping[str, object]]]:
    """Yield the lease's rows with their values under the file's column names; raises like `read_range`."""
    return ((read, values) for _, _, read, values in _read(source, lease, hashlib.sha256(), images=False))


def read_given(
    source: Source, lease: LeaseRange, digest: _Hash
) -> Iterator[tuple[int, Question | Skip, Mapping[str, object]]]:
    """Yield the lease's rows with their numbers and all values, images included; raises like `read_range`.

    Args:
        digest: updated with what `rows_hash` hashes.
    """
    return ((number, read, values) for _, number, read, values in _read(source, lease, digest))


def raw_values(
    source: Source, lease: LeaseRange, digest: _Hash
) -> Iterator[tuple[Source, int, Mapping[str, object] | None]]:
    """Yield the leased rows with file, number in the file, and values without image bytes; None if unreadable."""
    for part, _, raw in _raws(source, lease, digest, images=False):
        try:
            yield part, raw.number, _FORMATS[part.format].values(raw, part)
        except RowFault:
            yield part, raw.number, None


def read_hashed(
    source: Source, lease: LeaseRange, *, keep: Callable[[Question], Question] | None = None
) -> tuple[list[Row], str]:
    """Return the lease's rows, each with its skip if it has one, and their `rows_hash`, in one pass.

    Args:
        source: where the rows are.
        lease: which rows to read.
        keep: reduces a question before the next one is read, to save memory; None: keep all of it.

    Raises:
        SourceError: like `read_range`.
    """
    digest = hashlib.sha256()
    rows: list[Row] = []
    for part, number, read, _ in _read(source, lease, digest):
        if isinstance(read, Skip):
            rows.append((Question(read.question_id, part.name, number, text=""), read))
        else:
            rows.append((read if keep is None else keep(read), None))
    return rows, digest.hexdigest()


def rows_hash(source: Source, lease: LeaseRange) -> str:
    """Hash each leased row's number and content with sha256; raises like `read_range`.

    The content is the bytes of a line or element, a CSV record with the header, or a table row's values in our columns;
    of images, only their names. The number is included because ids contain it: a new blank line above changes the hash
    of every row below.
    """
    digest = hashlib.sha256()
    for _ in _raws(source, lease, digest, images=False):
        pass
    return digest.hexdigest()


def _read(
    source: Source, lease: LeaseRange, digest: _Hash, *, images: bool = True
) -> Iterator[tuple[Source, int, Question | Skip, Mapping[str, object]]]:
    """Yield each leased row with its file, its number in the source, and its values (empty if unreadable)."""
    for part, number, raw in _raws(source, lease, digest, images=images):
        try:
            values = _FORMATS[part.format].values(raw, part)
        except RowFault as fault:
            yield part, number, skip(part, raw.number, fault), {}
            continue
        read = read_row(values, part, raw.number)
        placed = read if isinstance(read, Skip) or number == raw.number else replace(read, row=number)
        yield part, number, placed, values


def _raws(source: Source, lease: LeaseRange, digest: _Hash, *, images: bool) -> Iterator[tuple[Source, int, Raw]]:
    """Yield the leased rows with file and number in the source; add each one to the digest."""
    # one cursor of a plain file is enough: the spans of a sample follow one another in it
    with closing(Shelf(1)) as shelf:
        for span in lease.spans:
            place, first = divmod(span.number, PART_ROWS)
            part = _part(source, place)
            for raw in _rows_of(part, replace(span, number=first), images, shelf):
                number = place * PART_ROWS + raw.number
                # ids contain the file's name, so a renamed file is a changed row
                digest.update(f"{number} {part.row_id(raw.number)} ".encode() if source.parts else b"%d " % number)
                for piece in raw.fingerprint:
                    digest.update(piece)
                yield part, number, raw


def _part(source: Source, place: int) -> Source:
    if not source.parts:
        return source
    if place >= len(source.parts):
        raise SourceError(f"{source.path}: has fewer files than when it was indexed")
    return source.parts[place]


def _rows_of(part: Source, span: Span, images: bool, shelf: Shelf) -> Iterator[Raw]:
    """Yield a span's rows with a cursor between its mark and its first row, if there is one, else from the mark."""
    costly = part.compression is not None or part.format in ("parquet", "xlsx")  # to reach a position in it
    key, shelf, first = _key(part, images), _SHELF if costly else shelf, span.first - span.start
    # In a packed file any earlier cursor saves work. In Parquet an earlier row group would have to be read.
    cursor = shelf.take(key, 0 if part.compression else first - span.skip, first)
    if cursor is None:
        cursor = _FORMATS[part.format].cursor(part, span, images=images)
    finished = False
    try:
        cursor.advance(first - cursor.ordinal)
        yield from cursor.take(span.count)
        finished = True
    finally:
        # a generator that was closed early, or failed, has an unknown position
        if finished:
            shelf.put(key, cursor)
        else:
            cursor.close()


def _key(part: Source, images: bool) -> Hashable:
    """Return what identifies a cursor's file: a file that was written again is another one."""
    try:
        found = Path(part.path).stat()
    except OSError as error:
        raise SourceError(f"{part.path}: cannot be read ({error.strerror})") from error
    return part, images, found.st_ino, found.st_size, found.st_mtime_ns
