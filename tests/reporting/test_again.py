"""`mmpr report` makes the three files again from the folder."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mmpr.errors import LawBroken, RunFolderError
from mmpr.judging import JudgeOptions
from mmpr.reporting.report_files import report_again, report_json, write_reports
from mmpr.run import claim_driver, cut_dataset, write_manifest
from mmpr.run.stored_verdicts import Rejudge
from mmpr.verification import verify

from .conftest import RECIPE, REPORTS, counted, make_run


@pytest.fixture
def copy(run, tmp_path):
    """The run on another machine."""
    return Path(shutil.copytree(run[0].url, tmp_path / "copy"))


def test_an_untouched_folder_gets_the_same_bytes_again(run, copy):
    before = {name: (copy / name).read_bytes() for name in REPORTS}
    assert report_again(str(copy)) == run[3]
    assert {name: (copy / name).read_bytes() for name in REPORTS} == before
    assert not (copy / "driver.json").exists()


def test_reports_that_were_lost_or_spoilt_come_back_and_the_folder_is_sound(run, copy):
    (copy / "report.html").unlink()
    (copy / "report.json").write_text("{")
    (copy / "README.md").write_text("notes of mine")
    found = report_again(str(copy))
    assert verify(str(copy)) == []
    assert found.engine_usage.keys() == {"chunk_seconds"}  # what the engines did stood in the lost report only
    assert found == replace(run[3], engine_usage=found.engine_usage)


def test_json_is_printed_and_nothing_is_written(run, copy):
    (copy / "report.json").unlink()
    names = sorted(path.name for path in copy.iterdir())
    assert json.loads(report_json(str(copy)))["pairs"] == run[3].pairs
    assert sorted(path.name for path in copy.iterdir()) == names


def test_a_damaged_folder_stays_as_it_is(copy):
    shard = next((copy / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:1000])
    page = (copy / "report.html").read_bytes()
    with pytest.raises(RunFolderError, match="train-00000"):
        report_again(str(copy))
    assert (copy / "report.html").read_bytes() == page
    assert (copy / "manifest.json").exists()


def test_the_law_is_held_against_the_files_alone(copy):
    import pyarrow.parquet as pq

    skips = pq.read_table(copy / "skips.parquet")
    pq.write_table(skips.slice(1), copy / "skips.parquet")
    with pytest.raises(LawBroken, match="questions = 60"):
        report_again(str(copy))


def test_an_unfinished_run_is_said_to_be_one(copy):
    (copy / "chunks" / "00007.json").write_bytes(b"{}")
    with pytest.raises(RunFolderError, match="4 chunks, its dataset is of 3"):
        report_again(str(copy))
    (copy / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="not finished"):
        report_json(str(copy))


def test_outcomes_are_those_of_the_verdicts_that_the_pairs_were_made_from(tmp_path):
    rows = [counted(row, "What is the height of the red bar?") for row in range(1, 13)]
    folder, totals, files = make_run(str(tmp_path / "run"), rows=rows)
    strict = write_reports(folder, totals, files)
    as_committed = [stored.verdict.outcome.value for row in rows for stored in row.responses]
    assert strict.outcomes == Counter(as_committed)
    lenient = replace(RECIPE, view=Rejudge(JudgeOptions(relative_tolerance=0.9), 5.0))  # off by one is right now
    totals, files = cut_dataset(folder, lenient)
    found = write_reports(folder, totals, files)
    write_manifest(folder, files, REPORTS)
    assert found.outcomes["correct"] > strict.outcomes["correct"]
    assert sum(found.outcomes.values()) == sum(strict.outcomes.values()) == len(as_committed)
    assert found.accuracy.mean > strict.accuracy.mean
    before = {name: (tmp_path / "run" / name).read_bytes() for name in REPORTS}
    assert report_again(folder.url) == found
    assert {name: (tmp_path / "run" / name).read_bytes() for name in REPORTS} == before


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "[]", '{"by_rule": [], "by_accuracy": []}', '{"by_rule": {}}'),
        '{"by_rule": {"exact": "abc"}, "by_accuracy": []}',
        '{"by_rule": {}, "by_accuracy": [[1, 2, "x"]]}',
        '{"by_rule": {}, "by_accuracy": [], "first_round": {"n_other": 1}}',
        '{"by_rule": {}, "by_accuracy": [], "groups": {"hour": {}}}',
        '{"by_rule": {}, "by_accuracy": [], "groups": {"source": {"a": {"paired": null}}}}',
        '{"by_rule": {}, "by_accuracy": [], "judge_version": []}',
    ],
)
def test_lost_or_damaged_sums_of_verdicts_are_named_with_the_mend(copy, content):
    (copy / "verdicts.json").unlink()
    if content is not None:
        (copy / "verdicts.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"verdicts\.json is (missing|damaged); `mmpr pair"):
        report_again(str(copy))


def test_a_run_that_is_driven_is_left_alone():
    folder, totals, files = make_run("memory://driven", n=16)
    write_manifest(folder, files)
    claim = claim_driver(folder)
    with pytest.raises(RunFolderError, match="in use"):
        report_again(folder.url)
    claim.release()
    assert report_again(folder.url).pairs == totals.pairs
