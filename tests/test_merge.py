"""Several runs as one: everything works on it, every row keeps its own model and prompt, and no run is changed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import scripted_engine
from run import making
from typer.testing import CliRunner

from mmpr.builder.build_flow import build, pair_again
from mmpr.builder.finish import finish
from mmpr.builder.merge_flow import merge_runs
from mmpr.builder.run_recipes import judge_options
from mmpr.cli.verbs import app
from mmpr.errors import ConfigError, ResumeError, RunFolderError
from mmpr.exporting import export_run
from mmpr.judging import judge_key
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.peek import sample_pairs
from mmpr.reporting.report_files import report_again
from mmpr.run import RunFolder, RunLayout, RunRecord, claim_driver, new_attempt
from mmpr.run.json_records import unsealed
from mmpr.settings.config import BuildConfig, Mark, part
from mmpr.status import read_status
from mmpr.verification import verify

pytestmark = pytest.mark.usefixtures("cluster")  # all builds of this file join one Ray


def member(path, rows, *, source="vqa.jsonl", size=4, **settings):
    """A finished run of these questions, as a build leaves it."""
    config = BuildConfig(source=source, **{"model": "owner/one", **settings})
    folder = RunFolder(str(path))
    folder.create_run(
        RunRecord(
            format=1,
            source=source,
            layout=RunLayout(size, (len(rows),)),
            identity=part(config, Mark.IDENTITY),
            selection=part(config, Mark.SELECTION),
            versions={"mmpr": "0.1.0"},
        )
    )
    for chunk, first in enumerate(range(0, len(rows), size)):
        some = rows[first : first + size]
        found = making.account(some, judge=judge_key(judge_options(config)), engine=config.engine.model)
        folder.commit_chunk(chunk, new_attempt(), some, found)
    finish(folder, config)
    return path


def named(rows, source):
    return [replace(row, question=replace(row.question, source=source)) for row in rows]


def reworded(rows):
    return [replace(row, question=replace(row.question, text=f"{row.question.text} Really?")) for row in rows]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A run of the source `vqa`, one of `docs` under other settings, and one of `vqa` by another model."""
    root = tmp_path_factory.mktemp("members")
    member(root / "a", making.mixed(10))
    member(
        root / "b",
        named(making.mixed(7), "docs"),
        source="docs.jsonl",
        model="two",
        prompt_version="boxed",
        n=8,
        size=3,
    )
    member(root / "c", making.mixed(10), model="three", revision="r3", temperature=0.5, keep_fraction=0.25)
    return root


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def rows_of(folder):
    return [row for path in sorted(Path(folder).glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]


def merge(out, *runs, settings=()):
    return merge_runs([str(run) for run in runs], str(out), list(settings))


def test_a_merged_run_has_the_rows_of_both_each_with_its_own_model_and_prompt(shapes, tmp_path):
    report = merge(tmp_path / "m", shapes / "a", shapes / "b").report
    a, b, both = rows_of(shapes / "a"), rows_of(shapes / "b"), rows_of(tmp_path / "m")
    assert both == a + b  # the same pairs under the same ids, with the columns that they had
    assert {(row["source"], row["model"], row["prompt_version"]) for row in both} == {
        ("vqa", "owner/one", "final"),
        ("docs", "two", "boxed"),
    }
    assert report.questions == 17 == report.paired + report.skipped
    assert report.model == "owner/one + two" and report.source == "vqa.jsonl + docs.jsonl"
    assert [one.name for one in report.members] == ["a", "b"] and not report.pocket_model


def test_everything_works_on_a_merged_run(shapes, tmp_path):
    out = str(tmp_path / "m")
    merge(out, shapes / "a", shapes / "b", shapes / "c")
    assert verify(out) == []
    assert read_status(out).state == "complete" and read_status(out).questions.total == 27
    rows = rows_of(out)
    for row in rows:
        story = read_story(out, row["pair_id"])
        assert story.commit.account.engine == row["model"]
        assert story.row["chosen_text"] == row["chosen_text"]
    assert len(sample_pairs(out, n_pairs=5, kind=None, seed=0)) == 5
    assert export_run(out, "internvl", tmp_path / "exported").rows == len(rows)
    assert export_run(out, "grpo", tmp_path / "grpo").load
    prompts = pq.read_table(tmp_path / "grpo/train.parquet").to_pylist()
    forms = {row["model"]: json.loads(row["reference"])["options"]["format"] for row in prompts}
    assert forms["owner/one"] == "final" and forms["two"] == "boxed"  # each member's answers are judged as it was asked
    before = files(out)
    report_again(out)
    assert {name for name, content in files(out).items() if before.get(name) != content} <= {"manifest.json"}
    assert pair_again(out, ["pairs_per_question=1"]).pairs < len(rows)
    assert {row["model"] for row in rows_of(out)} == {"owner/one", "two", "three"}
    assert pair_again(out, [], to=str(tmp_path / "again")).members and verify(str(tmp_path / "again")) == []
    assert verify(out) == []


def test_card_and_page_name_the_runs_and_how_each_was_made(shapes, tmp_path):
    merge(tmp_path / "m", shapes / "a", shapes / "b", shapes / "c")
    card = (tmp_path / "m/README.md").read_text()
    assert "## Merged from" in card and "`vqa` is `vqa@c` here" in card
    assert "`b`: A question with a reference answer was answered up to 8 times" in card
    assert "mmpr merge run1 run2 run3 --out DIR" in card and "None times" not in card
    assert "Merged from" in (tmp_path / "m/report.html").read_text()


def test_the_runs_stay_as_they_are_and_share_their_files_with_the_merged_one(shapes, tmp_path):
    before = {name: files(shapes / name) for name in "abc"}
    merge(tmp_path / "m", *(shapes / name for name in "abc"))
    pair_again(str(tmp_path / "m"), ["pairs_per_question=1"])
    assert {name: files(shapes / name) for name in "abc"} == before
    own = {path.stat().st_ino for path in (shapes / "b/responses").iterdir()}
    assert own <= {path.stat().st_ino for path in (tmp_path / "m/responses").iterdir()}


def test_the_same_questions_of_two_models_become_two_sources(shapes, tmp_path):
    merge(tmp_path / "m", shapes / "a", shapes / "c")
    rows = rows_of(tmp_path / "m")
    assert {(row["source"], row["model"], row["temperature"]) for row in rows} == {
        ("vqa@a", "owner/one", 1.0),
        ("vqa@c", "three", 0.5),
    }
    assert len({row["pair_id"] for row in rows}) == len(rows) == 2 * len(rows_of(shapes / "a"))
    assert {row["keep_fraction"] for row in rows if row["pair_kind"] == "dropout_ntp"} == {0.5, 0.25}
    skips = pq.read_table(tmp_path / "m/skips.parquet").to_pylist()
    assert Counter(row["source"] for row in skips) == {"vqa@a": 4, "vqa@c": 4}
    assert verify(str(tmp_path / "m")) == []


def test_the_same_file_built_twice_is_refused_with_both_names(shapes, tmp_path):
    member(tmp_path / "again", making.mixed(10), size=5)
    with pytest.raises(RunFolderError, match=r"/a and .*/again both hold vqa:0, asked of the same model in"):
        merge(tmp_path / "m", shapes / "a", tmp_path / "again")
    assert not (tmp_path / "m").exists()


def test_other_questions_under_the_same_name_become_sources_of_their_own(shapes, tmp_path):
    (tmp_path / "x").mkdir()
    member(tmp_path / "x/a", reworded(making.mixed(10)))
    merge(tmp_path / "m", shapes / "a", tmp_path / "x/a")
    assert {row["source"] for row in rows_of(tmp_path / "m")} == {f"vqa@{shapes.name}-a", "vqa@x-a"}
    assert verify(str(tmp_path / "m")) == []


def test_parts_of_one_source_keep_its_name(tmp_path):
    rows = making.mixed(12)
    member(tmp_path / "a", rows[:6])
    member(tmp_path / "b", rows[6:])
    merge(tmp_path / "m", tmp_path / "a", tmp_path / "b")
    assert rows_of(tmp_path / "m") == rows_of(tmp_path / "a") + rows_of(tmp_path / "b")
    assert {row["source"] for row in rows_of(tmp_path / "m")} == {"vqa"}


def test_a_merged_run_can_be_merged_again(shapes, tmp_path):
    merge(tmp_path / "m", shapes / "a", shapes / "c")
    report = merge(tmp_path / "all", tmp_path / "m", shapes / "b").report
    assert [one.name for one in report.members] == ["m-a", "m-c", "b"]
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "m") + rows_of(shapes / "b")
    assert report.members[1].renamed == {"vqa": "vqa@c"}
    with pytest.raises(RunFolderError, match="both hold vqa"):
        merge(tmp_path / "twice", tmp_path / "m", tmp_path / "all")


