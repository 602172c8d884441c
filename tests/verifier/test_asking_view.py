"""What a person sees while a verifier is asked: how far it is, what failed, and which engine died."""

import json
from collections import Counter

import pytest

from mmpr.builder.asking_view import AskingCounts, asking
from mmpr.builder.verifier_work import AskedChunk
from mmpr.engines.protocol import Pulse
from mmpr.pool import Beat, Died, Done, Lease

FAULTS = Counter(engine_refused=2)
LEASE = Lease(0, None, "0a1b2c3d")
DONE = Done(LEASE, AskedChunk(0, 30, FAULTS, 30, FAULTS, "engine_refused: HTTP 500", 60, 900, "node"))
DEAD = Died(3, "out of memory", (LEASE,), "node")


def test_the_line_says_what_engines_do_and_then_how_far_it_is():
    counts = AskingCounts("judge-3b", 12)
    counts.see(Beat((), 1, phases=("loading weights",)))
    assert counts.line() == "asking judge-3b: 0 of 12 chunks, 0 responses; starting the engine: loading weights"
    counts.see(Beat((Pulse(),), 0))
    counts.see(DONE)
    assert counts.line() == "asking judge-3b: 1 of 12 chunks, 30 responses, 2 not answered"


def test_faults_of_engines_are_printed_and_the_first_line_comes_at_once(capsys):
    with asking("judge-3b", 12, run="runs/mine", as_json=False) as view:
        view.see(DONE)
        view.see(DEAD)
    printed = capsys.readouterr().err
    assert printed.startswith("asking judge-3b: 0 of 12 chunks, 0 responses; starting the engine: placing\n")
    assert "engine 3 died (out of memory); chunks leased again: 0" in printed


def test_for_programs_each_event_is_an_object(capsys):
    with asking("judge-3b", 12, run="runs/mine", as_json=True) as view:
        for event in (DONE, DEAD, Beat((), 1)):
            view.see(event)
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["event"] for one in found] == ["phase", "chunk_asked", "lease_lost", "engine_died"]
    assert found[1]["responses"] == 30 and found[1]["faults"] == {"engine_refused": 2}


@pytest.mark.parametrize("name", ["m\x1b[31m", "m\u202e"])
def test_a_name_writes_no_control_characters(name):
    assert AskingCounts(name, 1).line().isprintable()
