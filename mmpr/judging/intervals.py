"""Compare intervals and inequalities in a canonical form: end points, and whether they belong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mmpr.judging import algebra
from mmpr.judging.clean import brace_end, latin_words
from mmpr.judging.cues import Cues
from mmpr.judging.grammar import difference
from mmpr.judging.identity import linear_root
from mmpr.judging.number_words import digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect

# low, low belongs, high, high belongs
Piece = tuple[float, bool, float, bool]

_NUMBER = r"[-+]?(?:∞|oo|inf(?:inity)?|[^\s,<>≤≥=\[\]]+?)"
_BRACKETS = re.compile(
    r"([\[(])\s{0,4}([^,;\[\]()]*(?:\([^()]*\)[^,;\[\]()]*)*)\s{0,4}[,;]\s{0,4}([^,;\[\]()]*(?:\([^()]*\)[^,;\[\]()]*)*)\s{0,4}([\])])"
)
_CHAIN = re.compile(
    r"^(.+?)\s{0,4}(<|≤|>|≥)\s{0,4}([a-zA-Zθ]|\|[a-yA-Y]\||f\(x\)|[a-z]\([a-z]\))\s{0,4}(<|≤|>|≥)\s{0,4}(.+)$"
)
_SIMPLE = re.compile(r"^([a-zA-Zθ]|\|[a-yA-Y]\||f\(x\)|[a-z]\([a-z]\))\s{0,4}([<≤>≥=≠])\s{0,4}(.+)$")
_SIMPLE_TURNED = re.compile(r"^([^<>≤≥a-zA-Z]+?)\s{0,4}(<|≤|>|≥)\s{0,4}([a-zA-Zθ]|f\(x\)|[a-z]\([a-z]\))$")
_UNION = re.compile(r"\s{0,4}(?:∪|\bU\b|\bunion\b|\bor\b|或|并)\s{0,4}")
_MEETING = re.compile(r"\s{0,4}(?:∩|\bintersect(?:ion|ed with)?\b|交)\s{0,4}")
_WITHOUT = re.compile(r"\s{0,4}(?:\\(?:setminus|backslash)|∖|(?<=[ℝR])\s{0,4}(?:-|\\)?\s{0,4}(?=\{))\s{0,4}")
_EXCEPT = re.compile(
    r"^(?:all real(?: number)?s?|ℝ|R)(?: [a-zA-Z])?,?\s{1,4}(?:except|excluding|other than|but not)(?: for)?"
    r"(?: [a-zA-Z] =)?\s",
    re.I,
)
_FINITE = re.compile(r"\{([^{}<>≤≥|:]{0,200})\}$")
_ALL_REAL = re.compile(
    r"^(?:all real(?: number)?s?|ℝ|R|x ∈ R|\(-∞,\s{0,4}∞\)|全体实数|所有实数|一切实数|任意实数)$", re.I
)
_LEAD = re.compile(
    r"^(?:.*?\b(?:is|are|as|be|for|when)\b\s{0,4}:?\s{0,4}|.*?[:：]\s{0,4}(?=[\[({x\d-])|.*?(?:是|为)\s{0,4})(?=[\[({a-zA-Z\d∞+-])",
    re.S,
)
_MEMBER = re.compile(
    r"^\s{0,4}\{?\s{0,4}[a-zA-Z]\s{0,4}(?:∈\s{0,4}(?:R|ℝ)\s{0,4})?[|:]\s{0,4}|^\s{0,4}(?:[a-zA-Z]|D|[a-z]\([a-z]\))\s{0,4}(?:∈|\bin\b|=)\s{0,4}(?=[\[({-])"
)


_SPOKEN = tuple(
    (re.compile(spoken), sign)
    for spoken, sign in (
        (r"\b(?:is )?(?:greater|more) than or equal to\b|\bat least\b|大于等于|大于或等于|不小于", "≥"),
        (r"\b(?:is )?(?:less|smaller) than or equal to\b|\bat most\b|小于等于|小于或等于|不大于", "≤"),
        (r"\b(?:is )?(?:greater|more) than\b|大于", ">"),
        (r"\b(?:is )?(?:less|smaller) than\b|小于", "<"),
        (r"\b(?:positive )?infinity\b|正无穷大?|(?<![a-z])oo\b", "∞"),
        (r"(?:negative|minus)\s{1,4}∞|负无穷大?", "-∞"),
    )
)
_SPOKEN_WORDS = frozenset(("than", "least", "most", "infinity", "oo"))
_ABS = re.compile(r"\babs\(([a-zA-Z])\)")


def _ascii(text: str) -> str:
    text = (
        _ABS.sub(r"|\1|", text)
        .replace("<=", "≤")
        .replace(">=", "≥")
        .replace("=<", "≤")
        .replace("!=", "≠")
        .replace("\\ ", " ")
    )
    if text.isascii() and _SPOKEN_WORDS.isdisjoint(latin_words(text)):
        return text
    for spoken, sign in _SPOKEN:
        text = spoken.sub(sign, text)
    return text


def _bound(text: str) -> float:
    text = text.strip()
    if text in ("∞", "+∞"):
        return math.inf
    if text in ("-∞", "- ∞"):
        return -math.inf
    node = algebra.read(digits(text))
    if algebra.symbols(node):
        raise algebra.Unreadable(text)
    try:
        value = algebra.evaluate(node, {})
    except OverflowError as err:
        raise algebra.Unbounded(text) from err
    except ArithmeticError as err:
        raise algebra.Unreadable(text) from err
    if value.imag:
        raise algebra.Unreadable(text)
    return value.real


def read_pieces(text: str) -> list[Piece]:
    """Return the intervals that the text denotes, in order.

    Raises:
        algebra.Unreadable: it is no interval, or contains more than intervals.
    """
    text = _ascii(text).strip()
    if _ALL_REAL.match(text) is not None:
        return [(-math.inf, False, math.inf, False)]
    text = _MEMBER.sub("", text).strip()
    if text.endswith("}") and "{" not in text:
        text = text[:-1].strip()
    if text.startswith("{") and brace_end(text, 0) == len(text) - 1 and _FINITE.match(text) is None:
        text = _MEMBER.sub("", text[1:-1]).strip()
    return _united(text)


_WHOLE: Piece = (-math.inf, False, math.inf, False)


def _united(text: str) -> list[Piece]:
    """Return the union of the text's parts; each part may be an intersection or a difference."""
    return merged([piece for part in _apart(_UNION, text) for piece in _met(part)])


