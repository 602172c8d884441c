"""Compare expressions, equations and inequalities: the same function, the same solutions, or proof of a difference."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from mmpr.judging import algebra, guards
from mmpr.judging.algebra import Node
from mmpr.judging.grammar import FUNCTION_NAMES, difference, number
from mmpr.judging.identity import (
    branches,
    has_decimal,
    proportional_in_field,
    renamed,
    same_function,
    same_renamed,
    same_sets,
    solved_for,
    substituted,
)
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect
from mmpr.judging.units import read_unit

_RELATION = re.compile(r"<=|>=|=<|[<>≤≥]")
_NO_RELATION = re.compile(r"[<>≤≥≠]")
_EQUALS = re.compile(r"\s{0,4}+[=≈]\s{0,4}+")
_WORDS = re.compile(
    r"(?<![\\a-zA-Z])(?!(?:arc|ar|a)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z])|sqrt|cbrt|binom|infinity|infty|floor|ceil)"
    r"(?:[a-zA-Z]{4,}|(?:and|the|or|is|it|of|in|at|to|no|not|yes|for|per|are|was|has|you|can|all|one|two|if|so|but)"
    r"(?![a-zA-Z]))",
)
_PROSE = re.compile(r"^.*?(?:\b(?:is|are|equals|be|as)\b|[:：]|是|为|解得|得)\s{0,4}+", re.S)
# Words before an equation, without a relation sign: `The equation of the line is y = 2x`.
_SAYING = re.compile(r"^[A-Za-z ,']{0,100}\b(?:is|be|equation|as)\b[: ]{1,4}(?=\S)")
_TAIL = re.compile(
    r"(?:[,;]\s{0,4}+)?(?:\bwhere\b|\bsince\b|\bbecause\b|\bfor (?:all|every|some)\b|\bwhen\b|\bwith\b|其中|因为).*$",
    re.I | re.S,
)
_GIVEN = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z](?:_\w)?)\s?=\s?[-\d(\\]")
_LIST = re.compile(r"\s{0,4}+(?:,\s{0,4}+(?:and|or)?|\band\b|\bor\b|;)\s{0,4}+")
_FUNCTION_NAME = re.compile(r"^\s{0,4}+[a-zA-Z](?:'{1,3}|\^\{?-1\}?)?\s{0,4}+\(\s{0,4}+([a-zA-Z])\s{0,4}+\)\s{0,4}+$")
_DERIVATIVE = re.compile(
    r"^\s{0,4}+\\frac\s{0,4}\{\s{0,4}d\s{0,4}([a-zA-Z])\s{0,4}\}\s{0,4}\{\s{0,4}d\s{0,4}[a-zA-Z]\s{0,4}\}\s{0,4}$"
)
_SINGLE = re.compile(r"^\s{0,4}+\\?[A-Za-zα-ω]\w?'?\s{0,4}+$")
_NAME = re.compile(r"^\s{0,4}+(?:\\?[A-Za-zα-ω]\w?|[A-Z]_?\{?\w{0,40}+\}?)'?\s{0,4}+$")
_CONSTANT_PLUS = re.compile(r"\+\s{0,4}+[cCkK]\s{0,4}+$")


def prepared(text: str) -> str:
    """Return the mathematics of an answer: without closing remarks and markup that `clean` leaves."""
    text = _TAIL.sub("", text).strip().rstrip(".,;").strip()
    return text.replace("\\cdot", "*").replace("−", "-")


def _read(text: str) -> Node:
    if _WORDS.search(text) is not None:
        raise algebra.Unreadable("words")
    return algebra.read(text)


def _side(text: str) -> Node:
    """Read one side of an answer, also after words: `the area is x^2`."""
    try:
        return _read(text)
    except algebra.Unreadable:
        shorter = _PROSE.sub("", text, count=1)
        if shorter == text:
            raise
        return _read(shorter)


def read_value(text: str) -> Node:
    """Read the last side of an answer that names its value: `A = x^2`, `f(x) = 2x`, `1 + 1 = 2`.

    Raises:
        Unreadable: a side is no expression, or the sides contradict each other.
        Unbounded: it is too large.
    """
    sides = [side for side in _EQUALS.split(prepared(text)) if side.strip()]
    if not sides:
        raise algebra.Unreadable(text)
    last = _side(sides[-1])
    for side in sides[:-1]:
        if not _names_a_value(side) and same_function(_side(side), last) is not True and "≈" not in text:
            raise algebra.Unreadable("sides that differ")
    return last


_TWO_NUMBERS = re.compile(r"[\d.,\s]{1,40}-[\d.,\s]{1,40}$")  # a range or a score, or a difference


def is_value(text: str) -> bool:
    """Whether the whole text is a computable number, with every step correct: `32 + 8 = 40`."""
    try:
        return "≈" not in text and _TWO_NUMBERS.match(text) is None and not algebra.symbols(read_value(text))
    except (algebra.Unreadable, algebra.Unbounded):
        return False


def _names_a_value(side: str) -> bool:
    """Whether the text names a value before an equals sign: `A`, `f(x)`, `dy/dx`, `the area`."""
    return _is_function(side) or _NAME.match(side) is not None or _WORDS.search(side) is not None


def name_removed(text: str) -> str:
    """Turn `A = [[1, 2]]` into `[[1, 2]]`."""
    name, sign, rest = text.partition("=")
    return rest.strip() if sign and _names_a_value(name) else text


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, with free symbols or a constant that is no plain number: `e^3`, `1 + 2i`."""

    text: str
    node: Node = field(repr=False)
    given: frozenset[str] = frozenset()  # symbols that the question gives a value
    kind: str = "expression"

    def compare(self, answer: str) -> Ruling:
        if (both := self._both(answer)) is not None:
            return both
        guarded = _guard(answer)
        if guarded is not None:
            return guarded
        exact, sign, approximate = answer.rpartition("≈")
        if sign and exact.strip():
            return self._approximated(self.compare(exact), self.compare(approximate))
        try:
            ruling = self._against(read_value(answer))
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return ambiguous(Rule.EXPRESSION_UNREAD)
        # a reference `5 t` may be five tonnes, of which the table of units has no symbol
        is_unit = ruling.outcome == "incorrect" and _MEASURE.match(self.text) and _measures(answer)
        return ambiguous(Rule.EXPRESSION_UNREAD) if is_unit else ruling

    @staticmethod
    def _approximated(exact: Ruling, rounded: Ruling) -> Ruling:
        """Compare `e^3 ≈ 20.09`: the exact side decides, if the rounded one does not contradict it."""
        if "correct" in (exact.outcome, rounded.outcome) and "incorrect" not in (exact.outcome, rounded.outcome):
            return correct(Rule.EXPRESSION)
        proven = exact.certainty is not None and rounded.certainty is not None
        return different(Rule.EXPRESSION) if proven else ambiguous(Rule.EXPRESSION)

    def _both(self, answer: str) -> Ruling | None:
        """Compare `3 + 2i, 3 - 2i` with `3 ± 2i`; None if the answer is no list of two or a side is unreadable."""
        wanted = branches(self.node)
        parts = _LIST.split(answer)
        if len(wanted) != 2 or len(parts) != 2:
            return None
        try:
            given = tuple(read_value(part) for part in parts)
        except (algebra.Unbounded, algebra.Unreadable):
            return None
        said = same_sets(wanted, given)
        return _by_identity(said, Rule.EXPRESSION)

    def normal(self, answer: str) -> str | None:
        try:
            return algebra.canonical(read_value(answer))
        except (algebra.Unbounded, algebra.Unreadable):
            return None

    def show(self) -> str:
        return algebra.canonical(self.node)

    def _against(self, node: Node) -> Ruling:
        said = same_function(self.node, node)
        if said is False and "j" in algebra.symbols(self.node) ^ algebra.symbols(node):  # `3 - 4j`, as engineers write
            said = same_function(renamed(self.node, {"j": "i"}), renamed(node, {"j": "i"})) or said
        if said is False and (same_renamed(self.node, node) or _constant_of_integration(self.text, node)):
            return ambiguous(Rule.EXPRESSION_SYMBOLS)
        if said is False and self.given & (algebra.symbols(self.node) ^ algebra.symbols(node)):  # 4 for 2a, where a = 2
            return ambiguous(Rule.EXPRESSION_SYMBOLS)
        return _by_identity(said, Rule.EXPRESSION)


