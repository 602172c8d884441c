"""Training sets: every row against the questions and responses of the run, and every leave-out by its name."""

import hashlib
import importlib.util
import json
import sys
import types
from dataclasses import asdict, replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run import making
from typer.testing import CliRunner

from exporting import runs, signals
from mmpr import rewards
from mmpr.builder.run_recipes import judge_options
from mmpr.cli.verbs import app
from mmpr.errors import ConfigError, JudgeError, RunFolderError
from mmpr.exporting import Format, Unfit, export_run
from mmpr.exporting.training_formats import SHAPES
from mmpr.pairing import FirstRound, first_round
from mmpr.prompts import SYSTEM_MESSAGES, ask
from mmpr.rewards import read_reference, reward_of, verdict_on
from mmpr.run.exclusion import Listed, write_list
from mmpr.types import Finish, Outcome, Reason

PROMPTS = [format.value for format in Format if format.unit == "prompts"]
RESPONSES = [format.value for format in Format if format.unit == "responses"]
REFERENCE = {"verl": "reward_model", "grpo": "reference", "easyr1": "answer", "swift-grpo": "solution"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every kind of question, in three chunks; tests must not change it."""
    return signals.make(tmp_path_factory.mktemp("signals") / "run")


def exported(run, format, to, **options):
    """The rows of an export, and its counts."""
    counts = export_run(run.url, format, to, **options)
    return rows_in(to, format), counts


def rows_in(to, format, split="train"):
    if SHAPES[Format(format)].schema is None:
        path = Path(to) / f"{split}.jsonl"
        return runs.lines(path) if path.exists() else []
    path = Path(to) / f"{split}.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []


def figures(row):
    return row.get("extra_info", row)


def reference_of(row):
    found = row.get("reward_model", row)
    names = ("ground_truth", "reference", "solution", "label", "answer")
    return next(found[name] for name in names if name in found)


def asked_in(row):
    """What a row asks, as (role, text with tags)."""
    prompt = row.get("prompt") or row.get("messages") or row["input"]
    if isinstance(prompt, str):
        return prompt
    return [(turn["role"], as_text(turn["content"])) for turn in prompt]


def as_text(content):
    if isinstance(content, str):
        return content
    joined = "".join("<image>\n" if part["type"] == "image" else part["text"] for part in content)
    return joined.removesuffix("\n") if content[-1]["type"] == "image" else joined


def hashes(row, to):
    """The sha256 of a row's images, embedded or as files."""
    found = [image["bytes"] if isinstance(image, dict) else Path(to, image).read_bytes() for image in row["images"]]
    return [hashlib.sha256(content).hexdigest() for content in found]


def reasons(counts):
    return {str(one.reason): one.rows for one in counts.left_out}


# -- prompts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", PROMPTS)
def test_every_question_with_a_reference_answer_is_one_row_equal_to_the_run(run, tmp_path, format):
    rows, counts = exported(run, format, tmp_path)
    stored = {name: one for name, one in signals.committed_in(run).items() if one.question.answer}
    assert len(rows) == counts.rows == len(stored) and reasons(counts) == {"no_reference": 1, "bad_row": 1}
    assert {figures(row)["question_id"] for row in rows} == set(stored)
    for row in rows:
        one, figure = stored[figures(row)["question_id"]], figures(row)
        first = first_round(one.judged)
        turns = ask(one.question)
        expected = [(turn.role, turn.text) for turn in turns]
        assert asked_in(row) == ("\n\n".join(text for _, text in expected) if format == "easyr1" else expected)
        assert hashes(row, tmp_path) == [image.sha256 for image in one.images]
        assert {name: figure[name] for name in asdict(first)} == asdict(first)
        assert figure["accuracy"] == first.accuracy
        assert (figure["source"], figure["source_row"]) == (one.question.source, one.question.row)


@pytest.mark.parametrize("format", PROMPTS)
def test_a_reference_answer_reads_back_exactly_and_rewards_as_the_run_judged(run, tmp_path, format):
    rows, _ = exported(run, format, tmp_path)
    stored = signals.committed_in(run)
    for row in rows:
        one = stored[figures(row)["question_id"]]
        question, options = read_reference(reference_of(row))
        kept = ("text", "choices", "answer", "answer_kind", "minority_answers")
        assert all(getattr(question, name) == getattr(one.question, name) for name in kept)
        assert options == judge_options(signals.config())
        for response, verdict in one.judged:
            assert verdict_on(response.text, reference_of(row)) == verdict
            assert reward_of(verdict).accuracy == {"correct": 1.0, "incorrect": 0.0, "unparsed": 0.0}.get(
                verdict.outcome
            )


def test_settings_of_the_judge_travel_with_the_reference_answer(tmp_path):
    rows = [signals.answered(0, ["Final Answer: 104", "Final Answer: 130"], answer=("100",), text="What is the value?")]
    run = signals.make(tmp_path / "run", rows, relative_tolerance=0.05, prompt_version="boxed")
    (row,), _ = exported(run, "grpo", tmp_path / "to")
    _, options = read_reference(row["reference"])
    assert options.relative_tolerance == 0.05 and options.format == "boxed"
    verdicts = [verdict_on(response.text, row["reference"]) for response, _ in signals.committed_in(run)["q0"].judged]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.CORRECT, Outcome.INCORRECT]
    assert all(verdict.off_format for verdict in verdicts)


