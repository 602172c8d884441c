"""Read settings from presets of the package, files of the user, and files with an instruction."""

from __future__ import annotations

import copy
import difflib
import functools
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mmpr.errors import ConfigError
from mmpr.pocket import POCKET
from mmpr.prompts import template_fault

_LANGUAGES = ("en", "zh")

M = TypeVar("M", bound=BaseModel)


def preset(name: str) -> dict[str, Any] | None:
    """Return the settings of a preset; None if there is none. `pocket` is the embedded model's."""
    if name == POCKET:
        return _embedded(POCKET)
    own = _presets().get(name)
    return None if own is None else copy.deepcopy({**_parsed("presets")["shared"], **own})


def preset_names() -> list[str]:
    """Return the names of all presets, by family and size."""
    return [POCKET, *_presets()]


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    """Return each preset's own settings; a name with `*` stands for one preset per size."""
    found: dict[str, dict[str, Any]] = {}
    for name, own in _parsed("presets")["presets"].items():
        if "sizes" not in own:
            found[name] = own
            continue
        shared = {key: value for key, value in own.items() if key != "sizes"}
        for size, gpus in own["sizes"].items():
            sized = {"model": own["model"].replace("*", size), "tensor_parallel_size": gpus}
            found[name.replace("*", size.lower())] = {**shared, **sized}
    return found


def read_settings(file: Path) -> dict[str, Any]:
    """Read the settings in a YAML file, or the preset of that name if there is no such file.

    Raises:
        ConfigError: there is neither, or the file has no `name: value` lines.
    """
    # by its last part: a job file resolves names relative to itself
    if not file.exists() and (found := preset(file.name)) is not None:
        return found
    values = _yaml(file, _no_such(file))
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `name: value` lines, found {type(values).__name__}")
    return values


def override_setting(values: dict[str, Any], override: str) -> None:
    """Apply a `key=value` override to settings; a key with dots sets an entry of a mapping.

    Raises:
        ConfigError: it has another form, the key leads into no mapping, or the value is not YAML.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override!r}: expected key=value")
    *path, last = name.split(".")
    for step in path:
        values = values.setdefault(step, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r}: {step} is not a mapping")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}: the value is not YAML") from None


def read_templates(values: dict[str, Any]) -> None:
    """Replace the path of a template file by its content; raises like `read_template`."""
    if isinstance(template := values.get("prompt_template"), str):
        values["prompt_template"] = read_template(Path(template))


def read_template(file: Path) -> dict[str, str]:
    """Read an instruction by language: the text of a file, or `en:` and `zh:` of a YAML file; one may be missing.

    Raises:
        ConfigError: names the file and its fault, in one line.
    """
    if file.suffix in (".yaml", ".yml"):
        found = _yaml(file, _no_such(file))
        if not isinstance(found, dict) or not found or not found.keys() <= set(_LANGUAGES):
            raise ConfigError(f"prompt_template: {file}: expected `en: text` and `zh: text`, or one of them")
    else:
        found = dict.fromkeys(_LANGUAGES, _text(file, "no such file").rstrip("\n"))
    for language, text in found.items():
        fault = template_fault(text) if isinstance(text, str) else f"`{language}` is not a text"
        if fault:
            raise ConfigError(f"prompt_template: {file}: {fault}")
    (some, *_) = found.values()
    return {language: str(found.get(language, some)) for language in _LANGUAGES}


def _embedded(name: str) -> dict[str, Any]:
    return copy.deepcopy(_parsed(name))  # callers change the returned settings


@functools.cache
def _parsed(name: str) -> dict[str, Any]:
    text = resources.files("mmpr").joinpath("defaults", f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def read_file(kind: type[M], file: Path, *, what: str, expected: str) -> M:
    """Read a YAML file of another kind: a job file, a recipe.

    Args:
        what: the kind of the file, in words.
        expected: what the error asks for if the file is no mapping.

    Raises:
        ConfigError: names the file, and the field with the fault.
    """
    values = _yaml(file, f"no such {what}")
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected {expected}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _yaml(file: Path, missing: str) -> Any:  # noqa: ANN401 whatever the file holds
    try:
        return yaml.safe_load(_text(file, missing))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from None


def _text(file: Path, missing: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file}: {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as text: {' '.join(str(error).split())}") from None


def _no_such(file: Path) -> str:
    # configs/internvl2-8b.yaml is in a clone only; the preset of that name is everywhere
    name = file.name.removesuffix(".yaml").lower()
    near = difflib.get_close_matches(name, preset_names(), n=1, cutoff=0.75)
    hint = f"did you mean the preset {near[0]}?" if near else "`mmpr settings --presets` lists the presets"
    return f"no such configuration file; {hint}"
