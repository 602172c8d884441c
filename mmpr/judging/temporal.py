"""Compare dates and times of day, field by field."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging import guards
from mmpr.judging.cues import Cues
from mmpr.judging.number_words import ORDINALS, chinese_digits, english_digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect

_MONTHS_TEXT = """
january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sept sep|october oct
november nov|december dec
"""
_NAMES_OF_MONTHS = _MONTHS_TEXT.strip().replace("\n", "|").split("|")
MONTHS = {name: number for number, names in enumerate(_NAMES_OF_MONTHS, start=1) for name in names.split()}
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_Y = r"(?P<y>\d{4})"
_D = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_WORDED = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        rf"\b(?P<m>{_MONTH})\b\.?\s{{1,4}}{_D}\b,?\s{{0,4}}(?:of\s{{1,4}})?{_Y}\b",
        rf"\b{_D}\s{{0,4}}(?:day\s{{1,4}})?(?:of\s{{1,4}})?[-/]?(?P<m>{_MONTH})\b\.?,?\s{{0,4}}[-/]?(?:of\s{{1,4}})?(?:in\s{{1,4}})?{_Y}\b",
        r"(?P<y>\d{4})\s{0,4}年\s{0,4}(?P<m>\d{1,2})\s{0,4}月\s{0,4}(?P<d>\d{1,2})\s{0,4}[日号]?",
        r"\b(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})\b",
        rf"\b(?P<y>\d{{4}}),?\s{{1,4}}(?P<m>{_MONTH})\b\.?\s{{1,4}}{_D}\b",
        r"(?P<y>\d{4})\s{0,4}年\s{0,4}(?P<m>\d{1,2})\s{0,4}月",
        r"(?P<m>\d{1,2})\s{0,4}月\s{0,4}(?P<d>\d{1,2})\s{0,4}[日号]",
        rf"\b(?P<m>{_MONTH})\b\.?,?\s{{0,4}}(?:of\s{{1,4}})?{_Y}\b",
        rf"\b(?P<m>{_MONTH})\b\.?\s{{1,4}}{_D}\b(?!\s{{0,4}}\d)",
        rf"\b{_D}\s{{1,4}}(?:of\s{{1,4}})?(?P<m>{_MONTH})\b",
    )
)
_NUMERIC = re.compile(r"(?<!\d)(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})(?!\d)")
_YEAR_MONTH = re.compile(r"(?<![\d/.-])(\d{4})[-/](0[1-9]|1[0-2])(?![\d/-])")
_YEAR_ONLY = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_MONTH_ONLY = re.compile(rf"\b({_MONTH})\b", re.I)
# Every date contains one of these: a year, two marks between digits, a Chinese character or a month's name.
_MAYBE_DATE = re.compile(
    r"\d{4}|\d[-/.]\d{1,2}[-/.]\d|[^\x00-\x7f]|[jJfFmMaAsSoOnNdD](?i:an|eb|ar|pr|ay|u[nlg]|ep|ct|ov|ec)"
)
_DATE_WORDS = re.compile(
    rf"\b(?:{_MONTH}|{'|'.join(_DAYS)}|the|of|in|on)\b|\d{{1,60}}|st\b|nd\b|rd\b|th\b|[\s,./年月日号-]"
)
_ORDINAL = re.compile(
    rf"\b(twenty|thirty)?[\s-]?({'|'.join(ORDINALS)}|thirtieth)\b(?=\s{{1,4}}(?:of|{_MONTH})\b)|(?<=\s)(twenty"
    rf"|thirty)?[\s-]?({'|'.join(ORDINALS)}|thirtieth)\b(?=,|\s{{1,4}}\d)",
    re.I,
)

Fields = tuple[int | None, int | None, int | None]


def _ordinal(found: re.Match[str]) -> str:
    tens = {"twenty": 20, "thirty": 30}.get((found.group(1) or found.group(3) or "").lower(), 0)
    word = (found.group(2) or found.group(4)).lower()
    return " " + str(30 if word == "thirtieth" else tens + ORDINALS[word])


def read_dates(text: str) -> list[Fields]:
    """Return every reading of a date in the text as (year, month, day); two readings if day and month may swap."""
    if _MAYBE_DATE.search(text) is None:
        return []
    text = _ORDINAL.sub(_ordinal, text)
    text = chinese_digits(text) if not text.isascii() else text
    for pattern in _WORDED:
        if (found := pattern.search(text)) is not None:
            return [_fields(found)]
    if (found := _NUMERIC.search(text)) is not None:
        first, second, year = (int(part) for part in found.groups())
        year += 2000 if year < 50 else 1900 if year < 100 else 0
        readings: list[Fields] = [
            (year, m, d) for m, d in ((first, second), (second, first)) if 1 <= m <= 12 and 1 <= d <= 31
        ]
        return list(dict.fromkeys(readings))
    if (found := _YEAR_MONTH.search(text)) is not None and int(found[2]) <= int(found[1]) % 100:
        return [(int(found[1]), int(found[2]), None)]  # `2010-12` may be the years 2010 to 2012
    if (found := _YEAR_ONLY.search(text)) is not None:
        return [(int(found.group(1)), None, None)]
    if (found := _MONTH_ONLY.search(text)) is not None and text.strip().lower() != "may i":
        return [(None, MONTHS[found.group(1).lower()], None)]
    return []


def _fields(found: re.Match[str]) -> Fields:
    groups = found.groupdict()
    month = groups.get("m")
    number = None if month is None else int(month) if month.isdigit() else MONTHS[month.lower()]
    year, day = groups.get("y"), groups.get("d")
    return (int(year) if year else None, number, int(day) if day else None)


def _weekday(text: str) -> str | None:
    low = text.lower()
    return next(
        (day for day in _DAYS if day[:3] in low and re.search(rf"\b{day[:3]}(?:{day[3:]}|s|rs|r|nes)?\b\.?", low)), None
    )


@dataclass(frozen=True, slots=True)
class Date:
    """A reference that is a date; the answer may add a field that it lacks."""

    fields: Fields
    weekday: str | None
    others: tuple[Fields, ...] = ()  # what else `04/07/1985` may mean
    kind: str = "date"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        answer, _ = guards.without_contrast(answer)
        if (
            guards.alternatives(low)
            or "between" in low
            or re.search(r"\d\s{0,4}(?:-|to|until|through)\s{0,4}(?:[a-z]{1,40} )?\d{1,4}(?:st|nd|rd|th)?,? \d{4}", low)
        ):
            return incorrect(Rule.SEVERAL)
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        readings = read_dates(answer)
        if not readings:
            return incorrect(Rule.DATE)
        matching = [reading for reading in readings if self._matches(reading)]
        if self.others and (matching or set(readings) & set(self.others)):
            return ambiguous(Rule.DATE_ORDER)
        if not matching:
            return incorrect(Rule.DATE)
        if self.weekday and (said := _weekday(answer)) is not None and said != self.weekday:
            return incorrect(Rule.DATE)
        if len(readings) > 1:
            return ambiguous(Rule.DATE_ORDER)
        return ambiguous(Rule.SOFT) if guards.soft(low) or len(_YEAR_ONLY.findall(answer)) > 1 else correct(Rule.DATE)

    def normal(self, answer: str) -> str | None:
        readings = read_dates(answer)
        return "-".join("?" if part is None else f"{part:02}" for part in readings[0]) if len(readings) == 1 else None

    def show(self) -> str:
        return "-".join("?" if part is None else f"{part:02}" for part in self.fields)

    def _matches(self, reading: Fields) -> bool:
        return all(wanted is None or wanted == got for wanted, got in zip(self.fields, reading, strict=True))


def compile_date(text: str, *, forced: bool) -> Date | None:
    """Compile the reference as a date: at least a month with a day or a year, unless the source says date."""
    readings = read_dates(text)
    if not readings:
        return None
    fields = readings[0]
    bare = _DATE_WORDS.sub("", chinese_digits(text.lower()))
    if (bare and not forced) or (not forced and (fields[1] is None or (fields[0] is None and fields[2] is None))):
        return None
    return Date(fields, _weekday(text), tuple(readings[1:]))


_CLOCK = re.compile(r"(?<![\d:])(\d{1,2})\s{0,4}[:h]\s{0,4}(\d{2})(?:\s{0,4}[:m]\s{0,4}(\d{2}))?(?![\d:])", re.I)
_DOT = re.compile(r"^\D*(\d{1,2})\.(\d{2})(?!\d)\s{0,4}(?:[ap]\.?m|$|\D)", re.I)
_HALF_DAY = re.compile(
    r"(?<=[\d\s])([ap])\.?\s?m\b\.?|\b(in the (?:morning|afternoon|evening)|at night|noon|midnight)\b|(上午"
    r"|早上|凌晨|下午|晚上|傍晚|中午)",
    re.I,
)
_PAST = re.compile(
    r"\b(\d{1,2}|quarter|half|1/4|1/2)\s{0,4}(?:minutes?|mins?)?\s{0,4}(past|after|to|before|of|till)\s{0,4}(\d{1,2})\b",
    re.I,
)
_OCLOCK = re.compile(r"\b(\d{1,2})\s{0,4}o'?\s?clock(?:\s{0,4}(?:and|,)?\s{0,4}(\d{1,2})\s{0,4}min\w{0,40})?", re.I)
_HAN_CLOCK = re.compile(
    r"(\d{1,2})\s{0,4}[点时](?:钟)?\s{0,4}(?:(\d{1,2})\s{0,4}分?|(半)|(1|3|一|三)\s{0,4}刻|整)?(?:\s{0,4}(\d{1,2})\s{0,4}秒)?"
)
_WORDS = re.compile(
    r"^\W{0,8}(\d{1,2})\s{1,4}(?:oh\s{1,4}|o\s{1,4}|0\s{0,4})?(\d{1,2})(?:\s{1,4}(\d{1,2}))?\W{0,8}(?:[ap]\.?m\.?)?\W{0,8}$",
    re.I,
)
_HOUR = re.compile(r"^\D*(\d{1,2})\s{0,4}(?:[ap]\.?m\.?)?\D*$", re.I)
_HOUR_MINUTES = re.compile(r"(\d{1,2})\s{0,4}hours?\s{0,4}(?:and|,)?\s{0,4}(\d{1,2})\s{0,4}min", re.I)


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day; `afternoon` is None if the half of the day is unknown."""

    hour: int
    minute: int | None
    second: int = 0
    afternoon: bool | None = None
    dotted: bool = False


