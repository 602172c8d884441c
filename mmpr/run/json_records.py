"""The JSON files of a run folder that later code trusts: their bytes carry their own hash, their fields have types.

A file of an older mmpr has no hash and stays readable; its fields are checked all the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

SEAL = "sha256"  # the last field of a sealed file
_SEALED = re.compile(rb',(?:\n )? ?"sha256": "([0-9a-f]{64})"(\n?\}\n?)\Z')
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object"}

Record = TypeVar("Record")


def to_json(value: Mapping[str, Any]) -> bytes:
    """Indented JSON with a line's end; readable, and the same bytes for the same value."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def sealed(value: Mapping[str, Any]) -> bytes:
    """The same with one more field, the hash of the bytes that it has without that field."""
    body = to_json({name: inner for name, inner in value.items() if name != SEAL})
    digest = hashlib.sha256(body).hexdigest().encode()
    return body[: -len(b"\n}\n")] + b',\n "sha256": "' + digest + b'"\n}\n'


def sealed_line(value: Mapping[str, Any]) -> str:
    """The same as one line of a log."""
    body = json.dumps(value, ensure_ascii=False)
    return f'{body[:-1]}, "{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"}}'


def unsealed(content: bytes, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, Any]:
    """The fields of a JSON object, without its hash.

    Raises:
        ValueError: it is no JSON object, or not what its hash says.
    """
    try:
        found = json.loads(content, object_hook=object_hook)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # `null`, `[]`
    match = _SEALED.search(content)
    body = content[: match.start()] + match[2] if match else b""
    if SEAL in found and not (match and hashlib.sha256(body).hexdigest().encode() == match[1]):
        raise ValueError(f"it has changed since it was written: its {SEAL} is of other bytes")
    found.pop(SEAL, None)
    return found


def record_of(kind: type[Record], value: object, place: str = "") -> Record:
    """A frozen record from JSON's plain values, each field of the type that the record declares.

    Args:
        kind: a dataclass; its fields are plain, mappings, tuples, optional, or records themselves.
        value: what JSON gave.
        place: of the value in its file, for the message: `account.tokens`.

    Raises:
        ValueError: a field is missing, unknown, or of another type; names it.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'it'} is not an object")
    types, required = _fields_of(cast(Hashable, kind))
    if missing := required - value.keys():
        raise ValueError(f"{_below(place, min(missing))} is missing")
    if unknown := value.keys() - types.keys():
        raise ValueError(f"{_below(place, min(unknown))} is no field of it")
    return kind(**{name: _typed(types[name], inner, _below(place, name)) for name, inner in value.items()})


def checked(value: object, expected: object, place: str) -> Any:  # noqa: ANN401  of the expected type
    """A plain value that must be of a type: `checked(run["layout"], dict, "layout")`.

    Raises:
        ValueError: it is not; names the place and what it should be.
    """
    return _typed(expected, value, place)


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:  # noqa: ANN401  any dataclass
    types = get_type_hints(kind)
    required = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    return types, frozenset(required)


def _typed(expected: Any, value: object, place: str) -> Any:  # noqa: ANN401  JSON in, the declared type out
    origin, inner = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if origin in (UnionType, Union):
        if value is None and NoneType in inner:
            return None
        return _typed(next(one for one in inner if one is not NoneType), value, place)
    if is_dataclass(expected):
        return record_of(cast("type[object]", expected), value, place)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{place} is not a list")
        return tuple(_typed(inner[0], one, f"{place}[{i}]") for i, one in enumerate(value))
    if origin is not None:  # dict[str, int], Mapping[str, Any]
        if not isinstance(value, dict):
            raise ValueError(f"{place} is not an object")
        return {name: _typed(inner[1], one, f"{place}.{name}") for name, one in value.items()}
    sound = isinstance(value, (int, float) if expected is float else expected)
    if not sound or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{place} is not {_NAMES.get(expected, expected.__name__)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is not a finite number")
    return value


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