def _met(text: str) -> list[Piece]:
    found = [_outside_of(part) for part in _apart(_MEETING, text)]
    common = found[0]
    for others in found[1:]:
        common = [piece for a in common for b in others if _holds(piece := _meet(a, b))]
    return common


def _outside_of(text: str) -> list[Piece]:
    """Read `[0, 3] ∖ {1}`, `all real numbers except 1`."""
    if (excepted := _EXCEPT.match(text)) is not None:
        parts = ["ℝ", "{" + re.sub(r"\s(?:and|or)\s", ",", text[excepted.end() :]).strip("{} ") + "}"]
    else:
        parts = _apart(_WITHOUT, text)
    left = _members(_MEMBER.sub("", parts[0]).strip())
    for taken in (piece for part in parts[1:] for piece in _members(part)):
        outside = [(-math.inf, False, taken[0], not taken[1]), (taken[2], not taken[3], math.inf, False)]
        left = [piece for a in left for b in outside if _holds(piece := _meet(a, b))]
    return left


def _members(text: str) -> list[Piece]:
    """Read a finite set, everything, a bracketed union, or one interval."""
    if _ALL_REAL.match(text) is not None:
        return [_WHOLE]
    if text in ("∅", "\\emptyset", "\\varnothing"):
        return []
    if (found := _FINITE.match(text)) is not None:
        return [(value, True, value, True) for value in map(_bound, filter(str.strip, found[1].split(",")))]
    if text[:1] == "(" and text[-1:] == ")" and re.search("[∪∩∖]", text) is not None:
        return _united(text[1:-1])
    return _piece(text)


def _apart(separator: re.Pattern[str], text: str) -> list[str]:
    """Split a text at separators outside brackets; `(0, 1]` and `[0, 1)` are brackets too."""
    parts, start = [], 0
    for found in separator.finditer(text):
        before = text[: found.start()]
        depth = sum(map(before.count, "([{")) - sum(map(before.count, ")]}"))
        if depth == 0 and found.start() >= start:
            parts.append(text[start : found.start()])
            start = found.end()
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def _holds(piece: Piece) -> bool:
    return piece[0] < piece[2] or (piece[0] == piece[2] and piece[1] and piece[3])


