"""Responses made elsewhere: every shape becomes a run like a build's, exactly once, and nothing is lost in silence."""

import json
import random

import pytest
from typer.testing import CliRunner

import mmpr
from importing import shapes
from mmpr.cli.verbs import app
from mmpr.run import RunFolder, read_chunk
from mmpr.status import read_status
from mmpr.verification import verify

pytestmark = pytest.mark.usefixtures("cluster")  # all imports of this file join one Ray


@pytest.fixture(scope="module")
def imported(tmp_path_factory, cluster):
    """A run of each shape, and its file."""
    folder = tmp_path_factory.mktemp("rollouts")
    shapes.draw(folder)
    found = {}
    for name, write in shapes.SHAPES.items():
        file = write(folder)
        found[name] = (file, mmpr.import_rollouts(file, folder / f"run-{name}", model="theirs"))
    return found


def run_of(imported, name):
    return imported[name][1]


def committed(run):
    folder = RunFolder(run.url)
    return [one for commit in folder.commits() for one in read_chunk(folder, commit)]


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_every_shape_becomes_a_run_of_its_questions(imported, name):
    run = run_of(imported, name)
    assert run.report["questions"] == run.report["paired"] == shapes.N_QUESTIONS
    assert run.report["responses"]["sample"] == shapes.N_QUESTIONS * shapes.N_RESPONSES
    assert run.report["pairs"] >= 2 * shapes.N_QUESTIONS and verify(run.url) == []
    assert read_status(run.url)["state"] == "complete"
    rows = list(run.pairs(images=False))
    assert {row["chosen_answer"] == row["answer"] or row["rule"] for row in rows}
    has_image = name not in ("vlmeval-tsv", "vlmeval-xlsx", "verl")
    assert {len(row["image_sha256"]) for row in rows} == {int(has_image)}


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_what_nobody_says_is_null(imported, name):
    rows = list(run_of(imported, name).pairs(images=False))
    model = "maker/model" if name == "api" else "theirs"
    finish = "stop" if name == "api" else None
    assert {row["chosen_tokens"] for row in rows} == {row["seed"] for row in rows} == {None}
    assert {row["temperature"] for row in rows} == {None} and {row["chosen_finish_reason"] for row in rows} == {finish}
    assert {row["chosen_model"] or row["model"] for row in rows} == {model}


@pytest.mark.parametrize("name", ["internvl", "vlmeval-xlsx", "swift"])
def test_everything_that_works_on_a_build_works_on_it(imported, tmp_path, name):
    run, other = run_of(imported, name), run_of(imported, "listed")
    again = mmpr.pair(run, to=tmp_path / "again", pairs_per_question=1, strategy="length_matched")
    assert again.report["pairs"] == shapes.N_QUESTIONS and verify(again.url) == []
    first = next(iter(run.pairs(images=False)))
    assert run.explain(first["pair_id"]).row["pair_id"] == first["pair_id"]
    assert mmpr.evaluate(run=run).report["all"]["right"]["value"] == pytest.approx(0.5, abs=0.26)
    assert mmpr.export(run, "trl", tmp_path / "trl").rows == run.report["pairs"]
    assert mmpr.export(run, "orm", tmp_path / "orm").rows == shapes.N_QUESTIONS * shapes.N_RESPONSES
    both = mmpr.merge(run, other, out=tmp_path / "both")
    assert both.report["questions"] == 2 * shapes.N_QUESTIONS and verify(both.url) == []
    for words in (["explain", run.url, first["pair_id"], "--texts"], ["peek", run.url], ["report", run.url]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output


def test_responses_of_one_question_are_one_question_wherever_they_stand(tmp_path):
    shapes.draw(tmp_path)
    rows = [json.loads(line) for line in shapes.internvl(tmp_path).read_text().splitlines()]
    random.Random(0).shuffle(rows)
    run = mmpr.import_rollouts(shapes.lines(tmp_path / "shuffled.jsonl", rows), tmp_path / "run", chunk_questions=3)
    assert [len(one.responses) for one in committed(run)] == [shapes.N_RESPONSES] * shapes.N_QUESTIONS
    assert verify(run.url) == [] and len(RunFolder(run.url).committed_chunks()) == 4


def test_export_and_import_give_the_same_pairs(imported, tmp_path):
    run = mmpr.pair(run_of(imported, "listed"), to=tmp_path / "first", pairs_per_question=3, max_uses=1)
    mmpr.export(run, "rollouts", tmp_path / "rollouts")
    again = mmpr.import_rollouts(
        tmp_path / "rollouts" / "train.jsonl", tmp_path / "second", config=tmp_path / "rollouts" / "settings.yaml"
    )
    first, second = ({row["pair_id"]: row for row in one.pairs(images=False)} for one in (run, again))
    assert (
        first
        == {
            **second,
        }
        and len(first) == run.report["pairs"]
    )