_MEASURE = re.compile(r"\s{0,4}[\d.,]{1,40}\s{0,4}([A-Za-z]{1,10})\s{0,4}$")


def _measures(text: str) -> bool:
    """Whether the text is a number with a unit that the table knows."""
    found = _MEASURE.match(text)
    return found is not None and read_unit(found[1]) is not None


def _by_identity(said: bool | None, rule: Rule) -> Ruling:
    if said is None:
        return ambiguous(rule)
    return correct(rule) if said else different(rule)


def _constant_of_integration(text: str, node: Node) -> bool:
    """Whether both differ only in a constant `C`, as `x^2 + C` and `x^2` do; conventions differ."""
    if _CONSTANT_PLUS.search(text) is None:
        return False
    return same_function(algebra.read(_CONSTANT_PLUS.sub("", text)), node) is not False


def _guard(answer: str) -> Ruling | None:
    low = answer.casefold()
    if guards.refuses(low):
        return ambiguous(Rule.REFUSAL)
    if guards.negated(low):
        return ambiguous(Rule.NEGATED)
    if guards.alternatives(low):
        return incorrect(Rule.SEVERAL)
    return None


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation, stored as left side minus right side."""

    text: str
    left: Node = field(repr=False)
    right: Node = field(repr=False)
    asked: bool = True  # whether the question asks for an equation, so that one side alone is incomplete
    kind: str = "equation"

    def compare(self, answer: str) -> Ruling:
        guarded = _guard(answer)
        if guarded is not None:
            return guarded
        text = _SAYING.sub("", prepared(answer))
        if _NO_RELATION.search(text) is not None:
            return ambiguous(Rule.EQUATION)
        try:
            return self._compare(text)
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return ambiguous(Rule.EXPRESSION_UNREAD)

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

    @property
    def assigns(self) -> bool:
        """Whether the equation gives the value of one symbol: `x = 3`, `a_n = 3n - 2`."""
        return self.left.head == "sym" and self.left.name not in algebra.symbols(self.right)

    def _sides(self, text: str) -> list[Node]:
        """Return both sides of an answer. `y = f(x) = 2x` has two; `f(x)` is y if the reference says y."""
        parts = [part for part in _EQUALS.split(text) if part.strip()]
        if len(parts) > 2 and _SINGLE.match(parts[0]) and (_SINGLE.match(parts[1]) or _FUNCTION_NAME.match(parts[1])):
            parts = [parts[0], *parts[2:]]
        if len(parts) > 2 and _FUNCTION_NAME.match(parts[0]) is None and _SINGLE.match(parts[1]):
            parts = parts[1:]
        return [_side(self._function_as_symbol(part)) for part in parts]

    def _function_as_symbol(self, part: str) -> str:
        if not _is_function(part):
            return part
        names = algebra.symbols(difference(self.left, self.right))
        return self.left.name if self.left.head == "sym" else "y" if "y" in names and "f" not in names else part

    def _compare(self, text: str) -> Ruling:
        sides = self._sides(text)
        if not sides:
            return ambiguous(Rule.EXPRESSION_UNREAD)
        if len(sides) == 1:
            return self._one_side(sides[0])
        if len(sides) > 2:
            return self._chain(sides)
        return self._two_sides(sides[0], sides[1])

    def _chain(self, sides: list[Node]) -> Ruling:
        """Return the value of `x = 5 + 6 = 11` if every side after the name has it; else it is unclear which counts."""
        if all(same_function(side, sides[-1]) for side in sides[1:-1]):
            return self._two_sides(sides[0], sides[-1])
        return ambiguous(Rule.EQUATION)

    def _one_side(self, node: Node) -> Ruling:
        if not self.assigns:
            return ambiguous(Rule.EQUATION_SIDE)
        said = same_function(self.right, node)
        if said:
            lonely = not self.asked or not algebra.symbols(self.right) or "_" in self.left.name  # `a_n = 3n - 2`
            return correct(Rule.EQUATION) if lonely else ambiguous(Rule.EQUATION_SIDE)
        both_values = not algebra.symbols(self.right) and not algebra.symbols(node)
        return different(Rule.EQUATION_SIDE) if said is False and both_values else ambiguous(Rule.EQUATION_SIDE)

    def _two_sides(self, left: Node, right: Node) -> Ruling:
        mine, theirs = difference(self.left, self.right), difference(left, right)
        said = proportional(mine, theirs)
        if said:
            return correct(Rule.EQUATION)
        if algebra.symbols(mine) != algebra.symbols(theirs) and self._renamed(left, right):
            return ambiguous(Rule.EXPRESSION_SYMBOLS)
        return different(Rule.EQUATION) if _differ(mine, theirs) else ambiguous(Rule.EQUATION)

    def _renamed(self, left: Node, right: Node) -> bool:
        if self.left.head == "sym" and left.head == "sym" and same_function(self.right, right) is not False:
            return True
        return same_renamed(difference(self.left, self.right), difference(left, right))


def proportional(a: Node, b: Node) -> bool | None:
    """Whether both differ by a constant factor that is not zero; None if no point shows it."""
    names = algebra.symbols(a) | algebra.symbols(b)
    if (said := proportional_in_field(a, b, names)) is not None:
        return said
    first: tuple[Node, Node] | None = None
    for point in algebra.points(names):
        values = {name: _rational(value) for name, value in point.items()}
        at = [_at(node, values) for node in (a, b)]
        try:
            x, y = (algebra.evaluate(node, {}) for node in at)
        except ArithmeticError:
            continue
        if abs(x) > 1e-9 and abs(y) > 1e-9:
            first = (at[0], at[1])
            break
    if first is None:
        return None
    return same_function(Node("*", (a, first[1])), Node("*", (b, first[0])))


def _rational(value: complex) -> Node:
    return Node("num", value=Fraction(value.real).limit_denominator(97))


def _at(node: Node, values: dict[str, Node]) -> Node:
    for name, by in values.items():
        node = substituted(node, name, by)
    return node


def _differ(a: Node, b: Node) -> bool:
    """Whether a has a solution that b does not have, or the reverse; then they are proven to differ."""
    return _misses(a, b) or _misses(b, a)


def _misses(a: Node, b: Node) -> bool:
    names = sorted(algebra.symbols(a))
    for name in names:
        solution = solved_for(a, name)
        if solution is not None:
            remaining = substituted(b, name, solution)
            return same_function(remaining, number(0)) is False
    if len(names) != 1 or algebra.symbols(b) != {names[0]} or has_decimal(a, b):
        return False
    root = algebra.real_root(a, names[0])
    if root is None:
        return False
    try:
        return abs(algebra.evaluate(b, {names[0]: complex(root)})) > 1e-6
    except ArithmeticError:
        return False


@dataclass(frozen=True, slots=True)
class Inequality:
    """An inequality `y < 2x + 1`: left minus right, which is below zero (`<`) or at most zero (`≤`)."""

    text: str
    below: Node = field(repr=False)
    strict: bool = True
    kind: str = "inequality"

    def compare(self, answer: str) -> Ruling:
        guarded = _guard(answer)
        if guarded is not None:
            return guarded
        try:
            other = read_inequality(prepared(answer))
            if other is None:
                return ambiguous(Rule.INEQUALITY)
            return self._against(other)
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return ambiguous(Rule.EXPRESSION_UNREAD)

    def normal(self, answer: str) -> str | None:
        try:
            other = read_inequality(prepared(answer))
        except (algebra.Unbounded, algebra.Unreadable):
            return None
        return None if other is None else other.show()

    def show(self) -> str:
        return f"{algebra.canonical(self.below)}{'<' if self.strict else '≤'}0"

    def _against(self, other: Inequality) -> Ruling:
        said = proportional(self.below, other.below)
        if said is None:
            return ambiguous(Rule.INEQUALITY)
        if said is False:
            apart = not same_renamed(self.below, other.below) and _differ(self.below, other.below)
            return different(Rule.INEQUALITY) if apart else ambiguous(Rule.INEQUALITY)
        if not _same_sign(self.below, other.below) or self.strict != other.strict:
            return different(Rule.INEQUALITY)
        return correct(Rule.INEQUALITY)


def _same_sign(a: Node, b: Node) -> bool:
    """Whether the factor between two proportional inequalities is positive."""
    for point in algebra.points(algebra.symbols(a)):
        try:
            x, y = algebra.evaluate(a, point), algebra.evaluate(b, point)
        except ArithmeticError:
            continue
        if abs(x) > 1e-9 and abs(y) > 1e-9:
            return x.real * y.real > 0
    return False


def read_inequality(text: str) -> Inequality | None:
    """Read an inequality between two sides; None if the text has no sign or several.

    Raises:
        Unreadable: a side is no expression.
        Unbounded: it is too large.
    """
    signs = _RELATION.findall(text)
    if len(signs) != 1:
        return None
    left, right = (_side(part) for part in _RELATION.split(text))
    if signs[0] in (">", ">=", "≥"):
        left, right = right, left
    return Inequality(text, difference(left, right), signs[0] in "<>")


_LOOKS_MATHEMATICAL = re.compile(
    r"[+*/^=√π·×<>≤≥∞∅±_|!]|\\[a-z]|\d\s{0,4}[a-zA-Zθ]\b|\b[a-z]\s{0,4}-\s{0,4}\w|-\s{0,4}[a-zA-Z]\b"
    rf"|\b(?:{'|'.join(FUNCTION_NAMES)})\b"
)
_ASKS_EQUATION = re.compile(
    r"equation|\b(?:line|curve|circle|parabola|ellipse|plane|relation|law|formula)\b|方程|解析式"
)
_LETTERS = re.compile(r"[A-Za-z]++(?:[-/][A-Za-z]++)*+")


def compile_maths(text: str, *, forced: bool, question: str = "") -> Expression | Equation | Inequality | None:
    """Compile the reference as an expression, equation or inequality; None if it is none."""
    if not forced and _LOOKS_MATHEMATICAL.search(text) is None:
        return None
    if text.startswith("{") and "\\" not in text:  # a set of one
        return None
    try:
        if _NO_RELATION.search(text) is not None:
            return read_inequality(text)
        parts = _EQUALS.split(text)
        nodes = [_read(part) for part in _named(parts)]
    except (algebra.Unreadable, algebra.Unbounded):
        return None
    if len(nodes) == 2:
        turned = nodes[1].head == "sym" and not algebra.symbols(nodes[0])  # `2 = x`
        return Equation(text, nodes[turned], nodes[not turned], _ASKS_EQUATION.search(question.lower()) is not None)
    if len(nodes) == 1 and (forced or _LETTERS.fullmatch(text.strip()) is None):
        return Expression(text, nodes[0], frozenset(_GIVEN.findall(question)))
    return None


def _named(parts: list[str]) -> list[str]:
    return ["y", parts[1]] if len(parts) == 2 and _is_function(parts[0]) else parts


def _is_function(side: str) -> bool:
    """Whether it is `f(x)`, `f'(x)`, `dy/dx`."""
    return _FUNCTION_NAME.match(side) is not None or _DERIVATIVE.match(side) is not None
