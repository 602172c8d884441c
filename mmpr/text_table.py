"""Format tables and lines of plain text for the width of a terminal."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence

_LABEL = re.compile(r"\s*(?:\S+ )*?\S*\s{2,}")  # the label of a line: everything before a gap of two blanks
_LONGEST_LABEL = 24
_NO_BREAK = "\xa0"


def terminal_width(*, err: bool = False) -> int | None:
    """Return the terminal's width for results (with `err`: messages); COLUMNS takes precedence; None for a file."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(stream.fileno()).columns


def aligned(rows: Sequence[Sequence[str]], *, width: int | None = None, left: Collection[int] = (0,)) -> list[str]:
    """Format a table as plain lines.

    Args:
        rows: the first row has the columns' names.
        width: available columns; in a wider table, each row becomes its name followed by values with their columns'
            names.
        left: indices of left-aligned columns; the others are right-aligned.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        return [line for row in rows[1:] for line in _stacked(rows[0], row, width)]
    return ["  ".join(map(_placed, row, widths, (i in left for i in range(len(row))))).rstrip() for row in rows]


def _placed(cell: str, width: int, to_left: bool) -> str:
    return cell.ljust(width) if to_left else cell.rjust(width)


def _stacked(head: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    """Format a row as several lines; a value stays next to its column's name if both fit."""
    yield from fitted(f"{head[0]} {row[0]}".strip(), width).split("\n")
    pairs = [f"{name} {cell}".strip() for name, cell in zip(head[1:], row[1:], strict=True) if cell]
    kept = (pair.replace(" ", _NO_BREAK) if len(pair) < width - 2 else pair for pair in pairs)
    for line in _wrapped(", ".join(kept), width, "  ", "  "):
        yield line.replace(_NO_BREAK, " ")


def fitted(text: str, width: int | None) -> str:
    """Wrap lines that are too long between words, and align the rest with the text after the line's label.

    Words are never broken, so that a path can be copied.
    """
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        if len(line) <= width:
            lines.append(line)
            continue
        label = found[0] if (found := _LABEL.match(line)) and len(found[0]) <= min(_LONGEST_LABEL, width // 2) else ""
        lines += _wrapped(line[len(label) :], width, label, " " * (len(label) or 2))
    return "\n".join(lines)


def wrapped(text: str, width: int, first: str, others: str | None = None) -> str:
    """Wrap a text; the first line starts with `first`, the others with `others` or with as many blanks."""
    return "\n".join(_wrapped(text, width, first, " " * len(first) if others is None else others))


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