_NOON = re.compile(r"(?:12(?::00)?\s{0,4})?\b(noon|midday|midnight)\b", re.I)


def read_time(text: str) -> Clock | None:
    """Read `3:15`, `quarter past three`, `15 minutes past 3`, `three fifteen`, `3点一刻`."""
    text = _NOON.sub(lambda m: "12:00 am" if m[1].lower() == "midnight" else "12:00 pm", text)
    half = _half(text)
    plain = re.sub(r"\ba (?=quarter|half)", "", text.lower().replace("-", " "))
    if "刻" in plain:
        plain = plain.replace("一刻", "15分").replace("三刻", "45分").replace("1刻", "15分")
    plain = english_digits(
        re.sub(r"\bhalf\b(?= past)", "30", re.sub(r"\bquarter\b(?= (?:past|to|after|before|of))", "15", plain))
    )
    plain = plain if plain.isascii() else chinese_digits(plain.replace("点", ":点"))
    plain = plain.replace(":点", "点")
    found = _hour_minute(plain)
    if found is None:
        return None
    hour, minute, second, dotted = found
    if hour > 24 or (minute or 0) > 59 or second > 59:
        return None
    if half is None and hour > 12:
        half = True
    return Clock(hour % 12, minute, second, half, dotted)


def _half(text: str) -> bool | None:
    found = _HALF_DAY.search(text)
    if found is None:
        return None
    word = (found.group(1) or found.group(2) or found.group(3)).lower()
    return word in ("p", "in the afternoon", "in the evening", "at night", "noon", "下午", "晚上", "傍晚", "中午")


