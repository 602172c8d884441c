"""Tokens a second over the course of a run."""

from __future__ import annotations

import pytest

from mmpr.reporting.throughput import N_BINS, ChunkThroughput, Pause, Spell, throughput


def test_chunks_at_work_together_add_up():
    found = throughput([Spell(1000.0, 60.0, 600), Spell(1000.0, 60.0, 1200), Spell(1060.0, 60.0, 600)])
    assert found.by == "clock"
    assert found.began == "1970-01-01T00:16:40Z"
    assert found.work_s == 120.0
    assert set(found.tokens_per_s[: N_BINS // 2]) == {30.0}
    assert set(found.tokens_per_s[N_BINS // 2 :]) == {10.0}
    assert found.mean_tokens_per_s == 20.0


def test_all_tokens_stand_in_the_bins_wherever_chunks_begin():
    spells = [Spell(7.3 * k, 11.7 + k % 5, 100 + k) for k in range(40)]
    found = throughput(spells)
    width = found.work_s / N_BINS
    assert sum(found.tokens_per_s) * width == pytest.approx(sum(s.tokens for s in spells), rel=0.01)


def test_a_night_between_two_starts_is_a_pause_and_no_flat_line():
    found = throughput([Spell(0.0, 100.0, 1000), Spell(50_000.0, 100.0, 1000)])
    assert found.work_s == 200.0
    assert found.pauses == (Pause(100.0, 49_900),)
    assert min(found.tokens_per_s) == max(found.tokens_per_s) == 10.0


def test_accounts_that_do_not_say_when_are_told_chunk_by_chunk():
    found = throughput([Spell(None, 10.0, 100), Spell(None, 5.0, 100)])
    assert found == ChunkThroughput("chunk", 2, (10.0, 20.0))
    assert len(throughput([Spell(None, 1.0, 5)] * 1000).tokens_per_s) <= N_BINS


def test_without_a_time_there_is_nothing_to_tell():
    assert throughput([]) is None
    assert throughput([Spell(1.0, 0.0, 5)]) is None
