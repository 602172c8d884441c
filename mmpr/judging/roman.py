"""Compare roman and ordinal numbers: III = 3 = third if the reference is one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging import guards
from mmpr.judging.cues import Cues
from mmpr.judging.number_words import ORDINALS, chinese_digits, english_digits, roman_value
from mmpr.judging.rules import Rule, Ruling, ambiguous, incorrect, ruled

_ORDINAL = re.compile(r"\b(\d{1,60})(?:st|nd|rd|th)\b", re.I)
_PLACES_TEXT = "row column floor level position place line top bottom last final leftmost rightmost middle upper lower"
_PLACES = frozenset((*ORDINALS, *_PLACES_TEXT.split()))
_HAN = re.compile(r"第?([一二三四五六七八九十])(?!\w{0,40}分)")
_HAN_VALUES = {char: value for value, char in enumerate("一二三四五六七八九十", start=1)}


def read_ordinals(text: str) -> list[int]:
    """Return every roman, ordinal and plain number of the text."""
    found = [
        value
        for word in re.findall(r"(?<![A-Za-z])[IVXLC]+(?![A-Za-z])", text)
        if (value := roman_value(word)) is not None
    ]
    text = chinese_digits(text)
    low = _ORDINAL.sub(r"\1", text.lower())
    words = [ORDINALS[word] for word in re.findall(r"[a-z]+", low) if word in ORDINALS]
    plain = [int(number) for number in re.findall(r"(?<![\d.])\d{1,6}(?![\d.])", english_digits(low))]
    return found + words + plain + [_HAN_VALUES[char] for char in _HAN.findall(text)]


def says_place(text: str) -> bool:
    """Whether a text names a place in an order in words: `the second one from the left`, `the top row`, `第三行`."""
    return not _PLACES.isdisjoint(re.findall(r"[a-z]{1,40}", text.lower())) or "第" in text


@dataclass(frozen=True, slots=True)
class Roman:
    """A reference that names a place in an order, not a quantity."""

    value: int
    kind: str = "roman"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        found = set(read_ordinals(answer))
        if len(found) > 1:
            return incorrect(Rule.SEVERAL)
        if not found:
            return incorrect(Rule.ROMAN)
        return ambiguous(Rule.SOFT) if guards.soft(low) else ruled(found == {self.value}, Rule.ROMAN)

    def normal(self, answer: str) -> str | None:
        found = set(read_ordinals(answer))
        return str(found.pop()) if len(found) == 1 else None

    def show(self) -> str:
        return str(self.value)


_HAN_SHAPE = re.compile(r"第[一二三四五六七八九十\d]{1,4}[名位个章节层排列行组题页象]?限?$")
_SHAPE = re.compile(
    r"^(?:(?:the|quadrant|type|stage|phase|group|class|chapter|grade|part)\s{1,4})?([IVXLC]+|\d{1,60}(?:st|nd|rd|th)"
    r"|[a-z]{1,40})(?:\s{1,4}(?:quadrant|type|stage|place|chapter|floor|row|column|grade|century|position|line|level))?$",
    re.I,
)


def compile_roman(text: str, cues: Cues, *, forced: bool) -> Roman | None:
    """Compile the reference as roman or ordinal; a single letter (`C`, `I`) only if the question asks for a numeral."""
    if _HAN_SHAPE.match(text) is not None:
        values = read_ordinals(text)
        return Roman(values[0]) if len(set(values)) == 1 else None
    found = _SHAPE.match(text)
    if found is None:
        return None
    word = found.group(1)
    if roman_value(word) is not None and word.isupper():
        if len(word) == 1 and not (forced or cues.ordinal()) and word not in ("V", "X"):
            return None
        return Roman(roman_value(word) or 0)
    values = read_ordinals(text)
    ordinal = word.lower() in ORDINALS or word[0].isdigit()
    return Roman(values[0]) if ordinal and len(set(values)) == 1 else None