def merged(pieces: list[Piece]) -> list[Piece]:
    """Return the same numbers in the fewest pieces: `[0, 1] ∪ [1, 2]` is `[0, 2]`."""
    found: list[Piece] = []
    for piece in sorted(filter(_holds, pieces), key=lambda one: (one[0], not one[1])):
        if found and (piece[0] < found[-1][2] or (piece[0] == found[-1][2] and (piece[1] or found[-1][3]))):
            last = found.pop()
            high, closed = max((last[2], last[3]), (piece[2], piece[3]))
            piece = (last[0], last[1], high, closed)
        found.append(piece)
    return found


def _piece(text: str) -> list[Piece]:
    if (found := _BRACKETS.fullmatch(text)) is not None:
        return [(_bound(found.group(2)), found.group(1) == "[", _bound(found.group(3)), found.group(4) == "]")]
    both = re.split(r"\s{1,4}and\s{1,4}|\s{0,4}(?:,|且|和|∧|&)\s{0,4}", text)
    if len(both) == 2 and all(re.search(r"[<>≤≥]", part) for part in both):
        return [piece for a in _piece(both[0]) for b in _piece(both[1]) if _holds(piece := _meet(a, b))]
    if (found := _CHAIN.match(text)) is not None:
        return _of(found.group(3), _chain(found))
    if (found := _SIMPLE.match(text)) is not None:
        return _related(found.group(1), found.group(2), _bound(found.group(3)))
    if (found := _SIMPLE_TURNED.match(text)) is not None:
        turned = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}[found.group(2)]
        return [_half(turned, _bound(found.group(1)))]
    return [_linear(text)]


def _related(name: str, sign: str, value: float) -> list[Piece]:
    """Read `x < 3`, `x = 3`, `x ≠ 3`, `|x| < 3`."""
    if sign == "=":
        return _of(name, (value, True, value, True))
    if sign == "≠" and name[0] != "|":
        return [(-math.inf, False, value, False), (value, False, math.inf, False)]
    if sign == "≠":
        raise algebra.Unreadable(name)
    return _of(name, _half(sign, value))


def _of(name: str, piece: Piece) -> list[Piece]:
    """Return the piece; if it is one of |x|, those of x."""
    if name[0] != "|":
        return [piece]
    low, low_in, high, high_in = _meet(piece, (0.0, True, math.inf, False))
    return merged([(low, low_in, high, high_in), (-high, high_in, -low, low_in)])


_SIGN = re.compile("[<>≤≥]")


def _linear(text: str) -> Piece:
    """Solve `2x + 1 < 5`."""
    sides = _SIGN.split(text)
    if len(sides) != 2:
        raise algebra.Unreadable(text)
    below = difference(*(algebra.read(side) for side in sides))
    names = algebra.symbols(below)
    bound = linear_root(below, next(iter(names))) if len(names) == 1 else None
    if bound is None or (value := algebra.exact(bound)) is None:
        raise algebra.Unreadable(text)
    sign, grows = text[len(sides[0])], (algebra.exact(bound.args[1]) or 0) > 0
    if abs(value) > 10**300:
        raise algebra.Unbounded(text)
    return _half(sign if grows else {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}[sign], float(value))


def _half(sign: str, value: float) -> Piece:
    if sign in "<≤":
        return -math.inf, False, value, sign == "≤"
    return value, sign == "≥", math.inf, False


def _meet(a: Piece, b: Piece) -> Piece:
    low = max((a[0], not a[1]), (b[0], not b[1]))
    high = min((a[2], a[3]), (b[2], b[3]))
    return low[0], not low[1], high[0], high[1]


def _chain(found: re.Match[str]) -> Piece:
    left, right = _bound(found.group(1)), _bound(found.group(5))
    first, second = found.group(2), found.group(4)
    if first in "<≤" and second in "<≤":
        return left, first == "≤", right, second == "≤"
    if first in ">≥" and second in ">≥":
        return right, second == "≥", left, first == "≥"
    raise algebra.Unreadable(found.group())


