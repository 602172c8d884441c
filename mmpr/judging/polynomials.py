"""Proof that two expressions are one rational function; roots and functions count as symbols. Exact and bounded."""

from __future__ import annotations

from fractions import Fraction

from mmpr.judging.algebra import Node, canonical

# A product of sums grows fast: beyond this the points and the second opinion have to do.
_MAX_TERMS = 120
_MAX_POWER = 12

Monomial = tuple[tuple[str, int], ...]
Polynomial = dict[Monomial, Fraction]
_ONE: Polynomial = {(): Fraction(1)}


class _TooLarge(ValueError):
    """More terms than are worth expanding."""


def proven_equal(a: Node, b: Node) -> bool:
    """Whether both expand to the same rational function. False says nothing: `sin²` is `1 - cos²` all the same."""
    try:
        top_a, bottom_a = _expanded(a)
        top_b, bottom_b = _expanded(b)
        return bool(bottom_a and bottom_b) and _times(top_a, bottom_b) == _times(top_b, bottom_a)
    except _TooLarge:
        return False


def _expanded(node: Node) -> tuple[Polynomial, Polynomial]:
    """The node as numerator and denominator."""
    head = node.head
    if head == "num":
        return ({(): node.value} if node.value else {}), _ONE
    if head == "-":
        top, bottom = _expanded(node.args[0])
        return {monomial: -factor for monomial, factor in top.items()}, bottom
    if head == "^":
        return _power(node)
    if head not in ("+", "*", "/"):
        return {((canonical(node), 1),): Fraction(1)}, _ONE
    (top_a, bottom_a), (top_b, bottom_b) = _expanded(node.args[0]), _expanded(node.args[1])
    if head == "*":
        return _times(top_a, top_b), _times(bottom_a, bottom_b)
    if head == "/":
        return _times(top_a, bottom_b), _times(bottom_a, top_b)
    if bottom_a == bottom_b:
        return _plus(top_a, top_b), bottom_a
    return _plus(_times(top_a, bottom_b), _times(top_b, bottom_a)), _times(bottom_a, bottom_b)


def _power(node: Node) -> tuple[Polynomial, Polynomial]:
    base, exponent = node.args
    sign = 1
    if exponent.head == "-":
        sign, exponent = -1, exponent.args[0]
    if exponent.head != "num" or exponent.value.denominator != 1 or abs(exponent.value) > _MAX_POWER:
        return {((canonical(node), 1),): Fraction(1)}, _ONE
    top, bottom = _expanded(base)
    whole_top, whole_bottom = _ONE, _ONE
    for _ in range(abs(int(exponent.value))):
        whole_top, whole_bottom = _times(whole_top, top), _times(whole_bottom, bottom)
    return (whole_top, whole_bottom) if sign * exponent.value >= 0 else (whole_bottom, whole_top)


def _plus(a: Polynomial, b: Polynomial) -> Polynomial:
    found = dict(a)
    for monomial, factor in b.items():
        total = found.get(monomial, Fraction(0)) + factor
        if total:
            found[monomial] = total
        else:
            del found[monomial]
    return found


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    if len(a) * len(b) > _MAX_TERMS**2:
        raise _TooLarge
    found: Polynomial = {}
    for one, factor in a.items():
        for other, by in b.items():
            powers = dict(one)
            for name, power in other:
                powers[name] = powers.get(name, 0) + power
            monomial = tuple(sorted(powers.items()))
            found[monomial] = found.get(monomial, Fraction(0)) + factor * by
    found = {monomial: factor for monomial, factor in found.items() if factor}
    if len(found) > _MAX_TERMS:
        raise _TooLarge
    return found
