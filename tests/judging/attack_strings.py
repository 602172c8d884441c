"""Every regular expression of a package, and strings made from a pattern's own letters that could hang it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_CATEGORIES = {
    codes.CATEGORY_DIGIT: "7",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_DIGIT: "x",
    codes.CATEGORY_NOT_SPACE: "x",
    codes.CATEGORY_NOT_WORD: "-",
}
_CALLS = ("search", "match", "fullmatch", "sub", "split", "findall", "finditer", "compile", "subn")


def modules(*names: str) -> list[ModuleType]:
    """The modules of these names, and all that are under them."""
    found = []
    for name in names:
        module = importlib.import_module(name)
        found.append(module)
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            if not info.name.endswith((".worker", ".__main__")):
                found.append(importlib.import_module(info.name))
    return found


def patterns(found: list[ModuleType]) -> dict[tuple[str, int], str]:
    """(pattern, flags) -> where it stands: compiled at module level, or written in a call of `re`."""
    places: dict[tuple[str, int], str] = {}
    for module in found:
        for name, value in vars(module).items():
            for pattern in _held(value):
                places.setdefault((pattern.pattern, pattern.flags), f"{module.__name__}.{name}")
        for pattern, line in _inline(module):
            places.setdefault((pattern.pattern, pattern.flags), f"{module.__name__}:{line}")
    return places


def _held(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):  # one of bytes as a pattern of the characters they stand for
        yield re.compile(value.pattern.decode("latin-1"), value.flags) if isinstance(value.pattern, bytes) else value
    elif isinstance(value, (tuple, list, frozenset)):
        for item in value:
            yield from _held(item)
    elif isinstance(value, dict):
        for item in (*value.keys(), *value.values()):
            yield from _held(item)


def _inline(module: ModuleType) -> Iterator[tuple[re.Pattern[str], int]]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args):
            continue
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            given = ast.unparse(node)
            flags = sum(flag for name, flag in (("re.I", re.I), ("re.S", re.S), ("re.M", re.M)) if name in given)
            yield re.compile(node.args[0].value, flags), node.lineno


def attacks(pattern: str, flags: int, size: int) -> set[str]:
    """Strings of about `size` characters: what a part of the pattern repeats, after what leads to it, then a miss."""
    units, letters = _units(parser.parse(pattern, flags), "")
    found = set()
    for lead, unit in units:
        for pump in {unit, *(unit + letter for letter in sorted(letters)[:6])}:
            if pump:
                found.add(lead + pump * (size // len(pump)) + "\x00")
                found.add((lead + pump) * (size // len(lead + pump)) + "\x00")
    for letter in letters:
        found.add(letter * size + "\x00")
    return found


def _units(tree: Any, lead: str) -> tuple[set[tuple[str, str]], set[str]]:
    """(text that leads to a repeat, one round of it) for every repeat of the tree, and all its letters."""
    units: set[tuple[str, str]] = set()
    letters: set[str] = set()
    for item in tree:
        for sub in _inner(item):
            inside, more = _units(sub, lead)
            units |= inside
            letters |= more
        letters |= set(_sample([item])) | _members(item)
        if item[0] in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            low, high, body = item[1]
            if high > 8:
                units |= {(lead, _sample(body)), *((lead, _sample(branch)) for branch in _branches(body))}
            lead += _sample(body) * max(1, low)
        else:
            lead += _sample([item])
    return units, letters


def _members(item: Any) -> set[str]:
    """The letters beyond ASCII that a class names: `π` is one of `\\w`, too, which makes two ways through a branch."""
    if item[0] is not codes.IN:
        return set()
    return {chr(value) for kind, value in item[1] if kind is codes.LITERAL and value > 127 and chr(value).isalnum()}


def _inner(item: Any) -> list[Any]:
    kind, value = item
    if kind in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [value[2]]
    if kind is codes.SUBPATTERN:
        return [value[3]]
    if kind is codes.BRANCH:
        return list(value[1])
    if kind in (codes.ASSERT, codes.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is codes.ATOMIC_GROUP else []


def _branches(body: Any) -> list[Any]:
    found = []
    for item in body:
        if item[0] is codes.BRANCH:
            found.extend(item[1][1])
        for inner in _inner(item):
            found.extend(_branches(inner))
    return found


def _sample(tree: Any) -> str:
    """A text that the tree matches, more or less."""
    text = ""
    for kind, value in tree:
        if kind is codes.LITERAL:
            text += chr(value)
        elif kind is codes.NOT_LITERAL or kind is codes.ANY:
            text += "x" if kind is codes.ANY or value != ord("x") else "y"
        elif kind is codes.IN:
            text += _one_of(value)
        elif kind in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            text += _sample(value[2]) * max(value[0], 1 if value[1] else 0)
        elif kind is codes.SUBPATTERN:
            text += _sample(value[3])
        elif kind is codes.BRANCH:
            text += next((s for s in map(_sample, value[1]) if s), "")
        elif kind is codes.ATOMIC_GROUP:
            text += _sample(value)
    return text


def _one_of(choices: Any) -> str:
    if choices[0][0] is codes.NEGATE:
        excluded = {chr(v) for k, v in choices if k is codes.LITERAL}
        return next(c for c in "x 7-.,a" if c not in excluded)
    kind, value = choices[0]
    if kind is codes.LITERAL:
        return chr(value)
    return chr(value[0]) if kind is codes.RANGE else _CATEGORIES.get(value, "x")
