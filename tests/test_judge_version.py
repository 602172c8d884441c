"""Verdicts of an older judge: judged again when a run is paired, resumed, evaluated or previewed, and only then."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from conftest import scripted_engine

from mmpr import pool
from mmpr.builder.build_flow import build, pair_again, preview_pairs
from mmpr.builder.evaluation_flow import evaluate_run
from mmpr.errors import ConfigError
from mmpr.judging import VERSION
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.report_files import report_again
from mmpr.reporting.report_record import PairingPreview
from mmpr.run import RunFolder
from mmpr.run.chunk_tables import RESPONSES
from mmpr.run.folder import sidecar_name
from mmpr.settings.config import BuildConfig
from mmpr.types import Outcome
from mmpr.verification import verify

NEW = ("off_format", "certainty", "judged_by", "judge_version", "verifier_margin", "thoughts", "model")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with pool.connected(None):
        yield


def run(source, out, **settings):
    values = {"model": "pocket", "n": 4, "chunk_questions": 8, **settings}
    return build(BuildConfig(source=str(source), **values), str(out), scripted_engine)


def age(out):
    """Make of a run what an mmpr of version 1 would have left, its judge having taken every 3 for right."""
    folder = RunFolder(str(out))
    for commit in folder.committed().values():
        table = pq.read_table(out / commit.responses.path)
        rows = [{**row, "outcome": "correct" if row["answer"] == "3" else row["outcome"]} for row in table.to_pylist()]
        schema = RESPONSES
        for name in NEW:
            schema = schema.remove(schema.get_field_index(name))
        pq.write_table(table.from_pylist(rows, schema=schema), out / commit.responses.path)
        judge = {name: v for name, v in json.loads(commit.account.judge).items() if name != "version"}
        old = replace(
            commit,
            account=replace(commit.account, judge=json.dumps(judge)),
            responses=folder.record(commit.responses.path, commit.responses.rows),
        )
        (out / sidecar_name(commit.chunk)).write_bytes(old.to_json())
    for name in ("verdicts.json", "report.json", "eval.json"):
        if (out / name).exists():
            fields = json.loads((out / name).read_text())
            keep = {k: v for k, v in fields.items() if k not in ("judge_version", "groups", "first_round", "sha256")}
            (out / name).write_text(json.dumps(keep))
    manifest = json.loads((out / "manifest.json").read_text())
    for file in manifest["files"]:
        record = folder.record(file["path"], file["rows"])
        file |= {"n_bytes": record.n_bytes, "sha256": record.sha256}
    (out / "manifest.json").write_text(json.dumps({"n_chunks": manifest["n_chunks"], "files": manifest["files"]}))


def rows(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


def test_older_verdicts_are_given_anew_by_pairing_and_by_resuming(write_source, tmp_path):
    source, out = write_source(12), tmp_path / "run"
    first = run(source, out)
    assert run(source, out).idle and first.report.judge_version == VERSION
    before = rows(out)
    age(out)
    assert verify(str(out)) == []
    previewed = preview_pairs(str(out), [])
    for name in ("paired", "pairs", "abstaining"):
        assert getattr(previewed, name) == getattr(first.report, name)
    assert pair_again(str(out), []).judge_version == VERSION
    nameless = [{**row, "judge_version": None} for row in before]
    assert [{**row, "judge_version": None} for row in rows(out)] == nameless
    age(out)
    resumed = run(source, out)
    assert not resumed.idle and resumed.report.abstaining == first.report.abstaining
    assert verify(str(out)) == [] and run(source, out).idle


def test_a_report_and_a_story_tell_of_the_verdicts_that_the_dataset_was_cut_from(write_source, tmp_path):
    out = tmp_path / "run"
    run(write_source(12), out)
    pair_id = next(row["pair_id"] for row in rows(out) if row["pair_kind"] == "correctness")
    age(out)
    assert report_again(str(out)).judge_version == 1
    story = read_story(str(out), pair_id)
    assert {s.verdict.outcome for s in story.committed.responses if s.verdict.answer == "3"} == {Outcome.CORRECT}
    pair_again(str(out), [])
    story = read_story(str(out), pair_id)
    assert {s.verdict.outcome for s in story.committed.responses if s.verdict.answer == "3"} == {Outcome.INCORRECT}


def test_an_evaluation_is_judged_again_by_a_newer_judge(write_source, tmp_path):
    source, out = write_source(12), tmp_path / "run"
    first = run(source, out, evaluate=True, adaptive=False)
    age(out)
    assert evaluate_run(str(out)).all == first.report.all
    again = run(source, out, evaluate=True, adaptive=False)
    assert not again.idle and again.report == first.report


def test_a_dry_run_writes_nothing_and_says_what_pairing_gives(write_source, tmp_path):
    out = tmp_path / "run"
    run(write_source(12), out)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(out.rglob("*")) if path.is_file()}
    found = preview_pairs(str(out), ["pairs_per_question=1", "accuracy_window=[0, 0.5]"])
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(out.rglob("*")) if p.is_file()} == before
    done = pair_again(str(out), ["pairs_per_question=1", "accuracy_window=[0, 0.5]"])
    assert found == PairingPreview(**{name: getattr(done, name) for name in PairingPreview.__slots__})
    with pytest.raises(ConfigError, match=r"exclude: list\.txt is not in"):
        preview_pairs(str(out), ["exclude=list.txt"])
