"""The flow of a run's questions into pairs and skips: bands between bars, in user units of an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpr.reporting.report_record import Report
from mmpr.run.json_records import JsonObject

WIDTH = 1000
_LEFT, _MIDDLE, _RIGHT, _BAR = 0.0, 285.0, 580.0, 8.0
_HEIGHT = 230.0  # of the bar of all questions
_SLOT, _GAP, _BETWEEN = 38.0, 6.0, 26.0  # room for a label; between the bars of a block; between the blocks
_LEAST = 2.0
_MOST_REASONS = 7
_REST = "for "  # "9 for 3 other reasons": needs no second line that explains it


@dataclass(frozen=True, slots=True)
class _Band:
    """One bar of the right side: `skip` tells skips from pairs, `share` is of all questions' height."""

    name: str
    n: int
    share: float
    skip: bool


@dataclass(frozen=True, slots=True)
class FlowChart:
    """What the page draws; bars, bands and labels have a `role` that its style colours."""

    height: float
    width: float = WIDTH
    bars: list[JsonObject] = field(default_factory=list)
    bands: list[JsonObject] = field(default_factory=list)
    labels: list[JsonObject] = field(default_factory=list)


def flow_chart(report: Report) -> FlowChart | None:
    """Questions, then with pairs or skipped, then the kinds of pairs and the reasons; None where there was none."""
    if not report.questions:
        return None
    pairs, skips = _pair_parts(report), _skip_parts(report)
    block = _block_height(pairs)
    total = block + (_BETWEEN if pairs and skips else 0.0) + _block_height(skips)
    chart = FlowChart(round(total, 1))
    top = max(0.0, (total - _HEIGHT) / 2)
    _bar(chart, "all", _LEFT, top, _HEIGHT)
    _label(chart, "all", _LEFT, top + _HEIGHT / 2, report.questions, "questions", None)
    for parts, first in ((pairs, 0.0), (skips, total - _block_height(skips))):
        if parts:
            top = _block(chart, report, parts, first, top)
    return chart


def _pair_parts(report: Report) -> list[_Band]:
    """The kinds share the height of the questions with pairs as they share the pairs."""
    paired = report.paired / report.questions
    kinds = report.pairs_by_kind.items()
    return [_Band(kind, n, paired * n / report.pairs, skip=False) for kind, n in kinds]


def _skip_parts(report: Report) -> list[_Band]:
    """The commonest reasons, and all others as one."""
    reasons = list(report.skips_by_reason.items())
    shown = reasons if len(reasons) <= _MOST_REASONS + 1 else reasons[:_MOST_REASONS]
    if rest := reasons[len(shown) :]:
        shown = [*shown, (f"{_REST}{len(rest)} other reasons", sum(n for _, n in rest))]
    return [_Band(reason, n, n / report.questions, skip=True) for reason, n in shown]


def _height(part: _Band) -> float:
    return max(_LEAST, part.share * _HEIGHT)


def _block_height(parts: Sequence[_Band]) -> float:
    return sum(max(_SLOT, _height(part)) for part in parts) + _GAP * max(0, len(parts) - 1)


def _block(chart: FlowChart, report: Report, parts: Sequence[_Band], first: float, source: float) -> float:
    """One middle bar with the bars right of it; returns how far the left bar is used up.

    Args:
        first: top of the block.
        source: where on the left bar its questions begin.
    """
    role, name = ("skip", "skipped") if parts[0].skip else ("pairs", "with pairs")
    n = report.skipped if parts[0].skip else report.paired
    taken = float(n / report.questions * _HEIGHT)
    height = sum(map(_height, parts))
    top = first + (_block_height(parts) - height) / 2
    _bar(chart, role, _MIDDLE, top, height)
    _band(chart, role, (_LEFT + _BAR, source, max(_LEAST, taken)), (_MIDDLE, top, height))
    _label(chart, role, _MIDDLE, top + height / 2, n, name, n / report.questions)
    y = first
    for part in parts:
        slot, tall = max(_SLOT, _height(part)), _height(part)
        place = y + (slot - tall) / 2
        kind = role if part.skip else part.name
        _bar(chart, kind, _RIGHT, place, tall)
        _band(chart, kind, (_MIDDLE + _BAR, top, tall), (_RIGHT, place, tall))
        _label(
            chart,
            kind,
            _RIGHT,
            y + slot / 2,
            part.n,
            part.name,
            None,
            reason=part.skip and not part.name.startswith(_REST),
        )
        top, y = top + tall, y + slot + _GAP
    return source + taken


def _bar(chart: FlowChart, role: str, x: float, y: float, height: float) -> None:
    chart.bars.append({"role": role, "x": x, "y": round(y, 1), "width": _BAR, "height": round(height, 1)})


def _label(
    chart: FlowChart,
    role: str,
    x: float,
    y: float,
    n: int,
    name: str,
    share: float | None,
    *,
    reason: bool = False,
) -> None:
    place = {"role": role, "x": x + _BAR + 10, "y": round(y, 1)}
    chart.labels.append({**place, "n": n, "name": name, "share": share, "reason": reason})


def _band(chart: FlowChart, role: str, start: tuple[float, float, float], end: tuple[float, float, float]) -> None:
    """From (x, y, height) to (x, y, height), leaving and arriving level."""
    (x0, y0, h0), (x1, y1, h1) = start, end
    bend = (x0 + x1) / 2
    path = (
        f"M{x0:.1f},{y0:.1f}C{bend:.1f},{y0:.1f} {bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        f"L{x1:.1f},{y1 + h1:.1f}C{bend:.1f},{y1 + h1:.1f} {bend:.1f},{y0 + h0:.1f} {x0:.1f},{y0 + h0:.1f}Z"
    )
    chart.bands.append({"role": role, "path": path})
