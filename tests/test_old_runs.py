"""Run folders that the version before the packages were renamed has made (format 1): every verb still works on them.

`first` and `second` are builds of the pocket model with scores (14 and 8 questions), `eval` is an evaluation.
"""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpr.cli.verbs import app
from mmpr.judging import VERSION, Judge
from mmpr.run import RunFolder, read_chunk

OLD = Path(__file__).with_name("old_runs")
# That version's judge did not say how sure it was.
AS_BEFORE = ("rejected_certainty=likely", "refusal_negatives=true")


@pytest.fixture
def runs(tmp_path):
    """Copies that a verb may write to."""
    return Path(shutil.copytree(OLD, tmp_path / "runs"))


def mmpr(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def pairs(run):
    return pq.read_table(run / "data")


def old_columns(table, old):
    """The columns that the old version wrote; newer ones stand beside them."""
    return table.select(old.column_names).cast(old.schema)


def judged_as_before(rows, *folders):
    """The pairs of those questions on all of whose responses the judge says what that version's judge said."""
    judge, same = Judge(), set()
    for folder in map(RunFolder, map(str, folders)):
        for one in (one for commit in folder.commits() for one in read_chunk(folder, commit, images=False)):
            if all(judge.judge(one.question, said.text).outcome is verdict.outcome for said, verdict in one.judged):
                same.add(one.question.id)
    return rows.filter(pc.is_in(rows["question_id"], pa.array(same)))


@pytest.mark.parametrize("name", ["first", "second", "eval"])
def test_an_old_run_is_sound(runs, name):
    assert "sound" in mmpr("verify", runs / name)


@pytest.mark.parametrize("name", ["first", "second"])
def test_pairing_an_old_run_again_gives_the_same_pairs(cluster, runs, name):
    before = pairs(runs / name)
    mmpr("pair", runs / name, *AS_BEFORE)
    after = old_columns(pairs(runs / name), before)
    assert judged_as_before(after, OLD / name).equals(judged_as_before(before, OLD / name))


def test_an_old_run_is_reported_and_explained(runs):
    mmpr("report", runs / "first")
    report = json.loads((runs / "first" / "report.json").read_text())
    assert (report["questions"], report["pairs"]) == (14, pairs(OLD / "first").num_rows)
    one = pairs(OLD / "first").to_pylist()[0]
    story = mmpr("explain", runs / "first", one["pair_id"], "--texts")
    assert one["chosen_text"].split(".")[0] in " ".join(story.split())


def test_the_pairs_of_an_old_run_are_exported(runs, tmp_path):
    mmpr("export", runs / "first", "--format", "jsonl", "--to", tmp_path / "jsonl")
    rows = [json.loads(line) for line in (tmp_path / "jsonl" / "train.jsonl").read_text().splitlines()]
    assert [row["pair_id"] for row in rows] == pairs(OLD / "first")["pair_id"].to_pylist()


def test_old_runs_are_merged_without_a_change_in_their_pairs(cluster, runs, tmp_path):
    mmpr("merge", runs / "first", runs / "second", "--out", tmp_path / "both", *AS_BEFORE)
    ids = pa.concat_tables([judged_as_before(pairs(OLD / name), OLD / name) for name in ("first", "second")])
    both = judged_as_before(pairs(tmp_path / "both"), OLD / "first", OLD / "second")
    texts = ["chosen_text", "rejected_text"]
    assert both.select(texts).to_pylist() == ids.select(texts).to_pylist()
    assert "sound" in mmpr("verify", tmp_path / "both")


def test_an_old_evaluation_is_read_with_its_figures(runs):
    before = json.loads((OLD / "eval" / "eval.json").read_text())
    now = json.loads(mmpr("eval", runs / "eval", "--json").partition("\nmade by")[0])
    assert (now["questions"], now["judge_version"]) == (before["questions"], VERSION)
    assert now["all"]["right"] == before["all"]["right"]  # what it called wrong may be undecided now


def test_an_old_run_is_previewed_with_what_the_judge_leaves_undecided(cluster, runs):
    found = mmpr("pair", runs / "first", "--dry-run")
    assert found.startswith("14 questions = ") and "\nsource " in found and "\nkind " in found and "\nrule " in found
    assert "nothing was written" in found


@pytest.mark.parametrize("fault", ["", "no manifest", "no report", "n_chunks"])
def test_a_verifier_can_be_asked_about_an_old_run_or_one_line_says_why_not(cluster, runs, fault):
    run = runs / "first"
    assert "chunks" not in json.loads((run / "run.json").read_text())["layout"]
    if fault == "n_chunks":
        found = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({"files": found["files"]}))
    elif fault:
        (run / f"{'manifest' if 'manifest' in fault else 'report'}.json").unlink()
    done = CliRunner().invoke(app, ["ask-verifier", str(run), "--model", "./nowhere"])
    words = {"no manifest": "it has no manifest.json", "n_chunks": "n_chunks is missing"}
    assert done.exit_code in (1, 2) and len(done.stderr.splitlines()) == 1
    assert words.get(fault, "./nowhere has no config.json") in done.stderr
