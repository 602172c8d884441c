"""The judge's tables in `tables.txt`: the meaning of words and signs, separate from the code that uses it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _sections() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (files("mmpr.judging") / "tables.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            found[line[1:-1]] = lines = []
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


def groups(section: str) -> list[list[str]]:
    """Return names with one meaning, one group per line."""
    return [line.split("|") for line in _sections()[section]]


def entries(section: str) -> list[tuple[str, list[str]]]:
    """Return (value, its names) of every line `value = name | name`."""
    parted = (line.partition(" = ") for line in _sections()[section])
    return [(value, names.split(" | ")) for value, _, names in parted]


def meanings(section: str) -> dict[str, str]:
    """Return a mapping from names to values."""
    return {name: value for value, names in entries(section) for name in names}
