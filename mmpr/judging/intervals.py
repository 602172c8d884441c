"""Intervals and inequalities in one canonical form: end points and whether they belong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mmpr.judging import algebra, guards
from mmpr.judging.cues import Cues
from mmpr.judging.grammar import difference
from mmpr.judging.identity import linear_root
from mmpr.judging.number_words import digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, incorrect, ruled

# low, low belongs, high, high belongs
Piece = tuple[float, bool, float, bool]

_NUMBER = r"[-+]?(?:∞|oo|inf(?:inity)?|[^\s,<>≤≥=\[\]]+?)"
_BRACKETS = re.compile(
    r"([\[(])\s{0,4}([^,;\[\]()]*(?:\([^()]*\)[^,;\[\]()]*)*)\s{0,4}[,;]\s{0,4}([^,;\[\]()]*(?:\([^()]*\)[^,;\[\]()]*)*)\s{0,4}([\])])"
)
_CHAIN = re.compile(r"^(.+?)\s{0,4}(<|≤|>|≥)\s{0,4}([a-zA-Zθ]|f\(x\)|[a-z]\([a-z]\))\s{0,4}(<|≤|>|≥)\s{0,4}(.+)$")
_SIMPLE = re.compile(r"^([a-zA-Zθ]|f\(x\)|[a-z]\([a-z]\))\s{0,4}(<|≤|>|≥)\s{0,4}(.+)$")
_SIMPLE_TURNED = re.compile(r"^([^<>≤≥a-zA-Z]+?)\s{0,4}(<|≤|>|≥)\s{0,4}([a-zA-Zθ]|f\(x\)|[a-z]\([a-z]\))$")
_UNION = re.compile(r"\s{0,4}(?:∪|\bU\b|\bunion\b|\bor\b|或|并)\s{0,4}")
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


def _ascii(text: str) -> str:
    text = text.replace("<=", "≤").replace(">=", "≥").replace("=<", "≤").replace("\\ ", " ")
    text = re.sub(r"\b(?:is )?(?:greater|more) than or equal to\b|\bat least\b|大于等于|大于或等于|不小于", "≥", text)
    text = re.sub(r"\b(?:is )?(?:less|smaller) than or equal to\b|\bat most\b|小于等于|小于或等于|不大于", "≤", text)
    text = re.sub(r"\b(?:is )?(?:greater|more) than\b|大于", ">", text)
    text = re.sub(r"\b(?:is )?(?:less|smaller) than\b|小于", "<", text)
    text = re.sub(r"\b(?:positive )?infinity\b|正无穷大?|(?<![a-z])oo\b", "∞", text)
    return re.sub(r"(?:negative|minus)\s{1,4}∞|负无穷大?", "-∞", text)


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
    """The intervals that the text is, in order.

    Raises:
        algebra.Unreadable: it is none, or holds more than intervals.
    """
    text = _ascii(text).strip()
    if _ALL_REAL.match(text) is not None:
        return [(-math.inf, False, math.inf, False)]
    text = _MEMBER.sub("", text).strip()
    if text.endswith("}") and "{" not in text:
        text = text[:-1].strip()
    if text.startswith("{") and text.endswith("}"):
        text = _MEMBER.sub("", text[1:-1]).strip()
    parts = [part for part in _UNION.split(text) if part.strip()]
    pieces = [_piece(_MEMBER.sub("", part).strip()) for part in parts]
    return sorted(pieces)


def _piece(text: str) -> Piece:
    if (found := _BRACKETS.fullmatch(text)) is not None:
        return _bound(found.group(2)), found.group(1) == "[", _bound(found.group(3)), found.group(4) == "]"
    both = re.split(r"\s{1,4}and\s{1,4}|\s{0,4}(?:,|且|和|∧|&)\s{0,4}", text)
    if len(both) == 2 and all(re.search(r"[<>≤≥]", part) for part in both):
        return _meet(_piece(both[0]), _piece(both[1]))
    if (found := _CHAIN.match(text)) is not None:
        return _chain(found)
    if (found := _SIMPLE.match(text)) is not None:
        return _half(found.group(2), _bound(found.group(3)))
    if (found := _SIMPLE_TURNED.match(text)) is not None:
        turned = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}[found.group(2)]
        return _half(turned, _bound(found.group(1)))
    return _linear(text)


_SIGN = re.compile("[<>≤≥]")


def _linear(text: str) -> Piece:
    """`2x + 1 < 5`, solved."""
    sides = _SIGN.split(text)
    if len(sides) != 2:
        raise algebra.Unreadable(text)
    below = difference(*(algebra.read(side) for side in sides))
    names = algebra.symbols(below)
    bound = linear_root(below, next(iter(names))) if len(names) == 1 else None
    if bound is None or (value := algebra.exact(bound)) is None:
        raise algebra.Unreadable(text)
    sign, grows = text[len(sides[0])], (algebra.exact(bound.args[1]) or 0) > 0
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
    """One or several intervals as truth."""

    pieces: tuple[Piece, ...]
    kind: str = "interval"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if guards.refuses(low):
            return incorrect(Rule.REFUSAL)
        if re.search(r"\bnot\b|不是|≠", low):
            return incorrect(Rule.NEGATED)
        try:
            return ruled(self._same(self._read(answer)), Rule.INTERVAL)
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
            if len(found) == 1 and re.fullmatch(r"[A-Za-z\s,'.:]*", _BRACKETS.sub("", answer)):
                return [_piece(_BRACKETS.search(answer).group())]  # type: ignore[union-attr]
            raise

    def _same(self, pieces: list[Piece]) -> bool:
        if len(pieces) != len(self.pieces):
            return False
        return all(
            _equal(a[0], b[0]) and _equal(a[2], b[2]) and a[1] == b[1] and a[3] == b[3]
            for a, b in zip(pieces, self.pieces, strict=True)
        )

    def _unread(self, answer: str) -> Ruling:
        """End points alone do not say whether they belong."""
        if re.search(r"(?<![<>])=", answer) is not None:
            return incorrect(Rule.INTERVAL)
        numbers = [float(n) for n in re.findall(r"(?<![\w.])[-+]?\d{1,15}(?:\.\d{1,15})?", answer)]
        ends = [end for piece in self.pieces for end in (piece[0], piece[2]) if math.isfinite(end)]
        if len(numbers) == len(ends) and all(_equal(a, b) for a, b in zip(numbers, ends, strict=True)):
            return ambiguous(Rule.INTERVAL_ENDS)
        return incorrect(Rule.INTERVAL) if numbers else ambiguous(Rule.INTERVAL_ENDS)


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isfinite(a) and math.isfinite(b) and algebra.close(a, b))


def _shown(pieces: list[Piece]) -> str:
    return " ∪ ".join(f"{'[' if a else '('}{low:.12g}, {high:.12g}{']' if b else ')'}" for low, a, high, b in pieces)


_MIXED = re.compile(r"\[[^\[\](),]{0,80},[^\[\]()]{0,80}\)|\([^\[\](),]{0,80},[^\[\]()]{0,80}\]|∞|∪")


def compile_interval(text: str, cues: Cues, *, forced: bool) -> Interval | None:
    """The truth as intervals: its own brackets or signs say so, or the question does."""
    shaped = _MIXED.search(text) is not None or re.search(r"[<>≤≥]", text) is not None
    if not forced and not shaped and not (cues.interval() and not cues.point() and _BRACKETS.search(text)):
        return None
    try:
        return Interval(tuple(read_pieces(text)))
    except (algebra.Unreadable, algebra.Unbounded):
        return None
