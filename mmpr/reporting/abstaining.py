"""What abstaining costs: how much of a run the judge decided, by source, kind of answer and rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.tally import short
from mmpr.reporting.terminal import aligned
from mmpr.run import VerdictCounts

# From this share on undecided responses of a source are worth a warning.
WARN_SHARE = 0.2
FIGURES = (
    *("paired", "skipped", "responses", "correct", "proven", "likely", "unparsed", "undecided"),
    *("off_format", "in_pairs"),
)
_MOST_NAMES = 200
_MOST_LINES = 20
_HEAD = ("", "paired", "skipped", "responses", "right", "wrong: proven", "likely", "no answer", "undecided", "share")


def abstaining_figures(counts: VerdictCounts) -> dict[str, Any]:
    """What `report.json` says under `abstaining`; without a name where an older mmpr counted.

    `all`, and each entry of `by_source`, `by_kind` and `by_rule`, has `FIGURES` (see `VerdictCounts`) and
    `undecided_share`, of its responses. `warnings` are lines for people.
    """
    rules: dict[str, Counter[str]] = {}
    for rule, sums in counts.groups["rule"].items():
        rules.setdefault(short(rule) or "(none)", Counter()).update(sums)
    found = {group: _ranked(names) for group, names in {**counts.groups, "rule": rules}.items()}
    whole: Counter[str] = sum(counts.groups["source"].values(), Counter())
    return {
        "all": _figures(whole),
        **{f"by_{group}": {name: _figures(sums) for name, sums in names.items()} for group, names in found.items()},
        "warnings": [line for name, sums in found["source"].items() if (line := _warning(name, sums))],
    }


def _ranked(sums: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Those with most responses first; the many rare ones as one."""
    ordered = sorted(sums, key=lambda name: (-sums[name]["responses"], name))
    shown = {name: sums[name] for name in ordered[:_MOST_NAMES]}
    if rest := ordered[_MOST_NAMES:]:
        shown[f"({len(rest)} more)"] = sum((sums[name] for name in rest), Counter())
    return shown


def _figures(sums: Counter[str]) -> dict[str, int | float]:
    share = sums["undecided"] / sums["responses"] if sums["responses"] else 0.0
    return {**{name: sums[name] for name in FIGURES}, "undecided_share": round(share, 4)}


def _warning(source: str, sums: Counter[str]) -> str:
    if sums["undecided"] <= WARN_SHARE * sums["responses"]:
        return ""
    share = sums["undecided"] / sums["responses"]
    return f"{source}: the judge left {share:.0%} of {sums['responses']:,} responses undecided; they are in no pair"


def abstaining_cells(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures of one name as a table's cells, in the order of the columns of `abstaining_lines`."""
    return (*(f"{figures[name]:,}" for name in FIGURES[:8]), f"{figures['undecided_share']:.0%}")


def abstaining_lines(report: Mapping[str, Any]) -> list[str]:
    """A table for a terminal: all, then by source, by kind and by rule; none where nobody judged.

    Args:
        report: with `abstaining`, as `report.json` has it.
    """
    found = report["abstaining"]
    if not found["all"]["responses"]:
        return []
    rows = [_HEAD, ("all", *abstaining_cells(found["all"]))]
    for group in ("source", "kind", "rule"):
        names = list(found[f"by_{group}"].items())
        rows += [(visible_line(f"{group} {name}"), *abstaining_cells(own)) for name, own in names[:_MOST_LINES]]
        if rest := names[_MOST_LINES:]:
            rows.append((f"{group}: {len(rest)} more", *[""] * (len(_HEAD) - 1)))
    return aligned(rows)


def warning_lines(report: Mapping[str, Any]) -> list[str]:
    """The warnings of a report that may be an older mmpr's."""
    return [visible_line(f"warning: {line}") for line in report.get("abstaining", {}).get("warnings", ())]
