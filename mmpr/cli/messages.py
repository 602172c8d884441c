"""The messages of the command line: results on stdout, everything else on stderr, and the exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from mmpr.errors import ConfigError, MmprError, RunStopped
from mmpr.log import LogFormat, log
from mmpr.redact import redacted
from mmpr.termination import AGAIN, EXIT_AGAIN, EXIT_INTERRUPTED
from mmpr.text_table import fitted, terminal_width

if TYPE_CHECKING:
    from mmpr.builder.build_flow import BuildOutcome
    from mmpr.builder.jobs import Ended
    from mmpr.reporting.abstaining import AbstainingFigures
    from mmpr.reporting.evaluation_report import ComparisonReport, EvaluationReport
    from mmpr.reporting.report_record import PairingPreview, Report
    from mmpr.reporting.verifier_figures import VerifierFigures
    from mmpr.settings.config import BuildConfig

LOG_FORMAT = "mmpr.log_format"  # key in the context that all verbs share
# 75 and 130 are in `mmpr.termination`
EXIT_ERROR, EXIT_USAGE, EXIT_FAILING = 1, 2, 3
POCKET = "the pocket model: for trying mmpr out, not for training"


def error_message(end: MmprError | KeyboardInterrupt) -> tuple[int, str]:
    """Return the exit code and the line that a verb ends with."""
    if isinstance(end, RunStopped):
        return EXIT_AGAIN, f"stopped ({end}); {AGAIN}"
    if isinstance(end, KeyboardInterrupt):
        return EXIT_INTERRUPTED, f"interrupted; {AGAIN}"
    from mmpr.reporting.safe_text import visible_line

    return EXIT_USAGE if isinstance(end, ConfigError) else EXIT_ERROR, visible_line(redacted(str(end)))


def print_event(context: typer.Context, event: str, words: str, *, level: str = "info", **fields: object) -> None:
    """Print an event of a build on stderr: a line for people or, with `--log-format json`, an object."""
    if _is_json(context):
        # the prefix is for people; programs know from where the line comes
        log(event, level, words=words.removeprefix("mmpr: "), **fields)
    else:
        say(words, err=True)


def _is_json(context: typer.Context) -> bool:
    return context.meta.get(LOG_FORMAT) is LogFormat.JSON


def say(text: str, *, err: bool = False) -> None:
    """Print text that may quote sources, models or files: control characters are escaped, lines fit the terminal."""
    from mmpr.reporting.safe_text import visible

    typer.echo(fitted(visible(text), terminal_width(err=err)), err=err)


def print_model(context: typer.Context, chosen: BuildConfig, out: str) -> None:
    """Print which model answers, before the engine starts."""
    print_event(context, "model", f"model: {POCKET if chosen.is_pocket else chosen.engine.model}", run=out)


def print_result(context: typer.Context, outcome: BuildOutcome, chosen: BuildConfig, *, as_json: bool = False) -> None:
    """Print the summary of a build or an evaluation that is complete.

    Args:
        context: context of the verb.
        outcome: an outcome with a report.
        chosen: the settings.
        as_json: print an evaluation as JSON.
    """
    from mmpr.reporting.evaluation_report import EvaluationReport

    assert outcome.report is not None
    if isinstance(outcome.report, EvaluationReport):
        print_evaluation(outcome.report, as_json=as_json)
    elif outcome.idle:
        say(f"nothing left to do: {_one_line(outcome.folder.url, outcome.report)}")
    else:
        print_summary(outcome.folder.url, outcome.report)
    _print_done(context, outcome, f"made by {POCKET}" if chosen.is_pocket and not outcome.idle else "")


def _print_done(context: typer.Context, outcome: BuildOutcome, words: str) -> None:
    """Print that a build is complete: always for programs; for people the printed results are enough."""
    # a program waits for this line; the exit code is not in the log
    if words or _is_json(context):
        done = "nothing left to do" if outcome.idle else "complete"
        print_event(context, "ended", words or done, run=outcome.folder.url, exit_code=0)


def print_failing(context: typer.Context, outcome: BuildOutcome) -> None:
    """Print that too many questions of a build failed."""
    words = f"ended: {outcome.failing}; what was done is kept in {outcome.folder.url}"
    print_event(context, "ended", words, level="error", run=outcome.folder.url, exit_code=EXIT_FAILING)


def _one_line(folder: str, report: Report | EvaluationReport) -> str:
    from mmpr.reporting.report_record import Report

    if isinstance(report, Report):
        law = f"{report.questions:,} questions = {report.paired:,} paired + {report.skipped:,} skipped"
        return f"{law}, {report.pairs:,} pairs in {folder}"
    law = f"{report.questions:,} questions = {report.evaluated:,} evaluated + {report.skipped:,} skipped"
    return f"{law}, {report.all.right.value:.1%} right in {folder}"


def print_summary(folder: str, report: Report, *, in_full: bool = False) -> None:
    """Print a finished run: counts, pairs, undecided responses, paths; `in_full`: with the verifier's table."""
    _print_counts(report)
    if report.abstaining is not None and (counts := report.abstaining.all).responses:
        say(
            f"judged  {counts.responses:,} responses: {counts.correct:,} right, {counts.proven:,} proven wrong, "
            f"{counts.likely:,} likely wrong, {counts.unparsed:,} without an answer, {counts.undecided:,} undecided"
        )
        _print_warnings(report.abstaining)
    if report.verifier is not None:
        _print_verifier(report.verifier, folder, in_full=in_full)
    root = folder.rstrip("/")
    say(f"pairs   {root}/data/train-*.parquet\ncard    {root}/README.md\nbrowse  {root}/report.html")


