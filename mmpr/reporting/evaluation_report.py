"""Evaluation reports and comparisons, as JSON and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mmpr.evaluation import FLIPS, Comparison, Difference, Figures, Result, figures, grouped
from mmpr.judging import VERSION
from mmpr.reporting.report_record import ReportedMember, making, read_named
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.tally import ranked
from mmpr.run import RunFolder, RunLayout, RunRecord
from mmpr.run.json_records import plain, to_json
from mmpr.run.run_record import Settings
from mmpr.text_table import aligned

EVAL = "eval.json"
LEVEL = 0.05  # a difference with a smaller p is called real
_MOST_GROUPS = 30  # rows of a table; eval.json has all groups
Group = TypeVar("Group", Figures, Difference)
_TEST = f"paired permutation test, {FLIPS:,} flips of the signs of the questions' differences"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """The content of `eval.json`: how often a model is right.

    Args:
        questions: number of questions; each one is either `evaluated` or `skipped`.
        skips_by_reason: questions without a result, most frequent reason first.
        pocket_model: whether the embedded model answered, which is only for trying mmpr out.
        judge_version: version of the judge.
        all, by_kind, by_source: figures of all questions, by kind of reference answer, and by source.
        source: name of the file, or names of several.
        members: always empty, because a merged run is not evaluated as a whole.
        identity, selection, layout, format, versions: as in `run.json`, without paths of this machine.
    """

    questions: int
    evaluated: int
    skipped: int
    skips_by_reason: dict[str, int]
    pocket_model: bool
    judge_version: int = 1
    all: Figures
    by_kind: dict[str, Figures]
    by_source: dict[str, Figures]
    model: str | None
    model_revision: str | None
    prompt_version: str | None
    source: str
    members: tuple[ReportedMember, ...] = ()
    identity: Settings
    selection: Settings
    layout: RunLayout
    format: int
    versions: Mapping[str, str]

    def to_json(self) -> bytes:
        return to_json(plain(self))


def read_evaluation(folder: RunFolder) -> EvaluationReport:
    """Read `eval.json`, also one of an older mmpr.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    return read_named(folder, EVAL, EvaluationReport)