def test_caps_and_splits_count_over_all_runs(tmp_path):
    rows = making.mixed(40)
    member(tmp_path / "a", rows[:20])
    member(tmp_path / "b", rows[20:], model="two")
    settings = ["max_pairs_per_source=20", "validation_fraction=0.5"]
    report = merge(tmp_path / "m", tmp_path / "a", tmp_path / "b", settings=settings).report
    assert report.pairs == 20 and report.skips_by_reason["source_cap"]
    assert len({row["model"] for row in rows_of(tmp_path / "m")}) == 2
    assert verify(str(tmp_path / "m")) == []  # which looks for images on both sides


def test_settings_of_selection_are_the_runs_own_or_the_firsts_or_those_given(shapes, tmp_path):
    member(tmp_path / "d", named(making.mixed(5), "d"), pairs_per_question=2, strategy="hardest")
    member(tmp_path / "e", named(making.mixed(5), "e"), pairs_per_question=2)
    agreed = merge(tmp_path / "1", tmp_path / "e", tmp_path / "d", settings=["strategy=random"])
    assert agreed.report.selection["pairs_per_question"] == 2 and "pairs_per_question" not in agreed.notes[0]
    differing = merge(tmp_path / "2", tmp_path / "d", shapes / "a")
    assert differing.notes[0].startswith("pairs_per_question, strategy: not the same in all runs;")
    assert differing.report.selection["strategy"] == "hardest"
    for words, message in (("n=3", "n: is fixed by the runs"), ("nn=3", "no setting is named 'nn'")):
        with pytest.raises(ConfigError, match=message):
            merge(tmp_path / "3", tmp_path / "d", shapes / "a", settings=[words])
    for words, remedy in (
        ("min_grounding_margin=1", "min_grounding_margin=null"),
        ("strategy=grounded", "strategy=random"),
    ):
        with pytest.raises(
            ConfigError, match=rf"^{words.removesuffix('=1')}: .*/d was built without grounding; give {remedy}"
        ):
            merge(tmp_path / "3", tmp_path / "d", shapes / "a", settings=[words])


