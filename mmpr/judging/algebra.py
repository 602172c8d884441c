"""Evaluate expressions exactly, in a prime field, or as complex balls with an error bound. Bounded, without sympy."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from typing import NamedTuple

from mmpr.judging.grammar import Node, Unbounded, Unreadable, read

__all__ = [
    "Ball",
    "Node",
    "Unbounded",
    "Unreadable",
    "alike",
    "ball",
    "canonical",
    "close",
    "evaluate",
    "exact",
    "points",
    "read",
    "real_root",
    "residue",
    "symbols",
]
# Limits that no honest final answer exceeds; larger ones are refused, because the work grows with them.
MAX_FACTORIAL = 170  # the range of a float
MAX_EXACT_FACTORIAL = 1_000
MAX_EXPONENT = 256
# A prime that is 1 modulo 4, so that -1 has a square root: i.
PRIME = 2**61 - 31
_ROOT_OF_MINUS_ONE = pow(next(g for g in range(2, 99) if pow(g, (PRIME - 1) // 2, PRIME) != 1), (PRIME - 1) // 4, PRIME)
_EPSILON = 2.0**-51
_MAX_FIELD_EXPONENT = 10**18

CONSTANTS: Mapping[str, complex] = {"π": math.pi, "e": math.e, "i": 1j}
# In the field, π and e are two fixed elements: no rational relation between them is known.
_FIELD_CONSTANTS: Mapping[str, int] = {"π": 1618033988749894848, "e": 1414213562373095048, "i": _ROOT_OF_MINUS_ONE}


def symbols(node: Node) -> frozenset[str]:
    """Return the free symbols; π, e and i are not among them."""
    if node.head == "sym":
        return frozenset() if node.name in CONSTANTS else frozenset((node.name,))
    return frozenset().union(*map(symbols, node.args))


def exact(node: Node) -> Fraction | None:
    """Return the rational value of a node; None if it is irrational, symbolic or undefined.

    Raises:
        Unbounded: a power or factorial is too large.
    """
    if node.head == "num":
        return node.value
    parts = [exact(arg) for arg in node.args]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts) or not numbers:
        return None
    return _exact_step(node.head, numbers)


def _exact_step(head: str, parts: list[Fraction]) -> Fraction | None:
    first, last = parts[0], parts[-1]
    if head == "+":
        return sum(parts, Fraction(0))
    if head == "*":
        product = math.prod(parts, start=Fraction(1))
        _bound_bits(product)
        return product
    if head == "-":
        return -first
    if head == "abs":
        return abs(first)
    if head in ("floor", "ceil"):
        return Fraction(math.floor(first) if head == "floor" else math.ceil(first))
    if head == "/":
        return first / last if last else None
    if head == "^":
        return _exact_power(first, last)
    if head in ("sqrt", "cbrt", "root"):
        return _exact_root(first, {"sqrt": Fraction(2), "cbrt": Fraction(3)}.get(head, last))
    if head == "factorial":
        if first > MAX_EXACT_FACTORIAL:
            raise Unbounded(f"factorial of more than {MAX_EXACT_FACTORIAL}")
        return Fraction(math.factorial(int(first))) if first.denominator == 1 and first >= 0 else None
    if head == "binom" and first.denominator == last.denominator == 1 and first >= 0 and last >= 0:
        if first > 10_000:
            raise Unbounded("a binomial of more than 10,000")
        return Fraction(math.comb(int(first), int(last)))
    return None


def _bound_bits(value: Fraction) -> None:
    if value.numerator.bit_length() + value.denominator.bit_length() > 16_384:
        raise Unbounded("a number of more than 16,384 bits")


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if abs(exponent) > MAX_EXPONENT and base not in (0, 1, -1):
        raise Unbounded(f"exponent beyond {MAX_EXPONENT}")
    if exponent.denominator != 1:
        root = _exact_root(base, Fraction(exponent.denominator)) if base >= 0 else None
        return None if root is None else _exact_power(root, Fraction(exponent.numerator))
    if base in (1, -1):
        return base ** int(exponent % 2)
    if base == 0:
        return Fraction(0) if exponent > 0 else None
    if (base.numerator.bit_length() + base.denominator.bit_length()) * abs(exponent) > 8192:
        raise Unbounded("a power of more than 8192 bits")
    return Fraction(base ** int(exponent))


def _exact_root(value: Fraction, index: Fraction) -> Fraction | None:
    if index.denominator != 1 or not 2 <= index <= 64 or (value < 0 and index % 2 == 0):
        return None
    top, bottom = _whole_root(abs(value.numerator), int(index)), _whole_root(value.denominator, int(index))
    if top is None or bottom is None:
        return None
    return Fraction(top if value >= 0 else -top, bottom)


def _whole_root(value: int, index: int) -> int | None:
    if index == 2:
        root = math.isqrt(value)
    elif value.bit_length() > 900:
        return None
    else:
        root = round(value ** (1 / index))
    return root if root**index == value else None


class Ball(NamedTuple):
    """A complex value, and a bound on its distance from the true value."""

    value: complex
    radius: float


def evaluate(node: Node, values: Mapping[str, complex]) -> complex:
    """Return the value of a node at a point.

    Raises:
        ArithmeticError: it has no value there, or overflows.
        KeyError: a symbol has no value.
    """
    return ball(node, values).value


def ball(node: Node, values: Mapping[str, complex], *, rounded: bool = False) -> Ball:
    """Return the value of a node at a point with its error bound; principal values, real roots of odd degree.

    Args:
        rounded: whether a decimal may be off by one in its last place.

    Raises:
        ArithmeticError: it has no value there, overflows, or depends on a branch.
        KeyError: a symbol has no value.
    """
    head = node.head
    if head == "num":
        value = complex(node.value)
        return Ball(value, 10.0**-node.decimals if rounded and node.decimals else abs(value) * _EPSILON)
    if head == "sym":
        value = values[node.name] if node.name in values else CONSTANTS[node.name]
        return Ball(value, abs(value) * _EPSILON)
    if head == "^":
        return _ball_power(node, values, rounded=rounded)
    found = _ball_step(head, [ball(arg, values, rounded=rounded) for arg in node.args])
    if not cmath.isfinite(found.value) or not math.isfinite(found.radius):
        raise OverflowError(head)
    return found


def _ball_step(head: str, parts: list[Ball]) -> Ball:
    first, last = parts[0], parts[-1]
    if head == "+":
        value = sum(part.value for part in parts)
        return Ball(value, sum(part.radius + _EPSILON * abs(part.value) for part in parts))
    if head == "*":
        return reduce(_times, parts)
    if head == "-":
        return Ball(-first.value, first.radius)
    if head == "/":
        return _divided(first, last)
    if head == "abs":
        return Ball(complex(abs(first.value)), first.radius)
    if head in ("floor", "ceil"):
        return _stepped(head, first)
    if head == "cbrt":
        return _root(first, 3)
    if head == "root":
        if last.value.imag or last.value.real != round(last.value.real) or not 2 <= last.value.real <= 64:
            raise ArithmeticError(head)
        return _root(first, round(last.value.real))
    if head == "factorial":
        return _gamma(Ball(first.value + 1, first.radius))
    if head == "binom":
        top, below, rest = (Ball(b.value + 1, b.radius) for b in (first, last, Ball(first.value - last.value, 0.0)))
        return _divided(_gamma(top), _times(_gamma(below), _gamma(rest)))
    if head in _TURNED:
        return _function(_TURNED[head], _divided(Ball(1 + 0j, 0.0), first))
    if head in _RECIPROCALS:
        return _divided(Ball(1 + 0j, 0.0), _function(_RECIPROCALS[head], first))
    return _function(head, first)


_RECIPROCALS = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh", "sech": "cosh", "csch": "sinh"}
_TURNED = {"arcsec": "arccos", "arccsc": "arcsin", "arccot": "arctan"}


def _times(a: Ball, b: Ball) -> Ball:
    size_a, size_b = abs(a.value), abs(b.value)
    radius = size_a * b.radius + size_b * a.radius + a.radius * b.radius + _EPSILON * size_a * size_b
    return Ball(a.value * b.value, radius)


def _divided(a: Ball, b: Ball) -> Ball:
    room = abs(b.value) - b.radius
    if room <= 0:
        raise ZeroDivisionError
    value = a.value / b.value
    return Ball(value, (a.radius + abs(value) * b.radius) / room + _EPSILON * abs(value))


def _stepped(head: str, a: Ball) -> Ball:
    if a.value.imag or abs(a.value.real - round(a.value.real)) <= a.radius * 2 != 0:
        raise ArithmeticError(head)
    return Ball(complex(math.floor(a.value.real) if head == "floor" else math.ceil(a.value.real)), 0.0)


def _root(a: Ball, index: int) -> Ball:
    size = abs(a.value)
    if size <= a.radius:
        return Ball(0j, (size + a.radius) ** (1 / index))
    if a.value.imag == 0 and a.value.real < 0 and index % 2:
        value = complex(-(size ** (1 / index)))
    else:
        value = a.value ** (1 / index)
    return Ball(value, abs(value) * (2 * a.radius / (index * (size - a.radius)) + 4 * _EPSILON))


def _gamma(a: Ball) -> Ball:
    if a.value.imag or not 0 < a.value.real <= MAX_FACTORIAL + 1:
        raise OverflowError("factorial")
    value = math.gamma(a.value.real)
    return Ball(complex(value), value * (1e-13 + 12 * a.radius))


_Map = Callable[[complex], complex]
_CALLS: Mapping[str, tuple[_Map, _Map]] = {
    "sin": (cmath.sin, lambda x: cmath.cos(x)),
    "cos": (cmath.cos, lambda x: cmath.sin(x)),
    "tan": (cmath.tan, lambda x: 1 / cmath.cos(x) ** 2),
    "arcsin": (cmath.asin, lambda x: 1 / cmath.sqrt(1 - x * x)),
    "arccos": (cmath.acos, lambda x: 1 / cmath.sqrt(1 - x * x)),
    "arctan": (cmath.atan, lambda x: 1 / (1 + x * x)),
    "sinh": (cmath.sinh, lambda x: cmath.cosh(x)),
    "cosh": (cmath.cosh, lambda x: cmath.sinh(x)),
    "tanh": (cmath.tanh, lambda x: 1 / cmath.cosh(x) ** 2),
    "arcsinh": (cmath.asinh, lambda x: 1 / cmath.sqrt(1 + x * x)),
    "arccosh": (cmath.acosh, lambda x: 1 / cmath.sqrt(x * x - 1)),
    "arctanh": (cmath.atanh, lambda x: 1 / (1 - x * x)),
    "ln": (cmath.log, lambda x: 1 / x),
    "log": (cmath.log10, lambda x: 1 / x),
    "exp": (cmath.exp, lambda x: cmath.exp(x)),
}


def _function(head: str, a: Ball) -> Ball:
    """Return the value of a function. Twice its slope bounds the effect of the argument's error."""
    if head == "sqrt":
        return _root(a, 2)
    if head not in _CALLS:  # ± has two values
        raise ArithmeticError(head)
    call, slope = _CALLS[head]
    try:
        value = call(a.value)
        radius = 2 * abs(slope(a.value)) * a.radius + 4 * _EPSILON * abs(value)
    except ValueError as err:  # `cmath` raises this at a pole: log(0)
        raise ArithmeticError(head) from err
    except ZeroDivisionError:  # arcsin has no finite slope at 1; its error is the root of the argument's error
        radius = 4 * math.sqrt(a.radius) + 4 * _EPSILON
    return Ball(value, radius)