@pytest.mark.parametrize("format", ["verl", "grpo", "easyr1", "kto"])
def test_datasets_decodes_the_embedded_images_and_keeps_rows_without_one(run, tmp_path, format):
    export_run(run.url, format, tmp_path)
    file, cache = str(tmp_path / "train.parquet"), str(tmp_path / "cache")
    rows = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=cache)
    sizes = {len(row["images"]) for row in rows}
    assert sizes == {0, 1, 2} and all(image.size == (24, 24) for row in rows for image in row["images"])


@pytest.mark.parametrize("format", ["swift-grpo", "openrlhf", "sft", "orm"])
def test_lines_with_images_come_first_for_types_are_guessed(run, tmp_path, format):
    rows, _ = exported(run, format, tmp_path)
    has_image = [bool(row["images"]) for row in rows]
    assert has_image == sorted(has_image, reverse=True) and False in has_image
    assert not list(tmp_path.glob("texts-*"))


def test_openrlhf_opens_images_wherever_it_is_started(run, tmp_path):
    rows, _ = exported(run, "openrlhf", tmp_path)
    assert all(Path(image).is_absolute() and Path(image).exists() for row in rows for image in row["images"])


def test_verl_numbers_its_rows_and_names_the_kind_of_answer(run, tmp_path):
    rows, _ = exported(run, "verl", tmp_path)
    assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))
    assert {row["ability"] for row in rows} >= {"number", "choice", "yes_no", "text"}
    assert {row["reward_model"]["style"] for row in rows} == {"rule"} and {row["data_source"] for row in rows} == {
        "vqa"
    }


def test_a_system_message_of_the_run_stands_in_every_prompt(tmp_path):
    run = signals.make(tmp_path / "run", [signals.asked(0)], system_message="internvl_think")
    for format in PROMPTS:
        (row,), _ = exported(run, format, tmp_path / format)
        asked = asked_in(row)
        assert asked.startswith(SYSTEM_MESSAGES["internvl_think"]) if format == "easyr1" else asked[0][0] == "system"


# -- which questions ---------------------------------------------------------------------------------------------------


def with_outcomes(row, right, wrong, undecided):
    said = ["3"] * right + ["4"] * wrong + ["perhaps 3 or 4"] * undecided
    return signals.answered(row, [signals.text(i, one) for i, one in enumerate(said)])


WINDOWED = [(10, 0, 0), (5, 5, 0), (0, 10, 0), (2, 7, 1), (2, 0, 8), (8, 1, 1), (2, 8, 0), (8, 2, 0)]


def test_a_window_takes_questions_whose_whole_interval_lies_inside(tmp_path):
    run = signals.make(tmp_path / "run", [with_outcomes(row, *counts) for row, counts in enumerate(WINDOWED)])
    rows, counts = exported(run, "verl", tmp_path / "to", accuracy=(0.2, 0.8))
    assert {figures(row)["question_id"] for row in rows} == {"q1", "q3", "q6", "q7"}
    assert reasons(counts) == {"accuracy_window": 2, "accuracy_unclear": 2}
    unclear = next(one for one in counts.left_out if one.reason is Reason.ACCURACY_UNCLEAR)
    assert "q4" in unclear.first and "8 undecided" in unclear.first


def test_every_question_has_its_bucket(tmp_path):
    run = signals.make(tmp_path / "run", [with_outcomes(row, *counts) for row, counts in enumerate(WINDOWED)])
    rows, _ = exported(run, "grpo", tmp_path / "to")
    found = {row["question_id"]: row["difficulty"] for row in rows}
    assert list(found.values()) == ["solved", "medium", "unsolved", "medium", "unclear", "unclear", "medium", "medium"]


