"""Caps and ratios over the whole run: pure rules first, then on run folders."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.run import DatasetOptions, RunFolder, StoredQuestion, StoredResponse, cut_dataset
from mmpr.run.selection import ChunkSurvey, Survey, pair_key, quotas
from mmpr.types import Certainty, Finish, Outcome, Pair, PairKind, Question, Reason, Response, Skip, Stage, Verdict

from . import making

COUNTS = st.dictionaries(st.sampled_from(PairKind), st.integers(0, 200))
LIMITS = st.builds(
    DatasetOptions, st.none() | st.integers(1, 300), st.none() | st.sampled_from([0, 0.05, 0.1, 0.5, 0.9, 1])
)


@given(COUNTS, LIMITS)
def test_quotas_hold_cap_and_ratio_and_take_what_they_allow(
    counts: dict[PairKind, int], limits: DatasetOptions
) -> None:
    kept = Counter(quotas(counts, limits))
    without_cap = Counter(quotas(counts, replace(limits, max_pairs_per_source=None)))
    assert all(0 <= kept[kind] <= counts.get(kind, 0) for kind in PairKind)
    share, most = limits.max_format_fraction, limits.max_pairs_per_source
    judged = kept[PairKind.CORRECTNESS] + kept[PairKind.FORMAT]
    assert share is None or kept[PairKind.FORMAT] <= share * judged + 1e-9
    assert kept.total() == (without_cap.total() if most is None else min(most, without_cap.total()))


def test_a_ratio_is_reckoned_in_whole_numbers() -> None:
    counts = {PairKind.CORRECTNESS: 9, PairKind.FORMAT: 5}
    assert quotas(counts, DatasetOptions(max_format_fraction=0.1))[PairKind.FORMAT] == 1


pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(PairKind), st.integers(0, 3), st.integers(0, 50)),
    max_size=80,
)


@given(pairs, LIMITS, st.randoms(), st.integers(1, 9))
def test_thresholds_keep_the_quotas_and_depend_neither_on_order_nor_on_chunks(
    drawn: list[tuple[str, PairKind, int, int]], limits: DatasetOptions, random: Any, size: int
) -> None:
    keys = [(source, kind, rank << 52 | number) for source, kind, rank, number in drawn]
    selection = _decide(keys, limits, size=4)
    random.shuffle(keys)
    assert _decide(keys, limits, size=size) == selection
    counts = {source: Counter(k for s, k, _ in keys if s == source) for source in "ab"}
    for source, kind in {(s, k) for s, k, _ in keys}:
        limit = selection.thresholds.get((source, kind))
        kept = [key for s, k, key in keys if (s, k) == (source, kind) and (limit is None or key < limit.below)]
        most = quotas(counts[source], limits)[kind]
        doubled = len(keys) != len(set(keys))
        assert len(kept) <= most if doubled else len(kept) == most


def _decide(keys: list[tuple[str, PairKind, int]], limits: DatasetOptions, *, size: int) -> Any:
    survey = Survey(limits)
    for first in range(0, len(keys), size):
        chunk: dict[tuple[str, PairKind], array[int]] = {}
        for source, kind, key in keys[first : first + size]:
            chunk.setdefault((source, kind), array("Q")).append(key)
        survey.add(ChunkSurvey(chunk))
    return survey.decide()


def test_every_questions_best_pair_comes_before_any_second_best() -> None:
    side = (Stage.SAMPLE, 0)
    best, second = (Pair("q", side, side, PairKind.CORRECTNESS, rank) for rank in (0, 1))
    assert pair_key(best, "f" * 20) < pair_key(second, "0" * 20) < 1 << 64


# -- on a run folder ----------------------------------------------------------------------------------------------


def answered(row: int, source: str, right: int, wrong: int, unparsed: int) -> StoredQuestion:
    """A question with these numbers of responses per outcome."""
    outcomes = [Outcome.CORRECT] * right + [Outcome.INCORRECT] * wrong + [Outcome.UNPARSED] * unparsed
    answers, sure = {Outcome.CORRECT: "3", Outcome.UNPARSED: None}, {Outcome.INCORRECT: Certainty.PROVEN}
    question = Question(f"{source}{row}", source, row, f"How many in {row}?", answer=("3",))
    responses = tuple(
        StoredResponse(
            Response(question.id, Stage.SAMPLE, k, f"Response {k}.", (), 4, Finish.STOP),
            Verdict(outcome, answers.get(outcome, str(10 + k)), "integer", certainty=sure.get(outcome)),
        )
        for k, outcome in enumerate(outcomes)
    )
    return StoredQuestion(question, (), responses)


ROWS = [
    *(answered(row, "small", 1, 1, 0) for row in range(5)),
    *(answered(row, "large", 2, 2, 1) for row in range(20)),
    *(answered(row, "large", 1, 0, 2) for row in range(20, 30)),
    making.skipped(99),
]


def cut(
    url: str, limits: DatasetOptions, *, size: int = 4, backwards: bool = False
) -> tuple[RunFolder, Any, list[Any]]:
    folder = making.new_run(url)
    making.commit_all(folder, ROWS, size=size, backwards=backwards)
    totals, _ = cut_dataset(folder, making.recipe(), options=limits)
    table = pq.read_table(folder.store.open("data/train-00000-of-00001.parquet"))
    return folder, totals, table.to_pylist()


def test_a_cap_holds_per_source_and_keeps_as_many_questions_as_it_can(url: str) -> None:
    folder, totals, rows = cut(url, DatasetOptions(max_pairs_per_source=25))
    by_source = Counter(row["source"] for row in rows)
    assert by_source == {"small": 5, "large": 25}
    assert len({row["question_id"] for row in rows if row["source"] == "large"}) >= 24
    assert totals.questions == len(ROWS) == totals.paired + totals.skipped
    assert totals.paired == len({row["question_id"] for row in rows}) and totals.pairs == len(rows)
    skips = [s for s in pq.read_table(folder.store.open("skips.parquet")).to_pylist() if s["reason"] == "source_cap"]
    assert len(skips) == totals.skips_by_reason["source_cap"] > 0
    assert {skip["stage"] for skip in skips} == {"select"}
    assert all("(max_pairs_per_source 25)" in skip["detail"] for skip in skips)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.15])
def test_format_pairs_are_at_most_their_share_of_a_source(tmp_path: Path, share: float) -> None:
    _, all_of_them, _ = cut(str(tmp_path / "all"), DatasetOptions())
    _, totals, rows = cut(str(tmp_path / "run"), DatasetOptions(max_format_fraction=share))
    kinds = Counter(row["pair_kind"] for row in rows if row["source"] == "large")
    assert kinds["correctness"] == all_of_them.pairs_by_kind["correctness"] - 5
    assert kinds["format"] == int(share * kinds.total() + 1e-9) < all_of_them.pairs_by_kind["format"]
    assert totals.questions == totals.paired + totals.skipped == len(ROWS)
    assert totals.skips_by_reason["format_fraction"] == totals.skipped - 1
    assert {row["question_id"] for row in rows if row["rank"] == 0} == {row["question_id"] for row in rows}


def test_bytes_of_a_capped_dataset_do_not_depend_on_order_or_chunks(tmp_path: Path) -> None:
    limits = DatasetOptions(max_pairs_per_source=11, max_format_fraction=0.2)
    one, _, _ = cut(str(tmp_path / "one"), limits)
    other, _, _ = cut(str(tmp_path / "other"), limits, size=7, backwards=True)
    assert making.data_bytes(one) == making.data_bytes(other)
    assert one.store.read_bytes("skips.parquet") == other.store.read_bytes("skips.parquet")


def test_limits_that_nothing_reaches_change_no_byte(tmp_path: Path) -> None:
    one, _, _ = cut(str(tmp_path / "one"), DatasetOptions())
    other, _, _ = cut(str(tmp_path / "other"), DatasetOptions(max_pairs_per_source=1000, max_format_fraction=1.0))
    assert making.data_bytes(one) == making.data_bytes(other)


def test_a_question_that_loses_all_pairs_says_which_rule_took_them() -> None:
    side = (Stage.SAMPLE, 0)
    question = Question("q", "s", 1, "?", answer=("3",))
    survey = Survey(DatasetOptions(max_pairs_per_source=1))
    keys = {kind: array("Q", [1, 2]) for kind in (PairKind.CORRECTNESS, PairKind.FORMAT)}
    survey.add(ChunkSurvey({("s", kind): found for kind, found in keys.items()}))
    skip = survey.decide().keep(question, [(Pair("q", side, side, PairKind.CORRECTNESS, 9), "0" * 20)])
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.stage) == (Reason.SOURCE_CAP, Stage.SELECT)
    assert skip.detail == "1 of the 2 correctness pairs of s stay (max_pairs_per_source 1)"
