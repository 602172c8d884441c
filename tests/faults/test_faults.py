"""A sample of random faults; `benchmarks/bench_faults.py` draws hundreds more of the same kinds."""

import numpy as np
import pytest

from tests.faults.arms import N, look
from tests.faults.harness import Fault, dataset, questions


def assert_whole(out, ours):
    look(out)
    assert dataset(out) == dataset(ours.clean())
    assert sorted(questions(out).values()) == [1] * N


@pytest.mark.slow
def test_thirty_drawn_faults_lose_and_double_nothing(ours):
    rng = np.random.default_rng(7)
    ours.shared_build(rng, starts=2, faults=8)
    ours.served_build(rng, faults=14, lies=4)
    ours.exported(rng, kills=2)
    ours.pushed(rng, kills=2)
    tallies = ours.tallies.values()
    assert sum(tally.faults for tally in tallies) >= 30, ours.tallies
    assert {(tally.lost, tally.doubled) for tally in tallies} == {(0, 0)}


def test_a_run_that_is_ended_in_every_way_goes_on_each_time(ours):
    ends = {
        Fault("os.rename", "/responses/", 1, "kill-driver"): (-9, ""),
        Fault("os.link", "/chunks/", 1, "SIGINT"): (130, "mmpr: interrupted; run the same command again"),
        Fault("os.link", "/chunks/", 1, "SIGTERM"): (75, "mmpr: stopped (SIGTERM); run the same command again"),
        Fault("open", ".parquet.", 0, "full"): (1, "mmpr: cannot write "),
        Fault("os.rename", "/data/", 1, "kill-driver"): (-9, ""),
        Fault("os.rename", "/manifest.json", 1, "SIGTERM"): (75, "mmpr: stopped (SIGTERM)"),
    }
    build = ours.build("ended", shared=True, engines=1)  # an engine is a process, and this starts seven times
    ledger = build.run([[fault] for fault in ends])
    assert ledger.fired == len(ends), ledger
    assert ledger.exits == (*(code for code, _ in ends.values()), 0), ledger
    for words, (_, expected) in zip(ledger.words, ends.values(), strict=False):
        assert words.startswith(expected)
    assert_whole(build.out, ours)


def test_nodes_and_engines_that_go_at_once_cost_what_they_held_and_at_most_one_line_a_node(ours):
    faults = [
        Fault("engine", "q", 20, "kill-actors"),
        Fault("engine", "q", 60, "kill-nodes"),
        Fault("os.link", "/chunks/", 2, "done-unheard"),
        Fault("os.rename", "/responses/", 3, "done-unheard"),
        Fault("os.link", "/chunks/", 4, "no-links"),
        Fault("open", ".parquet.", 5, "full", times=3),
        Fault("os.link", "/chunks/", 5, "clock-back"),
    ]
    build = ours.build("lost", shared=True)
    ledger = build.run([faults])
    assert (ledger.fired, ledger.exits) == (len(faults), (0,)), ledger
    assert_whole(build.out, ours)
    events = (build.out / "events.jsonl").read_text().splitlines()
    assert sum('"node_lost"' in event for event in events) <= 2  # none if the build ends before Ray reports the nodes
