"""Compare two readings: value, rounding, percent, money, unit. Other modules read them from texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mmpr.judging import algebra
from mmpr.judging.cues import Cues
from mmpr.judging.numbers import Reading
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect
from mmpr.judging.units import DEGREE, KELVIN, METRE, MINUTE, PI, RADIAN, TEMPERATURE_LETTERS, TESLA, TIME, Unit

_NEAR_PI = (Fraction(314, 100), Fraction(22, 7))  # what schools take for π: 12π is 37.68
_SCALE_STEPS = frozenset(Fraction(10) ** power for power in (2, 3, 6, 9))
_HOW_MANY = re.compile(r"\bhow many (?!per\s?cent)")
_CALORIES = re.compile(r"\bcalories?\b")  # calories of food are kilocalories
_SCALE_ASKED = re.compile(r"\b(?:thousand|million|billion|trillion)s?\b|\b000s?\b|[千万亿]")


@dataclass(frozen=True, slots=True)
class Measure:
    """The reading of the reference, and what the question says about it."""

    reading: Reading
    cues: Cues
    relative_tolerance: float | None = None

    def judge(self, got: Reading) -> Ruling:
        """Compare a reading with the reference answer; if they differ only in an omitted scale, it is undecided."""
        ruling = self._judged(got)
        if ruling.outcome != "incorrect":
            return ruling
        power = self.cues.scale()
        if power is not None and got.decimals is not None and got.decimals < 0:  # `in millions`: 5 and 5 million
            ruling = self._judged(got._replace(value=got.value / 10**power, decimals=got.decimals + power))
        if TESLA in (self.reading.unit, got.unit) and self.reading.unit != got.unit:  # `2.1T` and 2.1 trillion
            scaled = Measure(_in_trillions(self.reading), self.cues, self.relative_tolerance)._judged(
                _in_trillions(got)
            )
            ruling = scaled if scaled.outcome == "correct" else ruling
        if ruling.outcome == "incorrect" and (self._scale_apart(got) or self._scale_omitted(got)):
            return ambiguous(Rule.UNIT_MISSING)
        return ruling

    def _scale_apart(self, got: Reading) -> bool:
        """Whether only a scale differs: `5` and `5000` if the question mentions thousands; `0.5` and `50` per cent."""
        sides = (self.reading, got)
        hung = [(side.unit is not None, side.currency is not None, side.percent) for side in sides]
        one_sided, scaled = hung[0] != hung[1] and not self.cues.count(), self.cues.has(_SCALE_ASKED)
        a, b = self.reading.value, got.value
        if not (one_sided or scaled) or not a or not b or (ratio := max(a / b, b / a)) not in _SCALE_STEPS:
            return False
        return one_sided or (ratio > 100 and scaled)

    def _scale_omitted(self, got: Reading) -> bool:
        """Whether the reference has the answer's digits without its scale: 1.2 for `1.2 million`, as on an axis."""
        written, said = self.reading.decimals, got.decimals
        if written is None or said is None or not said < 0 <= written:
            return False
        return written - said in (3, 6, 9, 12) and got.value == self.reading.value * 10 ** (written - said)

    def _judged(self, got: Reading) -> Ruling:
        reference = self.reading
        if got.form == "both":
            return incorrect(Rule.SEVERAL)
        if got.currency is not None or reference.currency is not None:
            return self._money(got)
        if got.percent or reference.percent:
            return self._percent(got)
        if got.unit is not None or reference.unit is not None:
            return self._units(got)
        ruling = self._values(reference, got, Rule.FRACTION if reference.form == "fraction" else Rule.NUMBER)
        if ruling.outcome == "incorrect" and self.cues.percent() and got.value * 100 == reference.value:  # `a quarter`
            return ambiguous(Rule.NUMBER_PERCENT)
        return ruling

    def _money(self, got: Reading) -> Ruling:
        reference = self.reading
        plain = got._replace(currency=None)
        value = self._values(reference, plain, Rule.CURRENCY)
        if got.percent or got.unit is not None:
            return incorrect(Rule.CURRENCY)
        if got.currency is None or _same_currency(got.currency, reference.currency):
            return value
        if reference.currency is None:
            if reference.percent or reference.unit is not None or self.cues.percent() or self.cues.unit() is not None:
                return incorrect(Rule.CURRENCY)
            said = self.cues.money() or self.cues.silent
            return value if said or value.outcome != "correct" else ambiguous(Rule.CURRENCY)
        return incorrect(Rule.CURRENCY)

    def _percent(self, got: Reading) -> Ruling:
        reference = self.reading
        if got.unit is not None or reference.unit is not None:
            return incorrect(Rule.UNIT)
        if got.percent and reference.percent:
            return self._values(reference, got, Rule.NUMBER)
        raw = self._values(reference, got, Rule.NUMBER)
        by, finer = (Fraction(1, 100), 2) if got.percent else (Fraction(100), -2)
        decimals = None if got.decimals is None else got.decimals + finer
        scaled = self._values(reference, got._replace(value=got.value * by, decimals=decimals), Rule.NUMBER)
        if reference.percent:
            if raw.outcome == "correct":
                return raw if self.cues.percent() or self._rated() else ambiguous(Rule.UNIT_MISSING)
            if scaled.outcome == "correct":
                return scaled if got.form == "fraction" else ambiguous(Rule.NUMBER_PERCENT)
            return ambiguous(scaled.rule) if scaled.outcome == "ambiguous" else incorrect(Rule.NUMBER)
        if self.cues.percent() and not self.cues.has(_HOW_MANY):
            if raw.outcome == "incorrect" and scaled.outcome == "correct" and abs(reference.value) <= 1:
                return scaled
            return raw if scaled.outcome != "correct" else ambiguous(Rule.NUMBER_PERCENT)
        if scaled.outcome != "incorrect":  # `33.3%` for a third
            return scaled
        if raw.outcome != "correct" or self.cues.count():
            return incorrect(Rule.NUMBER_PERCENT)
        return raw if self._rated() else ambiguous(Rule.NUMBER_PERCENT)

    def _rated(self) -> bool:
        """Whether one side omits a per cent sign: `5.3%` for a rate of 5.3; 0.5 may be 50 %."""
        return abs(self.reading.value) > 1 and (self.cues.silent or self.cues.rate())

    def _units(self, got: Reading) -> Ruling:
        reference = self.reading
        got = got._replace(unit=self._as_temperature(got.unit, reference.unit or self.cues.unit()))
        expected = (
            reference.unit
            or self.cues.unit()
            or (
                DEGREE
                if self.cues.angle() and got.unit is not None and got.unit.dimension == DEGREE.dimension
                else None
            )
        )
        expected = self._as_temperature(expected, got.unit)
        if expected is not None and got.unit is not None and self.cues.has(_CALORIES):
            expected = got.unit if got.unit.dimension == expected.dimension else expected
        if reference.unit is None and reference.form == "closed" and got.unit == DEGREE:  # `π/3` and 60°
            turned = got._replace(value=got.value * DEGREE.factor, unit=None, decimals=None, form="closed")
            if (in_radians := self._values(reference, turned, Rule.UNIT)).outcome == "correct":
                return in_radians
        if expected is None and self.cues.count():  # `8 kg` is not 8 chairs
            return incorrect(Rule.UNIT)
        if expected is None and self.cues.dimension() is not None and got.unit is not None:
            if got.unit.dimension != self.cues.dimension():
                return incorrect(Rule.UNIT)
            return self._values(reference, got, Rule.UNIT)  # the image's unit, whatever it is
        if expected is None:
            raw = self._values(reference, got, Rule.UNIT)
            said = self.cues.silent or (got.unit is not None and self.cues.may_measure(got.unit.dimension))
            return raw if said or raw.outcome != "correct" else ambiguous(Rule.UNIT)
        if got.unit is None:
            return self._unit_missing(expected, got)
        if got.unit == DEGREE and expected.dimension == KELVIN:  # `26度`, `-9 degrees` where it is warm or cold
            got = got._replace(unit=expected)
        if got.unit is not None and got.unit.offset and expected == DEGREE and not self.cues.angle():
            expected = got.unit  # `-5 °C` where the reference says 零下5度
        if got.unit is None or got.unit.dimension != expected.dimension:
            return self._as_minutes(got, expected)
        return self._converted(got, got.unit, expected)

    def _converted(self, got: Reading, unit: Unit, expected: Unit) -> Ruling:
        if unit == expected:
            return self._values(self.reading, got, Rule.UNIT)
        value = (got.value * unit.factor + unit.offset - expected.offset) / expected.factor
        closed = "closed" if expected.dimension == DEGREE.dimension or got.form == "closed" else "fraction"
        return self._values(
            self.reading, got._replace(value=value, unit=expected, decimals=None, form=closed), Rule.UNIT
        )

    def _as_minutes(self, got: Reading, expected: Unit) -> Ruling:
        """Compare units of two dimensions: `20 m` are twenty minutes next to `1200 s`, if that is the same time."""
        units = (got.unit, expected)
        if got.unit is None or METRE not in units or TIME not in (got.unit.dimension, expected.dimension):
            return incorrect(Rule.UNIT)
        unit, wanted = (MINUTE if one == METRE else one for one in (got.unit, expected))
        said = self._converted(got, unit, wanted)
        return incorrect(Rule.UNIT) if said.outcome == "incorrect" else ambiguous(Rule.UNIT)

    def _as_temperature(self, unit: Unit | None, other: Unit | None) -> Unit | None:
        """Read `25 C` next to `25 °C` or `77 F` as a temperature, not as a charge."""
        if unit is None or (said := TEMPERATURE_LETTERS.get(unit)) is None or other is None or other == unit:
            return unit
        return said if other.dimension in (KELVIN, DEGREE.dimension) or other in TEMPERATURE_LETTERS else unit

    def _unit_missing(self, expected: Unit, got: Reading) -> Ruling:
        angle = expected.dimension == DEGREE.dimension
        if angle and expected != RADIAN:
            raw = self._values(self.reading, got, Rule.UNIT)
            if raw.outcome == "correct":
                return raw
            radians = got._replace(value=got.value / DEGREE.factor, form="closed", decimals=None)
            turned = self._values(self.reading, radians, Rule.UNIT)
            if got.form == "closed":
                return turned
            near = abs(radians.value - self.reading.value) <= abs(self.reading.value) / 1000
            return ambiguous(Rule.UNIT_MISSING) if near else raw
        raw = self._values(self.reading, got, Rule.UNIT)
        named = self.cues.unit() is not None and self.cues.unit() == expected
        return raw if named or raw.outcome != "correct" else ambiguous(Rule.UNIT_MISSING)

    def _values(self, reference: Reading, got: Reading, rule: Rule) -> Ruling:
        """Equal, or rounded as the question asks; undecided if a coarser or finer value rounds to the other."""
        a, b = reference.value, got.value
        if a == b:
            return correct(rule)
        closed = "closed" in (reference.form, got.form)
        if closed and algebra.alike(a, b):
            return correct(rule)
        if (a < 0) != (b < 0):
            return incorrect(rule)
        if self._tolerates(reference, got):
            return correct(Rule.NUMBER_TOLERANCE)
        if (rounded := self._rounded(reference, got)) is not None:
            return rounded
        schooled = closed and any(algebra.alike(x * near, y * PI) for near in _NEAR_PI for x, y in ((a, b), (b, a)))
        return ambiguous(Rule.NUMBER_COARSER) if schooled else incorrect(rule)

    def _tolerates(self, reference: Reading, got: Reading) -> bool:
        """Apply the source's own tolerance, before rounding: "2" for a bar of 2.05 is within 5 %."""
        if self.relative_tolerance is None or self.cues.count() or _may_be_year(reference):
            return False
        return abs(reference.value - got.value) <= abs(reference.value) * Fraction(self.relative_tolerance)

    def _rounded(self, reference: Reading, got: Reading) -> Ruling | None:
        a, b = reference.value, got.value
        finer = got.decimals is None or (reference.decimals is not None and got.decimals > reference.decimals)
        if finer and reference.decimals is not None and _rounds_to(b, a, reference.decimals):
            if self.cues.rounding() is not None and self.cues.rounding() == reference.decimals:
                return correct(Rule.NUMBER_ROUNDED)
            if reference.decimals != 0 or self.cues.rounds():  # `$8.6 million` and `$8,605,302`
                return ambiguous(Rule.NUMBER_ROUNDED)
        coarser = got.decimals is not None and (reference.decimals is None or got.decimals < reference.decimals)
        if coarser and got.decimals is not None and _rounds_up_to(a, b, got.decimals):
            limit = Fraction(2, 100) if reference.decimals is None else Fraction(1, 10)
            if abs(a - b) <= limit * abs(a) and (
                reference.decimals is None or reference.decimals > 0 or got.decimals < 0
            ):
                if (
                    reference.decimals is None
                    and self.cues.rounding() == got.decimals
                    and self.cues.rounding() is not None
                ):
                    return correct(Rule.NUMBER_ROUNDED)
                return ambiguous(Rule.NUMBER_COARSER)
        return None


