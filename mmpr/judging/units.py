"""Units as a dimension vector and a factor to SI: 90 km/h is 25 m/s, and 15 mm is not 15 kg."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import pi

from mmpr.judging.tables import entries

Dimension = tuple[int, ...]
_BASES = ("m", "kg", "s", "a", "k", "mol", "cd", "rad", "b", "db")  # "per cent" has no dimension
_NONE: Dimension = (0,) * len(_BASES)
PI = Fraction(pi)


def _read_dimension(text: str) -> Dimension:
    """Read a dimension such as `m1 s-2`."""
    powers = {base.rstrip("-0123456789"): int(base.lstrip("abcdefghijklmnopqrstuvwxyz")) for base in text.split()}
    return tuple(powers.get(base, 0) for base in _BASES)


DIMENSIONS = {name: _read_dimension(powers[0]) for name, powers in entries("dimensions")}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit; `value * factor + offset` is in SI."""

    dimension: Dimension
    factor: Fraction
    offset: Fraction = Fraction(0)


_PREFIXES = dict(zip("pnµμumcd kMGT", (-12, -9, -6, -6, -6, -3, -2, -1, 0, 3, 6, 9, 12), strict=True)) | {"h": 2}
_PREFIX_WORDS_TEXT = "nano -9 micro -6 milli -3 centi -2 deci -1 kilo 3 mega 6 giga 9 tera 12"
_PREFIX_WORDS = dict(zip(_PREFIX_WORDS_TEXT.split()[::2], map(int, _PREFIX_WORDS_TEXT.split()[1::2]), strict=True))
_OF_CIRCLES = {"π/180": PI / 180, "2π": 2 * PI}


def _read_value(text: str) -> Unit:
    """Read `kelvin 5/9 + 45967/180`: the name of a dimension, a factor, and an optional offset."""
    name, factor, *offset = text.replace("+ ", "").split()
    value = _OF_CIRCLES.get(factor) or Fraction(factor)
    return Unit(DIMENSIONS[name], value, Fraction(offset[0]) if offset else Fraction(0))


def _table() -> dict[str, Unit]:
    """Return every spelling of every unit."""
    table = {name: _read_value(value) for value, names in entries("units") for name in names}
    for value, (symbol, *words) in entries("prefixed units"):
        dimension, factor, prefixes = value.split(" ")
        for prefix in ("", *prefixes):
            power = _PREFIXES[prefix or " "]
            table.setdefault(prefix + symbol, Unit(DIMENSIONS[dimension], Fraction(factor) * Fraction(10) ** power))
        for word in words:
            for prefix, power in {"": 0, **_PREFIX_WORDS}.items():
                unit = Unit(DIMENSIONS[dimension], Fraction(factor) * Fraction(10) ** power)
                table.setdefault(prefix + word, unit)
                table.setdefault(prefix + word + "s", unit)
    return table


_TABLE = _table()
CELSIUS, FAHRENHEIT, DEGREE, RADIAN, TESLA, METRE, MINUTE = (
    _TABLE[name] for name in ("°C", "°F", "°", "rad", "T", "m", "min")
)
# `25 C` and `77 F` are coulombs and farads by their letters; next to a temperature they are temperatures.
TEMPERATURE_LETTERS = {_TABLE["C"]: CELSIUS, _TABLE["F"]: FAHRENHEIT}
KELVIN, TIME = DIMENSIONS["temperature"], DIMENSIONS["time"]
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
    """Return the unit that the whole text names, or None."""
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
