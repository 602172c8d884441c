"""Units as a dimension vector and a factor to SI, so that 90 km/h is 25 m/s and 15 mm is not 15 kg."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import pi

Dimension = tuple[int, ...]
# metre, kilogram, second, ampere, kelvin, mole, candela, angle, byte, decibel; "per cent" has none
_NONE: Dimension = (0,) * 10
PI = Fraction(pi)


def _dim(**powers: int) -> Dimension:
    names = ("m", "kg", "s", "a", "k", "mol", "cd", "rad", "b", "db")
    return tuple(powers.get(name, 0) for name in names)


LENGTH, MASS, TIME = _dim(m=1), _dim(kg=1), _dim(s=1)
AREA, VOLUME, SPEED = _dim(m=2), _dim(m=3), _dim(m=1, s=-1)
FORCE, ENERGY, POWER = _dim(kg=1, m=1, s=-2), _dim(kg=1, m=2, s=-2), _dim(kg=1, m=2, s=-3)
PRESSURE, HERTZ, _ANGLE = _dim(kg=1, m=-1, s=-2), _dim(s=-1), _dim(rad=1)
VOLT, OHM = _dim(kg=1, m=2, s=-3, a=-1), _dim(kg=1, m=2, s=-3, a=-2)
KELVIN, AMPERE, _BYTE = _dim(k=1), _dim(a=1), _dim(b=1)


@dataclass(frozen=True, slots=True)
class Unit:
    """`value * factor + offset` is in SI."""

    dimension: Dimension
    factor: Fraction
    offset: Fraction = Fraction(0)


CELSIUS = Unit(KELVIN, Fraction(1), Fraction(27315, 100))
FAHRENHEIT = Unit(KELVIN, Fraction(5, 9), Fraction(45967, 180))
# `25 C` and `77 F` are coulombs and farads by their letters; beside a temperature they are temperatures.
TEMPERATURE_LETTERS = {
    Unit(_dim(a=1, s=1), Fraction(1)): CELSIUS,
    Unit(_dim(kg=-1, m=-2, s=4, a=2), Fraction(1)): FAHRENHEIT,
}
DEGREE = Unit(_ANGLE, PI / 180)
RADIAN = Unit(_ANGLE, Fraction(1))

_PREFIXES = {
    "n": -9,
    "µ": -6,
    "μ": -6,
    "u": -6,
    "m": -3,
    "c": -2,
    "d": -1,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "p": -12,
}
_PREFIX_WORDS = {
    "nano": -9,
    "micro": -6,
    "milli": -3,
    "centi": -2,
    "deci": -1,
    "": 0,
    "kilo": 3,
    "mega": 6,
    "giga": 9,
    "tera": 12,
}
# symbol, words, dimension, factor of the unprefixed unit, prefixes of the symbol
_SI: tuple[tuple[str, tuple[str, ...], Dimension, Fraction, str], ...] = (
    ("m", ("meter", "metre"), LENGTH, Fraction(1), "pnuµμmcdk"),
    ("g", ("gram", "gramme"), MASS, Fraction(1, 1000), "nuµμmk"),
    ("s", ("second",), TIME, Fraction(1), "nuµμmp"),
    ("L", ("liter", "litre"), VOLUME, Fraction(1, 1000), "uµμmcd"),
    ("l", (), VOLUME, Fraction(1, 1000), "uµμmcd"),
    ("N", ("newton",), FORCE, Fraction(1), "mkM"),
    ("J", ("joule",), ENERGY, Fraction(1), "mkMG"),
    ("W", ("watt",), POWER, Fraction(1), "mkMG"),
    ("Pa", ("pascal",), PRESSURE, Fraction(1), "hkMG"),
    ("Hz", ("hertz",), HERTZ, Fraction(1), "kMG"),
    ("A", ("ampere", "amp"), _dim(a=1), Fraction(1), "muµμk"),
    ("V", ("volt",), VOLT, Fraction(1), "muµμk"),
    ("Ω", ("ohm",), OHM, Fraction(1), "mkM"),
    ("C", ("coulomb",), _dim(a=1, s=1), Fraction(1), "nmuµμ"),
    ("F", ("farad",), _dim(kg=-1, m=-2, s=4, a=2), Fraction(1), "npmuµμ"),
    ("T", ("tesla",), _dim(kg=1, s=-2, a=-1), Fraction(1), "m"),
    ("H", ("henry",), _dim(kg=1, m=2, s=-2, a=-2), Fraction(1), "m"),
    ("mol", ("mole",), _dim(mol=1), Fraction(1), "mk"),
    ("cal", ("calorie",), ENERGY, Fraction(4184, 1000), "k"),
    ("eV", ("electronvolt",), ENERGY, Fraction(1602176634, 10**28), "kMG"),
    ("B", ("byte",), _BYTE, Fraction(1), "kMGT"),
    ("bit", (), _BYTE, Fraction(1, 8), "kMG"),
)
_INCH = Fraction(254, 10000)
_POUND = Fraction(45359237, 10**8)
_OTHER: dict[str, Unit] = {
    **dict.fromkeys(("in", "inch", "inches", "英寸"), Unit(LENGTH, _INCH)),
    **dict.fromkeys(("ft", "foot", "feet", "英尺"), Unit(LENGTH, 12 * _INCH)),
    **dict.fromkeys(("yd", "yard", "yards", "码"), Unit(LENGTH, 36 * _INCH)),
    **dict.fromkeys(("mi", "mile", "miles", "英里"), Unit(LENGTH, 63360 * _INCH)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds", "磅"), Unit(MASS, _POUND)),
    **dict.fromkeys(("oz", "ounce", "ounces", "盎司"), Unit(MASS, _POUND / 16)),
    **dict.fromkeys(("ton", "tons", "tonne", "tonnes", "吨"), Unit(MASS, Fraction(1000))),
    **dict.fromkeys(("kilo", "kilos", "kgs", "公斤", "千克"), Unit(MASS, Fraction(1))),
    **dict.fromkeys(("克",), Unit(MASS, Fraction(1, 1000))),
    **dict.fromkeys(("毫克",), Unit(MASS, Fraction(1, 10**6))),
    **dict.fromkeys(("斤",), Unit(MASS, Fraction(1, 2))),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "分钟"), Unit(TIME, Fraction(60))),
    **dict.fromkeys(
        ("h", "hr", "hrs", "hour", "hours", "小时", "个小时", "钟头", "个钟头"), Unit(TIME, Fraction(3600))
    ),
    **dict.fromkeys(("sec", "secs", "秒"), Unit(TIME, Fraction(1))),
    **dict.fromkeys(("毫秒",), Unit(TIME, Fraction(1, 1000))),
    **dict.fromkeys(("day", "days", "天"), Unit(TIME, Fraction(86400))),
    **dict.fromkeys(("week", "weeks", "周"), Unit(TIME, Fraction(7 * 86400))),
    **dict.fromkeys(("month", "months", "个月"), Unit(TIME, Fraction(2629746))),
    **dict.fromkeys(("year", "years", "yr", "yrs", "岁", "周岁"), Unit(TIME, Fraction(31556952))),
    **dict.fromkeys(("kph", "kmh", "kmph", "km/hr"), Unit(SPEED, Fraction(10, 36))),
    **dict.fromkeys(("mph",), Unit(SPEED, 63360 * _INCH / 3600)),
    **dict.fromkeys(("knot", "knots", "kn"), Unit(SPEED, Fraction(1852, 3600))),
    **dict.fromkeys(("gal", "gallon", "gallons"), Unit(VOLUME, Fraction(3785411784, 10**12))),
    **dict.fromkeys(("hectare", "hectares", "ha", "公顷"), Unit(AREA, Fraction(10000))),
    **dict.fromkeys(("acre", "acres"), Unit(AREA, Fraction(40468564224, 10**7))),
    **dict.fromkeys(("cc", "ccm"), Unit(VOLUME, Fraction(1, 10**6))),
    **dict.fromkeys(("atm",), Unit(PRESSURE, Fraction(101325))),
    **dict.fromkeys(("bar",), Unit(PRESSURE, Fraction(100000))),
    **dict.fromkeys(("mmHg",), Unit(PRESSURE, Fraction(133322387415, 10**9))),
    **dict.fromkeys(("psi",), Unit(PRESSURE, Fraction(6894757, 1000))),
    **dict.fromkeys(("hp",), Unit(POWER, Fraction(7457, 10))),
    **dict.fromkeys(("kWh", "kilowatt-hour", "kilowatt-hours", "kilowatt hours"), Unit(ENERGY, Fraction(3600000))),
    **dict.fromkeys(("rpm",), Unit(HERTZ, Fraction(1, 60))),
    **dict.fromkeys(
        ("°C", "℃", "celsius", "degrees celsius", "degree celsius", "degrees c", "deg c", "摄氏度"),
        CELSIUS,
    ),
    **dict.fromkeys(("dB", "db", "decibel", "decibels", "分贝"), Unit(_dim(db=1), Fraction(1))),
    **dict.fromkeys(
        ("°F", "℉", "fahrenheit", "degrees fahrenheit", "degree fahrenheit", "degrees f", "华氏度"),
        FAHRENHEIT,
    ),
    **dict.fromkeys(("K", "kelvin", "kelvins"), Unit(KELVIN, Fraction(1))),
    **dict.fromkeys(("°", "deg", "degs", "degree", "degrees", "度"), DEGREE),
    **dict.fromkeys(("rad", "rads", "radian", "radians", "弧度"), RADIAN),
    **dict.fromkeys(("rev", "revolution", "revolutions"), Unit(_ANGLE, 2 * PI)),
    **dict.fromkeys(("千米", "公里"), Unit(LENGTH, Fraction(1000))),
    **dict.fromkeys(("米",), Unit(LENGTH, Fraction(1))),
    **dict.fromkeys(("分米",), Unit(LENGTH, Fraction(1, 10))),
    **dict.fromkeys(("厘米", "公分"), Unit(LENGTH, Fraction(1, 100))),
    **dict.fromkeys(("毫米",), Unit(LENGTH, Fraction(1, 1000))),
    **dict.fromkeys(("微米",), Unit(LENGTH, Fraction(1, 10**6))),
    **dict.fromkeys(("纳米",), Unit(LENGTH, Fraction(1, 10**9))),
    **dict.fromkeys(("升",), Unit(VOLUME, Fraction(1, 1000))),
    **dict.fromkeys(("毫升",), Unit(VOLUME, Fraction(1, 10**6))),
    **dict.fromkeys(("牛顿", "牛"), Unit(FORCE, Fraction(1))),
    **dict.fromkeys(("焦耳", "焦"), Unit(ENERGY, Fraction(1))),
    **dict.fromkeys(("瓦特", "瓦"), Unit(POWER, Fraction(1))),
    **dict.fromkeys(("千瓦",), Unit(POWER, Fraction(1000))),
    **dict.fromkeys(("帕",), Unit(PRESSURE, Fraction(1))),
    **dict.fromkeys(("伏特", "伏"), Unit(VOLT, Fraction(1))),
    **dict.fromkeys(("安培", "安"), Unit(_dim(a=1), Fraction(1))),
    **dict.fromkeys(("欧姆", "欧"), Unit(OHM, Fraction(1))),
    **dict.fromkeys(("Å", "angstrom", "angstroms"), Unit(LENGTH, Fraction(1, 10**10))),
    **dict.fromkeys(("ohms", "Ohm", "Ohms", "Ω"), Unit(OHM, Fraction(1))),
    **dict.fromkeys(("kb", "KB"), Unit(_BYTE, Fraction(1000))),
}


_OTHER |= dict.fromkeys(("kilohm", "kilohms"), Unit(OHM, Fraction(1000)))
_OTHER |= dict.fromkeys(("megohm", "megohms"), Unit(OHM, Fraction(10**6)))


def _table() -> dict[str, Unit]:
    """Every spelling of every unit."""
    table = dict(_OTHER)
    for symbol, words, dimension, factor, prefixes in _SI:
        for prefix in ("", *prefixes):
            power = {"h": 2}.get(prefix, _PREFIXES.get(prefix, 0))
            table.setdefault(prefix + symbol, Unit(dimension, factor * Fraction(10) ** power))
        for word in words:
            for prefix, power in _PREFIX_WORDS.items():
                unit = Unit(dimension, factor * Fraction(10) ** power)
                table.setdefault(prefix + word, unit)
                table.setdefault(prefix + word + "s", unit)
    return table


_TABLE = _table()
_LOWER = {name.lower(): unit for name, unit in _TABLE.items() if len(name) > 3}
_NAMES = "|".join(re.escape(name) for name in sorted(_TABLE, key=len, reverse=True))


def _any_case(names: Iterable[str]) -> str:
    """A pattern of names in any case, the longer first. One class a first letter: the others are skipped at once."""
    by_first: dict[str, list[str]] = {}
    for name in sorted(names, key=len, reverse=True):
        by_first.setdefault(name[0], []).append(re.escape(name[1:]))
    return "|".join(f"[{re.escape(c + c.upper())}](?i:{'|'.join(rest)})" for c, rest in by_first.items())


_ONE = (
    rf"(?:[sS](?i:quare|q\.?)\s?|[cC](?i:ubic|u\.?)\s?|平方|立方)?(?:{_any_case(_LOWER)}|{_NAMES})(?![A-Za-zµμΩ])"
    r"(?:\s?(?:\^|\*\*)\s?[{(]?\s?-?[1-4]\s?[)}]?|(?<=[a-z])[23](?!\d)|\s(?i:squared|cubed))?"
)
UNIT = re.compile(rf"{_ONE}(?:\s?(?:/|(?i:per\s|a\s(?=second|minute|hour|day))|每|·|\*|⋅)\s?{_ONE}|\s{_ONE}(?=$|\W))*")
_PIECE = re.compile(rf"(?P<join>/|(?i:per\s|a\s)|每|·|\*|⋅)?\s?(?P<one>{_ONE})\s?")
_POWER_OF = re.compile(r"(?:\^|\*\*)?\s?[{(]?\s?(-?[1-4])\s?[)}]?$")
_SQUARE = re.compile(r"(?:square|sq\.?|平方)\s?", re.I)
_CUBIC = re.compile(r"(?:cubic|cu\.?|立方)\s?", re.I)


@lru_cache(maxsize=512)
def read_unit(text: str) -> Unit | None:
    """The unit that the whole text names, or None."""
    factor, dimension, offset, at = Fraction(1), _NONE, Fraction(0), 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None or piece.end() == at:
            return None
        read = _read_one(piece.group("one"))
        if read is None:
            return None
        unit, power = read
        if (piece.group("join") or "").strip().lower() in ("/", "per", "a", "每"):
            power = -power
        factor *= unit.factor**power
        dimension = tuple(a + power * b for a, b in zip(dimension, unit.dimension, strict=True))
        offset = unit.offset if at == 0 and piece.end() >= len(text) and power == 1 else Fraction(0)
        at = piece.end()
    return Unit(dimension, factor, offset) if dimension != _NONE or factor != 1 else None


def _read_one(text: str) -> tuple[Unit, int] | None:
    power = 1
    for pattern, value in ((_SQUARE, 2), (_CUBIC, 3)):
        if (found := pattern.match(text)) is not None:
            text, power = text[found.end() :], value
    lowered = text.lower()
    for word, value in ((" squared", 2), (" cubed", 3)):
        if lowered.endswith(word):
            text, power = text[: -len(word)], value
    if text not in _TABLE and (found := _POWER_OF.search(text)) is not None:
        text, power = text[: found.start()].rstrip(), int(found.group(1))
    unit = _TABLE.get(text) or _LOWER.get(text.lower())
    return None if unit is None else (unit, power)
