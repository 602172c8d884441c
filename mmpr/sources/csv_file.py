"""CSV and TSV: a header, then a record a row, quoted as RFC 4180 and pandas do; a row's number is its first line.

Every cell is text and an empty one is absent. `choices`, `history`, `conversations`, `messages` and lists of images
are written as JSON in their cell; an answer is never parsed, for `[2,3]` may be an interval.
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
_INDEX_CHARS = 64  # a longer cell is an image itself, as VLMEvalKit has it
_JSON_COLUMNS = ("image", "choices", "options", "history", "conversations", "messages")

Cells = tuple[list[str], list[str]]  # the header's names, the record's cells


def check_header(source: Source) -> None:
    """Raises `SourceError` where there is no header, or it names a column twice."""
    found = names(source)
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise SourceError(f"{source.path}: its header names {twice!r} twice: rename one")


def names(source: Source) -> list[str]:
    """The columns of the header."""
    with unpacked(source) as file:
        return _Records(file, 1, source).header()


def index(source: Source) -> Index:
    """Count and mark the records; each is parsed, because a line may end inside quotes."""
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
            if records.is_cut(record, len(names)):  # still being written: the next start finds it whole
                return Index(n_rows, *marks, unfinished=(records.first,))
            for numbers, number in zip(marks, mark, strict=False):
                numbers.append(number)
            n_rows += 1


def cursor(source: Source, span: Span, *, images: bool = True) -> RowCursor:
    """The records from the span's mark on."""
    return RowCursor(_rows(source, span), span.first - span.skip - span.start, source)


def _rows(source: Source, span: Span) -> Iterator[Raw]:
    with unpacked(source) as file:
        names = _Records(file, 1, source).header()
        titles = json.dumps(names).encode()
        file.seek(span.offset)
        records = _Records(file, span.number, source)
        while (record := records.following()) is not None:
            content = record if isinstance(record, RowFault) else (names, record)
            yield Raw(records.first, (titles, *records.fingerprint()), content)


def image_of(source: Source, index: str) -> str | None:
    """The `image` of the row with this `index`, where that has one itself; VLMEvalKit's files share images so."""
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
def _places(source: Source, size: int, written_ns: int) -> dict[str, int]:
    """Where the rows begin that have an image themselves, by `index`: one pass over the file, once a process."""
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
    """A record under the header's names; raises `RowFault` where it does not fit the header, or is no text."""
    if isinstance(raw.content, RowFault):
        raise raw.content
    names, cells = cast("Cells", raw.content)
    if len(cells) != len(names):
        raise _bad(f"{len(cells)} cells, the header has {len(names)}: quote a text that holds the delimiter")
    return with_lists({name: cell or None for name, cell in zip(names, cells, strict=True)}, source)


def with_lists(found: dict[str, object], source: Source) -> dict[str, object]:
    """A row of texts with the lists that some of them write."""
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
        return cell  # where a list is needed, the text is refused and shown


class _Records:
    """Records one after another, and where the last one stood. `number` is that of the next line."""

    def __init__(self, file: BinaryIO, number: int, source: Source) -> None:
        self.number = self.first = number
        self._file, self._source = file, source
        self._lines: list[jsonl.Line] = []
        self._size = 0
        csv.field_size_limit(max(csv.field_size_limit(), source.max_row_bytes))
        self._reader = csv.reader(self, delimiter=source.delimiter, strict=True)

    def header(self) -> list[str]:
        """The names of the columns."""
        record = self.following()
        if not isinstance(record, list):
            raise SourceError(f"{self._source.path}: has no header: name the columns in the first line")
        return [name.strip() for name in record]

    def following(self) -> list[str] | RowFault | None:
        """The next record with a cell that is not blank, or why it is none; None at the file's end."""
        while True:
            self.first, self._lines, self._size = self.number, [], 0
            try:
                record: list[str] | RowFault = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as error:
                record = _bad(f"is no record ({error}): quote a text that holds quotes, and double them")
            except RowFault as fault:
                record = fault
            if isinstance(record, RowFault) or any(cell.strip() for cell in record):
                return self._checked(record)
            self.number += jsonl.pass_blank_lines(self._file, self._source.delimiter.encode())

    def fingerprint(self) -> Iterator[bytes]:
        """What the last record's hash is made of."""
        for line in self._lines:
            yield from jsonl.fingerprint(line)

    def is_cut(self, record: list[str] | RowFault, n_cells: int) -> bool:
        """Whether the file ends within this record, the last one."""
        ended = self._lines[-1].ended if self._lines else True
        return not ended and (isinstance(record, RowFault) or len(record) < n_cells)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> str:
        """The next line for the reader, which asks for more while a quote is open."""
        line = jsonl.next_line(self._file, self.number, self._source.max_row_bytes)
        if line is None:
            raise StopIteration
        self.number += 1
        self._lines.append(line)
        self._size += line.size_bytes
        if self._size > self._source.max_row_bytes:
            limit = f"the limit is {self._source.max_row_bytes:,}"
            raise _bad(f"{self._size:,} bytes or more, {limit}: is a quote never closed?")
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