def _in_trillions(reading: Reading) -> Reading:
    return (
        reading._replace(value=reading.value * 10**12, decimals=None, unit=None) if reading.unit == TESLA else reading
    )


def _may_be_year(reading: Reading) -> bool:
    """Whether a number may be a year on an axis: years have no tolerance, even if the question does not say year."""
    bare = reading.unit is None and reading.currency is None and not reading.percent
    return bare and reading.decimals == 0 and 1500 <= reading.value <= 2100


def _same_currency(a: str, b: str | None) -> bool:
    """Whether currencies may be equal; `¥` is yuan or yen."""
    return a == b or (b is not None and (a in b or b in a))


def same(a: Reading, b: Reading) -> bool:
    """Whether a quantity is written twice: `60° (π/3)`, `0.5 (50%)`, `Twelve (12)`."""
    if a.value == b.value and (a.unit is None or b.unit is None or a.unit == b.unit):
        return True
    x = a.value * a.unit.factor if a.unit else a.value / (100 if a.percent else 1)
    y = b.value * b.unit.factor if b.unit else b.value / (100 if b.percent else 1)
    return algebra.alike(x, y, relative=1e-6)


def _rounds_to(fine: Fraction, coarse: Fraction, decimals: int) -> bool:
    """Whether `fine` rounds to `coarse` at this number of decimals, halves up or down."""
    return abs(fine - coarse) * 2 <= Fraction(10) ** -decimals


def _rounds_up_to(fine: Fraction, coarse: Fraction, decimals: int) -> bool:
    """The same with halves away from zero, as people round: 12.5 is 13 and not 12."""
    scaled = abs(fine) * Fraction(10) ** decimals
    return abs(coarse) * Fraction(10) ** decimals == int(scaled + Fraction(1, 2))


def shown(reading: Reading) -> str:
    value = (
        str(reading.value)
        if reading.form == "fraction" or reading.value.denominator == 1 or abs(reading.value) > 10**300
        else f"{float(reading.value):.12g}"
    )
    hung = "%" if reading.percent else f" {reading.currency}" if reading.currency else ""
    return f"{value}{hung}{' (unit)' if reading.unit else ''}"
