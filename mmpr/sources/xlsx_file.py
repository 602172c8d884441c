"""Excel workbooks (.xlsx), as VLMEvalKit writes its predictions: a header, then one row of the sheet per row.

A row's number is that of the sheet. A merged cell counts in every row that it spans, because a person who merges the
question of several responses means that. The sheet is read forward and never in memory as a whole; its shared texts
are.

No library reads an untrusted file in this way: openpyxl shows merged cells only if it holds the whole sheet, and
python-calamine allocates the whole rectangle of the sheet (a single cell in the last corner asks for 400 GB).
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, cast
from xml.etree import ElementTree

from mmpr.errors import SourceError
from mmpr.sources.answer_texts import text_of
from mmpr.sources.csv_file import with_lists
from mmpr.sources.cursors import Raw, RowCursor
from mmpr.sources.row_faults import NumberText, RowFault
from mmpr.sources.source_records import Index, Source, Span
from mmpr.types import Reason

BOOK = "xl/workbook.xml"  # every workbook has this file, and no other kind of archive
# unpacked: an archive of a few MB may hold gigabytes
_MOST_TEXT_BYTES, _MOST_SHEET_BYTES = 500_000_000, 2_000_000_000
_MOST_MERGED = 1_000_000  # cells
_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
# LookupError: the book names a member or a shared text that the archive does not have
_DAMAGES = (OSError, EOFError, zipfile.BadZipFile, zlib.error, ElementTree.ParseError, LookupError, ValueError)
# Excel writes control characters as _x000D_
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

_REPEATED = ("row", "si", "mergeCell")  # elements that occur any number of times in a part

Cells = dict[int, object]  # by column, from 0
Row = tuple[int, Cells]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The result of one pass over the sheet: header, number of rows after it, and the values of merged cells."""

    names: tuple[str, ...]
    header_row: int
    n_rows: int
    merged: Mapping[tuple[int, int], object]


def names(source: Source) -> list[str]:
    """Return the columns of the header."""
    return [name for name in _sheet(source).names if name]


def index(source: Source) -> Index:
    """Return an index with one mark, because a sheet can be read only from its beginning."""
    sheet = _sheet(source)
    marks = array("q", [0] if sheet.n_rows else [])
    return Index(sheet.n_rows, marks, marks, array("q", [sheet.header_row + 1] if sheet.n_rows else []))


def cursor(source: Source, span: Span, *, images: bool = True) -> RowCursor:
    """Return a cursor over the rows after the header."""
    return RowCursor(_raws(source), 0, source)


def _raws(source: Source) -> Iterator[Raw]:
    sheet = _sheet(source)
    for number, cells in _filled(source, sheet):
        found = {name: cells.get(place) for place, name in enumerate(sheet.names) if name}
        written = json.dumps(found, sort_keys=True, default=str).encode()
        yield Raw(number, (written, b"\n"), found)


def values(raw: Raw, source: Source) -> Mapping[str, object]:
    """Return a row under the header's names; raises `RowFault` if it is over the limit."""
    found = cast("dict[str, object]", raw.content)
    size = sum(len(cell) for cell in found.values() if isinstance(cell, str))
    if size > source.max_row_bytes:
        raise RowFault(
            Reason.BAD_ROW,
            f"{size:,} characters long, the limit is {source.max_row_bytes:,}: put images into files",
        )
    return with_lists(found, source)


def is_workbook(path: Path) -> bool:
    """Whether a zip archive is a workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            return BOOK in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _filled(source: Source, sheet: _Sheet) -> Iterator[Row]:
    """Yield the rows after the header that have a cell of their own, with merged cells filled in."""
    merged: dict[int, Cells] = {}
    for (row, column), value in sheet.merged.items():
        merged.setdefault(row, {})[column] = value
    with _opened(source.path) as (archive, name):
        for number, cells in _sheet_rows(archive, name):
            if number > sheet.header_row and _has_value(cells):
                own = {column: cell for column, cell in cells.items() if cell is not None}
                yield number, {**merged.get(number, {}), **own}


def _has_value(cells: Cells) -> bool:
    return any(cell is not None and str(cell).strip() for cell in cells.values())


def _sheet(source: Source) -> _Sheet:
    found = Path(source.path).stat()
    return _looked_at(source.path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4)
# `size` and `written_ns` are part of the cache's key: a file that is written again is read again
def _looked_at(path: str, size: int, written_ns: int) -> _Sheet:
    """Read the sheet once for its header, its number of rows, and the values of merged cells."""
    header, header_row, n_rows = tuple[str, ...](), 0, 0
    with _opened(path) as (archive, name):
        ranges = _ranges(archive, name)
        wanted, corners = {first for first, _ in ranges}, dict[tuple[int, int], object]()
        for number, cells in _sheet_rows(archive, name):
            corners |= {(number, column): cell for column, cell in cells.items() if (number, column) in wanted}
            if not _has_value(cells):
                continue
            if header_row:
                n_rows += 1
            else:
                header_row, header = number, _header(path, cells)
    if not header_row:
        raise SourceError(f"{path}: has no header: name the columns in the first row")
    places = ((place, corners.get(first)) for first, last in ranges for place in _cells_between(path, first, last))
    return _Sheet(header, header_row, n_rows, {place: value for place, value in places if value is not None})


def _header(path: str, cells: Cells) -> tuple[str, ...]:
    texts = ["" if cells.get(place) is None else str(cells[place]).strip() for place in range(max(cells) + 1)]
    named = [text for text in texts if text]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise SourceError(f"{path}: its header names {twice!r} twice: rename one")
    return tuple(texts)


@contextmanager
def _opened(path: str) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """Open the archive and find its only sheet with rows.

    Raises:
        SourceError: it is damaged, or has several such sheets.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _only_sheet(path, archive)
    except _DAMAGES as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(f"{path}: cannot be read as an Excel workbook ({cause}): save it again") from error


