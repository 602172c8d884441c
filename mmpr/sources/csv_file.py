"""CSV and TSV: a header, then one record per row, quoted as in RFC 4180 and pandas; a row's number is its first line.

Every cell is a text; an empty one counts as absent. `choices`, `history`, `conversations`, `messages` and lists of
images are written as JSON in their cell. An answer is never parsed, because `[2,3]` may be an interval.
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from mmpr.errors import SourceError
from mmpr.sources import jsonl
from mmpr.sources.cursors import Raw, RowCursor
from mmpr.sources.row_faults import RowFault
from mmpr.sources.source_records import Index, Source, Span
from mmpr.sources.streams import unpacked
from mmpr.types import Reason

_ROWS_A_MARK = 128
_INDEX_CHARS = 64  # a longer cell is an image itself, as in VLMEvalKit's files
_JSON_COLUMNS = ("image", "choices", "options", "history", "conversations", "messages")

Cells = tuple[list[str], list[str]]  # names of the header, cells of the record


def check_header(source: Source) -> None:
    """Raise `SourceError` if there is no header, or it names a column twice."""
    found = names(source)
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise SourceError(f"{source.path}: its header names {twice!r} twice: rename one")


def names(source: Source) -> list[str]:
    """Return the columns of the header."""
    with unpacked(source) as file:
        return _Records(file, 1, source).header()


def index(source: Source) -> Index:
    """Count the records and mark every 128th; each is parsed, because a line may end inside quotes."""
    marks = (array("q"), array("q"), array("q"))
    n_rows = 0
    with unpacked(source) as file:
        records = _Records(file, 1, source)
        names = records.header()
        while True:
            mark = (n_rows, file.tell(), records.number) if n_rows % _ROWS_A_MARK == 0 else ()
            record = records.following()
            if record is None:
                return Index(n_rows, *marks)
            if records.is_cut(record, len(names)):  # still being written; the next start reads it whole
                return Index(n_rows, *marks, unfinished=(records.first,))
            for numbers, number in zip(marks, mark, strict=False):
                numbers.append(number)
            n_rows += 1


def cursor(source: Source, span: Span, *, images: bool = True) -> RowCursor:
    """Return a cursor over the records from the span's mark."""
    return RowCursor(_rows(source, span), span.first - span.skip - span.start, source)


def _rows(source: Source, span: Span) -> Iterator[Raw]:
    with unpacked(source) as file:
        names = _Records(file, 1, source).header()
        titles = json.dumps(names).encode()
        file.seek(span.offset)
        records = _Records(file, span.number, source)
        while (record := records.following()) is not None:
            content = record if isinstance(record, RowFault) else (names, record)
            # the header is part of each hash: a renamed column changes the meaning of all rows
            yield Raw(records.first, (titles, *records.fingerprint()), content)


def image_of(source: Source, index: str) -> str | None:
    """Return the `image` of the row with this `index` if that row has one: rows of VLMEvalKit share images."""
    place = Path(source.path).stat()
    offset = _places(source, place.st_size, place.st_mtime_ns).get(index)
    if offset is None:
        return None
    with unpacked(source) as file:
        names = _Records(file, 1, source).header()
        file.seek(offset)
        record = _Records(file, 1, source).following()
    return record[names.index("image")] if isinstance(record, list) and len(record) == len(names) else None


@lru_cache(maxsize=8)
# `size` and `written_ns` are part of the cache's key: a file that is written again is read again
def _places(source: Source, size: int, written_ns: int) -> dict[str, int]:
    """Return by `index` the offsets of rows with an image; one pass over the file, once per process."""
    found: dict[str, int] = {}
    with unpacked(source) as file:
        records = _Records(file, 1, source)
        names = records.header()
        index, image = names.index("index"), names.index("image")
        while True:
            offset = file.tell()
            record = records.following()
            if record is None:
                return found
            if isinstance(record, list) and len(record) == len(names) and len(record[image]) > _INDEX_CHARS:
                found[record[index]] = offset


