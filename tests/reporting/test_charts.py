"""Geometry of the page's charts: the numbers in them add up for every run."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.reporting.charts import duration, gap_bars, rate_curve, rule_bars
from mmpr.reporting.flow import flow_chart
from mmpr.reporting.lengths import GapHistogram
from mmpr.reporting.throughput import ClockThroughput, Pause

REASONS = [f"reason_{k}" for k in range(12)]


def charted(questions, paired, kinds, skips):
    return SimpleNamespace(
        questions=questions,
        paired=paired,
        skipped=questions - paired,
        pairs=sum(kinds.values()),
        pairs_by_kind=kinds,
        skips_by_reason=skips,
    )


@given(st.dictionaries(st.sampled_from(REASONS), st.integers(1, 5000)), st.integers(0, 5000))
def test_the_flow_has_room_for_every_label_and_loses_nothing(skips, paired):
    kinds = {"correctness": 3 * paired, "format": 1} if paired else {}
    chart = flow_chart(charted(paired + sum(skips.values()), paired, kinds, skips))
    if not skips and not paired:
        assert chart is None
        return
    assert all(bar["y"] >= 0 and bar["y"] + bar["height"] <= chart.height + 0.2 for bar in chart.bars)
    right = [label for label in chart.labels if label["x"] > 500]
    assert len(right) <= 2 + 8
    assert sum(label["n"] for label in right) == sum(kinds.values()) + sum(skips.values())
    heights = sorted(label["y"] for label in right)
    assert all(below - above >= 37.9 for above, below in itertools.pairwise(heights))


def test_a_run_without_a_pair_flows_into_its_skips_alone():
    chart = flow_chart(charted(5, 0, {}, {"all_wrong": 5}))
    assert [bar["role"] for bar in chart.bars] == ["all", "skip", "skip"]


def test_gap_bars_say_which_side_is_longer():
    made = gap_bars(GapHistogram(3, (1, 0, 5, 0, 2)))
    assert [bar["longer"] for bar in made["bars"]] == ["rejected", "rejected", "equal", "chosen", "chosen"]
    labels = [bar["label"] for bar in made["bars"]]
    assert labels[0] == "rejected 5 or more tokens longer"
    assert labels[1:4] == [
        "rejected 2 to 4 tokens longer",
        "equal, give or take 1",
        "chosen 2 to 4 tokens longer",
    ]


def test_rule_bars_are_shares_of_the_commonest_rule():
    rows = rule_bars({"exact": {"correct": 10}, "number": {"incorrect": 4, "error": 1}}, None, most=1)
    assert rows == [{"rule": "exact", "total": 10, "parts": [{"name": "right", "n": 10, "percent": 100.0}]}]
    outcomes = {"exact": {"correct": 10}, "number": {"incorrect": 4, "error": 1}}
    judged = SimpleNamespace(by_rule={"number": SimpleNamespace(likely=3)})
    parts = rule_bars(outcomes, judged, most=2)[1]["parts"]
    assert [(p["name"], p["percent"]) for p in parts] == [("wrong", 10.0), ("likely", 30.0), ("other", 10.0)]


@pytest.mark.parametrize("work_s", [0.4, 7.0, 61.0, 3500.0, 90_000.0, 3_000_000.0])
def test_time_has_a_few_round_ticks(work_s):
    rates = ClockThroughput("clock", "", work_s, 1.0, (1.0, 0.0, 2.0), ())
    ticks = rate_curve(rates)["ticks"]
    assert 1 <= len(ticks) <= 6
    assert ticks[0] == {"x": 0.0, "label": "0"}
    assert all(tick["x"] <= 480.01 for tick in ticks)


def test_a_pause_stands_where_the_work_stopped():
    curve = rate_curve(ClockThroughput("clock", "", 200.0, 10.0, (10.0,) * 4, (Pause(100.0, 7200),)))
    assert curve["pauses"] == [{"x": 240.0, "label": "2 h"}]
    assert re.fullmatch(r"M0,150(L[\d.]+,[\d.]+)+Z", curve["path"])
    assert rate_curve(None) is None


def test_a_duration_has_one_unit():
    assert [duration(s) for s in (40, 90, 5400, 200_000)] == ["40 s", "1.5 min", "1.5 h", "2.3 days"]