def test_one_run_of_the_pocket_model_marks_the_whole(shapes, tmp_path):
    member(tmp_path / "p", named(making.mixed(5), "p"), model="pocket")
    assert merge(tmp_path / "m", shapes / "a", tmp_path / "p").report.pocket_model is True
    assert "pocket model" in (tmp_path / "m/README.md").read_text()


def test_a_benchmarks_list_that_a_run_kept_holds_for_all(shapes, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("How many are there in 3?\n")
    member(tmp_path / "e", named(making.mixed(5), "e"))
    pair_again(str(tmp_path / "e"), [f"exclude={listed}"])
    listed.unlink()
    report = merge(tmp_path / "m", tmp_path / "e", shapes / "a").report
    assert report.skips_by_reason["excluded"] == 2 and verify(str(tmp_path / "m")) == []


def test_runs_of_a_server_merge_and_pair_without_its_address(tmp_path):
    for name in ("s", "t"):
        values = {"engine": "endpoint", "endpoint_url": "http://host:1/v1"}
        member(tmp_path / name, named(making.mixed(5), name), **values)
    assert merge(tmp_path / "m", tmp_path / "s", tmp_path / "t", settings=["max_uses=1"]).report.questions == 10
    assert pair_again(str(tmp_path / "m"), ["pairs_per_question=1"]).paired
    assert pair_again(str(tmp_path / "s"), ["pairs_per_question=1"]).paired


def test_no_build_goes_on_in_a_merged_run(shapes, tmp_path, write_source):
    merge(tmp_path / "m", shapes / "a", shapes / "b")
    before = files(tmp_path / "m")
    config = BuildConfig(source=str(write_source(4)), model="owner/one")
    with pytest.raises(
        ResumeError, match=r"was merged from a, b and cannot be extended; build those runs, and merge again"
    ):
        build(config, str(tmp_path / "m"), scripted_engine)
    assert {name: content for name, content in files(tmp_path / "m").items() if name in before} == before


def test_what_verify_says_of_a_merged_run_can_be_done(shapes, tmp_path):
    merge(tmp_path / "m", shapes / "a", shapes / "b")
    (shard,) = (tmp_path / "m/data").iterdir()
    shard.write_bytes(b"")
    (line,) = verify(str(tmp_path / "m"))
    assert line.endswith(f"; `mmpr pair {tmp_path}/m` writes it again")
    pair_again(str(tmp_path / "m"), [])
    assert verify(str(tmp_path / "m")) == []
    next((tmp_path / "m/questions").iterdir()).unlink()
    assert verify(str(tmp_path / "m"))[0].endswith("; merge its runs into another folder")


# -- what is refused --------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newer(run):
    stored = unsealed((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**stored, "format": 99}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "run.json").unlink(), "z is no run folder"),
        (lambda run: (run / "manifest.json").unlink(), "z is not finished"),
        (
            lambda run: (run / "chunks/00001.json").unlink(),
            "not finished: chunks/ has 1 chunks, its dataset is of 2",
        ),
        (newer, "z has format 99, this mmpr reads up to 2; update mmpr"),
        (lambda run: (run / "chunks/00001.json").write_text("{"), r"z/chunks/00001\.json is damaged"),
        (lambda run: flip(next((run / "responses").iterdir())), r"z: responses/\S+ has changed since it was written"),
        (lambda run: next((run / "questions").iterdir()).unlink(), r"z: questions/\S+ is missing"),
        (lambda run: claim_driver(RunFolder(str(run))), "z is in use by pid"),
    ],
)
def test_a_run_that_cannot_be_merged_is_one_line_and_leaves_nothing(shapes, tmp_path, spoil, words):
    run = member(tmp_path / "z", named(making.mixed(5), "z"))
    spoil(run)
    before = files(run)
    with pytest.raises(RunFolderError, match=words) as found:
        merge(tmp_path / "m", shapes / "a", run)
    assert "\n" not in str(found.value)
    assert files(run) == before and not files(tmp_path / "m")