def _hour_minute(text: str) -> tuple[int, int | None, int, bool] | None:
    if (found := _PAST.search(text)) is not None:
        minutes = {"quarter": 15, "half": 30, "1/4": 15, "1/2": 30}.get(found.group(1)) or int(found.group(1))
        hour = int(found.group(3))
        if found.group(2) in ("to", "before", "of", "till"):
            return (hour - 1) or 12, 60 - minutes, 0, False
        return hour, minutes, 0, False
    if (found := _CLOCK.search(text)) is not None:
        return int(found.group(1)), int(found.group(2)), int(found.group(3) or 0), False
    if (found := _OCLOCK.search(text)) is not None:
        return int(found.group(1)), int(found.group(2) or 0), 0, False
    if (found := _HAN_CLOCK.search(text)) is not None:
        minute = 30 if found.group(3) else int(found.group(2) or 0)
        return int(found.group(1)), minute, int(found.group(5) or 0), False
    if (found := _HOUR_MINUTES.search(text)) is not None:
        return int(found.group(1)), int(found.group(2)), 0, False
    if (found := _DOT.match(text)) is not None:
        return int(found.group(1)), int(found.group(2)), 0, True
    if (found := _WORDS.match(text)) is not None:
        return int(found.group(1)), int(found.group(2)), int(found.group(3) or 0), False
    if (found := _HOUR.match(text)) is not None:
        whole = re.search(r"\d\s{0,4}[ap]\.?\s?m\b", text) is not None
        return int(found.group(1)), 0 if whole else None, 0, False
    return None


