"""An evaluation, and two compared: as plain JSON, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmpr.evaluation import FLIPS, Comparison, Difference, Result, figures, grouped
from mmpr.judging import VERSION
from mmpr.reporting.report_files import making, ranked
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.terminal import aligned
from mmpr.run import is_pocket

EVAL = "eval.json"
LEVEL = 0.05  # a difference with a smaller p is called real
_MOST_GROUPS = 30  # of a table; eval.json has all
_TEST = f"paired permutation test, {FLIPS:,} flips of the signs of the questions' differences"


def evaluation_report(
    run: Mapping[str, Any], results: Sequence[Result], skips_by_reason: Mapping[str, int]
) -> dict[str, Any]:
    """What `eval.json` holds.

    Args:
        run: as `RunFolder.load_run` gives it.
        results: of every question that has one; at least one.
        skips_by_reason: of the others.
    """
    skipped = sum(skips_by_reason.values())
    return {
        "questions": len(results) + skipped,
        "evaluated": len(results),
        "skipped": skipped,
        "skips_by_reason": ranked(skips_by_reason),
        "pocket_model": is_pocket(run),
        "judge_version": VERSION,
        "all": _figures(results),
        "by_kind": {name: _figures(own) for name, own in grouped(results, lambda one: one.kind).items()},
        "by_source": {name: _figures(own) for name, own in grouped(results, lambda one: one.source).items()},
        **making(run),
    }


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    found = asdict(figures(results))
    return {**found, "passes": {str(k): one for k, one in found["passes"].items()}}


def comparison_report(
    names: tuple[str, str],
    identities: tuple[Mapping[str, Any], Mapping[str, Any]],
    settings: Mapping[str, tuple[Any, Any]],
    compared: Comparison,
) -> dict[str, Any]:
    """What `mmpr eval --compare --json` prints.

    Args:
        names: of both runs, as they were given.
        identities: their settings that may never change.
        settings: those that differ.
        compared: with at least one question.
    """
    right = compared.measures["right"]
    return {
        "first": names[0],
        "second": names[1],
        "models": [identity.get("model") for identity in identities],
        "settings": {name: list(values) for name, values in settings.items()},
        **asdict(compared),
        "test": _TEST,
        "level": LEVEL,
        "real": right.p < LEVEL,
        "verdict": _verdict(right),
    }


def _verdict(right: Difference) -> str:
    points = f"{_points(right.value)} points right (95 %: {_points(right.low)} to {_points(right.high)})"
    if right.p >= LEVEL:
        return f"no difference is shown: {points}, p {_p(right.p)}"
    return f"the second is {'better' if right.value > 0 else 'worse'}: {points}, p {_p(right.p)}"


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # -0.0 + 0.0 is 0.0


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"


# -- lines for people -------------------------------------------------------------------------------------------------


def evaluation_lines(report: Mapping[str, Any]) -> list[str]:
    """An evaluation as lines; nothing in them steers a terminal."""
    skips = ", ".join(f"{n:,} {reason}" for reason, n in list(report["skips_by_reason"].items())[:4])
    whole, identity = report["all"], report["identity"]
    groups = [("all", whole), *_named("kind", report["by_kind"]), *_named("source", report["by_source"])]
    last = max((int(k) for k in whole["passes"]), default=1)
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
        _asked_line(report, identity, whole),
        f"{report['questions']:,} questions = {report['evaluated']:,} evaluated + {report['skipped']:,} skipped",
        *([f"skipped: {skips}"] if skips else []),
        *aligned([head, *(_row(name, found, last) for name, found in groups)]),
        *_more(report),
    ]


def _asked_line(report: Mapping[str, Any], identity: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Who answered, and how; of responses made elsewhere what their file says."""
    temperature = "" if identity.get("temperature") is None else f", temperature {identity['temperature']:g}"
    line = f"model   {report['model']}{temperature}: {whole['responses']:,} responses"
    if whole["tokens"] is None:
        return f"{line}, made elsewhere"
    return f"{line} of {whole['tokens']:,.0f} tokens, {whole['unfinished']:.1%} cut by the length limit"


def _row(name: str, found: Mapping[str, Any], last: int) -> tuple[str, ...]:
    right, passes = found["right"], found["passes"].get(str(last))
    return (
        name,
        f"{found['questions']:,}",
        f"{right['value']:.1%} ({100 * right['low']:.1f} to {100 * right['high']:.1f})",
        f"{found['majority']['value']:.1%}",
        *([f"{passes['value']:.1%}" if passes else ""] if last > 1 else []),
        f"{found['parsable']['value']:.1%}",
        f"{found['undecided']:.1%}",
    )


def _named(word: str, groups: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A group a row, where there are several."""
    if len(groups) < 2:
        return []
    return [(f"{word} {visible_line(name)}", found) for name, found in list(groups.items())[:_MOST_GROUPS]]


def _more(report: Mapping[str, Any]) -> list[str]:
    """What the tables leave out."""
    n = sum(max(0, len(report[name]) - _MOST_GROUPS) for name in ("by_kind", "by_source"))
    return [f"and {n:,} more groups: --json"] if n else []


def comparison_lines(report: Mapping[str, Any]) -> list[str]:
    """Two evaluations compared as lines; nothing in them steers a terminal."""
    rest = f"; {report['only_first']:,} only in the first, {report['only_second']:,} only in the second"
    groups = [*_named("kind", report["by_kind"]), *_named("source", report["by_source"])]
    rows = [
        ("", "first", "second", "difference", "p"),
        *((*_compared(name, found), _p(found["p"])) for name, found in report["measures"].items()),
        *((*_compared(f"right, {name}", found), "") for name, found in groups),
    ]
    return [
        *(visible_line(f"{place}: {report[place]} ({model})") for place, model in _models(report)),
        *(visible_line(f"{name}: {a!r}, then {b!r}") for name, (a, b) in report["settings"].items() if name != "model"),
        f"{report['questions']:,} questions in both{rest if report['only_first'] or report['only_second'] else ''}",
        *aligned(rows),
        *_more(report),
        report["verdict"],
        f"({report['test']})",
    ]


def _models(report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(zip(("first", "second"), report["models"], strict=True))


def _compared(name: str, found: Mapping[str, float]) -> tuple[str, ...]:
    points = f"{_points(found['value'])} ({_points(found['low'])} to {_points(found['high'])})"
    return name, f"{found['first']:.1%}", f"{found['second']:.1%}", points