def test_where_the_merged_run_may_not_be(shapes, tmp_path):
    a, b = shapes / "a", shapes / "b"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(a)
    merge(tmp_path / "m", a, b)
    before = files(shapes), files(tmp_path / "m")
    for out, words in (
        (tmp_path / "m", "holds a run already; choose another folder"),
        (tmp_path / "notes", "has files already .*; give a new or an empty folder"),
        (tmp_path / "notes/mine.txt", "is a file; give a folder"),
        (a, "is .*/a or inside it"),
        (b / "data" / "m", "is .*/b or inside it"),
        (tmp_path / "link/m", "is .*/a or inside it"),
        (shapes, "has files already"),
    ):
        with pytest.raises((ConfigError, RunFolderError), match=words):
            merge(out, a, b)
    for runs, words in (([a], "name two or more"), ([a, b, tmp_path / "link"], "link is named twice|a is named twice")):
        with pytest.raises(ConfigError, match=words):
            merge(tmp_path / "new", *runs)
    assert (files(shapes), files(tmp_path / "m")) == before


# -- kills ------------------------------------------------------------------------------------------------------------


def what_a_kill_leaves(out):
    """The states that a merge passes through, from its last step back to its first."""
    whole = files(out)
    (out / "merging.json").write_text("{}")
    yield "behind run.json"
    (out / "run.json").unlink()
    yield "before run.json"
    for steps in (["manifest.json", "report.html"], ["report.json", "README.md", "verdicts.json", "skips.parquet"]):
        for name in steps:
            (out / name).unlink()
    (out / "questions/00000-00000000.parquet.1a2b3c4d.tmp").write_bytes(b"half")
    yield "before the manifest"
    for path in (out / "data").iterdir():
        path.write_bytes(b"half")
    (out / "chunks/00002.json").unlink()
    yield "among the chunks"
    for name in whole:
        (out / name).unlink(missing_ok=True)
    yield "before the first chunk"


def test_after_a_kill_anywhere_there_is_no_run_and_the_same_merge_completes_it(shapes, tmp_path):
    runs = [shapes / "a", shapes / "c"]
    undisturbed = merge(tmp_path / "other", *runs).report
    expected = files(tmp_path / "other")
    merge(tmp_path / "m", *runs)
    for state in what_a_kill_leaves(tmp_path / "m"):
        if state != "behind run.json":
            with pytest.raises(RunFolderError, match="is no run folder"):
                read_status(str(tmp_path / "m"))
            with pytest.raises(RunFolderError, match="holds a merge that was cut off; merge again"):
                RunFolder(str(tmp_path / "m")).require_room()
        copy = tmp_path / state.replace(" ", "-")
        subprocess.run(["cp", "-r", tmp_path / "m", copy], check=True)
        assert merge(copy, *runs).report.pairs == undisturbed.pairs
        made = files(copy)
        assert made.keys() == expected.keys()
        assert [name for name in made if made[name] != expected[name] and name.startswith(("data", "chunks"))] == []
        assert verify(str(copy)) == []


def test_a_merge_that_was_killed_for_good_is_no_run_and_the_command_again_completes_it(shapes, tmp_path):
    words = [str(word) for word in ("merge", shapes / "a", shapes / "c", "--out", tmp_path / "m", "max_uses=1")]
    command = [sys.executable, "-m", "mmpr", *words]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while killed.poll() is None and not list(tmp_path.glob("m/chunks/*.json")):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "m/run.json").exists() and (tmp_path / "m/merging.json").exists()
    done = CliRunner().invoke(app, words)  # here it joins the module's Ray
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("20 questions = ")
    assert {path.stem for path in (tmp_path / "m/chunks").iterdir()} == {f"{chunk:05}" for chunk in range(6)}
    assert verify(str(tmp_path / "m")) == [] and not (tmp_path / "m/merging.json").exists()
