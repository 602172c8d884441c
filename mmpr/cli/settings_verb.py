"""`mmpr settings`: every setting, for people, programs and editors."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpr.cli.verb_options import ConfigOption, settings_of

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NARROW = 110  # columns below which a setting is two lines or more


def list_settings(
    config: ConfigOption = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the names that --config takes, instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: value, mark, description of each.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema of --config files, for editors.")] = False,
) -> None:
    """List every setting: its value here, what a change of it means on resume, and what it is."""
    if presets + as_json + schema > 1:
        raise typer.BadParameter("give one of --presets, --json, --schema", param_hint="settings")
    if presets:
        _list_presets()
    elif schema:
        typer.echo(json.dumps(file_schema(), ensure_ascii=False, indent=1))
    else:
        _list_values(config, as_json=as_json)


def _list_values(config: Path | None, *, as_json: bool) -> None:
    from mmpr.settings.config import BuildConfig, marks

    chosen = settings_of(config, []).model_dump(mode="json")
    described = {name: field.description or "" for name, field in BuildConfig.model_fields.items()}
    if as_json:
        rows = {
            name: {"value": chosen[name], "mark": mark, "description": described[name]}
            for name, mark in marks().items()
        }
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    for name, mark in marks().items():
        value, description = _as_yaml(chosen[name]), described[name]
        if columns >= _NARROW:
            typer.echo(f"{name:22} {value:28} {mark or '':10} {description}")
            continue
        typer.echo(textwrap.fill(f"{name}={value}  ({mark})", columns, subsequent_indent="    "))
        if description:
            typer.echo(textwrap.fill(description, columns, initial_indent="    ", subsequent_indent="    "))


def _as_yaml(value: object) -> str:
    """The value as `key=value` takes it; a text stands without quotes."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _list_presets() -> None:
    from mmpr.settings.config import load
    from mmpr.settings.presets import preset_names

    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < _NARROW
    for name in preset_names():
        chosen = load(Path(name), [], pocket=False)
        context = "the model's own" if chosen.context_tokens is None else f"{chosen.context_tokens:,}"
        size = f"{chosen.tensor_parallel_size} GPU(s) an engine, {chosen.max_tiles} tiles, context {context}"
        size = "CPU" if chosen.is_pocket else size
        typer.echo(f"{name}\n    {chosen.model}\n    {size}" if narrow else f"{name:22} {chosen.model:34} {size}")


def file_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the fields of a settings file; each description ends with the field's mark.

    A file may write more than `BuildConfig` holds: `sources` as a list, `prompt_template` as a path.
    """
    from mmpr.settings.config import BuildConfig, marks
    from mmpr.settings.mixture import PER_SOURCE

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
