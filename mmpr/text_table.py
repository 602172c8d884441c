"""Tables and lines of plain text that fit a terminal's width."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence

_LABEL = re.compile(r"\s*(?:\S+ )*?\S*\s{2,}")  # what a line begins with, up to a gap of two blanks
_LONGEST_LABEL = 24
_NO_BREAK = "\xa0"


def terminal_width(*, err: bool = False) -> int | None:
    """Columns of the terminal that results (or, with `err`, all else) go to, COLUMNS before it; None for a file."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(stream.fileno()).columns


def aligned(rows: Sequence[Sequence[str]], *, width: int | None = None, left: Collection[int] = (0,)) -> list[str]:
    """A table as plain lines.

    Args:
        rows: the first has the columns' names.
        width: columns that there are; where the table is wider, each row is its name and, under it, its values with the
            columns' names.
        left: columns that stand to the left, the others to the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        return [line for row in rows[1:] for line in _stacked(rows[0], row, width)]
    return ["  ".join(map(_placed, row, widths, (i in left for i in range(len(row))))).rstrip() for row in rows]


def _placed(cell: str, width: int, to_left: bool) -> str:
    return cell.ljust(width) if to_left else cell.rjust(width)


def _stacked(head: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    """A row as lines of its own; a value stays beside its column's name where both fit."""
    yield from fitted(f"{head[0]} {row[0]}".strip(), width).split("\n")
    pairs = [f"{name} {cell}".strip() for name, cell in zip(head[1:], row[1:], strict=True) if cell]
    kept = (pair.replace(" ", _NO_BREAK) if len(pair) < width - 2 else pair for pair in pairs)
    for line in _wrapped(", ".join(kept), width, "  ", "  "):
        yield line.replace(_NO_BREAK, " ")


def fitted(text: str, width: int | None) -> str:
    """Lines broken between words where they are too long, what follows under the text behind the line's label.

    A word is never broken: a path can be copied.
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
    """A text in lines of so many columns, the first begun with `first`, the others with `others` or as many blanks."""
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
