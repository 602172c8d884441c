"""Expressions evaluated, exactly or at fixed points, and written in one form. Bounded, and without sympy."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping
from fractions import Fraction

from mmpr.judging.grammar import GREEK, Node, Unbounded, Unreadable, read

__all__ = [
    "Node",
    "Unbounded",
    "Unreadable",
    "canonical",
    "close",
    "evaluate",
    "exact",
    "latex",
    "points",
    "read",
    "symbols",
]
# What an honest final answer stays within; more is refused, because the work grows with it.
MAX_FACTORIAL = 170
MAX_EXPONENT = 256

CONSTANTS: Mapping[str, complex] = {"π": math.pi, "e": math.e, "i": 1j}


def symbols(node: Node) -> frozenset[str]:
    """The free symbols; π, e and i are none."""
    if node.head == "sym":
        return frozenset() if node.name in CONSTANTS else frozenset((node.name,))
    return frozenset().union(*(symbols(arg) for arg in node.args))


def exact(node: Node) -> Fraction | None:
    """The rational that the node is, or None where it is irrational, symbolic or undefined.

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
        return first + last
    if head == "*":
        return first * last
    if head == "-":
        return -first
    if head == "abs":
        return abs(first)
    if head == "/":
        return first / last if last else None
    if head == "^":
        return _exact_power(first, last)
    if head == "sqrt" and first >= 0:
        top, bottom = math.isqrt(first.numerator), math.isqrt(first.denominator)
        return Fraction(top, bottom) if top * top == first.numerator and bottom * bottom == first.denominator else None
    if head == "factorial":
        if first > MAX_FACTORIAL:
            raise Unbounded(f"factorial of more than {MAX_FACTORIAL}")
        return Fraction(math.factorial(int(first))) if first.denominator == 1 and first >= 0 else None
    return None


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if abs(exponent) > MAX_EXPONENT and base not in (0, 1, -1):
        raise Unbounded(f"exponent beyond {MAX_EXPONENT}")
    if exponent.denominator != 1 or (base == 0 and exponent < 0) or abs(exponent) > MAX_EXPONENT:
        return None
    if (base.numerator.bit_length() + base.denominator.bit_length()) * abs(exponent) > 8192:
        raise Unbounded("a power of more than 8192 bits")
    return base ** int(exponent)


_CALLS = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "sqrt": cmath.sqrt,
    "ln": cmath.log,
    "log": cmath.log10,
    "exp": cmath.exp,
}


def evaluate(node: Node, values: Mapping[str, complex]) -> complex:
    """The node's value at a point.

    Raises:
        ArithmeticError: it has none there, or overflows.
        KeyError: a symbol has no value.
    """
    head = node.head
    if head == "num":
        return complex(node.value)
    if head == "sym":
        return values[node.name] if node.name in values else CONSTANTS[node.name]
    return _evaluate_step(head, [evaluate(arg, values) for arg in node.args])


def _evaluate_step(head: str, parts: list[complex]) -> complex:
    first, last = parts[0], parts[-1]
    if head == "+":
        return first + last
    if head == "*":
        return first * last
    if head == "-":
        return -first
    if head == "/":
        return first / last
    if head == "^":
        return first**last
    if head == "abs":
        return complex(abs(first))
    if head == "cbrt":
        return complex(math.cbrt(first.real)) if first.imag == 0 else first ** (1 / 3)
    if head in ("cot", "sec", "csc"):
        return 1 / {"cot": cmath.tan, "sec": cmath.cos, "csc": cmath.sin}[head](first)
    if head == "factorial":
        if first.imag or not 0 <= first.real <= MAX_FACTORIAL:
            raise OverflowError("factorial")
        return complex(math.gamma(first.real + 1))
    try:
        return _CALLS[head](first)
    except ValueError as err:  # cmath's word for a pole: log(0)
        raise ArithmeticError(head) from err


def points(names: frozenset[str]) -> list[dict[str, complex]]:
    """Six fixed positive points, then three with signs: `|x|` is `x` at the first six only."""
    ordered = sorted(names)
    found: list[dict[str, complex]] = []
    for p in range(9):
        point: dict[str, complex] = {}
        for j, name in enumerate(ordered):
            size = 0.31 + 2.17 * math.modf((j + 1) * 0.6180339887498949 * (p + 1) + 0.1371 * p)[0]
            point[name] = -size if p >= 6 and (p + j) % 2 == 0 else size
        found.append(point)
    return found


def close(a: complex, b: complex, *, relative: float = 1e-9) -> bool:
    """Equal up to what floating point loses."""
    return abs(a - b) <= relative * max(abs(a), abs(b), 1e-6)


def canonical(node: Node) -> str:
    """One text for what differs in order, spacing and signs only."""
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


_NAMES = {char: f"\\{name}" for name, char in reversed(list(GREEK.items()))} | {"π": "\\pi"}
_BESIDE = frozenset("(\\abcdfghjklmnopqrstuvwxyz")  # what reads as a factor without a sign before it
# How tightly a node holds together; a looser one inside a tighter one takes brackets.
_SUM, _PRODUCT, _POWER = 1, 2, 3


def latex(node: Node, *, within: int = 0) -> str:
    """The node for another reader (Math-Verify), with no more brackets than it needs: they cost it most."""
    text, holds = _latex(node)
    return f"({text})" if holds < within else text


def _latex(node: Node) -> tuple[str, int]:
    head, args = node.head, node.args
    if head == "num":
        top, bottom = node.value.numerator, node.value.denominator
        return (str(top), _POWER) if bottom == 1 else (f"\\frac{{{top}}}{{{bottom}}}", _PRODUCT)
    if head == "sym":
        name, _, index = node.name.partition("_")
        return _NAMES.get(name, name) + (f"_{{{index}}}" if index else ""), _POWER
    if head == "+":
        return _latex_sum(args[0], args[1]), _SUM
    if head == "*":
        right = latex(args[1], within=_PRODUCT)
        sign = " " if right[:1] in _BESIDE else " \\cdot "
        return latex(args[0], within=_PRODUCT) + sign + right, _PRODUCT
    if head == "-":
        return f"-{latex(args[0], within=_PRODUCT)}", _SUM
    if head == "/":
        return f"\\frac{{{latex(args[0])}}}{{{latex(args[1])}}}", _PRODUCT
    if head == "^":
        return f"{latex(args[0], within=_POWER + 1 if args[0].args else _POWER)}^{{{latex(args[1])}}}", _POWER
    return _latex_function(head, latex(args[0])), _POWER


def _latex_sum(left: Node, right: Node) -> str:
    if right.head == "-":
        return f"{latex(left)} - {latex(right.args[0], within=_PRODUCT)}"
    return f"{latex(left)} + {latex(right, within=_PRODUCT if right.head == '-' else _SUM)}"


def _latex_function(head: str, argument: str) -> str:
    if head == "factorial":
        return f"({argument})!"
    if head == "abs":
        return f"|{argument}|"
    if head in ("sqrt", "cbrt"):
        return f"\\sqrt{'[3]' if head == 'cbrt' else ''}{{{argument}}}"
    return f"\\{head}({argument})"
