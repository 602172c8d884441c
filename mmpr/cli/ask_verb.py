"""`mmpr ask-verifier`: ask a model about the undecided verdicts of a finished run."""

from __future__ import annotations

from typing import Annotated

import typer

from mmpr.cli.messages import EXIT_FAILING, LOG_FORMAT, print_event, print_summary, say
from mmpr.cli.verb_options import Folder, LogOption, Settings, debugging, given
from mmpr.errors import RunStopped
from mmpr.log import LogFormat


def ask_verifier(
    context: typer.Context,
    folder: Folder,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Who is asked: self (the run's own model), a checkpoint folder, a Hub repository.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Base URL of a server that serves --model, such as http://host:8000/v1."
        ),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Replace the answers of a verifier that was asked before.")
    ] = False,
    log_format: LogOption = LogFormat.TEXT,
    settings: Settings = None,
) -> None:
    """Ask a model about the verdicts that the rules left open in a finished run; run the same command to resume.

    The same command also asks again where a request has failed.

    What the rules have proved stands. The run is paired again: use_verifier=both lets the model's decisions into pairs.
    """
    from mmpr.builder.ask_flow import ask_about_run

    context.meta[LOG_FORMAT] = log_format
    overrides = [*given(verifier=model, verifier_url=url), *(settings or [])]
    outcome = ask_about_run(folder, overrides, anew=anew, log_format=log_format, debug=debugging())
    if outcome.stopped is not None:
        raise RunStopped(outcome.stopped)
    if outcome.failing is not None:
        words = f"ended: {outcome.failing}; what was answered is kept in {folder}, the same command asks again"
        print_event(context, "ended", words, level="error", run=folder, exit_code=EXIT_FAILING)
        raise typer.Exit(EXIT_FAILING)
    if outcome.idle:
        say("nothing left to ask")
    assert outcome.report is not None, "neither stopped nor finished"
    print_summary(folder, outcome.report, in_full=True)
    if log_format is LogFormat.JSON:
        print_event(context, "ended", "complete", run=folder, exit_code=0)
