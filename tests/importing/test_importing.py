"""Responses made elsewhere: every shape becomes a run like a build's, exactly once, and nothing is lost in silence."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import mmpr
from importing import shapes
from mmpr.builder.row_checks import source_notes
from mmpr.cli.verbs import app
from mmpr.errors import ConfigError, ResumeError, RunFolderError, SourceError
from mmpr.run import RunFolder, read_chunk
from mmpr.sources import index, open_source
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
    assert run.report.questions == run.report.paired == shapes.N_QUESTIONS
    assert run.report.responses["sample"] == shapes.N_QUESTIONS * shapes.N_RESPONSES
    assert run.report.pairs >= 2 * shapes.N_QUESTIONS and verify(run.url) == []
    assert read_status(run.url).state == "complete"
    rows = list(run.pairs(images=False))
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
    report, n = run_of(imported, name).report, shapes.N_QUESTIONS * shapes.N_RESPONSES
    assert report.imported.known == {"n_tokens": 0, "finish_reason": n if finish else 0, "seed": 0}
    assert report.tokens.generated is None and report.imported.responses == n
    card = Path(run_of(imported, name).url, "README.md").read_text()
    assert "how they were sampled is not known" in card and "not known: the responses were made elsewhere" in card


@pytest.mark.parametrize("name", ["internvl", "vlmeval-xlsx", "swift"])
def test_everything_that_works_on_a_build_works_on_it(imported, tmp_path, name):
    run, other = run_of(imported, name), run_of(imported, "listed")
    again = mmpr.pair(run, to=tmp_path / "again", pairs_per_question=1, strategy="length_matched")
    assert again.report.pairs == shapes.N_QUESTIONS and verify(again.url) == []
    first = next(iter(run.pairs(images=False)))
    assert run.explain(first["pair_id"]).row["pair_id"] == first["pair_id"]
    assert mmpr.evaluate(run=run).report.all.right.value == pytest.approx(0.5, abs=0.26)
    assert mmpr.export(run, "trl", tmp_path / "trl").rows == run.report.pairs
    assert mmpr.export(run, "orm", tmp_path / "orm").rows == shapes.N_QUESTIONS * shapes.N_RESPONSES
    both = mmpr.merge(run, other, out=tmp_path / "both")
    assert both.report.questions == 2 * shapes.N_QUESTIONS and verify(both.url) == []
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


def test_the_instruction_is_that_of_the_rows_unless_a_setting_names_one(imported, tmp_path):
    file, run = imported["internvl"]
    asked = {row["prompt_version"] for row in run.pairs(images=False)}
    assert asked == {"final"} and "Final Answer" in next(iter(run.pairs(images=False)))["question"]
    for version, instruction in (("given", False), ("boxed", True)):
        other = mmpr.import_rollouts(file, tmp_path / version, prompt_version=version)
        (row, *_) = other.pairs(images=False)
        assert row["prompt_version"] == version and ("boxed" in row["question"]) is instruction
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    mixed = [{**row, "prompt_version": ("en", "zh_r1")[n % 2], "image": None} for n, row in enumerate(rows)]
    other = mmpr.import_rollouts(shapes.lines(tmp_path / "mixed.jsonl", mixed), tmp_path / "mixed")
    (row, *_) = other.pairs(images=False)
    assert row["prompt_version"] == "given" and row["question"].startswith("How many discs")
    assert other.report.questions == shapes.N_QUESTIONS


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
        and len(first) == run.report.pairs
    )


# -- faults ------------------------------------------------------------------------------------------------------------


def simple(path, rows):
    return shapes.lines(path, [{"question": "How many?", "answer": "2", **row} for row in rows])


def reasons(run):
    return {one.question.row: (one.skip.reason.value, one.skip.detail) for one in committed(run) if one.skip}


def test_a_row_that_is_none_is_a_skip_with_its_file_and_row(tmp_path):
    file = simple(
        tmp_path / "odd.jsonl",
        [
            {"response": "Final Answer: 2"},
            {"response": None},
            {"response": ["", None, {"a": 1}]},
            {"response": "Final Answer: 3", "answer": None},
            {"response": "Final Answer: 3", "image": "gone.png"},
            {"response": "Final Answer: 3", "question": " "},
            {"response": "Final Answer: 3"},
        ],
    )
    file.write_bytes(file.read_bytes() + b'{"question": "cut\n\xff\xfe{}\n')
    run = mmpr.import_rollouts(file, tmp_path / "run")
    found = reasons(run)
    assert {row: reason for row, (reason, _) in found.items()} == {
        2: "bad_row",
        4: "no_answer",
        5: "image_missing",
        6: "empty_question",
        8: "bad_row",
        9: "bad_row",
    }
    assert all(f"odd.jsonl line {row}" in detail for row, (_, detail) in found.items())
    assert run.report.questions == run.report.paired + run.report.skipped == 7
    (whole,) = [one for one in committed(run) if not one.skip]
    assert [stored.response.text for stored in whole.responses] == ["Final Answer: 2", "", "Final Answer: 3"]


def test_what_is_left_out_of_a_list_is_told_and_kept_in_the_run(tmp_path, capsys):
    file = simple(tmp_path / "l.jsonl", [{"responses": ["Final Answer: 2", None, "Final Answer: 3"]}])
    run = mmpr.import_rollouts(file, tmp_path / "run")
    said = capsys.readouterr().err
    assert "left out: 1 entries that are not responses; the first: l.jsonl line 1: entry 2: None is not a text" in said
    assert "the model that answered is not known: give --model NAME" in said and run.report.pairs == 1


def test_one_id_with_two_questions_is_two_questions(tmp_path):
    rows = [
        {"id": 1, "question": f"How many {what}?", "response": f"Final Answer: {n}"} for what in "ab" for n in (2, 3)
    ]
    run = mmpr.import_rollouts(simple(tmp_path / "d.jsonl", rows), tmp_path / "run")
    assert run.report.questions == run.report.paired == 2


def test_rows_with_ids_of_their_own_are_named_and_grouped_without_them(tmp_path, capsys):
    file = simple(tmp_path / "i.jsonl", [{"id": n, "response": f"Final Answer: {n}"} for n in (2, 3, 4)])
    mmpr.import_rollouts(file, tmp_path / "run")
    assert "columns.id='' groups by image, question and answer" in capsys.readouterr().err
    run = mmpr.import_rollouts(file, tmp_path / "other", columns={"id": ""})
    assert run.report.questions == 1 and run.report.pairs == 2


def test_the_same_rows_twice_are_counted_and_paired_once(tmp_path):
    rows = [{"response": f"Final Answer: {n}"} for n in (2, 3)] * 2
    file = simple(tmp_path / "twice.jsonl", rows)
    done = CliRunner().invoke(app, ["import", str(file), "--out", str(tmp_path / "run"), "--model", "m"])
    assert "2 of 4 responses repeat another of their question, word for word" in done.stderr, done.stderr
    assert mmpr.open_run(tmp_path / "run").report.pairs == 1


@pytest.mark.parametrize(
    ("content", "settings", "error", "words"),
    [
        ("", {}, SourceError, "no row"),
        (
            '{"question": "a?", "answer": "2"}\n',
            {},
            SourceError,
            "if another column holds them, add columns.response=..",
        ),
        (
            '{"question": "a?", "answer": "2", "response": "2"}\n',
            {"n": 8},
            ConfigError,
            "n: has no effect on an import",
        ),
        (
            '{"question": "a?", "answer": "2", "response": "2"}\n{}\n',
            {"strict": True},
            SourceError,
            "line 2: no question",
        ),
        ('{"question": "a?", "answer": "2", "said": "2"}\n', {"columns": {"response": "says"}}, SourceError, "'says'"),
        (
            '{"question": "a?"}\n',
            {"columns": {"respons": "x"}},
            ConfigError,
            "'respons' is not a column of mmpr: .* response",
        ),
        ('{"question": "a?"}\n', {"model": " "}, ConfigError, "give the name of the model that answered"),
        ("PK\x03\x04 and no workbook", {}, SourceError, "zip archive"),
        ("\xd0\xcf\x11\xe0 old", {}, SourceError, "save it as .xlsx without a password"),
    ],
)
def test_a_file_that_is_no_rollouts_is_one_line(tmp_path, content, settings, error, words):
    (tmp_path / "x.jsonl").write_text(content, encoding="latin-1")
    with pytest.raises(error, match=words) as raised:
        mmpr.import_rollouts(tmp_path / "x.jsonl", tmp_path / "run", **settings)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_same_command_again_has_nothing_to_do_and_a_changed_file_is_refused(imported, tmp_path):
    file = simple(tmp_path / "a.jsonl", [{"response": f"Final Answer: {n}"} for n in (2, 3)])
    words = ["import", str(file), "--out", str(tmp_path / "run"), "--model", "m"]
    assert CliRunner().invoke(app, words).exit_code == 0
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and "nothing left to do" in again.stdout
    other = CliRunner().invoke(app, [*words[:-1], "other"])
    assert other.exit_code == 1 and "model was 'm'" in other.stderr
    file.write_text(file.read_text().replace("Answer: 3", "Answer: 4"))
    with pytest.raises(ResumeError, match="has changed since"):
        mmpr.import_rollouts(file, tmp_path / "run", model="m")
    with pytest.raises(RunFolderError, match="has files already"):
        mmpr.import_rollouts(file, tmp_path)


def test_an_import_that_is_ended_goes_on_and_commits_every_question_once(tmp_path):
    file = simple(
        tmp_path / "many.jsonl",
        [
            {"question": f"How many in {q}?", "response": f"Response {r} counts.\n\nFinal Answer: {2 + r % 2}"}
            for q in range(400)
            for r in range(6)
        ],
    )
    words = [sys.executable, "-m", "mmpr", "import", str(file), "--out", str(tmp_path / "run"), "chunk_questions=8"]
    chunks = tmp_path / "run" / "chunks"
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ) as process:
        while process.poll() is None and len(list(chunks.glob("*.json"))) < 3:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        last = process.communicate()[1].decode().splitlines()[-1]
    assert process.returncode == 75 and "run the same command again" in last, last
    assert 3 <= len(list(chunks.glob("*.json"))) < 50 and not (tmp_path / "run" / "manifest.json").exists()
    run = mmpr.import_rollouts(file, tmp_path / "run", chunk_questions=8)
    assert run.report.questions == run.report.paired == 400 and verify(run.url) == []
    assert run.report.responses["sample"] == 2400


# -- several policies --------------------------------------------------------------------------------------------------


def policies(tmp_path, **answers):
    """An import a model: by question its responses' answers; the right one is 2."""
    shapes.draw(tmp_path)
    runs = []
    for model, of_questions in answers.items():
        rows = [
            {"image": f"{q}.png", "question": f"How many in {q}?", "response": f"{model} counts.\n\nFinal Answer: {a}"}
            for q, given in of_questions.items()
            for a in given
        ]
        file = simple(tmp_path / f"{model}.jsonl", rows)
        runs.append(mmpr.import_rollouts(file, tmp_path / f"run-{model}", model=model))
    return runs