def values(raw: Raw, source: Source) -> Mapping[str, object]:
    """Return a record under the header's names; raises `RowFault` if it does not fit the header or is no text."""
    if isinstance(raw.content, RowFault):
        raise raw.content
    names, cells = cast("Cells", raw.content)
    if len(cells) != len(names):
        raise _bad(f"{len(cells)} cells, the header has {len(names)}: quote a text that holds the delimiter")
    return with_lists({name: cell or None for name, cell in zip(names, cells, strict=True)}, source)


def with_lists(found: dict[str, object], source: Source) -> dict[str, object]:
    """Parse the lists that some texts of a row write."""
    for theirs in map(source.column, _JSON_COLUMNS):
        if (cell := found.get(theirs)) is not None:
            found[theirs] = _json(str(cell))
    return found


def _json(cell: str) -> object:
    if not cell.startswith(("[", "{")):
        return cell
    try:
        return jsonl.DECODER.decode(cell)
    except (json.JSONDecodeError, RecursionError):
        return cell  # where a list is needed, the text is refused with a message


class _Records:
    """Reads records one after another and keeps the place of the last one. `number` is the number of the next line."""

    def __init__(self, file: BinaryIO, number: int, source: Source) -> None:
        self.number = self.first = number
        self._file, self._source = file, source
        self._lines: list[jsonl.Line] = []
        self._size = 0
        # the default of 131,072 characters is less than an embedded image
        csv.field_size_limit(max(csv.field_size_limit(), source.max_row_bytes))
        # strict: `"a"b` would be read as `ab`, and a quote that is never closed would be no error
        self._reader = csv.reader(self, delimiter=source.delimiter, strict=True)

    def header(self) -> list[str]:
        """Read the names of the columns."""
        record = self.following()
        if not isinstance(record, list):
            raise SourceError(f"{self._source.path}: has no header: name the columns in the first line")
        return [name.strip() for name in record]

    def following(self) -> list[str] | RowFault | None:
        """Return the next record that is not blank, or its fault; None at the end of the file."""
        while True:
            self.first, self._lines, self._size = self.number, [], 0
            try:
                record: list[str] | RowFault = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as error:
                record = _bad(f"is not a CSV record ({error}): quote a text that holds quotes, and double them")
            except RowFault as fault:
                record = fault
            if isinstance(record, RowFault) or any(cell.strip() for cell in record):
                return self._checked(record)
            self.number += jsonl.pass_blank_lines(self._file, self._source.delimiter.encode())

    def fingerprint(self) -> Iterator[bytes]:
        """Yield what the last record's hash is made of."""
        for line in self._lines:
            yield from jsonl.fingerprint(line)

    def is_cut(self, record: list[str] | RowFault, n_cells: int) -> bool:
        """Whether the file ends inside this last record."""
        ended = self._lines[-1].ended if self._lines else True
        return not ended and (isinstance(record, RowFault) or len(record) < n_cells)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> str:
        """Return the next line; the CSV reader asks for more while a quote is open."""
        line = jsonl.next_line(self._file, self.number, self._source.max_row_bytes)
        if line is None:
            raise StopIteration
        self.number += 1
        self._lines.append(line)
        self._size += line.size_bytes
        if self._size > self._source.max_row_bytes:
            limit = f"the limit is {self._source.max_row_bytes:,}"
            raise _bad(f"{self._size:,} bytes or more, {limit}: is a quote never closed?")
        # a byte that is not UTF-8 passes through the parser, and `_checked` names it in the row's skip
        return line.text.decode("utf-8", "surrogateescape") + "\n"

    def _checked(self, record: list[str] | RowFault) -> list[str] | RowFault:
        if isinstance(record, RowFault):
            return record
        if any(b"\0" in line.text for line in self._lines):
            return _bad("a NUL byte: write the file again as UTF-8 text")
        try:
            "".join(record).encode()
        except UnicodeEncodeError:
            return _bad("not UTF-8: convert the file (iconv -t UTF-8)")
        return record


def _bad(text: str) -> RowFault:
    return RowFault(Reason.BAD_ROW, text)
