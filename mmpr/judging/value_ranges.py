"""Compare ranges of numbers, money, measures and times of day: both ends count."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mmpr.judging import algebra
from mmpr.judging.cues import Cues
from mmpr.judging.numbers import Reading, mentions, plain_numbers
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different
from mmpr.judging.temporal import Clock, read_time

End = Reading | Clock
_SPLIT = re.compile(
    r"^(?P<lead>.{0,60}?\b(?:is|are|was|were)\s{1,4}|)(?P<from>from |between |从|介于)?"
    r"\s{0,4}(?P<a>[^\d]{0,3}\d[^-~至到]{0,24}?)"
    r"\s{0,4}(?P<sep>-|~|\bto\b|\bthrough\b|\buntil\b|\band\b|至|到)\s{0,4}(?P<b>[^\d]{0,3}\d[^-~至到]{0,30}?)(?:之间)?$",
    re.I,
)
_CLOCK = re.compile(r"\d\s{0,4}[ap]\.?\s?m\b|\d:\d\d", re.I)
_CLOCK_WORDS = re.compile(r"\d\s{0,4}(?:minutes?|mins?)\s{1,4}to\s{1,4}\d{1,2}$|quarter to", re.I)  # `5 minutes to 3`
_WORD_AFTER = re.compile(r"\s{0,4}([a-z]{3,40}|[\u3400-\u9fff]{1,4})$", re.I)


def read_range(text: str) -> tuple[End, End, bool] | None:
    """Return both ends, and whether the text can only be a range: `5-7` may be a score or a difference.

    Raises:
        algebra.Unbounded: a number is too large.
    """
    found = _SPLIT.match(text)
    if found is None or (found["sep"].lower() == "and") != ((found["from"] or "").strip().lower() == "between"):
        return None
    first, first_word = _end(found["a"])
    last, last_word = _end(found["b"])
    if first is None or last is None or type(first) is not type(last) or (first_word and first_word != last_word):
        return None
    hung = last_word != ""
    if isinstance(first, Reading) and isinstance(last, Reading):
        hung = hung or last.percent or last.unit is not None or first.currency is not None
        first = first._replace(
            percent=first.percent or last.percent,
            unit=first.unit or last.unit,
            currency=first.currency or last.currency,
        )
        last = last._replace(currency=last.currency or first.currency)
        if first.value >= last.value:  # `2020 - 2010` is a difference
            return None
    return first, last, hung or isinstance(first, Clock) or found["sep"] not in "-~"


def _end(text: str) -> tuple[End | None, str]:
    """Return one end and the word that it counts: `7 days` has a unit, `7 chairs` counts."""
    if _CLOCK.search(text) is not None:
        return read_time(text), ""
    plain = plain_numbers(text.strip())
    found = mentions(plain)
    if len(found) != 1 or plain[: found[0].start].strip() or found[0].reading.form == "both":
        return None, ""
    rest = plain[found[0].end :].strip()
    word = _WORD_AFTER.fullmatch(rest)
    return (found[0].reading, word[1].lower().rstrip("s")) if word else (found[0].reading if not rest else None, "")


@dataclass(frozen=True, slots=True)
class Range:
    """A reference with two ends; a single value is no range."""

    text: str
    ends: tuple[End, End]
    kind: str = "range"

    def compare(self, answer: str) -> Ruling:
        try:
            got = read_range(answer)
            alone = None if got else _end(answer)[0]
        except algebra.Unbounded:
            return ambiguous(Rule.LIMIT)
        if got is None:
            return different(Rule.INTERVAL) if alone is not None else ambiguous(Rule.INTERVAL_ENDS)
        same = [_same(mine, theirs) for mine, theirs in zip(self.ends, got[:2], strict=True)]
        if False in same:
            return different(Rule.INTERVAL)
        return ambiguous(Rule.INTERVAL_ENDS) if None in same else correct(Rule.INTERVAL)

    def normal(self, answer: str) -> str | None:
        return None

    def show(self) -> str:
        return self.text


def _same(a: End, b: End) -> bool | None:
    """Whether two ends are equal; None if one of them omits what the other states."""
    if isinstance(a, Clock) and isinstance(b, Clock):
        if (a.hour, a.minute or 0, a.second) != (b.hour, b.minute or 0, b.second):
            return False
        return a.afternoon == b.afternoon if None not in (a.afternoon, b.afternoon) or a == b else None
    if not isinstance(a, Reading) or not isinstance(b, Reading):
        return None
    if a.unit is not None and b.unit is not None:
        if a.unit.dimension != b.unit.dimension:
            return False
        return _in_si(a) == _in_si(b)
    if a.value != b.value:
        return None if (a.percent, a.unit) != (b.percent, b.unit) else False
    return True if (a.percent, a.unit, a.currency) == (b.percent, b.unit, b.currency) else None


def _in_si(reading: Reading) -> Fraction:
    unit = reading.unit
    return reading.value if unit is None else reading.value * unit.factor + unit.offset


def compile_range(text: str, cues: Cues, *, forced: bool) -> Range | None:
    """Compile the reference as a range, if it can be nothing else."""
    if not forced and (cues.code() or cues.ratio() or _CLOCK_WORDS.search(text) is not None):
        return None
    try:
        found = read_range(text)
    except algebra.Unbounded:
        return None
    return Range(text, found[:2]) if found is not None and (found[2] or forced) else None