def test_only_the_first_round_counts(tmp_path):
    one = with_outcomes(0, 1, 3, 0)
    later = [replace(r, response=replace(r.response, index=i + 4, round=1)) for i, r in enumerate(one.responses[:3])]
    run = signals.make(tmp_path / "run", [replace(one, responses=(*one.responses, *later))])
    (row,), _ = exported(run, "verl", tmp_path / "to")
    assert {name: figures(row)[name] for name in asdict(FirstRound())} == asdict(FirstRound(1, 3, 0))


def test_what_would_stop_a_trainer_is_left_out_by_name_and_ends_a_strict_export(tmp_path):
    bad_image = replace(making.image(9), encoded=b"no image")
    rows = [
        signals.asked(0),
        signals.asked(0, text="What does <video> say?"),
        replace(signals.asked(0, text="<image> and <image>")),
        replace(signals.asked(0), images=(replace(bad_image, sha256=hashlib.sha256(b"no image").hexdigest()),)),
        signals.asked(1, answer=("a whale",)),
        signals.asked(2, answer=("purple",)),
    ]
    rows = [replace(row, question=replace(row.question, id=f"q{i}", row=i)) for i, row in enumerate(rows)]
    run = signals.make(tmp_path / "run", rows)
    _, counts = exported(run, "verl", tmp_path / "to")
    assert counts.rows == 1
    assert reasons(counts) == {"media_tag": 1, "image_tags": 1, "picture_unreadable": 1, "reference_unfit": 2}
    with pytest.raises(RunFolderError) as found:
        export_run(run.url, "grpo", tmp_path / "strict", strict=True)
    assert "q1" in str(found.value) and "media_tag" in str(found.value) and "\n" not in str(found.value)
    with pytest.raises(RunFolderError, match="media_tag"):  # complete, but not what strict asks for
        export_run(run.url, "verl", tmp_path / "to", strict=True)


def test_the_validation_split_is_that_of_the_pairs_and_their_cap_is_none_of_prompts(tmp_path):
    shown = [making.image(seed) for seed in range(40)]
    rows = [signals.answered(i, ["Final Answer: 3", "Final Answer: 4"], shown=(shown[i],)) for i in range(40)]
    run = signals.make(tmp_path / "run", rows, validation_fraction=0.3, max_pairs_per_source=5)
    pairs = runs.rows_of(run)
    files = Path(run.url).glob("data/validation-*")
    held_out = {row["question_id"] for path in files for row in pq.read_table(path).to_pylist()}
    for format in ("verl", "sft"):
        export_run(run.url, format, tmp_path / format)
        sides = [{figures(row)["question_id"] for row in rows_in(tmp_path / format, format, split)} for split in SPLITS]
        assert held_out <= sides[1] and not sides[0] & sides[1] and len(sides[0]) + len(sides[1]) == 40
        assert len(pairs) == 5  # a cap on pairs is none on prompts
    assert {row["extra_info"]["split"] for row in rows_in(tmp_path / "verl", "verl", "validation")} == {"validation"}


SPLITS = ("train", "validation")


def test_what_a_benchmark_excludes_is_in_no_training_set(tmp_path):
    run = signals.make(tmp_path / "run", exclude="bench.jsonl")
    listed = Listed("bench.jsonl line 1", original_sha256=signals.SECOND.original_sha256)
    write_list(run, [listed], name="bench.jsonl")
    for format in ("verl", "kto"):
        rows, counts = exported(run, format, tmp_path / format)
        shown = {sha256 for row in rows for sha256 in hashes(row, tmp_path / format)}
        assert shown == {signals.FIRST.sha256, signals.LAST.sha256} and reasons(counts)["excluded"] >= 2
    assert "bench.jsonl line 1" in next(one.first for one in counts.left_out if one.reason is Reason.EXCLUDED)


# -- responses ---------------------------------------------------------------------------------------------------------


def test_unpaired_rows_are_the_responses_that_pairs_are_made_of(run, tmp_path):
    rows, counts = exported(run, "kto", tmp_path)
    stored = signals.committed_in(run)
    for row in rows:
        one = stored[row["question_id"]]
        said = as_text(row["completion"][0]["content"])
        assert row["completion"][0]["role"] == "assistant" and hashes(row, tmp_path) == [i.sha256 for i in one.images]
        if row["kind"] == "dropout_ntp":
            assert row["label"] is (said == making.DRAFT)
        else:
            (verdict,) = [verdict for response, verdict in one.judged if response.text == said]
            assert row["label"] is (verdict.outcome is Outcome.CORRECT) and verdict.outcome is not Outcome.AMBIGUOUS
    judged = sum(len(one.judged) for one in stored.values())
    assert len(rows) == judged - reasons(counts)["undecided"] + 2
    assert {row["label"] for row in rows if row["kind"] == "dropout_ntp"} == {True, False}


