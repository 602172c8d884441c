"""Decide if two expressions are the same function: in a field if they are rational, else by balls at points."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

from mmpr.judging import algebra
from mmpr.judging.algebra import Ball, Node
from mmpr.judging.grammar import difference, number

_BOUNDARIES = frozenset(("∞", "∅"))
# Letters of whole numbers: an identity that holds only for whole numbers, cos(nπ) = (-1)^n, is not false.
_INTEGER_NAMES = frozenset("nkmjl")


def same_function(a: Node, b: Node) -> bool | None:
    """Whether both are the same function of their symbols; None if neither is shown.

    False is proof: the two differ wherever both are real, beyond their error bounds and a unit of each decimal's last
    place.
    """
    if algebra.canonical(a) == algebra.canonical(b):
        return True
    if (plain := _boundary(a, b)) is not None:
        return plain[0]
    left, right = branches(a), branches(b)
    if len(left) == len(right) == 1:
        return _same(a, b)
    return same_sets(left, right)


def _boundary(a: Node, b: Node) -> tuple[bool | None] | None:
    """Compare ∞ and ∅ as signs; they differ from every finite value."""
    names = [algebra.symbols(node) for node in (a, b)]
    if not any(found & _BOUNDARIES for found in names):
        return None
    alone = [node.args[0] if node.head == "-" else node for node in (a, b)]
    if all(node.head == "sym" or algebra.exact(node) is not None for node in alone):
        return (False,)
    return (None,)


def branches(node: Node) -> tuple[Node, ...]:
    """Return the node with plus for every ±, and with minus; only the node itself if it has no ±."""
    if not _has_both(node):
        return (node,)
    return _signed(node, negative=False), _signed(node, negative=True)


def _has_both(node: Node) -> bool:
    return node.head == "±" or any(map(_has_both, node.args))


def _signed(node: Node, *, negative: bool) -> Node:
    args = tuple(_signed(arg, negative=negative) for arg in node.args)
    if node.head != "±":
        return node._replace(args=args)
    return Node("-", args) if negative else args[0]


def same_sets(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
    """Whether each element of one set equals an element of the other; None if that is not shown."""
    found = [[_same(a, b) for b in right] for a in left]
    if all(any(said for said in row) for row in found) and all(any(column) for column in zip(*found, strict=True)):
        return True
    lonely = any(all(said is False for said in row) for row in found)
    return (
        False if lonely or any(all(said is False for said in column) for column in zip(*found, strict=True)) else None
    )


def _same(a: Node, b: Node) -> bool | None:
    names = algebra.symbols(a) | algebra.symbols(b)
    said = _in_field(a, b, names)
    if said is None:
        return _at_points(a, b, names)
    if said is False and (has_decimal(a, b) or _whole_beside_irrational(a, b, names)):
        return None if _at_points(a, b, names) is not False else False
    return said


def proportional_in_field(a: Node, b: Node, names: frozenset[str]) -> bool | None:
    """Whether two rational expressions differ only by a constant factor; None if the field does not show it."""
    ratios: set[int] = set()
    for seed in (3, 5, 7):
        point = {name: pow(seed * 7919 + 104729 * k, 13, algebra.PRIME) for k, name in enumerate(sorted(names))}
        try:
            x, y = algebra.residue(a, point), algebra.residue(b, point)
        except ZeroDivisionError:
            return None
        if not x or not y:
            return None
        ratios.add(x * pow(y, -1, algebra.PRIME) % algebra.PRIME)
    return True if len(ratios) == 1 and names else None


def _in_field(a: Node, b: Node, names: frozenset[str]) -> bool | None:
    agreed = 0
    for seed in (3, 5, 7, 11, 13):
        point = {name: pow(seed * 7919 + 104729 * k, 13, algebra.PRIME) for k, name in enumerate(sorted(names))}
        try:
            x, y = algebra.residue(a, point), algebra.residue(b, point)
        except ZeroDivisionError:
            continue
        if x is None or y is None:
            return None
        if x != y:
            return False
        agreed += 1
        if agreed == 3:
            return True
    return None


def has_decimal(*nodes: Node) -> bool:
    """Whether one of them contains a decimal, which may be rounded."""
    return any(node.decimals or has_decimal(*node.args) for node in nodes)


def _whole_beside_irrational(a: Node, b: Node, names: frozenset[str]) -> bool:
    """Whether one is whole and the other irrational: 20 may be e^3, rounded."""
    return not names and (algebra.exact(a) is None) != (algebra.exact(b) is None)


def _at_points(a: Node, b: Node, names: frozenset[str]) -> bool | None:
    agreed = differing = near = 0
    smooth = _entire(a) and _entire(b)
    rounds = has_decimal(a, b)
    half = 0.5 if _whole_beside_irrational(a, b, names) else 0.0
    for point in algebra.points(names) if names else [{}]:
        try:
            x, y = algebra.ball(a, point), algebra.ball(b, point)
            loose = sum(algebra.ball(node, point, rounded=True).radius for node in (a, b)) if rounds else half
        except ArithmeticError:
            continue
        gap = abs(x.value - y.value)
        size = max(abs(x.value), abs(y.value))
        if gap <= x.radius + y.radius + 1e-13 * size and x.radius + y.radius <= 1e-6 * max(size, 1e-3):
            agreed += 1
        elif gap > 4 * (x.radius + y.radius) and (not names or (_real(x) and _real(y)) or smooth):
            differing += 1
            near += gap <= loose
    if not differing:
        if _nested_power(a) or _nested_power(b):  # `(a^b)^c` is `a^{bc}` for positive a only
            return None
        return True if agreed >= (5 if names else 1) else None
    if agreed or near == differing or differing < (2 if names else 1):
        return None
    return None if _equal_at_whole_numbers(a, b, names) else False


_ENTIRE = frozenset(("num", "sym", "+", "*", "-", "sin", "cos", "exp", "sinh", "cosh"))


def _entire(node: Node) -> bool:
    """Whether the value depends on no branch: `e^{ix}` and `cos x + i sin x`, but no roots and logarithms."""
    if node.head == "^":
        base, power = node.args
        whole = power.head == "num" and power.value.denominator == 1
        return (whole or (base.head == "sym" and base.name == "e")) and _entire(base) and _entire(power)
    return node.head in _ENTIRE and all(map(_entire, node.args))


def _nested_power(node: Node) -> bool:
    if (
        node.head == "^"
        and node.args[0].head == "^"
        and algebra.symbols(Node("+", (node.args[1], node.args[0].args[1])))
    ):
        return True
    return any(map(_nested_power, node.args))


def _real(found: Ball) -> bool:
    return abs(found.value.imag) <= found.radius + 1e-12 * abs(found.value.real)


def _equal_at_whole_numbers(a: Node, b: Node, names: frozenset[str]) -> bool:
    counting = names & _INTEGER_NAMES
    if not counting:
        return False
    for whole in (3, 4, 6):
        point = {
            name: complex(whole + j if name in counting else 0.7 * (j + 1)) for j, name in enumerate(sorted(names))
        }
        try:
            x, y = algebra.evaluate(a, point), algebra.evaluate(b, point)
        except ArithmeticError:
            return False
        if abs(x - y) > 1e-9 * max(abs(x), abs(y), 1):
            return False
    return True


def same_renamed(a: Node, b: Node) -> bool:
    """Whether b is a with other letters: `1 - 2 sin² x` for `1 - 2 sin² θ`, `M` for `m`, `v` for `v_0`."""
    mine, theirs = algebra.symbols(a), algebra.symbols(b)
    old, new = sorted(theirs - mine), sorted(mine - theirs)
    if len(old) != len(new) or not 0 < len(old) <= 3:
        return False
    return any(same_function(a, renamed(b, dict(zip(old, order, strict=True)))) for order in permutations(new))


def renamed(node: Node, names: dict[str, str]) -> Node:
    """Return the node with other names for its symbols."""
    if node.head == "sym":
        return Node("sym", name=names.get(node.name, node.name))
    return node._replace(args=tuple(renamed(arg, names) for arg in node.args))


def substituted(node: Node, name: str, by: Node) -> Node:
    """Return the node with an expression in place of a symbol."""
    if node.head == "sym":
        return by if node.name == name else node
    return node._replace(args=tuple(substituted(arg, name, by) for arg in node.args))


def linear_root(node: Node, name: str) -> Node | None:
    """Return the symbol's value at which a linear node is zero, as minus the rest over the slope."""
    at = [substituted(node, name, number(value)) for value in (0, 1)]
    slope = difference(at[1], at[0])
    # `|x| - 3` is linear from 0 to 2: a negative point and one between whole numbers show that it is not
    straight = all(
        same_function(Node("+", (substituted(node, name, number(t)), _by(-t, slope), _by(-1, at[0]))), number(0))
        for t in (Fraction(2), Fraction(-5), Fraction(7, 3))
    )
    if not straight or same_function(slope, number(0)) is not False:
        return None
    return Node("/", (_by(-1, at[0]), slope))


def solved_for(node: Node, name: str) -> Node | None:
    """Return a value of a symbol at which a linear or quadratic node is zero; None if it is neither."""
    if (root := linear_root(node, name)) is not None:
        return root
    at = [substituted(node, name, number(value)) for value in (0, 1, 2, 3, -2)]
    cubic = Node("+", (at[3], _by(-3, at[2]), _by(3, at[1]), _by(-1, at[0])))
    below = Node("+", (at[4], _by(-3, at[2]), _by(8, at[1]), _by(-6, at[0])))  # the quadratic through 0, 1 and 2
    twice_square = Node("+", (at[2], _by(-2, at[1]), at[0]))
    if (
        any(same_function(rest, number(0)) is not True for rest in (cubic, below))
        or same_function(twice_square, number(0)) is not False
    ):
        return None
    slope = Node("+", (at[1], _by(-1, at[0]), _by(Fraction(-1, 2), twice_square)))
    under = Node("+", (Node("*", (slope, slope)), _by(-2, Node("*", (twice_square, at[0])))))
    return Node("/", (Node("+", (_by(-1, slope), Node("sqrt", (under,)))), twice_square))


def _by(factor: int | Fraction, node: Node) -> Node:
    return Node("*", (number(factor), node))
