"""`mmpr import`: make a run folder of existing responses."""

from __future__ import annotations

from typing import Annotated

import typer

from mmpr.cli.messages import LOG_FORMAT, print_event, print_summary, say
from mmpr.cli.verb_options import ConfigOption, LogOption, RootOption, Settings, given
from mmpr.log import LogFormat


def import_rollouts(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="File of questions with responses.", show_default=False)],
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="DIR", help="The run folder: a local path or any fsspec URL.", show_default=False
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model that answered, for rows that do not name one."),
    ] = None,
    config: ConfigOption = None,
    image_root: RootOption = None,
    log_format: LogOption = LogFormat.TEXT,
    settings: Settings = None,
) -> None:
    """Make a run folder of existing responses; run the same command again to resume.

    Reads files of InternVL's pipeline, VLMEvalKit, lmms-eval, verl and ms-swift, and any file with questions,
    answers and responses (one in a row, or a list). The responses are judged and paired as in a build.
    """
    from mmpr.importing.import_flow import import_file

    context.meta[LOG_FORMAT] = log_format
    overrides = [*given(model=model, image_root=image_root), *(settings or [])]
    outcome = import_file(file, out, overrides, settings=config, log_format=log_format)
    # known only after the whole file has been read
    for note in outcome.late_notes:
        say(note, err=True)
    if outcome.idle:
        say("nothing left to do")
    print_summary(out, outcome.report)
    if log_format is LogFormat.JSON:
        print_event(context, "ended", "complete", run=out, exit_code=0)