ANSWERS = {
    "policy": {0: [2, 3], 1: [3, 4], 2: [2, 5], 4: [3, 3]},
    "strong": {1: [2, 2, 5], 0: [2, 6], 3: [2, 3], 4: [5]},
}


P, S = "policy", "strong"


def sides(run):
    rows = run.pairs(images=False)
    return {
        (row["question"][-3:-1].strip(), row["chosen_model"], row["rejected_model"], row["on_policy"]) for row in rows
    }


def test_another_models_right_response_is_chosen_where_the_policy_has_none(tmp_path):
    both = mmpr.merge(*policies(tmp_path, **ANSWERS), out=tmp_path / "both", pair_across=True)
    assert sides(both) == {
        ("0", "policy", "policy", True),
        ("1", "strong", "policy", False),
        ("2", "policy", "policy", True),
        ("3", "strong", "strong", False),
    }
    assert both.report.questions == 5 and verify(both.url) == []
    across = next(row["pair_id"] for row in both.pairs(images=False) if row["chosen_model"] != row["rejected_model"])
    printed = CliRunner().invoke(app, ["explain", both.url, across]).output
    assert "by strong)" in printed and "by policy)" in printed and "(strong)" in printed
    accuracies = {row["question"][-3:-1].strip(): row["accuracy"] for row in both.pairs(images=False)}
    assert accuracies == {"0": 0.5, "1": 0.0, "2": 0.5, "3": 0.5}  # the policy's own, where it answered