def print_preview(preview: PairingPreview) -> None:
    """Print what pairing would give: the counts, then the judge's decisions by source, kind and rule."""
    from mmpr.reporting.abstaining import abstaining_lines

    _print_counts(preview)
    if lines := abstaining_lines(preview.abstaining, width=terminal_width()):
        say("\n".join(lines))
    _print_warnings(preview.abstaining)
    if preview.verifier is not None:
        _print_verifier(preview.verifier, "DIR", in_full=False)
    say("a dry run: nothing was written", err=True)


def _print_verifier(found: VerifierFigures, folder: str, *, in_full: bool) -> None:
    from mmpr.reporting.verifier_figures import missing_lines, verifier_lines

    lines = verifier_lines(found, folder, width=terminal_width())
    say("\n".join(lines if in_full else lines[:1]))
    for line in missing_lines(found, folder):
        say(line, err=True)


def _print_warnings(judged: AbstainingFigures) -> None:
    from mmpr.reporting.abstaining import warning_lines

    for line in warning_lines(judged):
        say(line, err=True)


def _print_counts(report: Report | PairingPreview) -> None:
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in report.pairs_by_kind.items() if n) or "none"
    skips = ", ".join(f"{n:,} {reason}" for reason, n in list(report.skips_by_reason.items())[:4])
    say(f"{report.questions:,} questions = {report.paired:,} paired + {report.skipped:,} skipped")
    say(f"{report.pairs:,} pairs ({kinds})")
    if skips:
        say(f"skipped: {skips}")


def print_evaluation(report: EvaluationReport, *, as_json: bool) -> None:
    """Print the figures of a model as a table, or as `eval.json`."""
    from mmpr.reporting.evaluation_report import evaluation_lines

    if as_json:
        _print_json(report)
    else:
        say("\n".join(evaluation_lines(report, width=terminal_width())))


def print_comparison(report: ComparisonReport, *, as_json: bool) -> None:
    """Print the comparison of two models as tables, or as one JSON object."""
    from mmpr.reporting.evaluation_report import comparison_lines

    if as_json:
        _print_json(report)
    else:
        say("\n".join(comparison_lines(report, width=terminal_width())))


def _print_json(report: EvaluationReport | ComparisonReport) -> None:
    from mmpr.reporting.safe_text import visible_json
    from mmpr.run.json_records import plain

    typer.echo(visible_json(json.dumps(plain(report), ensure_ascii=False, indent=1)))


def end_part(context: typer.Context, ended: Ended) -> None:
    """Print the summary of one source of a job."""
    if ended.error is not None:
        code, words = error_message(ended.error)
        print_event(
            context, "ended", f"mmpr: {ended.part.name}: {words}", level="error", run=ended.part.out, exit_code=code
        )
    elif ended.outcome is not None and ended.outcome.failing:
        print_failing(context, ended.outcome)
    elif ended.outcome is not None and ended.outcome.report is not None:
        done = "nothing left to do" if ended.outcome.idle else "complete"
        say(f"{ended.part.name}: {done}: {_one_line(ended.outcome.folder.url, ended.outcome.report)}")
        _print_done(context, ended.outcome, "")
