"""Expressions and equations with free symbols, compared at points; a second opinion may be asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mmpr.judging import algebra, guards
from mmpr.judging.algebra import Node
from mmpr.judging.polynomials import proven_equal
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect

_RELATION = re.compile(r"[<>≤≥≠]")
_EQUALS = re.compile(r"\s*=\s*")
_WORDS = re.compile(r"(?<![\\a-zA-Z])(?!arcsin|arccos|arctan|sqrt|sinh|cosh|tanh)[a-zA-Z]{4,}")
_PROSE = re.compile(r"^.*?(?:\b(?:is|are|equals|be|as)\b|[:：]|是|为)\s*", re.S)
_TAIL = re.compile(
    r"\s*(?:[,;]\s*)?(?:\bwhere\b|\bsince\b|\bbecause\b|\bfor (?:all|every|some)\b|\bwhen\b|\bwith\b|其中|因为).*$",
    re.I | re.S,
)
_FUNCTION_NAME = re.compile(r"^\s*[fghFGHPQ]'?\s*\(\s*([a-zA-Z])\s*\)\s*$")
_SINGLE = re.compile(r"^\s*\\?[A-Za-zα-ω]\w?\s*$")
_CONSTANT_PLUS = re.compile(r"[+]\s*[cCkK]\s*$")


def prepared(text: str) -> str:
    """The mathematics of an answer: without closing remarks and dress that `clean` leaves."""
    text = _TAIL.sub("", text).strip().rstrip(".,;")
    return text.replace("\\cdot", "*").replace("−", "-")


def _read(text: str) -> Node:
    if _WORDS.search(text) is not None:
        raise algebra.Unreadable("words")
    return algebra.read(text)


def _side(text: str) -> Node:
    """One side of an answer, also after words: `the area is x^2`."""
    try:
        return _read(text)
    except algebra.Unreadable:
        shorter = _PROSE.sub("", text, count=1)
        if shorter == text:
            raise
        return _read(shorter)


def same_everywhere(a: Node, b: Node) -> bool | None:
    """Whether both have the same value at every point; None where that cannot be seen."""
    names = algebra.symbols(a) | algebra.symbols(b)
    agreed = differing = 0
    for index, point in enumerate(algebra.points(names)):
        try:
            x, y = algebra.evaluate(a, point), algebra.evaluate(b, point)
        except ArithmeticError:
            continue
        if x != x or y != y:
            continue
        if algebra.close(x, y):
            agreed += 1
        elif index < 6:
            return False
        else:
            differing += 1
    if differing:  # equal for positive numbers only: sqrt(x^2) and x
        return None
    return True if agreed >= 5 else None


def _overflows(node: Node) -> bool:
    """A tower of powers has no value at any point: it is refused, never called wrong."""
    try:
        for point in algebra.points(algebra.symbols(node))[:2]:
            algebra.evaluate(node, point)
        algebra.exact(node)
    except (OverflowError, algebra.Unbounded):
        return True
    except ArithmeticError:
        return False
    return False


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with free symbols."""

    text: str
    node: Node = field(repr=False)
    constant: bool = False
    kind: str = "expression"

    def compare(self, answer: str) -> Ruling:
        guarded = _guard(answer)
        if guarded is not None:
            return guarded
        try:
            node = self._node(answer)
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return _unread(answer, self.text)
        return self._against(node)

    def normal(self, answer: str) -> str | None:
        try:
            node = self._node(answer)
        except (algebra.Unbounded, algebra.Unreadable):
            return None
        if self._against(node).outcome == "correct":
            return algebra.canonical(self.node)
        return algebra.canonical(node)

    def show(self) -> str:
        return algebra.canonical(self.node)

    def pair(self, answer: str) -> tuple[str, str] | None:
        """Truth and answer for a second opinion, or None where the two are surely one."""
        try:
            node = self._node(answer)
        except (algebra.Unbounded, algebra.Unreadable):
            return None
        if proven_equal(node, self.node):
            return None
        return algebra.latex(self.node), algebra.latex(node)

    def _node(self, answer: str) -> Node:
        sides = _EQUALS.split(prepared(answer))
        return _side(sides[-1] if sides[-1].strip() else sides[0])

    def _against(self, node: Node) -> Ruling:
        if algebra.canonical(node) == algebra.canonical(self.node):
            return correct(Rule.EXPRESSION)
        if _overflows(node):
            return ambiguous(Rule.LIMIT)
        mine, theirs = algebra.symbols(self.node), algebra.symbols(node)
        if mine != theirs:
            return self._other_symbols(node, mine, theirs)
        same = same_everywhere(self.node, node)
        if same is None:
            return ambiguous(Rule.EXPRESSION)
        return correct(Rule.EXPRESSION) if same else incorrect(Rule.EXPRESSION)

    def _other_symbols(self, node: Node, mine: frozenset[str], theirs: frozenset[str]) -> Ruling:
        """`1 - 2 sin² x` for `1 - 2 sin² θ`: the same under another letter is dropped."""
        if len(mine) == len(theirs) == 1:
            renamed = _renamed(node, {next(iter(theirs)): next(iter(mine))})
            return (
                ambiguous(Rule.EXPRESSION_SYMBOLS)
                if same_everywhere(self.node, renamed)
                else incorrect(Rule.EXPRESSION)
            )
        if {name.lower() for name in mine} == {name.lower() for name in theirs}:
            lowered = {name: next(m for m in mine if m.lower() == name.lower()) for name in theirs}
            if same_everywhere(self.node, _renamed(node, lowered)):
                return ambiguous(Rule.EXPRESSION_SYMBOLS)
        return incorrect(Rule.EXPRESSION_SYMBOLS)