@pytest.mark.parametrize(
    ("chosen_from", "expected"),
    [
        (
            "same",
            {
                ("0", "policy", "policy"),
                ("0", "strong", "strong"),
                ("1", "strong", "strong"),
                ("2", "policy", "policy"),
            },
        ),
        ("strong", {("0", "strong", "policy"), ("1", "strong", "policy")}),
        ("policy", {("0", "policy", "policy"), ("2", "policy", "policy")}),
    ],
)
def test_chosen_from_says_whose_responses_are_chosen(tmp_path, chosen_from, expected):
    both = mmpr.merge(*policies(tmp_path, **ANSWERS), out=tmp_path / "both", pair_across=True, chosen_from=chosen_from)
    assert {side[:3] for side in sides(both) if side[0] != "3"} == expected


def test_pairs_across_models_have_a_cap_and_can_be_paired_again_and_exported(tmp_path):
    both = mmpr.merge(*policies(tmp_path, **ANSWERS), out=tmp_path / "both", pair_across=True)
    n_across = sum(not row["on_policy"] and row["chosen_model"] != row["rejected_model"] for row in both.pairs())
    assert n_across == 2
    capped = mmpr.pair(both, to=tmp_path / "capped", max_across=1)
    assert sum(row["chosen_model"] != row["rejected_model"] for row in capped.pairs()) == 1
    none = mmpr.pair(both, to=tmp_path / "none", max_across=0)
    assert {side[0] for side in sides(none)} == {"0", "2", "3"}
    mmpr.export(both, "rollouts", tmp_path / "out")
    again = mmpr.import_rollouts(
        tmp_path / "out" / "train.jsonl", tmp_path / "x", config=tmp_path / "out" / "settings.yaml"
    )
    assert {row["pair_id"] for row in again.pairs()} == {row["pair_id"] for row in both.pairs()}
    assert sides(again) == sides(both)


