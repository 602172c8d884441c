"""Options that several verbs share, and the settings and builds that these lead to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpr.cli.messages import EXIT_FAILING, LOG_FORMAT, print_failing, print_model, print_result
from mmpr.errors import RunStopped
from mmpr.log import LogFormat

if TYPE_CHECKING:
    from mmpr.settings.config import BuildConfig

_SETTING = re.compile(r"[A-Za-z_][\w.]*=")  # a folder with such a name must be written ./n=4

UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that typer uses, its own or the real one
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="PATH",
        help="Questions: a file, a folder, or hf://owner/name:split. Default: source in --config.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="YAML file of settings, or the name of a preset (`mmpr settings --presets`)."
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Use only this many questions, as a seeded sample.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings, such as n=16; they take precedence over --config."),
]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="A run folder.", show_default=False)]
RootOption = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder that relative image paths start from. Default: the folder of the source."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="End the run at the first bad row or image.")]
LogOption = Annotated[LogFormat, typer.Option(help="Form of messages on stderr: text lines or JSON.")]


def examples(*commands: str) -> str:
    """Return the end of a verb's help: commands to copy, each on a line of its own that is never wrapped."""
    return "\n".join(["\b", "Example:" if len(commands) == 1 else "Examples:", *(f"  $ {one}" for one in commands)])


def sorted_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate folders and settings."""
    settings = [word for word in words if _SETTING.match(word)]
    return [word for word in words if word not in settings], settings


def given(**options: object) -> list[str]:
    """Return the given options as settings."""
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in options.items() if value is not None]


def settings_of(config: Path | None, overrides: list[str]) -> BuildConfig:
    """Load the settings of one start; the defaults depend on the machine.

    Raises:
        ConfigError: names the file or the override, the field, and its allowed values.
    """
    from mmpr.builder.engine_choice import default_is_pocket
    from mmpr.settings.config import load

    return load(config, overrides, pocket=default_is_pocket(overrides))


def build_folder(context: typer.Context, out: str, chosen: BuildConfig, *, as_json: bool = False) -> None:
    """Build one run folder, or continue; print first the model that answers, and at the end the result.

    Args:
        context: context of the verb.
        out: the run folder.
        chosen: the settings.
        as_json: print an evaluation as JSON.

    Raises:
        MmprError, RunStopped: as in `mmpr.builder.build_flow.build`.
        typer.Exit: too many questions failed.
    """
    from mmpr.builder.build_flow import build
    from mmpr.builder.engine_choice import engine_maker

    print_model(context, chosen, out)
    outcome = build(
        chosen,
        out,
        engine_maker(chosen),
        log_format=context.meta[LOG_FORMAT],
        debug=debugging(),
        finished=lambda outcome: print_result(context, outcome, chosen, as_json=as_json),
    )
    if outcome.failing:
        print_failing(context, outcome)
        raise typer.Exit(EXIT_FAILING)
    if outcome.stopped is not None:
        raise RunStopped(outcome.stopped)


def debugging() -> bool:
    """Whether the user wants tracebacks and the engines' own logs (MMPR_DEBUG)."""
    return os.environ.get("MMPR_DEBUG") == "1"
