"""Compare calendar spans that no date names: a century, a decade, a quarter, a year of an era."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging.number_words import ORDINALS, chinese_digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different

_ORDINAL = "|".join(sorted((*ORDINALS, "twenty[- ]first"), key=len, reverse=True))
_NTH = rf"(?P<n>\d{{1,2}}|{_ORDINAL})(?:st|nd|rd|th)?"
_ERA = r"(?P<era>b\.?\s?c\.?(?:\s?e\.?)?|a\.?\s?d\.?|c\.?\s?e\.?)"
_PART = r"(?:(?P<part>early|mid|middle|late|beginning|end|first half|second half|turn)[- ]?(?:(?:of )?the |of )?)?"
_YEAR = r"(?P<y>\d{4})"
_FORMS = {
    "century": (
        rf"{_PART}{_NTH}[- ]cent(?:ury|uries|\.)(?: {_ERA})?",
        rf"{_PART}(?P<n>\d{{1,2}}(?:st|nd|rd|th)|{_ORDINAL}) c(?:\.? {_ERA})?",
        r"(?P<before>公元前)?(?:公元)?(?P<n>\d{1,2})\s?世纪(?P<part>初|中叶|末)?",
    ),
    "decade": (
        rf"{_PART}(?P<tens>twen|thir|for|fif|six|seven|eigh|nine)ties",
        rf"{_PART}(?P<y>\d{{3}}0)'?s",
        r"(?P<y>\d{3}0)\s?年代(?P<part>初|中期|末)?",
    ),
    "quarter": (
        rf"q(?P<n>[1-4])(?:[ ,/'-]{{1,2}}|\s?of )?(?:fy\s?)?{_YEAR}",
        rf"{_YEAR}[ ,/-]{{0,2}}q(?P<n>[1-4])",
        rf"(?P<n>[1-4])q\s?{_YEAR}",
        r"q(?P<n>[1-4])",
        rf"{_NTH}[- ]quarter",
        r"第?\s?(?P<n>[1-4])\s?季度",
        rf"{_NTH}[- ]quarter(?:,| of| in)?(?: the year)? {_YEAR}",
        rf"{_YEAR},? {_NTH}[- ]quarter",
        rf"{_YEAR}\s?年\s?第?\s?(?P<n>[1-4])\s?季度?",
    ),
    "half": (
        rf"h(?P<n>[12])(?:[ ,/-]{{1,2}}|\s?of )?{_YEAR}",
        rf"{_YEAR}[ ,/-]{{0,2}}h(?P<n>[12])",
        rf"(?P<n>first|second|1st|2nd) half(?: of)? {_YEAR}",
    ),
    "season": (
        rf"(?P<part>spring|summer|autumn|fall|winter),?(?: of| in)? {_YEAR}",
        rf"{_YEAR}\s?年?\s?的?(?P<part>spring|summer|autumn|fall|winter|春|夏|秋|冬)[天季]?",
    ),
    "year": (
        rf"(?P<y>\d{{1,4}}) ?{_ERA}",
        r"a\.?\s?d\.?\s?(?P<y>\d{1,4})",
        r"(?P<before>公元前|公元)(?P<y>\d{1,4})年?",
    ),
}
_LEAD = re.compile(
    r"(?:(?:it (?:was|is) )?(?:built |founded |made )?(?:in|during|around|the year|from|of)\s)?(?:the )?"
)
_READERS = [(sort, re.compile(rf"{form}\.?$")) for sort, forms in _FORMS.items() for form in forms]
_SHAPE = re.compile(
    r"cent|\dc\.| c\b|\d'?s\b|世纪|年代|ties$|q[1-4]|[1-4]q|quarter|季|h[12]|half|公元"
    r"|[ab1-9.]\.?\s?[cd]|\dce|ce\b|[grlw][ ,]"
)
_SEASONS = {"fall": "autumn", "春": "spring", "夏": "summer", "秋": "autumn", "冬": "winter"}
_PARTS = {
    "beginning": "early",
    "初": "early",
    "middle": "mid",
    "中叶": "mid",
    "中期": "mid",
    "end": "late",
    "末": "late",
}


_TENS = {word: 10 * n for n, word in enumerate(("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"), start=2)}


@dataclass(frozen=True, slots=True)
class CalendarSpan:
    """A span; `sort` is century, decade, quarter, half, season or year. Years before the era are negative."""

    sort: str
    number: int
    year: int
    part: str


def read_span(text: str) -> CalendarSpan | None:
    """Return the span that the whole text names, or None."""
    low = text.casefold().strip(" .,")
    if len(low) > 60 or _SHAPE.search(low) is None:
        return None
    low = chinese_digits(low) if not low.isascii() else low
    low = low[found.end() :] if (found := _LEAD.match(low)) is not None else low
    for sort, pattern in _READERS:
        if (match := pattern.match(low)) is not None:
            return _span(sort, match.groupdict())
    return None


def _span(sort: str, said: dict[str, str | None]) -> CalendarSpan:
    nth, part = said.get("n") or "0", said.get("part") or ""
    number = int(nth.rstrip("stndrh")) if nth[0].isdigit() else 0
    number = number or ORDINALS.get(nth, 21 if nth.startswith("twenty") else 0)
    before = (said.get("era") or "").startswith("b") or said.get("before") == "公元前"
    sign = -1 if before else 1
    if (tens := said.get("tens")) is not None:  # of an unknown century
        return CalendarSpan(sort, 0, _TENS[tens], part)
    return CalendarSpan(sort, sign * number, sign * int(said.get("y") or 0), _SEASONS.get(part, _PARTS.get(part, part)))


@dataclass(frozen=True, slots=True)
class Period:
    """A reference that is a century, decade, quarter, half, season, or a year of an era."""

    span: CalendarSpan
    text: str
    kind: str = "period"

    def compare(self, answer: str) -> Ruling:
        got = read_span(answer)
        if got is None or got.sort != self.span.sort:
            return ambiguous(Rule.DATE)
        if self.span.sort == "decade" and min(got.year, self.span.year) < 100 and got.year != self.span.year:
            near = got.year % 100 == self.span.year % 100  # `the nineties` are the 1990s of some century
            return ambiguous(Rule.DATE) if near else different(Rule.DATE)
        if got.number != self.span.number or (got.year != self.span.year and got.year and self.span.year):
            return different(Rule.DATE)
        if got.year != self.span.year:  # `Q3` for `Q3 2020`
            return ambiguous(Rule.DATE)
        if got.part == self.span.part:
            return correct(Rule.DATE)
        return different(Rule.DATE) if got.part and self.span.part else ambiguous(Rule.DATE)

    def normal(self, answer: str) -> str | None:
        got = read_span(answer)
        return None if got is None else f"{got.part} {got.sort} {got.number} {got.year}"

    def show(self) -> str:
        return self.text


def compile_period(text: str) -> Period | None:
    """Compile the reference as a period, if its whole text names one."""
    span = read_span(text)
    return None if span is None else Period(span, text)
