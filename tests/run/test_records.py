"""`run.json` and the reports as records: written values are read back, and an error names the field in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.errors import RunFolderError
from mmpr.reporting.evaluation_report import EvaluationReport, read_evaluation
from mmpr.reporting.report_record import read_report
from mmpr.run import Member, RunFolder, RunLayout, RunRecord
from mmpr.run.json_records import plain, sealed

OLD = Path(__file__).parents[1] / "old_runs"
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SETTINGS = st.dictionaries(NAMES, JSON, max_size=4)
COUNTS = st.none() | st.integers(0, 10**9)
LAYOUTS = st.builds(
    RunLayout,
    COUNTS,
    st.lists(st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=3).map(tuple),
    COUNTS,
    COUNTS,
)
VERSIONS = st.dictionaries(NAMES, NAMES, max_size=2)
MEMBERS = st.builds(Member, NAMES, st.integers(0, 9), VERSIONS, NAMES, SETTINGS, VERSIONS)
RUNS = st.builds(
    RunRecord,
    format=st.integers(1, 2),
    source=NAMES,
    layout=LAYOUTS,
    identity=SETTINGS,
    selection=SETTINGS,
    versions=VERSIONS,
    members=st.lists(MEMBERS, max_size=2).map(tuple),
    reading=st.none() | SETTINGS,
    nonce=NAMES,
)


@given(RUNS)
def test_a_run_record_is_read_back_as_it_was_written(run):
    assert RunRecord.from_json(run.to_json(), "r") == run


@given(RUNS)
def test_the_fingerprint_is_of_what_no_start_may_change(run):
    again = RunRecord.from_json(run.to_json(), "r")
    assert again.fingerprint == run.fingerprint


def test_fields_that_hold_nothing_are_left_out():
    run = RunRecord(format=1, source="s", layout=RunLayout(), identity={}, selection={}, versions={})
    assert plain(run) == {"format": 1, "source": "s", "layout": {}, "identity": {}, "selection": {}, "versions": {}}


RUN = {"format": 1, "source": "s", "layout": {"stops": [3]}, "identity": {}, "selection": {}, "versions": {}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layout": {"stops": [3, "4"]}}, r"damaged \(layout\.stops\[1\]"),
        ({"layout": {"chunks": -1}}, r"damaged \(layout\.chunks: "),
        ({"layout": {"chunk_questions": True}}, r"damaged \(layout\.chunk_questions: "),
        ({"source": None}, r"damaged \(source: "),
        ({"colour": 1}, r"damaged \(colour is no field of it\)"),
        ({"members": [{"name": "a"}]}, r"damaged \(members\[0\]\.chunks is missing\)"),
        ({"format": 99, "colour": 1}, "has format 99, this mmpr reads up to 2; update mmpr"),
    ],
)
@pytest.mark.parametrize("with_hash", [True, False])
def test_a_wrong_field_is_named(changed, words, with_hash):
    content = {**RUN, **changed}
    with pytest.raises(RunFolderError, match=words) as error:
        RunRecord.from_json(sealed(content) if with_hash else json.dumps(content).encode(), "runs/a")
    assert "\n" not in str(error.value) and str(error.value).startswith("runs/a")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"[" * 100_000, b'{"format": 1}', b"\xff\xfe"])
def test_what_is_no_record_is_one_line(content):
    with pytest.raises(RunFolderError, match=r"^runs/a/run\.json is damaged \(.+\); restore it from a copy$"):
        RunRecord.from_json(content, "runs/a")


def test_reports_of_an_older_mmpr_are_read():
    report = read_report(RunFolder(str(OLD / "first")))
    assert (report.questions, report.pairs, report.judge_version, report.abstaining) == (14, 14, 1, None)
    assert report.files.columns == () and report.throughput.by == "clock" and report.accuracy.interval is None
    found = read_evaluation(RunFolder(str(OLD / "eval")))
    assert isinstance(found, EvaluationReport) and found.all.passes[2].value > found.all.right.value


def test_a_damaged_report_names_the_field_and_the_remedy(tmp_path):
    content = json.loads((OLD / "first" / "report.json").read_text())
    content["lengths"]["correctness"]["chosen_tokens"]["p50"] = "long"
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=r"report\.json is damaged \(lengths\.correctness\.chosen_tokens\.p50: .*"):
        read_report(RunFolder(str(tmp_path)))