def _only_sheet(path: str, archive: zipfile.ZipFile) -> str:
    targets = {}
    for one in ElementTree.fromstring(_small(path, archive, "xl/_rels/workbook.xml.rels")):
        target = one.get("Target", "")
        targets[one.get("Id")] = target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl", target))
    book = ElementTree.fromstring(_small(path, archive, BOOK))
    sheets = [one for one in book.iter() if _local(one.tag) == "sheet"]
    found = {str(one.get("name")): targets[one.get(_RELATION)] for one in sheets}
    for member in found.values():
        if archive.getinfo(member).file_size > _MOST_SHEET_BYTES:
            raise SourceError(f"{path}: a sheet is larger than {_MOST_SHEET_BYTES:,} bytes: save it as TSV")
    used = {name: member for name, member in found.items() if _has_rows(archive, member)}
    if len(used) > 1:
        raise SourceError(f"{path}: has several sheets ({', '.join(used)[:120]}): save the one to read as a file")
    return next(iter(used.values() or found.values()))


def _small(path: str, archive: zipfile.ZipFile, name: str) -> bytes:
    # these parts have a few kB; a zip bomb has gigabytes
    if archive.getinfo(name).file_size > 10_000_000:
        raise SourceError(f"{path}: {name} is too large to be a workbook's")
    return archive.read(name)


def _has_rows(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as sheet:
        return next(_elements(sheet, "c"), None) is not None


def _sheet_rows(archive: zipfile.ZipFile, name: str) -> Iterator[Row]:
    """Yield every row of the sheet with its cells, one at a time."""
    texts = _shared_texts(archive)
    number = 0
    with archive.open(name) as sheet:
        for element in _elements(sheet, "row"):
            # `r` may be left out: the row then follows the one before
            number = int(element.get("r") or number + 1)
            cells: Cells = {}
            for place, cell in enumerate(element):
                # a cell may leave out its place too: then its position in the row counts
                at = _PLACE.fullmatch(cell.get("r") or "")
                cells[_column(at[1]) if at else place] = _value(cell, texts)
            yield number, cells


def _elements(file: IO[bytes], wanted: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of one name when they end; the tree keeps neither them nor their siblings."""
    above: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        if event == "start":
            above.append(element)
            continue
        above.pop()
        if _local(element.tag) == wanted:
            yield element
        if above and _local(element.tag) in _REPEATED:
            above[-1].remove(element)


def _shared_texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    if archive.getinfo("xl/sharedStrings.xml").file_size > _MOST_TEXT_BYTES:
        raise OSError(f"its texts take more than {_MOST_TEXT_BYTES:,} bytes: save it as TSV instead")
    with archive.open("xl/sharedStrings.xml") as file:
        return [_text(element) for element in _elements(file, "si")]


def _text(element: ElementTree.Element) -> str:
    """Return the runs of a rich text, without its phonetic hints."""
    runs = [one.text or "" for one in element if _local(one.tag) == "t"]
    runs += [t.text or "" for one in element if _local(one.tag) == "r" for t in one if _local(t.tag) == "t"]
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), "".join(runs))


def _value(cell: ElementTree.Element, texts: list[str]) -> object:
    kind = cell.get("t") or "n"
    inner = next((one for one in cell if _local(one.tag) == ("is" if kind == "inlineStr" else "v")), None)
    # `e`: an error of a formula, such as #DIV/0!
    if inner is None or kind == "e":
        return None
    if kind == "inlineStr":
        return _text(inner)
    written = inner.text or ""
    if kind == "s":
        return texts[int(written)] or None
    if kind == "b":
        return written == "1"
    if kind == "n":
        return _number(written) if written else None
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), written) or None


def _number(written: str) -> NumberText:
    """Return 0.1 and not the 0.10000000000000001 that Excel writes."""
    number = float(written)
    plain = re.fullmatch("-?[0-9]+", written) or not math.isfinite(number)
    return NumberText(written if plain else text_of(number))


def _ranges(archive: zipfile.ZipFile, name: str) -> list[tuple[tuple[int, int], ...]]:
    """Return the merged ranges by their corners, as (row, column)."""
    found = []
    with archive.open(name) as sheet:
        for element in _elements(sheet, "mergeCell"):
            first, _, last = (element.get("ref") or "").partition(":")
            corners = [_PLACE.fullmatch(corner) for corner in (first, last)]
            if corners[0] and corners[1]:
                found.append(tuple((int(at[2]), _column(at[1])) for at in corners if at))
    return found


def _cells_between(path: str, first: tuple[int, int], last: tuple[int, int]) -> Iterator[tuple[int, int]]:
    if (last[0] - first[0] + 1) * (last[1] - first[1] + 1) > _MOST_MERGED:
        raise SourceError(f"{path}: merges more than {_MOST_MERGED:,} cells: save it as TSV")
    for row in range(first[0], last[0] + 1):
        for column in range(first[1], last[1] + 1):
            yield row, column


def _column(letters: str) -> int:
    """Return the index of a column: `A` is 0, `AA` is 26."""
    number = 0
    for one in letters:
        number = number * 26 + ord(one) - ord("A") + 1
    return number - 1


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
