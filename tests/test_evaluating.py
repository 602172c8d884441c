"""Whole evaluations with scripted engines: real Ray, real files, real commits, and two of them compared."""

from __future__ import annotations

import functools
import json
import sys

import pyarrow.parquet as pq
import pytest
from conftest import scripted_engine
from endpoint_standin import Standin, serving
from ray import cloudpickle
from typer.testing import CliRunner

from mmpr.builder.build_flow import build, pair_again
from mmpr.builder.evaluation_flow import compare_runs, evaluate_run
from mmpr.builder.merge_flow import merge_runs
from mmpr.cli.verbs import app
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ConfigError, ResumeError, RunFolderError, SourceError
from mmpr.exporting import export_run
from mmpr.exporting.push import push_run
from mmpr.reporting.evaluation_report import comparison_lines, evaluation_lines
from mmpr.run import RunFolder, finished_pairs
from mmpr.run.json_records import plain
from mmpr.settings.config import BuildConfig
from mmpr.status import QuestionCounts, read_status, status_lines
from mmpr.verification import verify

pytestmark = pytest.mark.usefixtures("cluster")  # all builds of this file join one Ray

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def run(source, out, maker=scripted_engine, **settings):
    values = {"model": "pocket", "n": 4, "max_tokens": 256, "chunk_questions": 8, "evaluate": True, "adaptive": False}
    return build(BuildConfig(source=str(source), **{**values, **settings}), str(out), maker)


async def sometimes_right(shares):
    """Of every four responses to question i, `shares[i % len(shares)]` are right."""

    def script(prompt, index):
        i = int(prompt.question_id.removeprefix("q"))
        return f"Seen.\n\nFinal Answer: {2 if index < shares[i % len(shares)] else 3 + index}"

    return ScriptedEngine(script)


def maker(*shares):
    return functools.partial(sometimes_right, shares)


