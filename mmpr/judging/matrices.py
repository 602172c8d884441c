"""Compare matrices and vectors, cell by cell: LaTeX environments and nested brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mmpr.judging import algebra
from mmpr.judging.algebra import Node
from mmpr.judging.identity import same_function
from mmpr.judging.maths import name_removed
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different

_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_ENVIRONMENTS = ("pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "matrix", "array")
_MAX_CELLS = 64
Rows = tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells. `written`: an environment shows which are rows; a list in brackets does not."""

    rows: Rows = field(repr=False)
    written: bool = True
    kind: str = "matrix"

    def compare(self, answer: str) -> Ruling:
        try:
            other = read_matrix(answer)
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return ambiguous(Rule.EXPRESSION_UNREAD)
        return self._against(other)

    def normal(self, answer: str) -> str | None:
        try:
            return read_matrix(answer).show()
        except (algebra.Unbounded, algebra.Unreadable):
            return None

    def show(self) -> str:
        return "[" + "; ".join(", ".join(map(algebra.canonical, row)) for row in self.rows) + "]"

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.rows[0])

    def _against(self, other: Matrix) -> Ruling:
        mine, theirs = (sum(matrix.rows, ()) for matrix in (self, other))
        vectors = 1 in self.shape and 1 in other.shape
        if len(mine) != len(theirs) or (self.shape != other.shape and not vectors):
            return different(Rule.MATRIX) if other.written else ambiguous(Rule.MATRIX)
        found = [same_function(a, b) for a, b in zip(mine, theirs, strict=True)]
        if False in found:
            return different(Rule.MATRIX)
        turned = self.shape != other.shape and other.written  # a row differs from a column, but (1, 2) may be either
        return correct(Rule.MATRIX) if all(found) and not turned else ambiguous(Rule.MATRIX)


def read_matrix(text: str) -> Matrix:
    """Read a matrix: an environment, also with a name, a factor or several multiplied, or lists in brackets.

    Raises:
        Unreadable: it is no matrix.
        Unbounded: it has more than 64 cells.
    """
    text = name_removed(text.strip().rstrip(".,;"))
    if "\\begin{" not in text:
        return _listed(text)
    factors: list[Rows] = []
    scalars: list[str] = []
    at = 0
    while (start := text.find("\\begin{", at)) >= 0:
        scalars.append(text[at:start])
        rows, at = _environment(text, start)
        factors.append(rows)
    scalars.append(text[at:])
    return Matrix(_scaled(_multiplied(factors), _scalar(scalars)))


def _environment(text: str, start: int) -> tuple[Rows, int]:
    """Return the rows of the environment at `start`, and where it ends."""
    name = text[start + 7 : text.find("}", start)]
    inner = start + 8 + len(name)
    end = text.find("\\end{" + name + "}", inner)
    if name not in _ENVIRONMENTS or end < 0:
        raise algebra.Unreadable(name)
    if name == "array" and text.startswith("{", inner):
        inner = text.find("}", inner) + 1
    rows = [row for row in text[inner:end].replace("\\hline", "").split(";") if row.strip()]
    return _rows([row.split("&") for row in rows]), end + len(name) + 6


def _listed(text: str) -> Matrix:
    """Read `[[1, 2], [3, 4]]`, `[1, 2; 3, 4]`, `(1, 2)`, `<1, 2>`."""
    pairs = {"[": "]", "(": ")", "<": ">", "{": "}"}
    if len(text) < 3 or pairs.get(text[0]) != text[-1]:
        raise algebra.Unreadable(text)
    inner = text[1:-1].strip()
    if inner[:1] in "[({" and inner[-1:] in "])}":
        rows = [part.strip(" ,[](){}") for part in inner.replace("),", "],").replace("},", "],").split("],")]
        return Matrix(_rows([row.split(",") for row in rows]))
    if ";" in inner:
        return Matrix(_rows([row.split(",") if "," in row else row.split() for row in inner.split(";")]))
    return Matrix(_rows([inner.split(",")]), written=False)


def _rows(cells: list[list[str]]) -> Rows:
    if not cells or len({len(row) for row in cells}) != 1:
        raise algebra.Unreadable("rows of unequal length")
    if len(cells) * len(cells[0]) > _MAX_CELLS:
        raise algebra.Unbounded(f"a matrix of more than {_MAX_CELLS} cells")
    return tuple(tuple(algebra.read(cell.strip()) for cell in row) for row in cells)


def _scalar(parts: list[str]) -> Node | None:
    """Return the factor before the matrices; brackets around them and signs between them do not matter."""
    for between in parts[1:-1]:
        if between.strip(" *·×()[]"):
            raise algebra.Unreadable(between)
    opened, closed = parts[0].rstrip(), parts[-1].strip(" ")
    if closed:
        if closed not in ("]", ")") or opened[-1:] != {"]": "[", ")": "("}[closed]:
            raise algebra.Unreadable(closed)
        opened = opened[:-1]
    opened = opened.rstrip(" *·×")
    if _WORD.search(opened) is not None:
        raise algebra.Unreadable(opened)
    if opened == "-":
        opened = "-1"
    return algebra.read(opened) if opened else None


def _scaled(rows: Rows, scalar: Node | None) -> Rows:
    if scalar is None:
        return rows
    return tuple(tuple(Node("*", (scalar, cell)) for cell in row) for row in rows)


def _multiplied(factors: list[Rows]) -> Rows:
    product = factors[0]
    for factor in factors[1:4]:
        if len(product[0]) != len(factor):
            raise algebra.Unreadable("matrices that have no product")
        columns = list(zip(*factor, strict=True))
        product = tuple(
            tuple(Node("+", tuple(Node("*", (a, b)) for a, b in zip(row, column, strict=True))) for column in columns)
            for row in product
        )
    if len(factors) > 4:
        raise algebra.Unbounded("a product of more than four matrices")
    return product


def compile_matrix(text: str) -> Matrix | None:
    """Compile the reference as a matrix: a LaTeX environment, or a list of lists."""
    if "\\begin{" not in text and not text.startswith("[["):
        return None
    try:
        return read_matrix(text)
    except (algebra.Unreadable, algebra.Unbounded):
        return None