def _ball_power(node: Node, values: Mapping[str, complex], *, rounded: bool) -> Ball:
    base = ball(node.args[0], values, rounded=rounded)
    whole = exact(node.args[1]) if not symbols(node.args[1]) else None
    if whole is not None and whole.denominator == 1:
        return _whole_power(base, int(whole))
    exponent = ball(node.args[1], values, rounded=rounded)
    size = abs(base.value)
    if size <= base.radius:
        if exponent.value.real > 0 and size == 0:
            return Ball(0j, 0.0)
        raise ZeroDivisionError
    negative = base.value.imag == 0 and base.value.real < 0
    # (-8)^{1/3} is -2 for some authors and complex for others
    if negative and whole is not None and whole.denominator % 2:
        raise ArithmeticError("branch")
    if negative and whole is None and exponent.value.imag == 0:
        raise ArithmeticError("branch")
    grown = exponent.value * cmath.log(base.value)
    value = cmath.exp(grown)
    relative = abs(exponent.value) * base.radius / (size - base.radius) + abs(cmath.log(base.value)) * exponent.radius
    if value == 0:
        raise OverflowError("underflow")
    return Ball(value, abs(value) * (2 * relative + _EPSILON * (4 + abs(grown))))


def _whole_power(base: Ball, exponent: int) -> Ball:
    size = abs(base.value)
    if exponent == 0:
        return Ball(1 + 0j, 0.0)
    if size == 0 and exponent > 0:
        return Ball(0j, base.radius)
    if size <= 2 * base.radius * abs(exponent):
        raise ArithmeticError("too close to zero")
    value = base.value**exponent
    if value == 0:
        raise OverflowError("underflow")
    return Ball(value, abs(value) * abs(exponent) * (2 * base.radius / size + 2 * _EPSILON))