def test_who_answered_must_be_known_to_pair_across(tmp_path):
    policies(tmp_path, **ANSWERS)
    unknown = mmpr.import_rollouts(tmp_path / "strong.jsonl", tmp_path / "unknown")
    with pytest.raises(ConfigError, match="import it with --model NAME"):
        mmpr.merge(tmp_path / "run-policy", unknown, out=tmp_path / "both", pair_across=True)


def test_every_response_of_every_run_is_in_the_joined_run_once_whatever_the_chunks(tmp_path):
    draw = random.Random(3)
    answers = {
        model: {q: [draw.choice((2, 3)) for _ in range(draw.randrange(1, 4))] for q in draw.sample(range(9), n)}
        for model, n in (("one", 6), ("two", 9), ("three", 4))
    }
    shapes.draw(tmp_path)
    runs = []
    for size, (model, of_questions) in enumerate(answers.items(), start=2):
        rows = [
            {"image": f"{q}.png", "question": f"How many in {q}?", "response": f"{model} says {i} of {q}: {a}"}
            for q, given in of_questions.items()
            for i, a in enumerate(given)
        ]
        file = simple(tmp_path / f"{model}.jsonl", rows)
        runs.append(mmpr.import_rollouts(file, tmp_path / model, model=model, chunk_questions=size))
    both = mmpr.merge(*runs, out=tmp_path / "all", pair_across=True)
    found = sorted(
        (r.response.model, one.question.text, r.response.text) for one in committed(both) for r in one.responses
    )
    given = sorted(
        (model, f"How many in {q}?", f"{model} says {i} of {q}: {a}")
        for model, of_questions in answers.items()
        for q, each in of_questions.items()
        for i, a in enumerate(each)
    )
    assert found == given and verify(both.url) == []
    assert both.report.questions == len({q for of_questions in answers.values() for q in of_questions})
    again = mmpr.merge(*runs, out=tmp_path / "again", pair_across=True)
    assert [row["pair_id"] for row in again.pairs()] == [row["pair_id"] for row in both.pairs()]


def test_who_is_chosen_must_have_answered(tmp_path):
    runs = policies(tmp_path, **ANSWERS)
    for wrong in ({"chosen_from": "strng"}, {"policy": "polcy"}):
        with pytest.raises(ConfigError, match=r"no response of this run is of '.*'; it may be .*policy, .*strong"):
            mmpr.merge(*runs, out=tmp_path / "both", pair_across=True, **wrong)
    with pytest.raises(ConfigError, match="chosen_from: no response of this run is of 'strong'"):
        mmpr.pair(runs[0], chosen_from="strong")
    assert not (tmp_path / "both").exists()