def evaluation_report(
    run: RunRecord, results: Sequence[Result], skips_by_reason: Mapping[str, int]
) -> EvaluationReport:
    """Compute how often a model is right.

    Args:
        run: settings of the run.
        results: one per evaluated question; at least one.
        skips_by_reason: of the other questions.
    """
    skipped = sum(skips_by_reason.values())
    return EvaluationReport(
        questions=len(results) + skipped,
        evaluated=len(results),
        skipped=skipped,
        skips_by_reason=ranked(skips_by_reason),
        pocket_model=run.is_pocket,
        judge_version=VERSION,
        all=figures(results),
        by_kind={name: figures(own) for name, own in grouped(results, lambda one: one.kind).items()},
        by_source={name: figures(own) for name, own in grouped(results, lambda one: one.source).items()},
        **making(run),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """Two evaluations on the questions that both asked; the output of `mmpr eval --compare --json`.

    Args:
        first, second: the runs as the user named them, with their `models`.
        settings: settings that differ, by name.
        questions: number of questions in both; `only_first` and `only_second` count the others.
        measures: differences by name: `right`, `majority`, `pass@k`, `parsable`.
        by_source, by_kind: differences of `right` by group.
        test: the test that gives p.
        level: a difference with a smaller p is called real.
        real: whether the difference of `right` is real.
        verdict: the result as a sentence.
    """

    first: str
    second: str
    models: tuple[str | None, str | None]
    settings: dict[str, tuple[object, object]]
    questions: int
    only_first: int
    only_second: int
    measures: dict[str, Difference]
    by_source: dict[str, Difference]
    by_kind: dict[str, Difference]
    test: str
    level: float
    real: bool
    verdict: str


def comparison_report(
    names: tuple[str, str],
    models: tuple[str | None, str | None],
    settings: Mapping[str, tuple[object, object]],
    compared: Comparison,
) -> ComparisonReport:
    """Compare two evaluations.

    Args:
        names: both runs as the user named them.
        models: the models that answered.
        settings: identity settings that differ.
        compared: a comparison of at least one question.
    """
    right = compared.measures["right"]
    return ComparisonReport(
        first=names[0],
        second=names[1],
        models=models,
        settings=dict(settings),
        questions=compared.questions,
        only_first=compared.only_first,
        only_second=compared.only_second,
        measures=compared.measures,
        by_source=compared.by_source,
        by_kind=compared.by_kind,
        test=_TEST,
        level=LEVEL,
        real=right.p < LEVEL,
        verdict=_verdict(right),
    )


def _verdict(right: Difference) -> str:
    points = f"{_points(right.value)} points right (95 %: {_points(right.low)} to {_points(right.high)})"
    if right.p >= LEVEL:
        return f"no difference is shown: {points}, p {_p(right.p)}"
    return f"the second is {'better' if right.value > 0 else 'worse'}: {points}, p {_p(right.p)}"


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # -0.0 + 0.0 is 0.0, which prints without a minus sign


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"


# -- lines for people -------------------------------------------------------------------------------------------------


def evaluation_lines(report: EvaluationReport, *, width: int | None = None) -> list[str]:
    """Format an evaluation as lines with a table of `width` columns; control characters are escaped."""
    skips = ", ".join(f"{n:,} {reason}" for reason, n in list(report.skips_by_reason.items())[:4])
    whole = report.all
    groups = [("all", whole), *_named("kind", report.by_kind), *_named("source", report.by_source)]
    last = max(whole.passes, default=1)
    head = (
        "",
        "questions",
        "right (95 %)",
        "majority",
        *([f"pass@{last}"] if last > 1 else []),
        "parsable",
        "undecided",
    )
    return [
        _asked_line(report),
        f"{report.questions:,} questions = {report.evaluated:,} evaluated + {report.skipped:,} skipped",
        *([f"skipped: {skips}"] if skips else []),
        *aligned([head, *(_row(name, found, last) for name, found in groups)], width=width),
        *_more(report),
    ]


def _asked_line(report: EvaluationReport) -> str:
    """Describe who answered and how; imported responses are described by what their file says."""
    temperature, whole = report.identity.get("temperature"), report.all
    words = "" if temperature is None else f", temperature {temperature:g}"
    line = f"model   {report.model}{words}: {whole.responses:,} responses"
    if whole.tokens is None:
        return f"{line}, made elsewhere"
    return f"{line} of {whole.tokens:,.0f} tokens, {whole.unfinished:.1%} cut by the length limit"


def _row(name: str, found: Figures, last: int) -> tuple[str, ...]:
    right, passes = found.right, found.passes.get(last)
    return (
        name,
        f"{found.questions:,}",
        f"{right.value:.1%} ({100 * right.low:.1f} to {100 * right.high:.1f})",
        f"{found.majority.value:.1%}",
        *([f"{passes.value:.1%}" if passes else ""] if last > 1 else []),
        f"{found.parsable.value:.1%}",
        f"{found.undecided:.1%}",
    )


def _named(word: str, groups: Mapping[str, Group]) -> list[tuple[str, Group]]:
    """Return one entry per group, if there are several."""
    if len(groups) < 2:
        return []
    return [(f"{word} {visible_line(name)}", found) for name, found in list(groups.items())[:_MOST_GROUPS]]


def _more(report: EvaluationReport | ComparisonReport) -> list[str]:
    """Return a line about the groups that the tables leave out."""
    n = sum(max(0, len(groups) - _MOST_GROUPS) for groups in (report.by_kind, report.by_source))
    return [f"and {n:,} more groups: --json"] if n else []


def comparison_lines(report: ComparisonReport, *, width: int | None = None) -> list[str]:
    """Format a comparison as lines with a table of `width` columns; control characters are escaped."""
    rest = f"; {report.only_first:,} only in the first, {report.only_second:,} only in the second"
    groups = [*_named("kind", report.by_kind), *_named("source", report.by_source)]
    rows = [
        ("", "first", "second", "difference", "p"),
        *((*_compared(name, found), _p(found.p)) for name, found in report.measures.items()),
        *((*_compared(f"right, {name}", found), "") for name, found in groups),
    ]
    return [
        visible_line(f"first: {report.first} ({report.models[0]})"),
        visible_line(f"second: {report.second} ({report.models[1]})"),
        *(visible_line(f"{name}: {a!r}, then {b!r}") for name, (a, b) in report.settings.items() if name != "model"),
        f"{report.questions:,} questions in both{rest if report.only_first or report.only_second else ''}",
        *aligned(rows, width=width),
        *_more(report),
        report.verdict,
        f"({report.test})",
    ]


def _compared(name: str, found: Difference) -> tuple[str, ...]:
    points = f"{_points(found.value)} ({_points(found.low)} to {_points(found.high)})"
    return name, f"{found.first:.1%}", f"{found.second:.1%}", points