@dataclass(frozen=True, slots=True)
class Time:
    """A reference that is a time of day."""

    clock: Clock
    kind: str = "time"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if guards.alternatives(low) or len(_CLOCK.findall(answer)) > 1 or re.search(r"\bbetween\b", low):
            return self._several(answer)
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        got = read_time(answer)
        if got is None:
            return incorrect(Rule.TIME)
        return self._fields(got, low)

    def normal(self, answer: str) -> str | None:
        got = read_time(answer)
        return None if got is None else _shown(got)

    def show(self) -> str:
        return _shown(self.clock)

    def _several(self, answer: str) -> Ruling:
        found = [read_time(part.group()) for part in _CLOCK.finditer(answer)]
        same = bool(found) and all(
            c is not None and (c.hour, c.minute) == (self.clock.hour, self.clock.minute) for c in found
        )
        return ambiguous(Rule.SEVERAL) if same else incorrect(Rule.SEVERAL)

    def _fields(self, got: Clock, low: str) -> Ruling:
        reference = self.clock
        if got.hour != reference.hour:
            return incorrect(Rule.TIME)
        if got.minute is None and reference.minute:
            return ambiguous(Rule.TIME_PARTIAL)
        if (got.minute or 0) != (reference.minute or 0) or got.second != reference.second:
            return incorrect(Rule.TIME)
        if got.dotted:
            return ambiguous(Rule.TIME_PARTIAL)
        if got.afternoon is not None and reference.afternoon is not None and got.afternoon != reference.afternoon:
            return incorrect(Rule.TIME)
        if (got.afternoon is None) != (reference.afternoon is None):
            return ambiguous(Rule.TIME_HALF)
        return ambiguous(Rule.SOFT) if guards.soft(low) else correct(Rule.TIME)


def _shown(clock: Clock) -> str:
    half = "" if clock.afternoon is None else " pm" if clock.afternoon else " am"
    return f"{clock.hour or 12}:{clock.minute or 0:02}" + (f":{clock.second:02}" if clock.second else "") + half


_TIME_REFERENCE = re.compile(
    r"^\s{0,4}\d{1,2}\s{0,4}[:h.]\s{0,4}\d{2}(?:\s{0,4}:\s{0,4}\d{2})?\s{0,4}(?:[ap]\.?\s?m\.?)?\s{0,4}$|^\d{1,2}\s{0,4}[ap]\.?\s?m\.?$"
    r"|o'?clock|^(?:noon|midday|midnight)$|\b(?:past|to) \w{1,40}$|[\d一二三四五六七八九十两]\s{0,4}点",
    re.I,
)


def compile_time(text: str, cues: Cues, *, forced: bool) -> Time | None:
    """Compile the reference as a time of day; `2:3` is a ratio, and `3:15` too if the question asks for one."""
    if not forced:
        if _TIME_REFERENCE.search(text) is None or cues.ratio():
            return None
        if not cues.time() and not re.search(
            r":0\d|:\d\d:|[ap]\.?\s?m\b|o'?clock|past|点|noon|midday|midnight", text, re.I
        ):
            return None
        if "." in text and ":" not in text and not re.search(r"[ap]\.?\s?m", text, re.I):
            return None
    clock = read_time(text)
    return None if clock is None else Time(clock)
