"""Numbers that nobody can write out, as `9^{9^9}`: their value stays unread, but 12 they are not."""

from __future__ import annotations

import math

from mmpr.judging import algebra
from mmpr.judging.algebra import Node
from mmpr.judging.limits import MAX_NESTING, nesting
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different

_MAX_CHARS = 200
# Well inside the range of a float.
_VAST_BITS = 1_000.0


def beyond(reference: str, answer: str) -> Ruling:
    """Two numbers of which at least one is too large to evaluate: what powers of a prime field or sheer size show."""
    try:
        mine, theirs = _read(reference), _read(answer)
        sizes = [_least_bits(node) for node in (mine, theirs)]
        if (max(sizes) > _VAST_BITS and _ordinary(mine if sizes[0] < sizes[1] else theirs)) or (
            _divides_by_zero(theirs) and _ordinary(mine)
        ):
            return different(Rule.LIMIT)
        if _rounded(mine) or _rounded(theirs):
            return ambiguous(Rule.LIMIT)
        a, b = algebra.residue(mine, {}), algebra.residue(theirs, {})
    except (algebra.Unreadable, algebra.Unbounded, ArithmeticError):
        return ambiguous(Rule.LIMIT)
    if a is None or b is None:
        return ambiguous(Rule.LIMIT)
    return correct(Rule.EXPRESSION) if a == b else different(Rule.EXPRESSION)


def _read(text: str) -> Node:
    if len(text) > _MAX_CHARS or nesting(text) > MAX_NESTING:
        raise algebra.Unbounded(text)
    node = algebra.read(text)
    if algebra.symbols(node):
        raise algebra.Unreadable(text)
    return node


def _rounded(node: Node) -> bool:
    return bool(node.decimals) or any(map(_rounded, node.args))


def _ordinary(node: Node) -> bool:
    try:
        return bool(abs(algebra.evaluate(node, {})) < 2.0**_VAST_BITS)
    except ArithmeticError:
        return False


def _divides_by_zero(node: Node) -> bool:
    """Whether the expression divides by zero: `1/0` is no number."""
    if node.head != "/":
        return False
    top, bottom = (algebra.exact(arg) for arg in node.args)
    return bottom == 0 and bool(top)


def _least_bits(node: Node) -> float:
    """Return a lower bound of the base-2 logarithm of the absolute value; minus infinity if none is known."""
    if node.head == "num":
        return math.log2(node.value) if node.value > 0 else -math.inf
    if node.head not in ("-", "*", "^", "factorial"):
        return -math.inf
    parts = [_least_bits(arg) for arg in node.args]
    if node.head == "-":
        return parts[0]
    if node.head == "*":
        return sum(parts) if min(parts) > 0 else -math.inf
    if node.head == "factorial":  # n! is at least (n/3)^n
        return _times_two_to(parts[0], parts[0] - math.log2(3)) if parts[0] > 2 else -math.inf
    signed = node.args[1].head == "-"
    return -math.inf if signed or parts[0] < 1 else _times_two_to(parts[1], parts[0])


def _times_two_to(power: float, factor: float) -> float:
    return math.inf if power > 60 else 2.0**power * factor
