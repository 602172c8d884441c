"""JSON lines: one object per line, in UTF-8. A byte order mark, CRLF and blank lines are allowed."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

from mmpr.sources.cursors import Raw, RowCursor
from mmpr.sources.row_faults import NumberText, RowFault
from mmpr.sources.source_records import Index, Source, Span
from mmpr.sources.streams import unpacked
from mmpr.types import Reason

if TYPE_CHECKING:
    from io import BufferedReader


_BLANK = b" \t\n\r\v\f"
_ROW = re.compile(rb"[^ \t\n\r\v\f][^\n]*+(?:\n|\Z)")  # a line from its first visible byte; it may end with the block
_BLOCK_BYTES = 1_000_000
_ROWS_A_MARK = 128  # for 10 M rows: 80,000 marks, 2 MB


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its ending. A line over the limit has no `text`, only its hash."""

    number: int
    text: bytes
    size_bytes: int
    ended: bool  # False: the file ends inside the line
    long_sha256: bytes | None = None


def index(source: Source) -> Index:
    """Count the lines that are not blank and mark every 128th, about as fast as the file can be read.

    An object that the file ends inside is still being written. It is no row yet; the next start reads it whole.
    """
    count = _Count()
    with unpacked(source) as file:
        count.offset = count.line_start = file.tell()
        while block := file.read(_BLOCK_BYTES):
            count.add(block)
        if count.seen:
            file.seek(count.line_start)
            last = next_line(file, count.lines + 1, source.max_row_bytes)
            if last is not None and _is_cut(last):
                return replace(count.marked(), unfinished=(last.number,))
    return count.finish()


def _is_cut(line: Line) -> bool:
    """Whether a last line is the beginning of an object; a line that starts otherwise cannot grow into one."""
    if line.ended or line.long_sha256 is not None or not line.text.lstrip().startswith(b"{"):
        return False
    try:
        DECODER.decode(line.text.decode("utf-8"))
    except (ValueError, RecursionError):
        return True
    except RowFault:  # NaN
        return False
    return False


class _Count:
    """The running state of `index` at the edge of a block, which may be inside a line."""

    def __init__(self) -> None:
        self.offset = 0  # of the next block
        self.lines = 0  # lines that have ended
        self.rows = 0
        self.line_start = 0  # of the open line
        self.seen = False  # the open line is not blank so far
        self.marks = (array("q"), array("q"), array("q"))

    def add(self, block: bytes) -> None:
        """Count the lines that end in this block; numbers and offsets of rows are computed only at marks."""
        last = block.rfind(b"\n")
        rows = [row.start() for row in _ROW.finditer(block, self._end_open(block), last + 1)]
        known, lines = 0, self.lines
        for i in range(-self.rows % _ROWS_A_MARK, len(rows), _ROWS_A_MARK):
            start = block.rfind(b"\n", 0, rows[i]) + 1  # 0: the line may have begun before this block, with blanks
            known, lines = start, lines + block.count(b"\n", known, start)
            self._mark(self.rows + i, self.offset + start if start else self.line_start, lines + 1)
        self.rows += len(rows)
        self.lines += block.count(b"\n")
        if last >= 0:
            self.line_start, self.seen = self.offset + last + 1, False
        self.seen = self.seen or not is_blank(block[last + 1 :])
        self.offset += len(block)

    def _end_open(self, block: bytes) -> int:
        """Count the open line if it is a row and ends in this block; return where the next line starts."""
        end = block.find(b"\n") + 1
        if not self.seen or not end:
            return 0
        if self.rows % _ROWS_A_MARK == 0:
            self._mark(self.rows, self.line_start, self.lines + 1)
        self.rows += 1
        return end

    def _mark(self, *mark: int) -> None:
        for numbers, number in zip(self.marks, mark, strict=True):
            numbers.append(number)

    def finish(self) -> Index:
        """Return the index, including a last line without a line feed."""
        if self.seen:
            if self.rows % _ROWS_A_MARK == 0:
                self._mark(self.rows, self.line_start, self.lines + 1)
            self.rows += 1
        return self.marked()

    def marked(self) -> Index:
        """Return the index of the lines that have ended."""
        return Index(self.rows, *self.marks)


def cursor(source: Source, span: Span, *, images: bool = True) -> RowCursor:
    """Return a cursor over the lines that are not blank, from the span's mark."""
    return RowCursor(_rows(source, span), span.first - span.skip - span.start, source)


