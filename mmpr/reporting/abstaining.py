"""Count how much of a run the judge decided and left undecided, by source, kind of answer and rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.tally import short
from mmpr.run import VerdictCounts
from mmpr.text_table import aligned

# A source with more than this fraction of undecided responses gets a warning.
WARN_SHARE = 0.2
# Names come from rows of the source: the report is bounded whatever they are.
_MOST_NAMES = 200
_MOST_LINES = 20
_HEAD = ("", "paired", "skipped", "responses", "right", "wrong: proven", "likely", "no answer", "undecided", "share")


@dataclass(frozen=True, slots=True)
class JudgedCounts:
    """Counts of questions with a reference answer and of their responses; see `mmpr.run.VerdictCounts`.

    `undecided_share` is a fraction of the responses.
    """

    paired: int
    skipped: int
    responses: int
    correct: int
    proven: int
    likely: int
    unparsed: int
    undecided: int
    off_format: int
    in_pairs: int
    undecided_share: float

    @classmethod
    def of(cls, sums: Counter[str]) -> JudgedCounts:
        share = sums["undecided"] / sums["responses"] if sums["responses"] else 0.0
        names = [name for name in cls.__slots__ if name != "undecided_share"]
        return cls(**{name: sums[name] for name in names}, undecided_share=round(share, 4))


@dataclass(frozen=True, slots=True)
class AbstainingFigures:
    """Counts of the whole run, and by source, kind of reference answer and rule; empty if an older mmpr counted.

    `warnings` are lines for the user.
    """

    all: JudgedCounts
    by_source: dict[str, JudgedCounts]
    by_kind: dict[str, JudgedCounts]
    by_rule: dict[str, JudgedCounts]
    warnings: tuple[str, ...]

    def cells(self, group: str, most: int) -> list[tuple[str, tuple[str, ...]]]:
        """Return table rows for the names of `source`, `kind` or `rule` with most responses: (name, cells)."""
        names: dict[str, JudgedCounts] = getattr(self, f"by_{group}")
        return [(name, abstaining_cells(own)) for name, own in list(names.items())[:most]]


def abstaining_figures(counts: VerdictCounts) -> AbstainingFigures:
    """Return the report's figures about the judge's decisions."""
    rules: dict[str, Counter[str]] = {}
    for rule, sums in counts.groups["rule"].items():
        # A rule's explanation quotes the answer: without it there are a few dozen names, not one per response.
        rules.setdefault(short(rule) or "(none)", Counter()).update(sums)
    sources = _ranked(counts.groups["source"])
    return AbstainingFigures(
        all=JudgedCounts.of(sum(counts.groups["source"].values(), Counter())),
        by_source={name: JudgedCounts.of(sums) for name, sums in sources.items()},
        by_kind={name: JudgedCounts.of(sums) for name, sums in _ranked(counts.groups["kind"]).items()},
        by_rule={name: JudgedCounts.of(sums) for name, sums in _ranked(rules).items()},
        warnings=tuple(
            f"{name}: the judge left {sums['undecided'] / sums['responses']:.0%} of {sums['responses']:,} responses "
            "undecided; they are in no pair"
            for name, sums in sources.items()
            if sums["undecided"] > WARN_SHARE * sums["responses"]
        ),
    )


def _ranked(sums: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Return the names with most responses first; rare ones are summed up in one entry."""
    ordered = sorted(sums, key=lambda name: (-sums[name]["responses"], name))
    shown = {name: sums[name] for name in ordered[:_MOST_NAMES]}
    if rest := ordered[_MOST_NAMES:]:
        shown[f"({len(rest)} more)"] = sum((sums[name] for name in rest), Counter())
    return shown


def abstaining_cells(figures: JudgedCounts) -> tuple[str, ...]:
    """Return one name's figures as table cells, in the order of the columns of `abstaining_lines`."""
    one = figures
    counts = (one.paired, one.skipped, one.responses, one.correct, one.proven, one.likely, one.unparsed, one.undecided)
    return (*(f"{n:,}" for n in counts), f"{one.undecided_share:.0%}")


def abstaining_lines(found: AbstainingFigures, *, width: int | None = None) -> list[str]:
    """Format a table with `width` columns: all, then by source, kind and rule; empty if nothing was judged."""
    if not found.all.responses:
        return []
    rows = [_HEAD, ("all", *abstaining_cells(found.all))]
    for group, names in (("source", found.by_source), ("kind", found.by_kind), ("rule", found.by_rule)):
        rows += [(visible_line(f"{group} {name}"), *cells) for name, cells in found.cells(group, _MOST_LINES)]
        if len(names) > _MOST_LINES:
            rows.append((f"{group}: {len(names) - _MOST_LINES} more", *[""] * (len(_HEAD) - 1)))
    return aligned(rows, width=width)


def warning_lines(found: AbstainingFigures | None) -> list[str]:
    """Return the warnings of a report as lines."""
    return [visible_line(f"warning: {line}") for line in (found.warnings if found else ())]
