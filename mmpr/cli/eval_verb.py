"""`mmpr eval`: measure how often a model is right, or compare two models."""

from __future__ import annotations

from typing import Annotated

import typer

from mmpr.cli.messages import LOG_FORMAT, print_comparison, print_evaluation
from mmpr.cli.verb_options import (
    ConfigOption,
    LimitOption,
    LogOption,
    RootOption,
    StrictOption,
    UsageError,
    build_folder,
    given,
    settings_of,
    sorted_words,
)
from mmpr.log import LogFormat

_WAYS = "give --source (or sources in --config) and --out, or one finished run folder, or --compare and two"


def evaluate(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="DIR | KEY=VALUE", help="Finished runs to print, or settings."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Questions with answers: a file, a folder, or hf://owner/name:split."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run folder: a local path or any fsspec URL.")
    ] = None,
    config: ConfigOption = None,
    limit: LimitOption = None,
    image_root: RootOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare two finished runs, question by question.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    strict: StrictOption = False,
    log_format: LogOption = LogFormat.TEXT,
) -> None:
    """Measure how often a model is right on questions with answers; run the same command again to resume."""
    context.meta[LOG_FORMAT] = log_format
    folders, settings = sorted_words(words or [])
    asking = out is not None and not folders and not compare
    # A finished run is read as it is; a setting would have no effect.
    looking = source is None and out is None and not settings and len(folders) == (2 if compare else 1)
    if not asking and not looking:
        raise UsageError(_WAYS)
    if looking:
        _look(folders, as_json=as_json)
        return
    assert out is not None
    options = given(source=source, limit=limit, image_root=image_root, strict=strict or None)
    # Last, so that they win: pass@k needs equally many responses to every question.
    chosen = settings_of(config, [*options, *settings, "evaluate=true", "adaptive=false"])
    if not chosen.source.path and not chosen.sources:
        raise UsageError(_WAYS)
    build_folder(context, out, chosen, as_json=as_json)


def _look(folders: list[str], *, as_json: bool) -> None:
    from mmpr.builder.evaluation_flow import compare_runs, evaluate_run

    if len(folders) == 2:
        print_comparison(compare_runs(*folders), as_json=as_json)
    else:
        print_evaluation(evaluate_run(*folders), as_json=as_json)