def mmpr(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Evaluations of 40 questions: `better` is so on each, `other` on half of them and as much worse on the rest."""
    folder = tmp_path_factory.mktemp("models")
    rows = [{"id": f"q{i}", "question": "How many?", "answer": 2} for i in range(40)]
    (folder / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, shares in {"base": (1, 3), "better": (2, 4), "other": (3, 1)}.items():
        run(folder / "vqa.jsonl", folder / name, maker(*shares), temperature=1.0 if name == "base" else 0.7)
    return folder


def names(folder, *runs):
    return [str(folder / name) for name in runs]


def test_an_evaluation_gives_figures_and_no_pairs(write_source, tmp_path):
    out = tmp_path / "run"
    report = run(write_source(30), out).report
    assert report.questions == 30 == report.evaluated + report.skipped
    assert report.skips_by_reason == {"no_answer": 10}
    found = report.all
    assert (found.questions, found.responses) == (20, 80)
    # of four responses two are right, one is wrong and one has no final answer
    assert found.right.value == 0.5 and found.parsable.value == 0.75
    assert found.majority.value == 1.0 and found.passes[2].value == pytest.approx(5 / 6)
    assert found.right.low < 0.5 < found.right.high
    assert list(report.by_kind) == ["number"] and list(report.by_source) == ["vqa"]
    assert json.loads((out / "eval.json").read_text()) == plain(report)
    assert not (out / "data").exists() and verify(str(out)) == []


def test_every_question_without_a_figure_is_a_named_skip_and_the_table_steers_no_terminal(write_source, tmp_path):
    extra = [
        "{bad json",
        json.dumps({"id": "none", "question": "How many?", "answer": None}),
        json.dumps({"id": "odd", "question": "How many?", "answer": "many", "answer_kind": "number"}),
        json.dumps({"question": "How many?", "answer": 2, "image": "missing.png"}),
        json.dumps({"question": "Is it red?", "answer": "yes", "source": "\x1b[31mred"}),
    ]
    report = run(write_source(3, extra=extra), tmp_path / "run").report
    assert report.skips_by_reason == {"no_answer": 2, "bad_row": 1, "bad_answer": 1, "image_missing": 1}
    skips = {row["row"]: row for row in pq.read_table(tmp_path / "run" / "skips.parquet").to_pylist()}
    assert skips[5]["question_id"] == "none" and "give `answer`" in skips[5]["detail"]
    assert skips[6]["reason"] == "bad_answer" and "'many'" in skips[6]["detail"]
    lines = evaluation_lines(report)
    assert lines[1] == "8 questions = 3 evaluated + 5 skipped" and lines[2].startswith("skipped: 2 no_answer, 1 bad_")
    groups = [line.split("  ")[0] for line in lines[4:]]
    assert groups == ["all", "kind number", "kind yes_no", "source vqa", "source \\x1b[31mred"]
    assert "pass@4" in lines[3] and "50.0% (" in lines[5]


def test_a_source_without_an_answer_ends_with_one_line(tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text('{"question": "Describe it."}\n{"question": "And this."}\n')
    with pytest.raises(SourceError, match=r"none of 2 questions can be evaluated \(2 no_answer\)"):
        run(path, tmp_path / "run")


def test_an_evaluation_goes_on_where_it_ended_and_takes_new_rows(write_source, tmp_path):
    source, out = write_source(12), tmp_path / "run"
    first = run(source, out).report
    content, commits = (out / "eval.json").read_bytes(), RunFolder(str(out)).committed()
    again = run(source, out)
    assert again.idle and again.report == first and RunFolder(str(out)).committed() == commits
    (out / "chunks" / "00001.json").unlink()
    assert not run(source, out).idle
    after = RunFolder(str(out)).committed()
    assert {chunk for chunk in commits if after[chunk] != commits[chunk]} == {1}
    assert (out / "eval.json").read_bytes() == content
    assert run(write_source(20), out).report.questions == 20
    grown = RunFolder(str(out)).committed()
    assert {chunk: grown[chunk] for chunk in after} == after and len(grown) > len(after)


def test_the_judge_may_change_without_an_engine_and_the_sampling_may_not(tmp_path):
    source, out = tmp_path / "measured.jsonl", tmp_path / "run"
    source.write_text(json.dumps({"question": "What is the mean height?", "answer": 2}) + "\n")
    assert run(source, out).report.all.right.value == 0.5
    found = run(source, out, relative_tolerance=0.6).report  # 3 is within 60 % of 2
    assert found.all.right.value == 0.75 == evaluate_run(str(out)).all.right.value
    with pytest.raises(ResumeError, match="n was 4"):
        run(source, out, n=8)


def test_an_evaluation_is_no_build(models):
    with pytest.raises(ResumeError, match="evaluate was True"):
        run(models / "vqa.jsonl", models / "base", evaluate=False)
    base, elsewhere = str(models / "base"), models / "elsewhere"
    for refused in (
        lambda: pair_again(base, []),
        lambda: finished_pairs(RunFolder(base)),
        lambda: export_run(base, "jsonl", elsewhere),
        lambda: push_run(base, "owner/name", allow_pocket=True),
        lambda: merge_runs([base, str(models / "other")], str(elsewhere), []),
    ):
        with pytest.raises(RunFolderError, match="holds an evaluation, no pairs: `mmpr eval"):
            refused()
    assert not elsewhere.exists()


@pytest.mark.parametrize("settings", [{"adaptive": True}, {"exclude": "list.txt"}])
def test_what_an_evaluation_cannot_mean_is_refused(settings):
    with pytest.raises(ValueError, match=r"adaptive=false|exclude works only with pairs"):
        BuildConfig(**{"evaluate": True, "adaptive": False, **settings})


def test_a_finished_build_is_evaluated_as_it_is_by_its_first_round(models, tmp_path):
    source = models / "vqa.jsonl"
    run(source, tmp_path / "fixed", maker(1, 3), evaluate=False)
    built, asked = evaluate_run(str(tmp_path / "fixed")), evaluate_run(str(models / "base"))
    assert built.all == asked.all and plain(asked) == json.loads((models / "base" / "eval.json").read_text())
    run(source, tmp_path / "rounds", maker(1, 3), evaluate=False, adaptive=True, first_round=2, n=8)
    rounds = evaluate_run(str(tmp_path / "rounds")).all
    assert rounds.responses == 2 * 40  # later rounds were asked for because of the first
    (tmp_path / "rounds" / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="is not finished"):
        evaluate_run(str(tmp_path / "rounds"))


def test_a_better_model_is_told_from_one_that_only_differs(models):
    base, better, other = names(models, "base", "better", "other")
    found = compare_runs(base, better)
    assert found.measures["right"].value == pytest.approx(0.25) and found.real
    assert found.questions == 40 and found.settings == {"temperature": (1.0, 0.7)}
    assert found.verdict.startswith("the second is better: +25.0 points right")
    assert compare_runs(better, base).verdict.startswith("the second is worse: -25.0")
    for same in (compare_runs(base, base), compare_runs(base, other)):  # half the questions +2 of 4, half -2 of 4
        assert same.measures["right"].p == pytest.approx(1) and not same.real
        assert same.verdict.startswith("no difference is shown: +0.0 points")


def test_the_same_questions_are_the_same_in_a_file_that_moved(models, tmp_path):
    moved = tmp_path / "moved.jsonl"
    moved.write_text("\n" + "".join(reversed((models / "vqa.jsonl").read_text().splitlines(keepends=True)[:30])))
    run(moved, tmp_path / "run", maker(1, 3))
    found = compare_runs(str(models / "base"), str(tmp_path / "run"))
    assert (found.questions, found.only_first, found.only_second) == (30, 10, 0)


def test_runs_that_were_judged_differently_or_asked_other_things_are_not_compared(models, write_source, tmp_path):
    run(write_source(3), tmp_path / "run", relative_tolerance=0.05)
    with pytest.raises(ConfigError, match=r"relative_tolerance is None in .*base and 0\.05 in .*run"):
        compare_runs(str(models / "base"), str(tmp_path / "run"))
    run(write_source(3), tmp_path / "run")
    with pytest.raises(RunFolderError, match="no question in common"):
        compare_runs(str(models / "base"), str(tmp_path / "run"))


def test_status_tells_how_an_evaluation_went(models):
    status = read_status(str(models / "base"))
    counts = QuestionCounts(done=40, total=40, evaluated=40, responses=160, right=80, skipped=0)
    assert status.state == "complete" and status.questions == counts
    lines = status_lines(status)
    assert lines[1].endswith("40 evaluated + 0 skipped") and lines[2] == "right       50.0% of 160 responses"


def test_the_verb_asks_goes_on_and_prints_the_same_again(write_source, tmp_path):
    source, out = write_source(12), tmp_path / "run"
    with serving(Standin()) as server:
        served = ("engine=endpoint", f"endpoint_url={server.url}", "model=m", "n=4", "max_tokens=256")
        words = ("eval", "--source", source, "--out", out, *served)
        done = mmpr(*words)
        n_requests = len(server.requests)
        again = mmpr(*words, "--json")
        assert len(server.requests) == n_requests
    assert done.exit_code == 0 and done.stderr == "model: m\n"
    assert done.stdout.splitlines()[1:3] == ["12 questions = 8 evaluated + 4 skipped", "skipped: 4 no_answer"]
    assert again.exit_code == 0 and json.loads(again.stdout) == json.loads((out / "eval.json").read_text())
    assert json.loads(again.stdout)["all"]["right"]["value"] == 0.5


def test_the_verb_shows_a_run_and_compares_two(models):
    base, better = names(models, "base", "better")
    shown = mmpr("eval", base)
    assert shown.exit_code == 0 and "40 questions = 40 evaluated + 0 skipped" in shown.stdout
    assert json.loads(mmpr("eval", base, "--json").stdout) == json.loads((models / "base" / "eval.json").read_text())
    both = mmpr("eval", "--compare", base, better)
    assert both.exit_code == 0 and both.stdout.splitlines() == comparison_lines(compare_runs(base, better))
    assert "temperature: 1.0, then 0.7" in both.stdout and "the second is better: +25.0 points right" in both.stdout
    assert json.loads(mmpr("eval", "--compare", base, better, "--json").stdout)["real"] is True


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--source", "x.jsonl"),
        ("--compare", "a"),
        ("a", "b"),
        ("a", "n=4"),
        ("--source", "x.jsonl", "--out", "run", "a"),
        ("--source", "x.jsonl", "--out", "run", "--compare"),
    ],
)
def test_what_the_verb_cannot_mean_is_a_usage_error(words):
    done = mmpr("eval", *words)
    assert done.exit_code == 2 and "--compare and two" in done.stderr


def test_a_fault_is_one_line_and_exit_1(models, tmp_path):
    for words in (("eval", tmp_path), ("eval", "--compare", tmp_path, tmp_path), ("report", models / "base")):
        done = mmpr(*words)
        assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("mmpr: ")