def test_a_run_is_built_or_imported_and_not_both(imported, tmp_path):
    file, run = imported["listed"]
    done = CliRunner().invoke(app, ["build", "--source", str(file), "--out", run.url])
    assert done.exit_code == 1 and "was imported and cannot be extended" in done.stderr
    both = mmpr.merge(run, run_of(imported, "api"), out=tmp_path / "both")
    with pytest.raises(RunFolderError, match="was built or merged"):
        mmpr.import_rollouts(file, both.url)


# -- files that a build would ask anew ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_check_names_the_import_for_rows_with_responses(imported, name):
    done = CliRunner().invoke(app, ["check", "--source", str(imported[name][0])])
    assert "mmpr import" in done.output, done.output


def test_a_build_names_the_import_too(imported, tmp_path):
    sources = (open_source(imported["listed"][0]), open_source(imported["internvl"][0]))
    notes = source_notes(sources, [index(source) for source in sources])
    assert [note.partition(":")[0] for note in notes] == ["listed", "internvl"]
    assert all("mmpr import" in note for note in notes)


def test_check_sees_responses_by_what_they_do_where_nothing_is_called_so(tmp_path):
    rows = [{"question": f"How many in {q}?", "said": f"It may be {r}."} for q in range(4) for r in range(3)]
    done = CliRunner().invoke(app, ["check", "--source", str(simple(tmp_path / "s.jsonl", rows))])
    assert "repeat a question and differ in `said`" in done.output and "columns.response=said" in done.output
    plain = [{"question": f"How many in {q}?", "note": f"note {q}"} for q in range(20)]
    done = CliRunner().invoke(app, ["check", "--source", str(simple(tmp_path / "p.jsonl", plain))])
    assert "mmpr import" not in done.output


def test_a_merged_cell_stands_for_every_row_that_it_spans(tmp_path):
    rows = [("question", "answer", "response"), ("How many?", 2, "Final Answer: 2"), (None, None, "Final Answer: 3")]
    file = shapes.workbook(tmp_path / "m.xlsx", rows, merged=["A2:A3", "B2:B3"])
    run = mmpr.import_rollouts(file, tmp_path / "run")
    assert run.report.questions == run.report.paired == 1
    assert reasons(run) == {}


@pytest.mark.parametrize("write", [shapes.vlmeval_tsv, shapes.vlmeval_xlsx])
def test_images_that_vlmevalkit_keeps_by_index_are_found(tmp_path, write):
    (tmp_path / "images").mkdir()
    shapes.draw(tmp_path / "images")
    settings = {"columns": {"image": "index"}, "image_root": tmp_path / "images"}
    run = mmpr.import_rollouts(write(tmp_path), tmp_path / "run", **settings)
    assert run.report.paired == shapes.N_QUESTIONS
    assert all(len(one.images) == 1 for one in committed(run))


def test_two_images_of_one_name_are_two_questions(tmp_path):
    pixels = [io.BytesIO(), io.BytesIO()]
    for colour, file in zip(("red", "blue"), pixels, strict=True):
        Image.new("RGB", (9, 9), colour).save(file, "PNG")
    rows = [
        {
            "image": {"bytes": file.getvalue(), "path": "image.png"},
            "question": "Which colour?",
            "answer": "red",
            "response": f"Final Answer: {said}",
        }
        for file in pixels
        for said in ("red", "blue")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "same.parquet")
    run = mmpr.import_rollouts(tmp_path / "same.parquet", tmp_path / "run")
    assert run.report.questions == run.report.paired == 2


def test_a_question_with_any_number_of_responses_keeps_the_first(tmp_path):
    rows = [{"responses": [f"{n} it is.\n\nFinal Answer: {2 + n % 2}" for n in range(600)]}]
    done = CliRunner().invoke(app, ["import", str(simple(tmp_path / "m.jsonl", rows)), "--out", str(tmp_path / "run")])
    assert "left out: 88 responses behind the first 512 of their question" in done.stderr
    assert mmpr.open_run(tmp_path / "run").report.responses["sample"] == 512