def test_supervised_rows_are_all_right_responses_behind_their_whole_prompt(run, tmp_path):
    rows, counts = exported(run, "sft", tmp_path)
    stored = signals.committed_in(run)
    right = {r.text for one in stored.values() for r, verdict in one.judged if verdict.outcome is Outcome.CORRECT}
    assert {row["messages"][-1]["content"] for row in rows} == right and len(rows) == len(right)
    for row in rows:
        *asked, answer = row["messages"]
        assert [(turn["role"], turn["content"]) for turn in asked] == [
            (turn.role, turn.text) for turn in ask(stored[row["question_id"]].question)
        ]
        assert answer["role"] == "assistant"
    assert reasons(counts)["wrong"] + reasons(counts)["undecided"] + len(rows) == sum(
        len(one.judged) for one in stored.values()
    )


def test_outcome_rows_say_what_the_judge_decided_by(run, tmp_path):
    rows, _ = exported(run, "orm", tmp_path)
    stored = signals.committed_in(run)
    for row in rows:
        (verdict,) = [v for r, v in stored[row["question_id"]].judged if r.text == row["response"]]
        assert (row["outcome"], row["rule"]) == (verdict.outcome, verdict.rule)
        assert row["label"] is (verdict.outcome is Outcome.CORRECT) and row["certainty"] == "proven"
        assert asked_in(row) == [(t.role, t.text) for t in ask(stored[row["question_id"]].question)]


