"""The JSON files of a run folder: each contains a hash of its own bytes, and its fields are type-checked.

A file of an older mmpr has no hash and stays readable; its fields are checked too.
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
    """Return indented JSON with a final line break; equal values give equal bytes."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def plain(record: DataclassInstance) -> JsonObject:
    """Return a record, and the records in it, as plain JSON values.

    An empty optional field is left out: a run that was not merged has no `members`.
    """
    found: JsonObject = {}
    for field in fields(record):
        value = getattr(record, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        # left out where empty, so that an older mmpr reads the file too
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
    """Return the JSON with one more field: the hash of its bytes without that field."""
    body = to_json({name: inner for name, inner in value.items() if name != SEAL})
    digest = hashlib.sha256(body).hexdigest().encode()
    return body[: -len(b"\n}\n")] + b',\n "sha256": "' + digest + b'"\n}\n'


def sealed_line(value: Mapping[str, object]) -> str:
    """Return one line of a log, with its hash."""
    body = json.dumps(value, ensure_ascii=False)
    return f'{body[:-1]}, "{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"}}'


def unsealed(content: bytes) -> JsonObject:
    """Return the fields of a JSON object, without its hash.

    Raises:
        ValueError: it is no JSON object, or its bytes do not match its hash.
    """
    return record_of(JsonObject, content)


def record_of(kind: type[Record], content: bytes, *, unknown: Literal["forbid", "ignore"] = "forbid") -> Record:
    """Read a frozen record from the bytes of a file, and check the type of each field.

    Args:
        kind: a dataclass; its fields are plain values, mappings, tuples, optionals or records.
        content: JSON, with or without a hash.
        unknown: whether a field that the record does not have is an error.

    Raises:
        ValueError: it is no JSON object, or its bytes do not match its hash; or a field is missing, unknown or of
            another type; names the field.
    """
    if seal := _SEALED.search(content):
        content = content[: seal.start()] + seal[2]
        if hashlib.sha256(content).hexdigest().encode() != seal[1]:
            raise ValueError(f"it has changed since it was written: its {SEAL} is of other bytes")
    try:
        # strict: JSON `true` is not accepted as 1, nor "7" as 7
        found = _adapter(cast("Hashable", kind)).validate_json(content, strict=True, extra=unknown)
    except ValidationError as error:
        raise ValueError(_words(error)) from None
    # the field is there but not at the end: the file was edited
    if isinstance(found, dict) and SEAL in found:
        raise ValueError(f"it has changed since it was written: its {SEAL} is of other bytes")
    return cast("Record", found)


@cache  # building an adapter takes up to 70 ms, and a run has one sidecar per chunk
def _adapter(kind: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(cast("type[object]", kind))


def _words(error: ValidationError) -> str:
    """Return the first fault as a message: `layout.chunks: input should be a valid integer`."""
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).removeprefix(".")
    words = first["msg"].splitlines()[0]
    if first["type"] == "json_invalid":
        return words.replace("Invalid JSON:", "it is no JSON:")
    if not place:
        return "it is no JSON object"
    ends = {"missing": " is missing", "unexpected_keyword_argument": " is no field of it"}
    return f"{place}{ends.get(first['type'], f': {words[:1].lower()}{words[1:]}')}"
