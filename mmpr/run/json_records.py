"""The JSON files of a run folder that later code trusts: their bytes carry their own hash, their fields have types.

A file of an older mmpr has no hash and stays readable; its fields are checked all the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEAL = "sha256"  # the last field of a sealed file
_SEALED = re.compile(rb',(?:\n )? ?"sha256": "([0-9a-f]{64})"(\n?\}\n?)\Z')

JsonObject = dict[str, object]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Record = TypeVar("Record")


def to_json(value: Mapping[str, object]) -> bytes:
    """Indented JSON with a line's end; readable, and the same bytes for the same value."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def plain(record: DataclassInstance) -> JsonObject:
    """A record as JSON has it, nested ones included.

    An optional field is left out where it is empty as by default: a run that was not merged has no `members`.
    """
    found: JsonObject = {}
    for field in fields(record):
        value = getattr(record, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value != default or value not in (None, (), {}, ""):
            found[field.name] = _plain(value)
    return found


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def sealed(value: Mapping[str, object]) -> bytes:
    """The same with one more field, the hash of the bytes that it has without that field."""
    body = to_json({name: inner for name, inner in value.items() if name != SEAL})
    digest = hashlib.sha256(body).hexdigest().encode()
    return body[: -len(b"\n}\n")] + b',\n "sha256": "' + digest + b'"\n}\n'


def sealed_line(value: Mapping[str, object]) -> str:
    """The same as one line of a log."""
    body = json.dumps(value, ensure_ascii=False)
    return f'{body[:-1]}, "{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"}}'


def unsealed(content: bytes) -> JsonObject:
    """The fields of a JSON object, without its hash.

    Raises:
        ValueError: it is no JSON object, or not what its hash says.
    """
    return record_of(JsonObject, content)


def record_of(kind: type[Record], content: bytes, *, unknown: Literal["forbid", "ignore"] = "forbid") -> Record:
    """A frozen record from the bytes of its file, each field of the type that the record declares.

    Args:
        kind: a dataclass; its fields are plain, mappings, tuples, optional, or records themselves.
        content: JSON, sealed or not.
        unknown: whether fields that the record does not have are an error.

    Raises:
        ValueError: it is no JSON object, or not what its hash says; or a field is missing, unknown or of another type:
            names it.
    """
    if seal := _SEALED.search(content):
        content = content[: seal.start()] + seal[2]
        if hashlib.sha256(content).hexdigest().encode() != seal[1]:
            raise ValueError(f"it has changed since it was written: its {SEAL} is of other bytes")
    try:
        # strict: `true` is no 1, and "7" is no 7
        found = _adapter(cast("Hashable", kind)).validate_json(content, strict=True, extra=unknown)
    except ValidationError as error:
        raise ValueError(_words(error)) from None
    if isinstance(found, dict) and SEAL in found:
        raise ValueError(f"it has changed since it was written: its {SEAL} is of other bytes")
    return cast("Record", found)


@cache  # making one takes up to 70 ms, and a run has a sidecar a chunk
def _adapter(kind: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(cast("type[object]", kind))


def _words(error: ValidationError) -> str:
    """The first fault as words: `layout.chunks: input should be a valid integer`."""
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).removeprefix(".")
    words = first["msg"].splitlines()[0]
    if first["type"] == "json_invalid":
        return words.replace("Invalid JSON:", "it is no JSON:")
    if not place:
        return "it is no JSON object"
    ends = {"missing": " is missing", "unexpected_keyword_argument": " is no field of it"}
    return f"{place}{ends.get(first['type'], f': {words[:1].lower()}{words[1:]}')}"