def residue(node: Node, values: Mapping[str, int]) -> int | None:
    """Return the value of a rational expression in the field of `PRIME` elements; None if it is not rational.

    Two that differ at a point are different expressions, exactly; two that agree at three random points are the same
    but with probability 10^-45.

    Raises:
        ZeroDivisionError: a denominator is zero there.
    """
    head = node.head
    if head == "num":
        return node.value.numerator * pow(node.value.denominator, -1, PRIME) % PRIME
    if head == "sym":
        return values.get(node.name, _FIELD_CONSTANTS.get(node.name))
    if head == "^":
        return _residue_power(node, values)
    if head not in ("+", "*", "-", "/"):
        return None
    parts = [residue(arg, values) for arg in node.args]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts):
        return None
    if head == "+":
        return sum(numbers) % PRIME
    if head == "-":
        return -numbers[0] % PRIME
    if head == "*":
        return reduce(lambda a, b: a * b % PRIME, numbers)
    return numbers[0] * _inverse(numbers[1]) % PRIME


def _inverse(value: int) -> int:
    if value == 0:
        raise ZeroDivisionError
    return pow(value, -1, PRIME)


def _residue_power(node: Node, values: Mapping[str, int]) -> int | None:
    if symbols(node.args[1]):
        return None
    base, exponent = residue(node.args[0], values), exact(node.args[1])
    if base is None or exponent is None or exponent.denominator != 1:
        return None
    if abs(exponent) > _MAX_FIELD_EXPONENT:
        raise Unbounded(f"exponent beyond {_MAX_FIELD_EXPONENT}")
    return pow(base if exponent >= 0 else _inverse(base), abs(int(exponent)), PRIME)


