"""Geometry of the page's charts in SVG units; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mmpr.reporting.abstaining import AbstainingFigures
from mmpr.reporting.lengths import GapHistogram, LengthHistogram
from mmpr.reporting.report_record import Report
from mmpr.reporting.throughput import ClockThroughput, Pause, Throughput
from mmpr.run.json_records import JsonObject

WIDTH, HEIGHT = 480, 150
GAP_HEIGHT = 76
_HOUR_S, _DAY_S = 3600, 86_400
_TIME_STEPS_S = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, *(h * _HOUR_S for h in (1, 2, 4, 8, 12))]


def shares(report: Report) -> list[JsonObject]:
    """Return what happened to the questions: those with pairs first, then the skips, most frequent first."""
    parts = [("paired", report.paired), *report.skips_by_reason.items()]
    total = max(1, report.questions)
    return [{"name": name, "n": n, "percent": round(100 * n / total, 3)} for name, n in parts if n]


def accuracy_bars(histogram: Mapping[str, int]) -> list[JsonObject]:
    """Return one bar per bin. The first and the last bin give no pairs and are marked."""
    bars = _bars(list(histogram.values()), HEIGHT, gap=4)
    last = len(bars) - 1
    return [
        {**bar, "label": label, "useless": index in (0, last)}
        for index, (label, bar) in enumerate(zip(histogram, bars, strict=True))
    ]


def gap_bars(histogram: GapHistogram) -> JsonObject:
    """Return bars of chosen minus rejected tokens. The middle one is around 0; the others name the longer side."""
    counts, width = histogram.counts, histogram.bin_tokens
    middle = len(counts) // 2
    bars = [
        {**bar, "longer": "equal" if index == middle else "chosen" if index > middle else "rejected"}
        | {"label": _gap_label((index - middle) * width, width, outermost=index in (0, len(counts) - 1))}
        for index, bar in enumerate(_bars(counts, GAP_HEIGHT, gap=2))
    ]
    return {"bars": bars, "reach": middle * width}


def rule_bars(
    outcomes_by_rule: Mapping[str, Mapping[str, int]], judged: AbstainingFigures | None, most: int
) -> list[JsonObject]:
    """Return per rule its right, wrong, likely wrong and other responses, relative to the most frequent rule.

    Args:
        outcomes_by_rule: responses by rule and outcome.
        judged: counts how many wrong responses of a rule are only likely wrong.
        most: number of rules to show.
    """
    shown = list(outcomes_by_rule.items())[:most]
    top = max((sum(outcomes.values()) for _, outcomes in shown), default=1)
    rows = []
    for rule, outcomes in shown:
        total = sum(outcomes.values())
        right, wrong = outcomes.get("correct", 0), outcomes.get("incorrect", 0)
        sure = judged.by_rule.get(rule) if judged is not None else None
        likely = min(wrong, sure.likely) if sure is not None else 0
        parts = {"right": right, "wrong": wrong - likely, "likely": likely, "other": total - right - wrong}
        bars = [{"name": name, "n": n, "percent": round(100 * n / top, 3)} for name, n in parts.items() if n]
        rows.append({"rule": rule, "total": total, "parts": bars})
    return rows


def length_curves(histogram: LengthHistogram) -> JsonObject:
    """Return two step curves over one token axis, and the ticks of that axis."""
    sides = [histogram.chosen, histogram.rejected]
    # at least 1: a kind of pair without known token counts has empty bins only
    top = max(1, *(n for side in sides for n in side))
    used = max((i + 1 for side in sides for i, n in enumerate(side) if n), default=1)
    step = WIDTH / used
    tokens = used * histogram.bin_tokens
    every = _round_step(tokens)
    return {
        "chosen": _outline(sides[0][:used], step, top),
        "rejected": _outline(sides[1][:used], step, top),
        "ticks": [{"x": round(t * WIDTH / tokens, 2), "label": f"{t:,}"} for t in range(0, tokens + 1, every)],
    }


def rate_curve(throughput: Throughput | None) -> JsonObject | None:
    """Return the curve of tokens per second over working time, or over chunks, with ticks and pauses."""
    if throughput is None:
        return None
    rates = throughput.tokens_per_s
    pauses: tuple[Pause, ...] = ()
    top = max(1.0, *rates)
    if isinstance(throughput, ClockThroughput):
        # seconds are rounded to milliseconds, so a tiny run may have worked for 0.0 s
        long, pauses = max(throughput.work_s, 0.001), throughput.pauses
        every, label = _time_step(long)
    else:
        long = throughput.chunks
        every, label = _round_step(long), "{:,}".format
    return {
        "path": _outline(rates, WIDTH / len(rates), top),
        "top": round(top),
        "ticks": [
            {"x": round(k * every * WIDTH / long, 2), "label": label(k * every)} for k in range(int(long / every) + 1)
        ],
        "pauses": [{"x": round(pause.at_s * WIDTH / long, 2), "label": duration(pause.pause_s)} for pause in pauses],
    }


def duration(seconds: float) -> str:
    """Format seconds in the unit that fits: `40 s`, `12 min`, `3.5 h`, `2 days`."""
    for unit_s, name in ((_DAY_S, "days"), (_HOUR_S, "h"), (60, "min")):
        # 36 h is easier to read than 1.5 days
        if seconds >= unit_s * (2 if unit_s == _DAY_S else 1):
            return f"{seconds / unit_s:.1f}".removesuffix(".0") + f" {name}"
    return f"{seconds:.0f} s"


def _time_step(seconds: float) -> tuple[int, Callable[[int], str]]:
    step = next((step for step in _TIME_STEPS_S if seconds <= 5 * step), None)
    return step or _DAY_S * _round_step(int(seconds / _DAY_S)), lambda t: duration(t) if t else "0"


def _bars(counts: Sequence[int], height: int, *, gap: float) -> list[JsonObject]:
    top, step = max([1, *counts]), WIDTH / max(1, len(counts))
    return [
        {
            "n": n,
            "x": round(index * step + gap / 2, 2),
            "width": round(step - gap, 2),
            "y": round(height - _height(n, top, height), 2),
            "height": round(_height(n, top, height), 2),
        }
        for index, n in enumerate(counts)
    ]


def _gap_label(centre: int, width: int, *, outermost: bool) -> str:
    low, high = centre - width // 2, centre + width // 2
    if low <= 0 <= high:
        return "equal" if width == 1 else f"equal, give or take {high:,}"
    side, near, far = ("chosen", low, high) if low > 0 else ("rejected", -high, -low)
    reach = f"{near:,} or more" if outermost else f"{near:,}" if near == far else f"{near:,} to {far:,}"
    return f"{side} {reach} tokens longer"


def _round_step(length: int) -> int:
    """Return 1, 2 or 5 times a power of ten, so that an axis of this length has at most five steps."""
    power = int(10 ** max(0, math.floor(math.log10(max(1, length) / 5))))
    return next((step * power for step in (1, 2, 5) if length <= 5 * step * power), 10 * power)


def _outline(counts: Sequence[float], step: float, top: float) -> str:
    path = [f"M0,{HEIGHT}"]
    for index, n in enumerate(counts):
        y = round(HEIGHT - _height(n, top, HEIGHT), 2)
        path.append(f"L{index * step:.2f},{y}L{(index + 1) * step:.2f},{y}")
    return "".join([*path, f"L{len(counts) * step:.2f},{HEIGHT}Z"])


def _height(n: float, top: float, height: int) -> float:
    """Return a bar's height; a bin that is not empty stays visible."""
    # 2 units: one pair among a million still gives a visible bar
    return max(2.0, (height - 8) * n / top) if n else 0.0
