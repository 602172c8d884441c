"""The JSON schema of a `--config` file: what an editor completes and marks while somebody writes one."""

from __future__ import annotations

from typing import Any

from mmpr.settings.config import BuildConfig, marks
from mmpr.settings.mixture import PER_SOURCE

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def file_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the fields of a settings file; each description ends with the field's mark.

    A file may write more than `BuildConfig` holds: `sources` as a list, `prompt_template` as a path.
    """
    schema = BuildConfig.model_json_schema()
    fields: dict[str, Any] = schema["properties"]
    for name, mark in marks().items():
        fields[name]["description"] = f"{fields[name].get('description', '')} [{mark}]".strip()
    fields["prompt_template"]["anyOf"].append({"type": "string"})
    fields["deadline"]["anyOf"].append({"type": "integer"})  # 12:30 in YAML 1.1
    own = {name: {key: part for key, part in fields[name].items() if key != "default"} for name in PER_SOURCE}
    weight = {"type": "number", "exclusiveMinimum": 0}
    schema["$defs"]["Source"] = {
        "type": "object",
        "properties": {"source": {"type": "string"}, "name": {"type": "string"}, "weight": weight, **own},
        "required": ["source"],
        "additionalProperties": False,
    }
    entry = {"$ref": "#/$defs/Source"}
    fields["sources"] = {
        "anyOf": [{"type": "array", "items": entry}, {"type": "object", "additionalProperties": entry}],
        "description": fields["sources"]["description"],
    }
    return {"$schema": _DRAFT, **schema, "title": "Settings of mmpr build"}