def _renamed(node: Node, names: dict[str, str]) -> Node:
    if node.head == "sym":
        return Node("sym", name=names.get(node.name, node.name))
    return Node(node.head, tuple(_renamed(arg, names) for arg in node.args), node.value, node.name)


def _guard(answer: str) -> Ruling | None:
    low = answer.casefold()
    if guards.refuses(low):
        return incorrect(Rule.REFUSAL)
    if guards.negated(low):
        return incorrect(Rule.NEGATED)
    if guards.alternatives(low):
        return incorrect(Rule.SEVERAL)
    return None


def _unread(answer: str, reference: str) -> Ruling:
    """Words for an expression are wrong; mathematics beyond this grammar is dropped."""
    if not re.search(r"[\d+*/^=\\√∫∑-]", answer) and re.search(r"[a-zA-Z]{4,}|[\u3400-\u9fff]{2,}", answer):
        return incorrect(Rule.EXPRESSION_UNREAD)
    return ambiguous(Rule.EXPRESSION_UNREAD)


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation, as left side minus right side; `function` where its left side is y or f(x)."""

    text: str
    left: Node = field(repr=False)
    right: Node = field(repr=False)
    kind: str = "equation"

    def compare(self, answer: str) -> Ruling:
        guarded = _guard(answer)
        if guarded is not None:
            return guarded
        text = prepared(answer)
        if _RELATION.search(text) is not None:
            return incorrect(Rule.EQUATION)
        try:
            return self._compare(text)
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return _unread(answer, self.text)

    def normal(self, answer: str) -> str | None:
        try:
            sides = self._sides(prepared(answer))
        except (algebra.Unbounded, algebra.Unreadable):
            return None
        if self.compare(answer).outcome == "correct":
            return self.show()
        return "=".join(sorted(algebra.canonical(side) for side in sides))

    def show(self) -> str:
        return f"{algebra.canonical(self.left)}={algebra.canonical(self.right)}"

    def pair(self, answer: str) -> tuple[str, str] | None:
        return None

    def _sides(self, text: str) -> list[Node]:
        parts = _EQUALS.split(text)
        if len(parts) == 3 and _FUNCTION_NAME.match(parts[0]) is None and _SINGLE.match(parts[1]):
            parts = parts[1:]
        named = [self._function_as_symbol(part) for part in parts]
        return [_side(part) for part in named]

    def _function_as_symbol(self, part: str) -> str:
        """`f(x)` is the y of a truth that says y."""
        if _FUNCTION_NAME.match(part) is not None and self.left.head == "sym":
            return self.left.name
        return part

    def _compare(self, text: str) -> Ruling:
        sides = self._sides(text)
        if len(sides) == 1:
            return self._one_side(sides[0])
        if len(sides) > 2:
            return ambiguous(Rule.EQUATION)
        return self._two_sides(sides[0], sides[1])

    def _one_side(self, node: Node) -> Ruling:
        if self.left.head == "sym" and same_everywhere(self.right, node):
            lonely = not algebra.symbols(self.right) or "_" in self.left.name  # `a_n = 3n - 2`
            return correct(Rule.EQUATION) if lonely else ambiguous(Rule.EQUATION_SIDE)
        return incorrect(Rule.EQUATION_SIDE)

    def _two_sides(self, left: Node, right: Node) -> Ruling:
        mine = Node("+", (self.left, Node("-", (self.right,))))
        theirs = Node("+", (left, Node("-", (right,))))
        if _overflows(theirs):
            return ambiguous(Rule.LIMIT)
        if algebra.symbols(mine) != algebra.symbols(theirs):
            same_right = self.left.head == "sym" and left.head == "sym" and same_everywhere(self.right, right)
            if same_right:
                return ambiguous(Rule.EXPRESSION_SYMBOLS)
            return incorrect(Rule.EQUATION)
        return _proportional(mine, theirs)


def _proportional(a: Node, b: Node) -> Ruling:
    """Both sides moved left, the two differ by a constant factor that is not zero."""
    ratios: list[complex] = []
    for point in algebra.points(algebra.symbols(a)):
        try:
            x, y = algebra.evaluate(a, point), algebra.evaluate(b, point)
            ratios.append(x / y)
        except ArithmeticError:
            continue
    if len(ratios) < 4:
        return ambiguous(Rule.EQUATION)
    constant = all(algebra.close(ratio, ratios[0], relative=1e-7) for ratio in ratios)
    return correct(Rule.EQUATION) if constant and abs(ratios[0]) > 1e-12 else incorrect(Rule.EQUATION)


_LOOKS_MATHEMATICAL = re.compile(
    r"[+*/^=√π·×]|\\[a-z]|\d\s*[a-zA-Zθ]\b|\b[a-z]\s*-\s*\w|\b(?:sin|cos|tan|log|ln|sqrt)\b|-\s*[a-zA-Z]\b"
)


def compile_maths(text: str, *, forced: bool) -> Expression | Equation | None:
    """The truth as an expression or equation, or None."""
    if not forced and (_LOOKS_MATHEMATICAL.search(text) is None or _RELATION.search(text) is not None):
        return None
    parts = _EQUALS.split(text)
    try:
        nodes = [_read(part) for part in _named(parts)]
    except (algebra.Unreadable, algebra.Unbounded):
        return None
    if len(nodes) == 2:
        return Equation(text, nodes[0], nodes[1])
    if len(nodes) == 1 and (algebra.symbols(nodes[0]) or forced):
        letters = re.fullmatch(r"[A-Za-z]+(?:[-/][A-Za-z]+)*", text.strip()) is not None
        return None if letters and not forced else Expression(text, nodes[0])
    return None


def _named(parts: list[str]) -> list[str]:
    if len(parts) == 2 and _FUNCTION_NAME.match(parts[0]) is not None:
        return ["y", parts[1]]
    return parts
