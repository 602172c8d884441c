"""The file that starts a training: it parses, names the exported files, and has MPO's losses as the card gives them."""

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from exporting import runs
from mmpr.exporting import Format, export_run
from mmpr.exporting.start_files import TrainingStart, start_command, write_start
from mmpr.run.json_records import unsealed

INTERNVL3 = "OpenGVLab/InternVL3-8B"


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A run of InternVL3-8B with a validation split, in each format."""
    root = tmp_path_factory.mktemp("starts")
    run = runs.make(root / "run")
    rows = runs.rows_of(run)
    runs.forge(run, {runs.SHARD: rows[:-6], "data/validation-00000-of-00001.parquet": rows[-6:]})
    settings = unsealed((root / "run/run.json").read_bytes())
    settings["identity"] |= {"model": INTERNVL3, "max_tiles": 6, "context_tokens": 8192}
    (root / "run/run.json").write_text(json.dumps(settings))
    for format in runs.FORMATS:
        export_run(run.url, format, root / f"an export {format}")
    return {format: root / f"an export {format}" for format in runs.FORMATS}


def started(script, program, folder, **environment):
    """The arguments that a shell script gives to a program, which is a stand-in."""
    (folder / "bin").mkdir(exist_ok=True)
    standin = folder / "bin" / program
    standin.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\necho "MAX_NUM=${MAX_NUM:-}"\n')
    standin.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **environment}
    done = subprocess.run(
        ["sh", str(script), "--more", "1"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def after(words, option):
    return words[words.index(option) + 1]


def test_llamafactory_gets_its_yaml(exports):
    folder = exports["llamafactory"]
    found = yaml.safe_load((folder / "mpo.yaml").read_text())
    info = json.loads((folder / "dataset_info.json").read_text())
    assert found["dataset"] in info and found["eval_dataset"] in info and (folder / found["dataset_dir"]).is_dir()
    assert (found["stage"], found["template"], found["cutoff_len"]) == ("dpo", "intern_vl", 8192)
    assert found["model_name_or_path"] == f"{INTERNVL3}-hf"
    share = 1 / (1 + found["pref_bco_weight"])  # its trainer divides both by the sum
    assert (share, found["pref_bco_weight"] * share, found["pref_ftx"]) == pytest.approx((0.8, 0.2, 1.0))
    assert isinstance(found["learning_rate"], float)


def test_swift_gets_its_command(exports, tmp_path):
    words = started(exports["swift"] / "mpo.sh", "swift", tmp_path)
    assert Path(after(words, "--dataset")).samefile(exports["swift"] / "train.jsonl")
    assert Path(after(words, "--val_dataset")).samefile(exports["swift"] / "validation.jsonl")
    assert after(words, "--model") == INTERNVL3 and "MAX_NUM=6" in words and words[-3:-1] == ["--more", "1"]
    losses, weights = words.index("--loss_type"), words.index("--loss_weights")
    assert words[losses + 1 : losses + 4] == ["sigmoid", "bco_pair", "sft"]
    assert words[weights + 1 : weights + 4] == ["0.8", "0.2", "1.0"]


def test_internvl_gets_its_shell_line(exports, tmp_path):
    words = started(exports["internvl"] / "mpo.sh", "torchrun", tmp_path, INTERNVL=str(tmp_path), GPUS="4")
    assert Path(after(words, "--meta_path")).samefile(exports["internvl"] / "meta.json")
    assert (after(words, "--model_name_or_path"), after(words, "--conv_style")) == (INTERNVL3, "internvl2_5")
    assert after(words, "--gradient_accumulation_steps") == "64" and after(words, "--max_dynamic_patch") == "6"
    assert after(words, "--loss_type") == "sigmoid,bco_pair"
    weights = [after(words, f"--{name}") for name in ("sigmoid_loss_weight", "bco_pair_loss_weight", "rpo_alpha")]
    assert weights == ["0.8", "0.2", "1.0"]


def test_trl_gets_its_script(exports):
    tree = ast.parse((exports["trl"] / "mpo.py").read_text())
    calls = {call.func.id: call for call in ast.walk(tree) if isinstance(call, ast.Call) and hasattr(call.func, "id")}
    given = {one.arg: one.value for one in calls["DPOConfig"].keywords}
    assert ast.literal_eval(given["loss_type"]) == ["sigmoid", "bco_pair", "sft"]
    assert ast.literal_eval(given["loss_weights"]) == [0.8, 0.2, 1.0] and ast.literal_eval(given["max_length"]) is None
    assert {"train_dataset", "eval_dataset"} <= {one.arg for one in calls["DPOTrainer"].keywords}
    assert f"{INTERNVL3}-hf" in ast.unparse(tree)


@pytest.mark.long
def test_trl_knows_every_field_of_the_script(exports):
    trl = pytest.importorskip("trl")
    tree = ast.parse((exports["trl"] / "mpo.py").read_text())
    (call,) = [one for one in ast.walk(tree) if isinstance(one, ast.Call) and ast.unparse(one.func) == "DPOConfig"]
    assert {one.arg for one in call.keywords} <= set(trl.DPOConfig.__dataclass_fields__)


def test_the_command_of_each_format_is_printed_and_quotes_its_path(exports):
    commands = {format: start_command(Format(format), exports[format]) for format in runs.FORMATS}
    assert commands.pop("jsonl") == ""
    assert all(f"'{exports[format]}" in command for format, command in commands.items())


@pytest.mark.parametrize("model", ["it's; rm -rf $HOME", "OpenGVLab/InternVL2-8B", "pocket"])
def test_no_name_of_a_model_is_run_by_the_shell(tmp_path, model):
    start = TrainingStart(model, ("train",), None, 16384)
    for format, program in ((Format.SWIFT, "swift"), (Format.INTERNVL, "torchrun")):
        write_start(format, tmp_path, start)
        words = started(tmp_path / "mpo.sh", program, tmp_path, INTERNVL=str(tmp_path), CONV_STYLE="internlm2-chat")
        assert model in words
    write_start(Format.TRL, tmp_path, start)
    write_start(Format.LLAMAFACTORY, tmp_path, start)
    ast.parse((tmp_path / "mpo.py").read_text())
    assert yaml.safe_load((tmp_path / "mpo.yaml").read_text())["model_name_or_path"] == model


def test_a_run_without_a_pair_gets_no_start(tmp_path):
    from run import making

    run = runs.make(tmp_path / "run", [making.skipped(0)])
    export_run(run.url, "swift", tmp_path / "to")
    assert start_command(Format.SWIFT, tmp_path / "to") == "" and not (tmp_path / "to/mpo.sh").exists()
