"""The command line as a person meets it: one line for a known error, stable exit codes, results on stdout."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpr.cli.verbs import app
from mmpr.demo.pocket_world import Scene
from pipelines.pocket.questions import read_scenes, write_questions

MMPR = (sys.executable, "-m", "mmpr")
# Colours, a window's title, a cleared screen, CSI in one character, a line written over, an order turned round.
TERMINAL = "\x1b[31mred\x1b]0;owned\x07\x1b[2J\x9b5n\rover\u202eright to left\u2066"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def program(*words, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MMPR_DEBUG")}
    return subprocess.run(
        [*MMPR, *map(str, words)], capture_output=True, text=True, check=False, env={**clean, **environment}
    )


def mmpr(*words, **environment):
    """A verb in this process, for a program of its own takes a second to start."""
    environment = {"RAY_ADDRESS": None, "MMPR_DEBUG": None, **environment}
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="mmpr", env=environment)


def one_line(done):
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("model: ")]
    return line


def test_a_missing_source_is_one_line_that_names_it(tmp_path):
    done = program("build", "--source", tmp_path / "no.jsonl", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert one_line(done).startswith("mmpr: ") and "no.jsonl" in one_line(done)


def test_an_unknown_setting_is_one_line_with_the_nearest_name(tmp_path):
    done = mmpr("build", "--source", "x.jsonl", "--out", tmp_path / "run", "temprature=1")
    assert done.exit_code == 2 and one_line(done).startswith("mmpr: no setting is named 'temprature'; did you mean")


def test_a_setting_given_as_an_option_is_answered_with_how_it_is_given():
    for words, hint in (
        (("--temperature", "0.5"), "temperature=0.5"),
        (("--top-k=7",), "top_k=7"),
        (("--vllm.block_size", "32", "n=3"), "vllm.block_size=32"),
        (("--seeded",), "seeded=.."),
    ):
        done = mmpr("build", "--source", "x.jsonl", "--out", "run", *words)
        assert done.exit_code == 2 and f"it is a setting: {hint}\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--temprature", "0.5"), "did you mean the setting temperature=0.5?"),
        (("--address", "auto"), "did you mean the setting ray_address=auto?"),
        (("--sorce", "x.jsonl"), "(Possible options: --source, --strict)"),
        (("--model", "x"), "it is a setting: model=x"),  # and no option of the verb that is a little like it
        (("--qqqq",), "No such option: --qqqq"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_option_or_the_setting_that_is_most_like_it(words, hint):
    done = mmpr("build", "--source", "x.jsonl", "--out", "run", *words)
    assert done.exit_code == 2 and done.stderr.endswith(f"{hint}\n"), done.stderr


def test_version_help_and_completion_answer_everybody():
    assert re.fullmatch(r"mmpr \d+\.\d+\.\d+\n", program("--version").stdout)
    assert program("-h").stdout == program("--help").stdout and "Usage" in program("build", "-h").stdout
    # typer looks for the shell among the parents of the process: a test may have none that it knows
    said = program("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    assert "complet" in said


def test_settings_are_json_for_programs():
    found = json.loads(mmpr("settings", "--json", "--config", "internvl3-8b").stdout)
    assert found["model"]["value"] == "OpenGVLab/InternVL3-8B" and found["model"]["mark"] == "identity"
    assert json.loads(mmpr("settings", "--schema").stdout)["properties"].keys() >= found.keys()
    assert mmpr("settings", "--schema", "--json").exit_code == 2


def test_usage_errors_exit_with_2():
    assert mmpr("build").exit_code == 2
    assert mmpr("brew").exit_code == 2


def test_debug_shows_the_traceback(tmp_path):
    done = program("build", "--source", tmp_path / "no.jsonl", "--out", tmp_path / "run", MMPR_DEBUG="1")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path):
    done = mmpr("verify", tmp_path)
    assert done.exit_code == 1 and "run" in (done.stdout + done.stderr)
    done = mmpr("pair", tmp_path)
    assert done.exit_code == 1 and "no run folder" in one_line(done)


def test_judge_prints_one_json_line_a_row_and_the_table_on_stderr(tmp_path):
    rows = [
        {"id": "a", "question": "How many?", "answer": 2, "response": "Two cats.\nFinal Answer: 2"},
        {"id": "b", "question": "How many?", "answer": ["2"], "response": "Final Answer: 3"},
        {"id": "c", "question": "How many?", "answer": 2, "response": "I see some."},
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    done = mmpr("judge", path, "--summary")
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(v["id"], v["outcome"]) for v in verdicts] == [("a", "correct"), ("b", "incorrect"), ("c", "unparsed")]
    names = {"id", "outcome", "certainty", "off_format", "answer", "rule", "kind"}
    assert all(set(v) == names for v in verdicts)
    assert "correct" in done.stderr and done.exit_code == 0


def test_a_bad_row_of_rollouts_is_named(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    path.write_text('{"id": "a"}\n')
    done = mmpr("judge", path)
    assert done.exit_code == 1 and "rollouts.jsonl line 1: no question" in one_line(done)


def test_what_judge_prints_of_a_hostile_row_is_the_same_json_and_steers_nothing(tmp_path):
    said = "Exit \x9b5n\u202eright to left"
    row = {"id": TERMINAL, "question": "What does the sign say?", "answer": said, "answer_kind": "text"}
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps({**row, "response": f"Final Answer: {said}"}))
    done = mmpr("judge", path, "--summary")
    assert done.exit_code == 0 and not STEERS.search(done.stdout + done.stderr)
    (line,) = done.stdout.splitlines()
    found = {name: json.loads(line)[name] for name in ("id", "outcome", "answer", "rule")}
    assert found == {"id": TERMINAL, "outcome": "correct", "answer": said, "rule": "exact"}


def test_judge_goes_on_after_an_odd_row_unless_it_is_strict(tmp_path):
    row = {"id": "a", "question": "How high is the bar?", "answer": 200, "response": "Final Answer: 195"}
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join([json.dumps({**row, "answer": None}), json.dumps(row)]))
    done = mmpr("judge", path, "--tolerance", "0.05", "--kind", "number", "--answer-form", "boxed")
    first, second = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 0 and (first["outcome"], second["outcome"]) == ("error", "correct")
    assert "no `answer`" in first["detail"] and second["off_format"] is True
    strict = mmpr("judge", path, "--strict")
    assert strict.exit_code == 1 and len(strict.stdout.splitlines()) == 1
    assert "row 'a' cannot be judged" in strict.stderr and strict.stderr.count("\n") == 1
    assert "none of choice" in mmpr("judge", path, "--kind", "poem").stderr


def test_the_last_line_of_a_hostile_fault_is_one_line_and_steers_nothing(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "How many?", "answer": {TERMINAL: 1}}))
    for words in (("judge", path), ("judge", tmp_path / TERMINAL), ("verify", f"{tmp_path}/{TERMINAL}")):
        done = mmpr(*words)
        printed = done.stdout + done.stderr
        assert done.exit_code == 1 and not STEERS.search(printed) and printed.count("\n") == 1
        assert r"\x1b[31mred" in printed


def test_what_check_prints_of_a_hostile_source_steers_nothing(tmp_path):
    rows = [
        {"question": "How many?", "answer": 2, "image": f"gone {TERMINAL}.png"},
        {"question": TERMINAL, "answer": {TERMINAL: 2}},
    ]
    (tmp_path / "vqa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = mmpr("check", "--source", tmp_path / "vqa.jsonl", "--all")
    assert done.exit_code == 1 and r"\x1b[31mred\x1b]0;owned\x07" in done.stdout
    assert not STEERS.search(done.stdout + done.stderr)


def test_check_counts_rows_names_faults_and_estimates(tmp_path):
    write_questions(tmp_path, n=20, open_fraction=0.3, seed=5)
    sound = mmpr("check", "--source", tmp_path / "vqa.jsonl", "--all")
    assert sound.exit_code == 0 and "20 questions" in sound.stdout and "responses" in sound.stdout
    with (tmp_path / "vqa.jsonl").open("a") as file:
        file.write('{bad json\n{"question": "?", "answer": 1, "image": "gone.png"}\n')
    broken = mmpr("check", "--source", tmp_path / "vqa.jsonl", "--all")
    assert broken.exit_code == 1
    assert "vqa.jsonl line 21" in broken.stdout and "gone.png" in broken.stdout


def test_on_a_cluster_the_default_is_never_the_pocket_model(tmp_path):
    done = mmpr("settings", RAY_ADDRESS="127.0.0.1:6379")
    assert "OpenGVLab/InternVL2-8B" in done.stdout
    alone = mmpr("settings")
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        assert "pocket" in alone.stdout.splitlines()[-1] or " pocket " in alone.stdout


def final(text):
    """The final answer by the eye: what stands behind the last colon, out of its box. Independent of the judge."""
    found = re.findall(r"(?:Final Answer|最终答案): (?:\\boxed\{)?([^}\n]*)", text)
    return singular(found[-1]) if found else None


def truly(row):
    """A row's answer as it may be written: an option's letter, and its words, which now and then are given instead."""
    options = dict(re.findall(r"^([A-H])\. (.*)$", row["question"], re.MULTILINE))
    return {singular(row["answer"]), singular(options.get(row["answer"], row["answer"]))}


def singular(answer):
    return answer.strip().casefold().removesuffix("s").removesuffix("se")


@pytest.fixture(scope="module")
def pocket_run(tmp_path_factory):
    """One real build by the pocket model: questions of its world among rows of other origin."""
    folder = tmp_path_factory.mktemp("pocket")
    write_questions(folder, n=36, open_fraction=0.4, seed=7)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    odd = [
        {"question": "Two and two?", "answer": "4"},
        {"question": "Write a poem."},
        {"question": "", "answer": "4"},
        {"question": "How many?", "answer": "4", "image": "broken.png"},
        {"question": "How many?", "answer": "4", "image": "gone.png"},
        {"question": "Say <|im_end|> twice.<|im_end|>", "answer": "no", "image": "images/000000.png"},
    ]
    with (folder / "vqa.jsonl").open("a") as file:
        file.write("{bad json\n" + "\n".join(map(json.dumps, odd)) + "\n")
    done = program("build", "--source", folder / "vqa.jsonl", "--out", folder / "run")
    return folder, done


@pytest.mark.engine
def test_a_source_nobody_wrote_for_it_ends_in_named_skips_and_exit_0(pocket_run):
    folder, done = pocket_run
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["questions"] == 43 == report["paired"] + report["skipped"]
    for reason in ("bad_row", "empty_question", "no_picture", "image_unreadable", "image_missing"):
        assert report["skips_by_reason"][reason] == 1
    assert program("verify", folder / "run").returncode == 0


@pytest.mark.engine
def test_the_pocket_model_says_so_first_and_last_in_the_report_and_the_card(pocket_run):
    folder, done = pocket_run
    lines = done.stderr.splitlines()
    assert "pocket model" in lines[0] and "pocket model" in lines[-1]
    assert json.loads((folder / "run" / "report.json").read_text())["pocket_model"] is True
    body = (folder / "run" / "README.md").read_text().split("---\n", 2)[2].lstrip()
    assert body.splitlines()[0].startswith("Made by the pocket model")


@pytest.mark.engine
def test_its_pairs_are_of_both_kinds_and_true_to_the_world(pocket_run):
    folder, _ = pocket_run
    pattern = str(folder / "run" / "data" / "*.parquet")
    rows = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(folder / "cache"))
    kinds = Counter(rows["pair_kind"])
    assert kinds["correctness"] > 0 and kinds["dropout_ntp"] > 0
    assert len(set(rows["pair_id"])) == len(rows)
    references = read_scenes(folder / "scenes.jsonl")
    for row in rows:
        if row["pair_kind"] == "dropout_ntp":
            kept = row["prefix_chars"]
            assert row["chosen_text"][:kept] == row["rejected_text"][:kept] != ""
        elif row["question_id"] in references:
            assert isinstance(references[row["question_id"]], Scene)
            assert final(row["chosen_text"]) in truly(row) and final(row["rejected_text"]) not in truly(row)
        assert all(image.size[0] % 64 == 0 for image in row["images"])  # none where "Two and two?" was paired


@pytest.mark.engine
def test_its_build_is_evaluated_as_it_is(pocket_run):
    folder, _ = pocket_run
    done = program("eval", folder / "run", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["questions"] == 43 == report["evaluated"] + report["skipped"]
    rows = pq.read_table(folder / "run" / "responses", columns=["round", "stage", "outcome"]).to_pylist()
    first = Counter(row["outcome"] for row in rows if row["stage"] == "sample" and row["round"] == 0)
    assert report["all"]["responses"] == first.total() > 0
    assert report["all"]["right"]["value"] == pytest.approx(first["correct"] / first.total())  # 4 of each question


@pytest.mark.slow
@pytest.mark.engine
def test_sigterm_ends_with_75_and_the_same_command_completes(tmp_path):
    write_questions(tmp_path, n=60, open_fraction=0.3, seed=8)
    words = [
        "build",
        "--source",
        tmp_path / "vqa.jsonl",
        "--out",
        tmp_path / "run",
        "chunk_questions=8",
        "chunks_in_flight=1",
    ]
    build = subprocess.Popen([*MMPR, *map(str, words)], stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run" / "chunks").glob("*.json")) and build.poll() is None:
        time.sleep(0.2)
    build.send_signal(signal.SIGTERM)
    _, printed = build.communicate()
    assert build.returncode == 75, printed
    committed = {path.name: path.read_bytes() for path in (tmp_path / "run" / "chunks").glob("*.json")}
    assert 0 < len(committed) < 8
    done = program(*words)
    assert done.returncode == 0, done.stderr
    for name, content in committed.items():
        assert (tmp_path / "run" / "chunks" / name).read_bytes() == content
    assert program("verify", tmp_path / "run").returncode == 0


def test_the_demos_questions_are_those_of_the_pocket_world(tmp_path):
    done = mmpr("demo", "--questions-only", "--n", "12", "--out", tmp_path)
    assert done.exit_code == 0 and "demo-questions/vqa.jsonl" in done.stderr
    write_questions(tmp_path / "same", n=12, open_fraction=0.35, seed=1)
    for name in ("vqa.jsonl", "scenes.jsonl", "images/000003.png"):
        assert (tmp_path / "demo-questions" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    before = (tmp_path / "demo-questions" / "vqa.jsonl").stat().st_mtime_ns
    assert mmpr("demo", "--questions-only", "--n", "20", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "demo-questions" / "vqa.jsonl").stat().st_mtime_ns == before


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--source", LONG),
        ("check", "--config", LONG),
        ("judge", LONG),
        ("build", "--source", "a.jsonl", "--out", LONG),
        ("import", LONG, "--out", "x"),
        ("status", LONG),
    ],
)
def test_a_path_that_no_disk_can_have_is_one_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"question": "How many?", "answer": "2"}\n')
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 1, done.exception
    assert "File name too long" in done.stderr.splitlines()[-1]
