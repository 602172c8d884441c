"""The flow of questions into pairs and skips: bands between bars, in SVG units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpr.reporting.report_record import Report
from mmpr.run.json_records import JsonObject

WIDTH = 1000
_LEFT, _MIDDLE, _RIGHT, _BAR = 0.0, 285.0, 580.0, 8.0
_HEIGHT = 230.0  # of the bar of all questions
_SLOT, _GAP, _BETWEEN = 38.0, 6.0, 26.0  # space for a label; between the bars of a block; between the blocks
_LEAST = 2.0  # height of a bar; one question in a million is still visible
_MOST_REASONS = 7
_REST = "for "  # label "9 for 3 other reasons": has no second line that explains it


@dataclass(frozen=True, slots=True)
class _Band:
    """One bar on the right side: `skip` separates skips from pairs; `share` is a fraction of all questions."""

    name: str
    n: int
    share: float
    skip: bool


@dataclass(frozen=True, slots=True)
class FlowChart:
    """The elements of the chart; the page's style colours bars, bands and labels by their `role`."""

    height: float
    width: float = WIDTH
    bars: list[JsonObject] = field(default_factory=list)
    bands: list[JsonObject] = field(default_factory=list)
    labels: list[JsonObject] = field(default_factory=list)


def flow_chart(report: Report) -> FlowChart | None:
    """Return the chart: questions, then paired or skipped, then kinds and reasons; None without questions."""
    if not report.questions:
        return None
    pairs, skips = _pair_parts(report), _skip_parts(report)
    block = _block_height(pairs)
    total = block + (_BETWEEN if pairs and skips else 0.0) + _block_height(skips)
    chart = FlowChart(round(total, 1))
    top = max(0.0, (total - _HEIGHT) / 2)
    _bar(chart, "all", _LEFT, top, _HEIGHT)
    _label(chart, "all", _LEFT, top + _HEIGHT / 2, report.questions, "questions", None)
    # pairs at the top, skips below
    for parts, first in ((pairs, 0.0), (skips, total - _block_height(skips))):
        if parts:
            top = _block(chart, report, parts, first, top)
    return chart


def _pair_parts(report: Report) -> list[_Band]:
    """Return one band per kind of pair; together they are as high as the questions with pairs."""
    paired = report.paired / report.questions
    kinds = report.pairs_by_kind.items()
    return [_Band(kind, n, paired * n / report.pairs, skip=False) for kind, n in kinds]


def _skip_parts(report: Report) -> list[_Band]:
    """Return one band per frequent reason, and one for all others."""
    reasons = list(report.skips_by_reason.items())
    # one more is shown: a bar for "1 other reason" would take the same room as that reason
    shown = reasons if len(reasons) <= _MOST_REASONS + 1 else reasons[:_MOST_REASONS]
    if rest := reasons[len(shown) :]:
        shown = [*shown, (f"{_REST}{len(rest)} other reasons", sum(n for _, n in rest))]
    return [_Band(reason, n, n / report.questions, skip=True) for reason, n in shown]


def _height(part: _Band) -> float:
    return max(_LEAST, part.share * _HEIGHT)


def _block_height(parts: Sequence[_Band]) -> float:
    return sum(max(_SLOT, _height(part)) for part in parts) + _GAP * max(0, len(parts) - 1)


def _block(chart: FlowChart, report: Report, parts: Sequence[_Band], first: float, source: float) -> float:
    """Draw one middle bar and the bars to its right; return where the next block starts on the left bar.

    Args:
        first: top of the block.
        source: where its questions start on the left bar.
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
    """Draw a band from (x, y, height) to (x, y, height) that is horizontal at both ends."""
    (x0, y0, h0), (x1, y1, h1) = start, end
    bend = (x0 + x1) / 2
    path = (
        f"M{x0:.1f},{y0:.1f}C{bend:.1f},{y0:.1f} {bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        f"L{x1:.1f},{y1 + h1:.1f}C{bend:.1f},{y1 + h1:.1f} {bend:.1f},{y0 + h0:.1f} {x0:.1f},{y0 + h0:.1f}Z"
    )
    chart.bands.append({"role": role, "path": path})
