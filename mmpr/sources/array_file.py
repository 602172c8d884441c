"""JSON arrays: the rows are the elements of one array; a row's number is its 0-based index.

The array is never in memory as a whole. The reader looks only at strings and brackets, block by block, to find the
commas between the elements, so that it can start at any of them. An element is then parsed like a JSON line.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mmpr.errors import SourceError
from mmpr.sources import jsonl
from mmpr.sources.cursors import Raw, RowCursor
from mmpr.sources.json_object import rows_inside
from mmpr.sources.source_records import Index, Source, Span
from mmpr.sources.streams import head, pass_blanks, unpacked

if TYPE_CHECKING:
    from hashlib import _Hash

    import numpy as np
    import numpy.typing as npt

_BLOCK_BYTES = 64_000
_ROWS_A_MARK = 128
_QUESTION_ID = re.compile(rb'"question_id"\s*:\s*(\d{1,18})\b')
_KEY = re.compile(rb'^("(?:[^"\\]|\\.)*+")\s*:\s*')  # the key of a row in a dict of rows


@dataclass(frozen=True, slots=True)
class _Piece:
    """The text between two commas: `blank_bytes` of white space, then an element.

    An element over the limit has no `text`, only its hash.
    """

    offset: int
    text: bytes
    size_bytes: int
    long_sha256: bytes | None
    blank_bytes: int = 0


def index(source: Source) -> Index:
    """Count the elements block by block, and mark every 128th.

    Raises:
        SourceError: the file ends inside the array, or has text after it.
    """
    ordinals, offsets, n_rows = array("q"), array("q"), 0
    with unpacked(source) as file:
        for piece in _pieces(file, enter(file, source), source):
            if n_rows % _ROWS_A_MARK == 0:
                ordinals.append(n_rows)
                offsets.append(piece.offset)
            n_rows += 1
    return Index(n_rows, ordinals, offsets, ordinals)


def cursor(source: Source, span: Span, *, images: bool = True) -> RowCursor:
    """Return a cursor over the elements from the span's mark."""
    return RowCursor(_rows(source, span), span.first - span.skip - span.start, source)


def values(raw: Raw, source: Source) -> dict[str, object]:
    """Parse an element as an object; raises `RowFault` if it is none."""
    line = cast("jsonl.Line", raw.content)
    if not source.keyed or line.long_sha256 is not None or (key := _KEY.match(line.text)) is None:
        return jsonl.parse(line, source)
    row = jsonl.parse(replace(line, text=line.text[key.end() :]), source)
    # a row of `{"q1": {..}, "q2": {..}}`: its key is its id
    return {**row, "id": row.get("id", json.loads(key[1]))}


def _rows(source: Source, span: Span) -> Iterator[Raw]:
    with unpacked(source) as file, ExitStack() as stack:
        annotations = _Annotations.opened(source, stack) if source.annotations else None
        file.seek(span.offset)
        for number, piece in enumerate(_pieces(file, span.offset, source), span.number):
            text = piece.text if annotations is None else annotations.joined(piece.text)
            line = jsonl.Line(number, text, piece.size_bytes, True, piece.long_sha256)
            yield Raw(number, jsonl.fingerprint(line), line)


@dataclass(frozen=True, slots=True)
class _Annotations:
    """The open file of answers, with the place of each one: question ids in order, their offsets and sizes."""

    file: BinaryIO
    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def opened(cls, source: Source, stack: ExitStack) -> _Annotations:
        place = Path(source.annotations)
        found = place.stat()
        ids, offsets, sizes = _annotation_places(source, found.st_size, found.st_mtime_ns)
        return cls(stack.enter_context(place.open("rb")), ids, offsets, sizes)

    def joined(self, text: bytes) -> bytes:
        """Return a question joined with the columns of its annotation; unchanged if it has none."""
        is_object = text.startswith(b"{") and text.endswith(b"}")
        found = _QUESTION_ID.search(text) if is_object else None
        at = int(self.ids.searchsorted(int(found[1]))) if found else len(self.ids)
        if found is None or at == len(self.ids) or int(self.ids[at]) != int(found[1]):
            return text
        self.file.seek(int(self.offsets[at]))
        return text[:-1] + b", " + self.file.read(int(self.sizes[at]))[1:]  # both texts are objects: `{..}`


