"""Kinds of damage to a file, for the damage matrix: each takes a path and damages the file there."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

Damage = Callable[[Path], None]
_WRONG_TYPES = {"null": None, "list": [], "number": 7, "text": "x", "object": {}, "list of null": [None]}
_FOREIGN = {"noise": random.Random(7).randbytes(3000), "page": b"<!doctype html><html>404</html>\n"}


def damages(name: str) -> Iterator[tuple[str, Damage]]:
    """Every kind of damage that a file of this name can take, with a name of its own."""
    yield "missing", lambda path: path.unlink()
    yield "empty", lambda path: path.write_bytes(b"") and None
    yield "directory", _directory
    for share in (0.3, 0.95):
        yield f"cut at {share}", lambda path, share=share: _cut(path, share)  # type: ignore[misc]
    for place in (0.02, 0.35, 0.5, 0.9, 0.995):
        yield f"flipped at {place}", lambda path, place=place: _flip(path, place)  # type: ignore[misc]
    for kind, content in _FOREIGN.items():
        yield kind, lambda path, content=content: path.write_bytes(content) and None  # type: ignore[misc]
    if name.endswith((".json", ".jsonl")):
        for kind, value in _WRONG_TYPES.items():
            yield kind, lambda path, value=value: path.write_text(json.dumps(value) + "\n") and None  # type: ignore[misc]
        yield "nested", lambda path: path.write_text("[" * 100_000) and None


def field_damages(content: dict[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """A JSON object with one field of it gone, or of another type, or of another value; with the place of the field."""
    for place in _places(content, ()):
        for kind, value in (("gone", _GONE), ("null", None), ("other", _other(content, place)), ("list", [[]])):
            changed = json.loads(json.dumps(content))
            inner = changed
            for step in place[:-1]:
                inner = inner[step]
            if value is _GONE:
                del inner[place[-1]]
            elif inner[place[-1]] == value:
                continue
            else:
                inner[place[-1]] = value
            yield f"{'.'.join(map(str, place))} {kind}", changed


_GONE = object()


def _places(value: object, above: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield (*above, step)
        yield from _places(one, (*above, step))


def _other(content: object, place: tuple[str | int, ...]) -> object:
    value = content
    for step in place:
        value = value[step]  # type: ignore[index]
    if isinstance(value, bool) or value is None:
        return "x"
    if isinstance(value, int | float):
        return value + 1
    return value + "x" if isinstance(value, str) else 5


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