ODD = {
    "a cut response": (["Final Answer: 3"], {"finish": Finish.LENGTH}, {"unfinished": 1}),
    "in a box": (["So it is \\boxed{3}"], {}, {"off_format": 1}),
    "a tag": (["See <image>. Final Answer: 3"], {}, {"response_tag": 1}),
    "InternVL's token": (["<IMG_CONTEXT> Final Answer: 3"], {}, {"response_tag": 1}),
    "nothing": ([" \n"], {}, {"response_empty": 1}),
    "a refusal": (["Final Answer: I cannot see the image."], {}, {"refusal": 1}),
    "said twice": (["Final Answer: 3", "Final Answer: 3"], {}, {"near_duplicate": 1}),
    "likely wrong": (
        ["Final Answer: a suspension bridge"],
        {"text": "What is the man doing?", "answer": ("juggling",)},
        {"unproven": 1},
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_response_that_teaches_nothing_sure_is_left_out_by_name(tmp_path, name):
    said, how, expected = ODD[name]
    run = signals.make(tmp_path / "run", [signals.answered(0, said, **how)])
    for format in ("kto", "sft"):
        rows, counts = exported(run, format, tmp_path / format)
        assert reasons(counts) == expected and len(rows) == len(said) - 1
    if name == "in a box":  # an outcome says nothing of the form
        assert [row["label"] for row in exported(run, "orm", tmp_path / "orm")[0]] == [True]


def test_likely_wrong_responses_are_rows_where_the_settings_take_them(tmp_path):
    said, how, _ = ODD["likely wrong"]
    run = signals.make(tmp_path / "run", [signals.answered(0, said, **how)], rejected_certainty="likely")
    assert [row["label"] for row in exported(run, "kto", tmp_path / "kto")[0]] == [False]
    (row,) = exported(run, "orm", tmp_path / "orm")[0]
    assert row["label"] is False and row["certainty"] == "likely"


SAID = ["It is 3, for I count: one, two, three.\nFinal Answer: 3", "Final Answer: 3", "So: 3.\nFinal Answer: 3"]


def test_few_responses_of_a_question_are_the_shortest_or_the_best_grounded(tmp_path):
    rows = [signals.answered(0, SAID), signals.answered(1, SAID, gains=(0.5, 0.9, None))]
    run = signals.make(tmp_path / "run", rows)
    kept, counts = exported(run, "sft", tmp_path / "to", per_question=2)
    by_question = {
        name: [r["messages"][-1]["content"] for r in kept if r["question_id"] == name] for name in ("q0", "q1")
    }
    assert by_question == {
        "q0": [SAID[1], SAID[2]],
        "q1": [SAID[0], SAID[1]],
    }  # 0.5 nats a token of a long text is more
    assert reasons(counts) == {"per_question": 2}
    first = next(one for one in counts.left_out if one.reason is Unfit.PER_QUESTION)
    assert "response 0 of question q0 (vqa:0)" in first.first


def test_a_limit_of_rows_counts_each_label_alone(tmp_path):
    run = signals.make(tmp_path / "run", [signals.answered(0, [*SAID, "Final Answer: 4", "Final Answer: 5"])])
    rows, _ = exported(run, "kto", tmp_path / "to", per_question=1)
    assert [row["label"] for row in rows] == [True, False]


def test_what_a_trainer_would_cut_is_left_out(tmp_path):
    run = signals.make(tmp_path / "run", [signals.answered(0, SAID)])
    asked = len(ask(signals.committed_in(run)["q0"].question)[0].text)
    rows, counts = exported(run, "sft", tmp_path / "sft", max_chars=asked + len(SAID[1]))
    assert [row["messages"][-1]["content"] for row in rows] == [SAID[1]] and reasons(counts) == {"beyond_max_chars": 2}
    rows, counts = exported(run, "verl", tmp_path / "verl", max_chars=asked)
    assert rows == [] and reasons(counts) == {"prompt_beyond_max_chars": 1} and counts.load == ""


def test_responses_of_an_older_judge_are_judged_again(tmp_path):
    run = signals.make(tmp_path / "run", judge='{"version": 1}')
    for path in Path(run.url).glob("responses/*.parquet"):
        table = pq.read_table(path)
        forged = ["correct" if outcome else None for outcome in table.column("outcome").to_pylist()]
        index = table.schema.get_field_index("outcome")
        column = pa.array(forged, pa.string())
        pq.write_table(table.set_column(index, table.schema.field(index), column), path)
    for commit in run.committed().values():
        changed = replace(commit, responses=run.record(commit.responses.path, commit.responses.rows))
        (Path(run.url) / f"chunks/{commit.chunk:05d}.json").write_bytes(changed.to_json())
    sound = signals.make(tmp_path / "sound")
    assert exported(run, "kto", tmp_path / "a")[0] == exported(sound, "kto", tmp_path / "b")[0]


# -- the export as a whole ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [*PROMPTS, *RESPONSES])
def test_the_same_again_changes_nothing_and_other_wishes_are_another_export(run, tmp_path, format):
    first = export_run(run.url, format, tmp_path / "to", accuracy=(0, 1))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")}
    assert export_run(run.url, format, tmp_path / "to", accuracy=(0, 1)) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")} == before
    with pytest.raises(ConfigError, match="accuracy"):
        export_run(run.url, format, tmp_path / "to", accuracy=(0.2, 0.8))


@pytest.mark.parametrize("format", [*PROMPTS, *RESPONSES])
def test_a_training_set_that_was_interrupted_is_completed(run, tmp_path, format):
    counts = export_run(run.url, format, tmp_path)
    expected = runs.files_in(tmp_path)
    (tmp_path / "export.json").unlink()
    for name in [name for name in expected if name.endswith((".png", ".jsonl", ".parquet"))]:
        (tmp_path / name).write_bytes(expected[name][:50])
    request = json.loads(expected["export.json"])["request"]
    (tmp_path / "unfinished.json").write_text(json.dumps({"request": request}))
    assert export_run(run.url, format, tmp_path) == counts and runs.files_in(tmp_path) == expected


@pytest.mark.parametrize("format", [*PROMPTS, *RESPONSES])
def test_a_run_without_a_question_to_train_on_is_an_empty_export_that_names_no_file(tmp_path, format):
    run = signals.make(tmp_path / "run", [making.skipped(0)])
    counts = export_run(run.url, format, tmp_path / "to")
    assert counts.rows == 0 and counts.load == "" and reasons(counts) == {"bad_row": 1}
    assert export_run(run.url, format, tmp_path / "to") == counts


def test_wishes_that_a_format_has_no_use_for_are_refused_in_one_line(run, tmp_path):
    wrong = [
        ("internvl", {"accuracy": (0.2, 0.8)}, "accuracy_window"),
        ("verl", {"per_question": 2}, "kto, sft, orm"),
        ("sft", {"per_question": 0}, "1 or more"),
        ("verl", {"accuracy": (0.8, 0.2)}, "0.2:0.8"),
        ("verl", {"accuracy": (0.2, 80)}, "0.2:0.8"),
    ]
    for format, wishes, words in wrong:
        with pytest.raises(ConfigError, match=words):
            export_run(run.url, format, tmp_path / "to", **wishes)
    assert not (tmp_path / "to").exists()


def test_an_unfinished_and_a_damaged_run_are_refused(tmp_path):
    run = signals.make(tmp_path / "run")
    path = next(Path(run.url).glob("responses/*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=path.name):
        export_run(run.url, "verl", tmp_path / "to")
    (Path(run.url) / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="not finished"):
        export_run(run.url, "verl", tmp_path / "to2")


def test_a_run_under_other_settings_is_another_training_set(tmp_path):
    run = signals.make(tmp_path / "run")
    export_run(run.url, "kto", tmp_path / "to")
    run.change_selection({**run.load_run().selection, "rejected_certainty": "likely"})
    making.write_manifest(run, [])
    with pytest.raises(ConfigError, match="paired again"):
        export_run(run.url, "kto", tmp_path / "to")


def loaded(path):
    """A reward file as trainers load it: by its path, under a name of theirs."""
    spec = importlib.util.spec_from_file_location("custom_reward", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reward_files_are_what_each_trainer_loads(run, tmp_path, monkeypatch):
    said = "It has three.\nFinal Answer: 3"
    swift = types.ModuleType("swift.rewards")
    swift.orms = {}
    monkeypatch.setitem(sys.modules, "swift", types.ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", swift)
    references, modules = {}, {}
    for format in ("verl", "easyr1", "swift-grpo", "openrlhf"):
        rows, _ = exported(run, format, tmp_path / format)
        references[format] = next(reference_of(row) for row in rows if figures(row)["question_id"] == "q0")
        modules[format] = loaded(tmp_path / format / "reward.py")
    score = modules["verl"].compute_score
    assert score(data_source="vqa", solution_str=said, ground_truth=references["verl"], extra_info={})["score"] == 1
    assert modules["easyr1"].REWARD_TYPE == "batch"
    inputs = [{"response": said, "response_length": 9, "ground_truth": references["easyr1"]}]
    assert modules["easyr1"].compute_score(inputs)[0]["overall"] == 1
    assert swift.orms["mmpr"](args=None)(completions=[said], solution=[references["swift-grpo"]], images=[[]]) == [1.0]
    pytest.importorskip("torch")
    rewards = modules["openrlhf"].reward_func(
        ["<s>How many?" + said + "</s>"], ["<s>How many?"], [references["openrlhf"]]
    )
    assert rewards["rewards"].tolist() == [1.0]


def test_the_reward_file_allows_the_judge_of_ones_own_that_judged_the_run(tmp_path, monkeypatch):
    place = "exporting.signals:says_three"
    run = signals.make(tmp_path / "run", [signals.asked(0)], own_judge=place)
    rows, _ = exported(run, "verl", tmp_path / "to")
    monkeypatch.setattr(rewards, "_ALLOWED_JUDGES", set())
    with pytest.raises(JudgeError, match="allow_judge"):
        verdict_on("three", reference_of(rows[0]))
    score = loaded(tmp_path / "to/reward.py").compute_score
    assert [score("", said, reference_of(rows[0]))["score"] for said in ("three", "four")] == [1, 0]


def test_the_command_line_names_no_file_where_there_is_none_to_load(tmp_path):
    run = signals.make(tmp_path / "run", [making.skipped(0)])
    for format in ("swift", "verl"):
        done = CliRunner().invoke(app, ["export", run.url, "--format", format, "--to", str(tmp_path / format)])
        assert done.exit_code == 0 and "load:" not in done.stdout and "nothing to load" in done.stderr


def test_the_command_line_reports_rows_left_outs_and_the_trainers_line(run, tmp_path):
    words = ["export", run.url, "--format", "swift-grpo", "--to", str(tmp_path / "to")]
    done = CliRunner().invoke(app, [*words, "--accuracy", "0.2:0.7"])
    written, *left_out, load = done.stdout.splitlines()
    assert " prompts and 3 images in " in written
    assert any("accuracy_unclear" in line for line in left_out) and load.startswith("load: ROOT_IMAGE_DIR=")
    assert "--reward_funcs mmpr" in load and done.stderr == ""
    assert done.exit_code == 0
    done = CliRunner().invoke(app, [*words, "--accuracy", "most"])
    assert done.exit_code == 2 and "LOW:HIGH" in done.stderr