def points(names: frozenset[str]) -> list[dict[str, complex]]:
    """Return nine fixed points: four positive ones, two in (0, 1), where arcsin is real, three with signs for `|x|`."""
    ordered = sorted(names)
    found: list[dict[str, complex]] = []
    for p in range(9):
        point: dict[str, complex] = {}
        for j, name in enumerate(ordered):
            part = math.modf((j + 1) * 0.6180339887498949 * (p + 1) + 0.1371 * p)[0]
            size = 0.07 + 0.86 * part if 4 <= p < 6 else 0.31 + 2.17 * part
            point[name] = -size if p >= 6 and (p + j) % 2 else size
        found.append(point)
    return found


def real_root(node: Node, name: str) -> float | None:
    """Return a place in [-4, 4] where a node changes its sign and is zero, positive places first; None if not found."""
    before: tuple[float, float] | None = None
    for step in (*range(44), *range(-43, 1)):
        at = step * 0.0931
        before = None if step == -43 else before
        value = _real_value(node, name, at)
        if before is not None and value is not None and before[1] * value < 0:
            low, high, falls = before[0], at, value < 0
            for _ in range(80):
                middle = (low + high) / 2
                if (there := _real_value(node, name, middle)) is None:
                    return None
                low, high = (middle, high) if (there > 0) == falls else (low, middle)
            return low if abs(_real_value(node, name, low) or 0.0) < 1e-9 else None  # the sign also changes at a pole
        before = None if value is None else (at, value)
    return None


def _real_value(node: Node, name: str, at: float) -> float | None:
    try:
        value = evaluate(node, {name: complex(at)})
    except ArithmeticError:
        return None
    return value.real if abs(value.imag) < 1e-12 else None


def close(a: float, b: float, *, relative: float = 1e-9) -> bool:
    """Whether two values are equal up to floating-point error."""
    return abs(a - b) <= relative * max(abs(a), abs(b), 1e-6)


def alike(a: Fraction, b: Fraction, *, relative: float = 1e-9) -> bool:
    """The same for fractions that no float can hold: 185!."""
    return abs(a - b) <= Fraction(relative) * max(abs(a), abs(b), Fraction(1, 10**6))


def canonical(node: Node) -> str:
    """Return one text for expressions that differ only in order, spacing and signs."""
    if node.head == "num":
        return str(node.value)
    if node.head == "sym":
        return node.name
    if node.head in "+*":
        return f"({node.head.join(sorted(canonical(part) for part in _flat(node, node.head)))})"
    return f"{node.head}({','.join(canonical(arg) for arg in node.args)})"


def _flat(node: Node, head: str) -> list[Node]:
    if node.head != head:
        return [node]
    return [part for arg in node.args for part in _flat(arg, head)]