@lru_cache(maxsize=4)
# `size` and `written_ns` are part of the cache's key: a file that is written again is read again
def _annotation_places(source: Source, size: int, written_ns: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Find the annotation of each question: ids in order, offsets and sizes; one pass, once per process."""
    import numpy as np

    start = None  # of an array
    if not head(source.annotations, None, _BLOCK_BYTES).lstrip().startswith(b"["):
        inside = rows_inside(Path(source.annotations), None, asking=("answers",))
        if inside is None:
            raise SourceError(f"{source.annotations}: holds no annotations: give one JSON object with a list of them")
        start = inside.offset
    file_of = replace(source, path=source.annotations, rows_at=start, keyed=False, annotations="", compression=None)
    found = array("q")
    with unpacked(file_of) as file:
        for piece in _pieces(file, enter(file, file_of), file_of):
            if (question := _QUESTION_ID.search(piece.text)) is not None:
                found.extend((int(question[1]), piece.offset + piece.blank_bytes, piece.size_bytes))
    table = np.array(found, np.int64).reshape(-1, 3)
    # stable: of two annotations with one id, the search finds the first in the file
    return tuple(table[np.argsort(table[:, 0], kind="stable")].T)


def enter(file: BinaryIO, source: Source) -> int:
    """Move behind the bracket that opens the rows."""
    if source.rows_at is not None:
        file.seek(source.rows_at)
        return file.tell()
    pass_blanks(file)
    if file.read(1) != b"[":
        raise SourceError(f"{source.path}: is not a JSON array: it does not begin with [")
    return file.tell()


def _pieces(file: BinaryIO, offset: int, source: Source) -> Iterator[_Piece]:
    """Yield the elements from an offset inside the array to its end; a blank one (`[]`, a last comma) is no element."""
    scan, piece = _Scan(), _Growing(offset, source.max_row_bytes)
    while block := _block(file):
        if block.isspace():  # a packed file of a megabyte may unpack to a billion blanks
            piece.add(block, keep_blanks=scan.is_inside)
            offset += len(block)
            continue
        start = 0
        for end in scan.commas(block):
            piece.add(block[start:end])
            if found := piece.finish():
                yield found
            start = end + 1
            piece = _Growing(offset + start, source.max_row_bytes)
        if scan.over:
            # an array under a key is followed by the rest of its object
            if source.rows_at is None or source.keyed:
                _refuse_rest(file, block[start:], offset + start, source)
            return
        piece.add(block[start:])
        offset += len(block)
    raise SourceError(f"{source.path}: the file ends inside its JSON array: copy or write it again")


def _refuse_rest(file: BinaryIO, rest: bytes, offset: int, source: Source) -> None:
    # a second array in the file would be ignored silently
    while not rest.strip():
        offset += len(rest)
        if not (rest := file.read(_BLOCK_BYTES)):
            return
    place = offset + len(rest) - len(rest.lstrip())
    raise SourceError(
        f"{source.path}: has more text after the end of its JSON array, at byte {place + 1}: write one array in a file"
    )


def _block(file: BinaryIO) -> bytes:
    """Return the next bytes; a block never ends between a backslash and the character that it escapes."""
    block = file.read(_BLOCK_BYTES)
    while block.endswith(b"\\") and (more := file.read(1)):
        block += more
    return block


class _Scan:
    """The state at the edge of a block: whether it is inside a string, and how many brackets are open."""

    def __init__(self) -> None:
        self.over = False
        self._inside = False
        self._depth = 1

    @property
    def is_inside(self) -> bool:
        """Whether a bracket of an element, or a string, is open."""
        return self._inside or self._depth > 1

    def commas(self, block: bytes) -> list[int]:
        """Return where elements end in this block: at commas, and at the bracket that closes the array."""
        import numpy as np

        if b"\\" in block:
            # escaped backslashes and quotes do not end a string; their replacements have the same length
            block = block.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        # with numpy: a loop over the bytes in Python takes minutes per gigabyte
        content = np.frombuffer(block, np.uint8)
        inside = (np.cumsum(content == ord('"')) + self._inside) % 2 == 1
        self._inside = bool(inside[-1])
        at = np.flatnonzero((_steps()[content] | (content == ord(","))) * ~inside)
        signs = content[at]
        depth = self._depth + np.cumsum(_steps()[signs])
        self._depth = int(depth[-1]) if len(depth) else self._depth
        closed = np.flatnonzero(depth == 0)
        ends = at[(signs == ord(",")) & (depth == 1)]
        if len(closed):
            self.over = True
            last = int(at[closed[0]])
            ends = np.append(ends[ends < last], last)
        return cast("list[int]", ends.tolist())


@functools.cache
def _steps() -> npt.NDArray[np.int8]:
    """Return a table by byte: 1 for opening, -1 for closing brackets."""
    import numpy as np

    steps = np.zeros(256, np.int8)
    steps[list(b"[{")], steps[list(b"]}")] = 1, -1
    return steps


class _Growing:
    """An element that grows block by block: kept in memory up to the limit, longer ones only hashed."""

    def __init__(self, offset: int, max_bytes: int) -> None:
        self._offset, self._max_bytes = offset, max_bytes
        self._kept: list[bytes] = []
        self._size = self._blank = 0
        self._digest: _Hash | None = None

    def add(self, text: bytes, *, keep_blanks: bool = True) -> None:
        """Add text. If blanks need not be kept, one represents all that follow the beginning of the element."""
        if not self._size:
            self._blank += len(text) - len(text.lstrip())
            text = text.lstrip()
        elif not keep_blanks:
            text = text[:1]
        self._size += len(text)
        self._kept.append(text)
        if self._size > self._max_bytes + _BLOCK_BYTES:  # white space after the element is not counted yet
            self._digest = self._digest or hashlib.sha256()
            self._digest.update(b"".join(self._kept))
            self._kept = []

    def finish(self) -> _Piece | None:
        text = b"".join(self._kept)
        if self._digest is not None:
            self._digest.update(text)
            return _Piece(self._offset, b"", self._size, self._digest.digest())
        text = text.rstrip()
        if len(text) > self._max_bytes:
            return _Piece(self._offset, b"", len(text), hashlib.sha256(text).digest())
        return _Piece(self._offset, text, len(text), None, self._blank) if text else None
