"""`mmpr settings`: list every setting, for people, programs and editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpr.cli.verb_options import ConfigOption, settings_of
from mmpr.text_table import terminal_width, wrapped

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NARROW = 110  # below this width, a setting is printed on two lines


def list_settings(
    config: ConfigOption = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets instead.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with value, mark and description of each.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of --config files, for editors.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page of the manual (docs/settings.md).")
    ] = False,
) -> None:
    """List every setting with its value, its meaning, and what a change means on resume."""
    if presets + as_json + schema + markdown > 1:
        raise typer.BadParameter("give only one of --presets, --json, --schema, --markdown", param_hint="settings")
    if presets:
        _list_presets()
    elif schema:
        typer.echo(json.dumps(file_schema(), ensure_ascii=False, indent=1))
    elif markdown:
        typer.echo(settings_page())
    else:
        _list_values(config, as_json=as_json)


def _list_values(config: Path | None, *, as_json: bool) -> None:
    from mmpr.settings.config import plain, settings_by_name

    chosen, known = plain(settings_of(config, [])), settings_by_name()
    if as_json:
        rows = {
            name: {"value": chosen[name], "name": one.full_name, "mark": one.mark, "description": one.description}
            for name, one in known.items()
        }
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    # without a terminal lines are not wrapped, for grep
    columns = terminal_width() or 1000
    for name, one in known.items():
        value = _as_yaml(chosen[name])
        if columns >= _NARROW:
            typer.echo(wrapped(one.description, columns, f"{one.full_name:29} {value:28} {one.mark:10} "))
            continue
        typer.echo(wrapped(f"{one.full_name}={value}  ({one.mark})", columns, "", "    "))
        typer.echo(wrapped(one.description, columns, "    "))


def _as_yaml(value: object) -> str:
    """Format the value as `key=value` takes it; a text has no quotes."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _list_presets() -> None:
    from mmpr.settings.config import load
    from mmpr.settings.presets import preset_names

    narrow = (terminal_width() or _NARROW) < _NARROW
    for name in preset_names():
        chosen = load(Path(name), [], pocket=False)
        engine, tiles = chosen.engine, chosen.images.max_tiles
        context = "the model's own" if engine.context_tokens is None else f"{engine.context_tokens:,}"
        size = f"{engine.tensor_parallel_size} GPU(s) per engine, {tiles} tiles, context {context}"
        size = "CPU" if chosen.is_pocket else size
        typer.echo(f"{name}\n    {engine.model}\n    {size}" if narrow else f"{name:22} {engine.model:34} {size}")


def file_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a settings file; each description ends with the setting's mark.

    A setting may be in its section, or outside of the sections by its short name. A file may contain more than
    `BuildConfig`: `sources` as a list, `prompt_template` as a path.
    """
    from mmpr.settings.config import BuildConfig, settings_by_name
    from mmpr.settings.mixture import PER_SOURCE

    schema = BuildConfig.model_json_schema()
    records: dict[str, Any] = schema["$defs"]
    fields: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for name, setting in settings_by_name().items():
        section, field = setting.place
        own = schema["properties"][section]
        record = own.get("$ref", "").rpartition("/")[2]
        value = dict(own if field is None else records[record]["properties"][field])
        fields[name] = {**value, "description": f"{setting.description} [{setting.mark}]"}
        if field is not None:
            empty = {
                "type": "object",
                "description": own["description"],
                "additionalProperties": False,
                "properties": {},
            }
            sections.setdefault(section, empty)["properties"][field] = fields[name]
    fields["prompt_template"]["anyOf"].append({"type": "string"})
    fields["deadline"]["anyOf"].append({"type": "integer"})  # YAML 1.1 reads 12:30 as a number
    weight = {"type": "number", "exclusiveMinimum": 0}
    # A source without the setting has the build's value, not the default.
    alone = {name: {key: part for key, part in fields[name].items() if key != "default"} for name in PER_SOURCE}
    entry = {
        "type": "object",
        "properties": {"source": {"type": "string"}, "name": {"type": "string"}, "weight": weight, **alone},
        "required": ["source"],
        "additionalProperties": False,
    }
    one = {"$ref": "#/$defs/Source"}
    fields["sources"] = {
        "anyOf": [{"type": "array", "items": one}, {"type": "object", "additionalProperties": one}],
        "description": fields["sources"]["description"],
    }
    # `engine` is a section, and a short name: `engine: endpoint`.
    both = {
        name: {"anyOf": [section, fields[name]]} if name in fields else section for name, section in sections.items()
    }
    enums = {name: record for name, record in records.items() if "enum" in record}
    return {
        "$schema": _DRAFT,
        "title": "Settings of mmpr build",
        "type": "object",
        "additionalProperties": False,
        "properties": fields | both,
        "$defs": {**enums, "Source": entry},
    }


_PAGE = """# Settings

This page lists every setting of a build. `mmpr settings --markdown` writes it.

```console
$ mmpr build --source vqa.jsonl --out runs/mine --config internvl2-8b pairs.max_uses=1
```

Every setting has a full name, `pairs.max_uses`, and a short name, `max_uses`. Both work as `key=value` on the command
line. A YAML file for `--config` has sections:

```yaml
engine:
  model: OpenGVLab/InternVL2-8B
pairs:
  max_uses: 1
```

The names `source`, `engine`, `judge` and `verifier` with a text as value mean `source.path`, `engine.kind`,
`judge.judge` and `verifier.model`. The defaults below are the library's. A preset or the pocket model has others:
`mmpr settings --config NAME` prints them. Write None as `null`.

Editors with a YAML language server complete names, show descriptions and mark mistakes: run `mmpr settings --schema >
settings.schema.json`, and begin the file beside it with `# yaml-language-server: $schema=settings.schema.json`.

| mark | what a change means for a run folder that exists |
|---|---|
| identity | refused, and named in the error |
| selection | applied by pairing again (`mmpr pair`), without an engine |
| operation | free at every start |"""


def settings_page() -> str:
    """Return the page of the manual, with one table per section."""
    from mmpr.settings.config import BuildConfig, plain, settings_by_name

    values, known = plain(BuildConfig()), settings_by_name()
    parts = [_PAGE]
    for section, field in BuildConfig.model_fields.items():
        own = [one for one in known.values() if one.place[0] == section]
        heading = section if own[0].place[1] is not None else f"{section} (outside the sections)"
        rows = [
            f"| `{one.name}` | `{_as_yaml(values[one.name])}` | {one.mark} | {_cell(one.description)} |" for one in own
        ]
        table = "\n".join(["| setting | default | mark | what it is |", "|---|---|---|---|", *rows])
        parts.append(f"## {heading}\n\n{_sentence(field.description or '')}.\n\n{table}")
    return "\n\n".join(parts)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