@dataclass(frozen=True, slots=True)
class Interval:
    """A reference of one or several intervals."""

    pieces: tuple[Piece, ...]
    whole: bool = False  # the question asks for whole numbers, of which `1 < x < 5` and `2 ≤ x ≤ 4` hold the same
    kind: str = "interval"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if re.search(r"\bnot\b|不是", low):
            return incorrect(Rule.NEGATED)
        try:
            return self._ruled(self._read(answer))
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        except algebra.Unreadable:
            return self._unread(answer)

    def normal(self, answer: str) -> str | None:
        try:
            return _shown(self._read(answer))
        except (algebra.Unbounded, algebra.Unreadable):
            return None

    def show(self) -> str:
        return _shown(list(self.pieces))

    def _read(self, answer: str) -> list[Piece]:
        answer = re.sub(r"\s{0,4}(?:,\s{0,4})?\b(?:since|because|where)\b.*$", "", answer, flags=re.I)
        try:
            return read_pieces(answer)
        except algebra.Unreadable:
            shorter = _LEAD.sub("", answer, count=1)
            if shorter != answer:
                return read_pieces(shorter)
            found = _BRACKETS.findall(answer)
            if len(found) == 1 and re.fullmatch(r"(?!.*\b(?:or|either)\b)[A-Za-z\s,'.:]*", _BRACKETS.sub("", answer)):
                return _piece(_BRACKETS.search(answer).group())  # type: ignore[union-attr]
            raise

    def _ruled(self, pieces: list[Piece]) -> Ruling:
        if self.whole and pieces != list(self.pieces):
            return ambiguous(Rule.INTERVAL)
        if len(pieces) != len(self.pieces):
            return different(Rule.INTERVAL)
        ends = [pair for a, b in zip(pieces, self.pieces, strict=True) for pair in ((a[0], b[0]), (a[2], b[2]))]
        if any((a[1], a[3]) != (b[1], b[3]) for a, b in zip(pieces, self.pieces, strict=True)):
            return different(Rule.INTERVAL)
        if all(_equal(a, b) for a, b in ends):
            return correct(Rule.INTERVAL)
        return ambiguous(Rule.INTERVAL) if all(_near(a, b) for a, b in ends) else different(Rule.INTERVAL)

    def _unread(self, answer: str) -> Ruling:
        """Whether only end points are given, which do not say if they belong."""
        if re.search(r"(?<![<>])=", answer) is not None:
            return incorrect(Rule.INTERVAL)
        numbers = [float(n) for n in re.findall(r"(?<![\w.])[-+]?\d{1,15}(?:\.\d{1,15})?", answer)]
        ends = [end for piece in self.pieces for end in (piece[0], piece[2]) if math.isfinite(end)]
        if len(numbers) == len(ends) and all(_equal(a, b) for a, b in zip(numbers, ends, strict=True)):
            return ambiguous(Rule.INTERVAL_ENDS)
        return incorrect(Rule.INTERVAL) if numbers else ambiguous(Rule.INTERVAL_ENDS)


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isfinite(a) and math.isfinite(b) and algebra.close(a, b))


def _near(a: float, b: float) -> bool:
    """Whether one may be the other, rounded: 2.6667 and 8/3."""
    return _equal(a, b) or (math.isfinite(a) and math.isfinite(b) and algebra.close(a, b, relative=5e-3))


def _shown(pieces: list[Piece]) -> str:
    return " ∪ ".join(f"{'[' if a else '('}{low:.12g}, {high:.12g}{']' if b else ')'}" for low, a, high, b in pieces)


_EXCLUDES = re.compile(r"\s{0,4}[a-zA-Z]\s{0,4}≠")
_WHOLE_NUMBERS = re.compile(r"\b(?:integers?|integral|whole|natural|counting)\b|整数|自然数")
_MIXED = re.compile(
    r"\[[^\[\](),]{0,80},[^\[\]()]{0,80}\)|\([^\[\](),]{0,80},[^\[\]()]{0,80}\]|∞|∪"
    r"|[}\])]\s{0,4}∩|∩\s{0,4}[{\[(]|\\setminus|all real numbers? except"
)


def compile_interval(text: str, cues: Cues, *, forced: bool) -> Interval | None:
    """Compile the reference as intervals, if its brackets or signs, or the question, say so."""
    shaped = _MIXED.search(text) is not None or re.search(r"[<>≤≥]", text) is not None
    shaped = shaped or _EXCLUDES.match(text) is not None
    if not forced and not shaped and not (cues.interval() and not cues.point() and _BRACKETS.search(text)):
        return None
    try:
        return Interval(tuple(read_pieces(text)), _WHOLE_NUMBERS.search(cues.low) is not None)
    except (algebra.Unreadable, algebra.Unbounded):
        return None
