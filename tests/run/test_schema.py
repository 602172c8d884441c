"""The columns of schema 2: what fills them comes back, and files that lack them are read as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpr.run import RunFolder, arrow_schema, new_attempt, read_chunk
from mmpr.run.chunk_tables import RESPONSES, read_responses, response_table
from mmpr.types import Certainty, JudgedBy, Outcome, Verdict
from run import making

NEW = ("off_format", "certainty", "judged_by", "judge_version", "verifier_margin", "thoughts", "model")
# Names that trainers interpret, whatever they hold: docs of `mmpr.run.columns`.
TAKEN = {"image", "messages", "conversations", "completion", "response", "solution", "label", "instruction", "tools"}
TAKEN |= {"system", "objects", "margin", "channel", "videos", "audios", "history", "query", "rejected_response"}


def judged():
    """A question whose two last responses have all that the schema can hold."""
    row = making.sampled(1)
    *others, third, last = row.responses
    verdict = Verdict(Outcome.INCORRECT, "7", "number", "3", Certainty.LIKELY, True, JudgedBy.VERIFIER, 1.5)
    found = replace(third.response, thoughts="Hm. Seven?", model="other/model")
    return replace(
        row, responses=(*others, replace(third, response=found, verdict=verdict, judge_version=2), replace(last))
    )


def test_all_that_the_schema_holds_comes_back(tmp_path: Path) -> None:
    folder, row = making.new_run(str(tmp_path)), judged()
    commit = folder.commit_chunk(0, new_attempt(), [row], making.account([row]))
    assert list(read_chunk(folder, commit)) == [row]


def test_tables_of_an_older_mmpr_are_read_with_nothing_in_the_new_columns() -> None:
    row = making.sampled(1)
    old = response_table([row]).drop_columns(list(NEW))
    unsure = [replace(one, verdict=replace(one.verdict, certainty=None)) for one in row.responses]
    assert [stored for _, stored in read_responses(old)] == unsure


def test_what_nothing_fills_is_null() -> None:
    table = response_table([making.drafted(2, [making.image(1)])])
    assert set(NEW) < set(RESPONSES.names)
    assert all(table.column(name).null_count == table.num_rows for name in NEW)


@pytest.mark.parametrize("name", arrow_schema().names)
def test_no_column_has_a_name_that_a_trainer_interprets(name: str) -> None:
    assert name not in TAKEN


def test_the_dataset_says_how_sure_a_rejected_side_is_and_who_decided(tmp_path: Path) -> None:
    row = judged()
    first, *others = row.responses
    known = replace(first, response=replace(first.response, model="strong/model"))
    folder = making.finished_run(str(tmp_path), [replace(row, responses=(known, *others)), making.drafted(2, [])])
    rows = pq.read_table(tmp_path / "data" / "train-00000-of-00001.parquet").to_pylist()
    by_index = {(one["chosen_index"], one["rejected_index"]): one for one in rows if one["pair_kind"] == "correctness"}
    plain = by_index[1, 3]
    assert (plain["n_correct"], plain["n_wrong"], plain["n_undecided"], plain["accuracy"]) == (2, 2, 0, 0.5)
    assert (plain["chosen_by"], plain["rejected_by"]) == ("rule", "rule")
    assert (plain["certainty"], plain["off_format"]) == ("proven", False)
    assert by_index[0, 3]["chosen_model"] == "strong/model" and plain["chosen_model"] is None
    assert (0, 2) not in by_index  # only likely wrong
    blind = next(one for one in rows if one["pair_kind"] == "dropout_ntp")
    assert all(blind[name] is None for name in ("n_correct", "certainty", "off_format", "chosen_by", "judge_version"))
    assert RunFolder(folder.url).committed()


def test_the_new_columns_stand_behind_the_old_ones() -> None:
    new = ["n_correct", "n_wrong", "n_undecided", "certainty", "off_format", "chosen_by", "rejected_by"]
    new += ["judge_version", "verifier_margin", "chosen_model", "rejected_model", "on_policy"]
    assert arrow_schema().names[-len(new) :] == new
    assert arrow_schema().field("on_policy").type == pa.bool_()
