"""Find every number that a text mentions, with sign, scale, percent, currency and unit, and the remaining words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mmpr.judging import algebra
from mmpr.judging.number_words import digits
from mmpr.judging.tables import meanings
from mmpr.judging.units import UNIT, Unit, read_unit


class Reading(NamedTuple):
    """One number as written.

    `decimals` is the precision of a decimal number, None for fractions and closed forms; `form` is `plain`, `fraction`
    or `closed` (holds a root or π: `value` is then a close approximation).
    """

    value: Fraction
    decimals: int | None = 0
    form: str = "plain"
    percent: bool = False
    currency: str | None = None
    unit: Unit | None = None


class Mention(NamedTuple):
    """A reading and its place."""

    start: int
    end: int
    reading: Reading


_CURRENCIES = meanings("currencies")  # `69 cents` is a part of any currency with cents
_SCALES = {name: int(power) for name, power in meanings("scales").items()} | {"m": 6}
_LIT = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d{1,60})?|[1-9]\d{0,2}(?:[ ]\d{3})+(?![\d/])|\d{1,60}(?:\.\d{1,60})?|\.\d{1,60})"
)
_BEFORE = r"US\$|A\$|C\$|HK\$|[$€£¥₹₩¢]|(?:USD|EUR|GBP|JPY|CNY|RMB|INR|CAD|AUD|CHF|HKD|Rs\.?|usd|eur|rmb)(?=\s?[-\d.])"
_AFTER = (
    r"(?i:u\.?s\.? dollars?|dollars?|euros?|pounds sterling|yen|yuan|rupees?|bucks|usd|eur|gbp|jpy|cny|rmb|inr)\b"
    r"|[€£¥$]|美元|欧元|英镑|日元|元|人民币|块钱"
)
_MENTION = re.compile(
    rf"""(?P<sign0>(?:(?<![\w)\]%°.])|(?<=[为是于得成到约示值温]))[-+±]\s?(?=[$€£¥₹]))?(?P<before>{_BEFORE})?\s?
    (?P<sign>(?:(?<![\w)\]%°])|(?<=[为是于得成到约示值温]))[-+±]\s?)?(?P<before2>[$€£¥₹])?
    (?:(?P<whole>\d{{1,60}})[\s-]+(?P<mixtop>\d{{1,60}})\s?/\s?(?P<mixbottom>\d{{1,60}})
      |(?P<power>10)\s?(?:\^|\*\*)\s?[{{(]?\s?(?P<powerexp>[-+]?\d{{1,60}})\s?[)}}]?
      |(?P<lit>{_LIT})(?:\s?[×x*·]\s?10\s?(?:\^|\*\*)\s?[{{(]?\s?(?P<exp>[-+]?\s?\d{{1,60}})\s?[)}}]?|[eE](?P<e>[-+]?\d{{1,60}})(?![\d.]))?
       (?:\s?/\s?(?P<den>{_LIT})(?![\d/]))?)
    (?:\s?(?P<scale>hundred|thousand|million|billion|trillion|百万|千万|[百千万亿]|(?:mln|mil|mn|bn|bln|[kKMB])(?![\w°/])|(?(before)m(?![\w°/])|(?!)))s?)?
    (?P<percent>\s?(?:%|\b(?i:percentage points?|percent|per\s?cent|pct)\b))?
    (?:\s?(?P<after>{_AFTER}))?""",
    re.VERBOSE,
)
_DIGIT = re.compile(r"\d")
_MAX_DIGITS = 60
_MAX_POWER = 400
_SIMPLE = re.compile(r"[-+]?\d{1,18}(?:\.(\d{1,18}))?$")


@lru_cache(maxsize=256)
def read_simple(text: str) -> Reading | None:
    """Read `13`, `-5`, `0.38` fast."""
    found = _SIMPLE.match(text)
    if found is None:
        return None
    decimals = found.group(1)
    if not decimals:
        return Reading(Fraction(int(text)))
    return Reading(Fraction(int(text.replace(".", "")), 10 ** len(decimals)), len(decimals))


_FRAC = re.compile(
    r"\\frac\s{0,4}(?:\{\s{0,4}(-?[\d,.]+)\s{0,4}\}\s{0,4}\{\s{0,4}(-?[\d,.]+)\s{0,4}\}|(\d)\s{0,4}(\d)|\{\s{0,4}(\d{1,60})\s{0,4}\}\s{0,4}(\d)|"
    r"(\d)\s{0,4}\{\s{0,4}(\d{1,60})\s{0,4}\})"
)


def _frac(found: re.Match[str]) -> str:
    top, bottom = (part for part in found.groups() if part is not None)
    gap = " " if found.start() and found.string[found.start() - 1].isdigit() else ""
    return f"{gap}{top}/{bottom}"


_ONE_IN = re.compile(r"^(\d{1,4}) in (\d{1,7})$")  # `1 in 4`
_OUT_OF = re.compile(r"(?<=\d)\s{1,4}out\s{1,4}of\s{1,4}(?:the\s{1,4}|every\s{1,4})?(?=\d)", re.I)


_JOIN = r"\s{0,4}(?:,|and\b|&)?\s{0,4}"
_COUNT = r"(?<![\w.,:/])(\d{1,9}(?:\.\d{1,9})?)"
_LAST = r"(\d{1,9}(?:\.\d{1,9})?)\s{0,4}-?\s{0,4}"
_HOURS, _MINUTES = r"\s{0,4}-?\s{0,4}(?:hours?|hrs?\.?|h|小时)", r"(?:minutes?|mins?\.?|m|分钟?)"
# One quantity in two units, the second the finer: its pattern, how many of it the first unit holds, its name.
_COMPOUNDS = (
    (re.compile(rf"{_COUNT}{_HOURS}{_JOIN}{_LAST}{_MINUTES}(?![\w^/])", re.I), 60, "min"),
    (
        re.compile(rf"{_COUNT}\s{{0,4}}-?\s{{0,4}}{_MINUTES}{_JOIN}{_LAST}(?:seconds?|secs?\.?|s|秒)(?![\w^/])", re.I),
        60,
        "s",
    ),
    (re.compile(rf"{_COUNT}\s{{0,4}}days?{_JOIN}{_LAST}(?:hours?|hrs?|h)(?![\w^/])", re.I), 24, "h"),
    (re.compile(rf"{_COUNT}\s{{0,4}}weeks?{_JOIN}{_LAST}days?(?![\w^/])", re.I), 7, "days"),
    (re.compile(rf"{_COUNT}\s{{0,4}}years?{_JOIN}{_LAST}months?(?![\w^/])", re.I), 12, "months"),
    (
        re.compile(
            rf"{_COUNT}\s{{0,4}}-?\s{{0,4}}(?:feet|foot|ft\.?|['′]){_JOIN}{_LAST}(?:inches|inch|in\.?|[\"″]|'')(?![\w^/])",
            re.I,
        ),
        12,
        "in",
    ),
    (re.compile(rf"{_COUNT}\s{{0,4}}(?:pounds?|lbs?\.?){_JOIN}{_LAST}(?:ounces?|oz\.?)(?![\w^/])", re.I), 16, "oz"),
    (
        re.compile(rf"{_COUNT}\s{{0,4}}(?:m|met(?:er|re)s?){_JOIN}{_LAST}(?:cm|centimet(?:er|re)s?)(?![\w^/])", re.I),
        100,
        "cm",
    ),
    (re.compile(rf"{_COUNT}\s{{0,4}}(?:kg|kilograms?){_JOIN}{_LAST}(?:g|grams?)(?![\w^/])", re.I), 1000, "g"),
    (
        re.compile(rf"{_COUNT}\s{{0,4}}(?:km|kilomet(?:er|re)s?){_JOIN}{_LAST}(?:m|met(?:er|re)s?)(?![\w^/])", re.I),
        1000,
        "m",
    ),
)
_AFTER_DIGIT = re.compile(r"\d\s{0,4}-?\s{0,4}['′¢a-zA-Z小分]")
_NUMERALS = re.compile(r"\d[\d.]*")
_FEET_MARK = re.compile(rf"^\s{{0,4}}{_COUNT}\s{{0,4}}['′]\s{{0,4}}{_LAST}$")
_CENTS = (
    (
        re.compile(
            rf"(?:\$\s?)?{_COUNT}\s{{0,4}}(?:dollars?|bucks?){_JOIN}(\d{{1,2}})\s{{0,4}}(?:cents?|¢)(?!\w)", re.I
        ),
        "$",
    ),
    (re.compile(rf"(?:€\s?)?{_COUNT}\s{{0,4}}euros?{_JOIN}(\d{{1,2}})\s{{0,4}}(?:cents?)(?!\w)", re.I), "€"),
)
_CENTS_ALONE = re.compile(r"(?<![\w.,:/])(\d{1,9})\s{0,4}-?\s{0,4}(?:cents?\b|¢)", re.I)
_SPACED_GROUPS = re.compile(r"(?<=\d)(?:\{,\}|,\s{0,4}\\!\s{0,4})(?=\d{3}(?!\d))")
_AN_HOUR = re.compile(r"\ban?\s(?=(?:hour|minute|day|week|month|year|foot|pound|dollar) and\b)", re.I)
_INDIAN = re.compile(r"(?<![\d,.])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")


@lru_cache(maxsize=256)
def plain_numbers(text: str) -> str:
    """Turn `2\\frac{1}{2}` into `2 1/2`, `3 out of 4` into `3/4`, `1 hour 45 minutes` into `105 min`, also words."""
    if "\\frac" in text:
        text = _FRAC.sub(_frac, text)
    text = digits(_AN_HOUR.sub("1 ", text) if " and" in text else text)
    if "," in text:
        text = _INDIAN.sub(lambda m: m.group().replace(",", ""), _SPACED_GROUPS.sub(",", text))
    text = _one_unit(text)
    if " in " in text:
        text = _ONE_IN.sub(r"\1/\2", text)
    return _OUT_OF.sub("/", text) if "out" in text.lower() else text


def _one_unit(text: str) -> str:
    """Join quantities in two units: `5 ft 10 in` -> `70 in`, `4 dollars and 50 cents` -> `$4.50`."""
    if len(text) > 400 or _AFTER_DIGIT.search(text) is None:
        return text
    if len(_NUMERALS.findall(text)) < 2:
        return _CENTS_ALONE.sub(_in_cents, text) if "cent" in text.lower() or "¢" in text else text
    for pattern, held, name in _COMPOUNDS:
        text = pattern.sub(lambda m, held=held, name=name: _finer(m, held) + " " + name, text)  # type: ignore[misc]
    text = _FEET_MARK.sub(lambda m: _finer(m, 12) + " in", text)
    for pattern, sign in _CENTS:
        text = pattern.sub(lambda m, sign=sign: f"{sign}{m.group(1)}.{int(m.group(2)):02}", text)  # type: ignore[misc]
    return _CENTS_ALONE.sub(_in_cents, text)


def _in_cents(found: re.Match[str]) -> str:
    return f"¢{int(found.group(1)) // 100}.{int(found.group(1)) % 100:02}"


def _finer(found: re.Match[str], held: int) -> str:
    value = Fraction(found.group(1)) * held + Fraction(found.group(2))
    return str(value) if value.denominator == 1 else f"{float(value):.6f}".rstrip("0")


@lru_cache(maxsize=256)
def mentions(text: str) -> tuple[Mention, ...]:
    """Return every number of the text, in order.

    Raises:
        algebra.Unbounded: a number is too long or its power too large.
    """
    found: list[Mention] = []
    at = 0
    # A number begins at most this many characters before its first digit: a sign, a currency, a point and blanks.
    while (digit := _DIGIT.search(text, at)) is not None:
        match = _MENTION.search(text, max(at, digit.start() - 12))
        if match is None:
            break
        mention = _mention(text, match, follows=bool(found))
        found.append(mention)
        at = max(mention.end, match.end())
    return tuple(found)


def _mention(text: str, match: re.Match[str], *, follows: bool) -> Mention:
    value, decimals, form = _value(match)
    sign = (match.group("sign") or "") + (match.group("sign0") or "")
    operator = follows and sign.endswith(" ")  # `13 - 2` is no list of 13 and -2
    if "-" in sign and not operator:
        value = -value
    if "±" in sign:
        form = "both"
    scale = match.group("scale")
    if scale is not None:
        power = _SCALES[scale]
        value, decimals = value * 10**power, None if decimals is None else decimals - power
    before = match.group("before") or match.group("before2") or match.group("after")
    currency = _CURRENCIES.get(before.lower().strip(), "other") if before else None
    end, unit = match.end(), None
    if currency is None and match.group("percent") is None:
        end, unit = _unit_after(text, end)
    percent = match.group("percent") is not None
    return Mention(match.start(), end, Reading(value, decimals, form, percent, currency, unit))


def _number(literal: str) -> Fraction:
    if len(literal) > _MAX_DIGITS:
        raise algebra.Unbounded("a number of more than 60 digits")
    whole, _, decimals = literal.replace(",", "").replace(" ", "").partition(".")
    return Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(whole))


def _value(match: re.Match[str]) -> tuple[Fraction, int | None, str]:
    if (whole := match.group("whole")) is not None:
        bottom = _number(match.group("mixbottom"))
        if bottom == 0:
            raise algebra.Unbounded("division by zero")
        return _number(whole) + _number(match.group("mixtop")) / bottom, None, "fraction"
    if match.group("power") is not None:
        return _ten_to(match.group("powerexp")), 0, "plain"
    literal = match.group("lit")
    value = _number(literal)
    decimals = len(literal.partition(".")[2])
    power = match.group("exp") or match.group("e")
    if power is not None:
        exponent = _ten_to(power)
        value, decimals = value * exponent, decimals - int(power.replace(" ", ""))
    bottom_text = match.group("den")
    if bottom_text is None:
        return value, decimals, "plain"
    bottom = _number(bottom_text)
    if bottom == 0:
        raise algebra.Unbounded("division by zero")
    return value / bottom, None, "fraction"


def _ten_to(power: str) -> Fraction:
    power = power.replace(" ", "")
    if len(power) > 5 or abs(int(power)) > _MAX_POWER:
        raise algebra.Unbounded(f"a power of ten beyond {_MAX_POWER}")
    return Fraction(10) ** int(power)


_INCH_AS_WORD = re.compile(r"in\s{1,4}[a-zA-Z]|a\s|(?:min|bar|C|A|F|B|V|T|H)\s{1,4}[a-z]")


# `13`, `-5 cm`, `$4.50`, `3/4`, `62 %`, `9.8 m/s^2`: no words, no two units, no other way to read them.
_QUANTITY = re.compile(
    r"-?[$€£]?\d{1,15}(?:(?:,\d{3})*(?:\.\d{1,15})?\s?(?:[%°]|[A-Za-z°µΩ]{1,16}(?:/[A-Za-z]{1,9})?(?:\^\{?-?\d\}?|[²³])?)?|/\d{1,15})$"
)


@lru_cache(maxsize=256)
def read_quantity(text: str) -> Reading | None:
    """Read a text that is one number with its currency, per cent or unit, fast; None for any other text."""
    if (simple := read_simple(text)) is not None or _QUANTITY.match(text) is None:
        return simple
    found = mentions(text)
    reading = found[0].reading
    if len(found) > 1 or found[0].start or found[0].end < len(text):
        return None
    return None if reading.form == "fraction" and reading.value.denominator == 1 else reading


@lru_cache(maxsize=256)
def _unit_first(tail: str) -> tuple[int, Unit | None]:
    """Return the unit at the beginning of the text after a number, and its length."""
    start = len(tail) - len(tail.lstrip(" -{"))
    match = UNIT.match(tail, start)
    if match is None or _INCH_AS_WORD.match(tail, start) is not None:  # `5 in the jar`
        return 0, None
    unit = read_unit(match.group().strip())
    return (0, None) if unit is None else (match.end(), unit)


def _unit_after(text: str, end: int) -> tuple[int, Unit | None]:
    length, unit = _unit_first(text[end:]) if end < len(text) else (0, None)
    return end + length, unit


_CLOSED = re.compile(r"[π√∛^!(*×·/+]|\\(?:frac|sqrt|pi)|sqrt|\bpi\b|(?<=\d)\s{0,4}-\s{0,4}(?=\d)")
_ALGEBRAIC = re.compile(r"(?:[\d\s.,+\-*/^(){}\[\]π√∛×·÷!|]|\\(?:frac|sqrt|pi)|\b(?:sqrt|pi)(?![a-z]))+")
_PERCENT = re.compile(r"\s?(?:%|percent\b)")
_X_TIMES = re.compile(r"(?<=\d)\s{0,4}x\s{0,4}(?=\d)")
_MIXED = re.compile(r"(?<![\d.])(\d{1,9}) (\d{1,9}/\d{1,9})(?![\d.])")  # `2 2/3π`


@lru_cache(maxsize=256)
def read_closed(text: str) -> Mention | None:
    """Read a closed form at the start of the text: `2\\sqrt{5}`, `π/3 radians`, `(3+4)*2`; None if there is none.

    Raises:
        algebra.Unbounded: it is too large to evaluate.
    """
    if _CLOSED.search(text) is None:
        return None
    text = _X_TIMES.sub(" * ", text)
    match = _ALGEBRAIC.match(text)
    if match is None or not match.group().strip(" ,.-()"):
        return None
    body = match.group().rstrip(" ,.")
    try:
        reading = closed_value(algebra.read(_MIXED.sub(r"(\1+\2)", body)))
    except algebra.Unreadable:
        return None
    if reading is None:
        return None
    end, unit = _unit_after(text, len(body))
    percent = _PERCENT.match(text, end)
    if percent is not None:
        return Mention(0, percent.end(), reading._replace(percent=True))
    return Mention(0, end, reading._replace(unit=unit))


def closed_value(node: algebra.Node) -> Reading | None:
    """Return the real number of an expression without symbols, or None.

    Raises:
        algebra.Unbounded: it is too large to evaluate.
    """
    if algebra.symbols(node):
        return None
    value = algebra.exact(node)
    if value is not None:
        return Reading(value, None, "fraction" if value.denominator != 1 else "plain")
    try:
        number = algebra.evaluate(node, {})
    except OverflowError as err:
        raise algebra.Unbounded("overflow") from err
    except (ArithmeticError, KeyError):
        return None
    if abs(number.imag) > 1e-12 or number.real in (float("inf"), float("-inf")) or number.real != number.real:
        return None
    return Reading(Fraction(number.real), None, "closed")
