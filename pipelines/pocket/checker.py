"""Count the true and false statements of a description of the pocket world, whose scenes are known.

A statement is "in this row and column there is a shape of this colour and form". This measures Dropout-NTP: how much
more often a blind completion is false.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.demo.pocket_language import COLOURS_ZH, SEEN, SHAPES_ZH, UNCLEAR
from mmpr.demo.pocket_world import COLOURS, SHAPES, Scene

_ROW = r"(?:Row (?P<row>\d+):|第(?P<row_zh>\d+)行[::])"
_EN = rf"column (?P<column>\d+) (?:{SEEN['en']})?an? (?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})\b"
_ZH = (
    rf"第(?P<column_zh>\d+)列(?:{SEEN['zh']})?(?P<colour_zh>{'|'.join(COLOURS_ZH.values())})"
    rf"(?P<shape_zh>{'|'.join(SHAPES_ZH.values())})"
)
_UNCLEAR = rf"column \d+ {UNCLEAR['en']}|第\d+列{UNCLEAR['zh']}"
_STEP = re.compile(f"{_ROW}|{_EN}|{_ZH}|{_UNCLEAR}")
_COLOUR_OF = {name: colour for colour, name in COLOURS_ZH.items()}
_SHAPE_OF = {name: shape for shape, name in SHAPES_ZH.items()}


@dataclass(frozen=True, slots=True)
class Statements:
    """The number of true and of false statements."""

    true: int
    false: int

    @property
    def total(self) -> int:
        return self.true + self.false


def count_statements(text: str, scene: Scene, *, start: int = 0) -> Statements:
    """Count the statements that end after character `start`.

    Args:
        text: a whole description, English or Chinese; the name of a row holds for all statements up to the next row.
        scene: what the image shows.
        start: the statements before this character are not counted, but the row may be named there.
    """
    truth = {(m.row, m.column, m.colour, m.shape) for m in scene.marks}
    row, true, false = 0, 0, 0
    for found in _STEP.finditer(text):
        if named := found["row"] or found["row_zh"]:
            row = int(named)
        elif found.end() > start and (found["colour"] or found["colour_zh"]):
            stated = (row, int(found["column"] or found["column_zh"]), *_look(found))
            true, false = (true + 1, false) if stated in truth else (true, false + 1)
    return Statements(true, false)


def statement_spans(text: str) -> list[tuple[int, int]]:
    """Return where a text says what is seen, clear or not: (start, end) in characters of each row and each cell."""
    return [found.span() for found in _STEP.finditer(text)]


def _look(found: re.Match[str]) -> tuple[str, str]:
    if found["colour"]:
        return found["colour"], found["shape"]
    return _COLOUR_OF[found["colour_zh"]], _SHAPE_OF[found["shape_zh"]]