def _rows(source: Source, span: Span) -> Iterator[Raw]:
    with unpacked(source) as file:
        file.seek(span.offset)
        number = span.number
        while line := next_line(file, number, source.max_row_bytes):
            number += 1
            if line.long_sha256 is not None or not is_blank(line.text):
                yield Raw(line.number, fingerprint(line), line)
            else:
                number += pass_blank_lines(file)


def pass_blank_lines(file: BinaryIO, more: bytes = b"") -> int:
    """Skip and count blank lines; a packed file of a megabyte may unpack to a billion of them.

    Args:
        more: further bytes that do not make a line a row.
    """
    import numpy as np

    n_lines = 0
    while block := cast("BufferedReader", file).peek():
        solid = block.lstrip()  # strips the same bytes as _BLANK, seven times as fast as with an argument
        if more and solid.startswith(more):
            solid = block.lstrip(_BLANK + more)
        stop = block.rfind(b"\n", 0, len(block) - len(solid)) + 1
        if not stop:
            break
        n_lines += int(np.count_nonzero(np.frombuffer(block, np.uint8, stop) == 10))
        file.read(stop)
    return n_lines


def fingerprint(line: Line) -> tuple[bytes, bytes]:
    """Return what a line's hash is made of."""
    return b"%d\n" % line.size_bytes, line.long_sha256 or line.text


def next_line(file: BinaryIO, number: int, max_bytes: int) -> Line | None:
    """Return the next line, None at the end of the file; a line over the limit is only hashed."""
    piece = _piece(file, max_bytes + 2)  # with space for the line ending
    text = piece.rstrip(b"\r\n")
    if len(text) > max_bytes or (len(piece) >= max_bytes + 2 and not piece.endswith(b"\n")):
        return _drain(file, number, piece)
    return Line(number, text, len(text), piece.endswith(b"\n")) if piece else None


def _drain(file: BinaryIO, number: int, piece: bytes) -> Line:
    """Read and hash the rest of a line that is too long."""
    digest, size, blank, ended = hashlib.sha256(), 0, True, False
    while piece:
        ended = piece.endswith(b"\n")
        body = piece.rstrip(b"\r\n") if ended else piece
        digest.update(body)
        size, blank = size + len(body), blank and is_blank(body)
        piece = b"" if ended else _piece(file, 1_000_000)
    return Line(number, b"", size, ended, None if blank else digest.digest())


def _piece(file: BinaryIO, size: int) -> bytes:
    """Read at most `size` bytes of a line, and one more if they would end between CR and LF."""
    piece = file.readline(size)
    return piece + file.readline(1) if piece.endswith(b"\r") else piece


def is_blank(text: bytes) -> bool:
    """Whether these bytes are no row."""
    return not text or text.isspace()  # `isspace` knows exactly the bytes of _BLANK


def values(raw: Raw, source: Source) -> dict[str, object]:
    """Parse a line as an object; raises `RowFault` if it is none."""
    return parse(cast("Line", raw.content), source)


def parse(line: Line, source: Source) -> dict[str, object]:
    """Parse a line as an object, keeping numbers as written; raises `RowFault` if it is none."""
    if line.long_sha256 is not None:
        raise _bad(f"{line.size_bytes:,} bytes long, the limit is {source.max_row_bytes:,}: put images into files")
    text = line.text
    if b"\0" in text:
        raise _bad(f"a NUL byte at column {text.index(0) + 1}: write the file again as UTF-8 text")
    try:
        parsed = DECODER.decode(text.decode("utf-8"))
        if b"\\u" in text:  # JSON allows an escaped half of a surrogate pair, but it cannot be encoded
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start + 1}: convert the file (iconv -t UTF-8)") from error
    except UnicodeEncodeError as error:
        raise _bad("half a surrogate pair (\\ud800-\\udfff): write the character itself") from error
    except json.JSONDecodeError as error:
        cut = "" if line.ended else "the file ends inside this line; "
        raise _bad(f"invalid JSON ({cut}{error.msg} at column {error.colno}): write one object per line") from error
    except RecursionError as error:
        raise _bad("nested too deeply: write one flat object per line") from error
    if not isinstance(parsed, dict):
        raise _bad("is not a JSON object: write {...} with at least a question")
    return parsed


def _bad(text: str) -> RowFault:
    return RowFault(Reason.BAD_ROW, text)


def _refuse_constant(constant: str) -> NoReturn:
    raise _bad(f"invalid JSON ({constant} is not a JSON value): write null")


# Numbers stay texts: "0.50" would become 0.5, and a number of 4,300 digits would cost time for nothing.
DECODER = json.JSONDecoder(parse_float=NumberText, parse_int=NumberText, parse_constant=_refuse_constant)
