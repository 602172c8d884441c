"""A judge of one's own, from the command line to the dataset: a new version judges a finished run again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import my_judge
import pyarrow.parquet as pq
import pytest
from conftest import scripted_engine
from test_extras import HIDE, MORE

from mmpr.builder.build_flow import build
from mmpr.run import read_manifest
from mmpr.run.folder import RunFolder
from mmpr.settings.config import BuildConfig

OLD_RUN = Path(__file__).parent / "old_runs" / "first"
JUDGE = '''
from mmpr import Certainty, Outcome, Verdict


def long_enough(question, response):
    """Right if the response has this number of words."""
    right = len(response.split()) >= {words}
    outcome = Outcome.CORRECT if right else Outcome.INCORRECT
    return Verdict(outcome, str(len(response.split())), "{rule}", certainty=None if right else Certainty.PROVEN)


long_enough.name, long_enough.version = "long enough", "{version}"
'''


def mmpr(folder, *words):
    """The command line without Ray, in a folder whose modules can be imported."""
    program = HIDE.format(hidden=MORE) + "from mmpr.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def write_judge(folder, **values):
    (folder / "my_own.py").write_text(JUDGE.format(**values))
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def rules(run):
    rows = [row for file in (run / "data").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return {row["rejected_rule"] for row in rows if row["pair_kind"] == "correctness"}


def test_a_new_version_judges_a_finished_run_again_when_it_is_paired(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(OLD_RUN, run)
    write_judge(tmp_path, words=20, rule="twenty", version="1")
    done = mmpr(tmp_path, "pair", run, "judge=my_own:long_enough")
    assert done.returncode == 0, done.stderr
    first = done.stdout
    assert rules(run) == {"twenty"} and read_manifest(RunFolder(str(run))).own_judges == ("long enough 1",)

    write_judge(tmp_path, words=40, rule="forty", version="2")
    report = json.loads(mmpr(tmp_path, "report", run, "--json").stdout)
    assert "twenty" in report["outcomes_by_rule"]  # the report tells of the dataset as it was cut
    again = mmpr(tmp_path, "pair", run)
    assert again.returncode == 0 and again.stdout != first
    assert rules(run) == {"forty"} and read_manifest(RunFolder(str(run))).own_judges == ("long enough 2",)
    assert mmpr(tmp_path, "verify", run).returncode == 0

    back = mmpr(tmp_path, "pair", run, "judge=null")
    assert back.returncode == 0 and rules(run) == rules(OLD_RUN)
    assert read_manifest(RunFolder(str(run))).own_judges == ()


def test_a_judge_beside_the_user_is_found_as_the_manual_says(tmp_path):
    (tmp_path / "theirs.py").write_text(JUDGE.format(words=1, rule="words", version="1"))
    program = "from mmpr.judging.own_judge import load_judge; print(load_judge('theirs:long_enough').version)"
    done = subprocess.run(  # -P: as the command `mmpr`, without the working directory on the path
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "1\n", done.stderr


def test_a_judge_that_is_gone_is_one_line(tmp_path):
    shutil.copytree(OLD_RUN, tmp_path / "run")
    write_judge(tmp_path, words=20, rule="twenty", version="1")
    assert mmpr(tmp_path, "pair", tmp_path / "run", "judge=my_own:long_enough").returncode == 0
    (tmp_path / "my_own.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    done = mmpr(tmp_path, "pair", tmp_path / "run")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("mmpr: judge: my_own:long_enough cannot be imported")


@pytest.mark.parametrize("evaluates", [False, True])
def test_resuming_a_finished_run_under_a_new_version_judges_it_again(
    evaluates, write_source, tmp_path, cluster, monkeypatch
):
    values = {"model": "pocket", "n": 4, "chunk_questions": 8, "judge": "my_judge:last_word"}
    values |= {"evaluate": True, "adaptive": False} if evaluates else {}
    config = BuildConfig(source=str(write_source(12)), **values)
    out = str(tmp_path / "run")
    assert not build(config, out, scripted_engine).idle and build(config, out, scripted_engine).idle
    monkeypatch.setattr(my_judge.last_word, "version", "2")
    resumed = build(config, out, scripted_engine)
    assert not resumed.idle and read_manifest(RunFolder(out)).own_judges == ("last word 2",)
    assert build(config, out, scripted_engine).idle
