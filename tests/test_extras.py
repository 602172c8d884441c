"""What is installed without extras, or with `data` alone: everything that needs no more works, the rest is one line.

Packages are hidden from a process of its own, as if they were not there; `.ci/wheel` installs the real wheel.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mmpr.extras import _MODULES

ROOT = Path(__file__).parents[1]
OLD_RUN = ROOT / "tests" / "old_runs" / "first"
DATA = ("pyarrow", "numpy", "PIL", "yaml", "fsspec", "jinja2", "psutil", "aiohttp")
MORE = ("ray", "vllm", "torch", "torchvision", "transformers", "av", "httpx", "datasets", "huggingface_hub", "pandas")
HIDE = """
import sys
from importlib.machinery import PathFinder
hidden = {hidden!r}
class Sparing(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in hidden else super().find_spec(fullname, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Sparing
"""
CLI = "import sys; from mmpr.cli import main; main()"


def without(hidden, program, *words):
    code = HIDE.format(hidden=hidden) + program
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def test_without_extras_the_judge_and_the_rewards_work():
    program = (
        "import mmpr, mmpr.rewards, mmpr.pairing, mmpr.dropout, mmpr.prompts\n"
        "assert mmpr.judge('Final Answer: 4', answer='4').outcome is mmpr.Outcome.CORRECT\n"
        "assert mmpr.judge('Final Answer: a woman', answer='lady').outcome is not mmpr.Outcome.ERROR\n"
        "with mmpr.Judge() as judge: assert judge\n"
        "for name in ('build', 'open_run', 'Run'):\n"
        "    try: getattr(mmpr, name)\n"
        "    except mmpr.MissingExtra as error: assert str(error).endswith(\"pip install 'mmpr[data]'\"), error\n"
        "    else: raise AssertionError(name)\n"
    )
    done = without((*DATA, *MORE), program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--version",), "mmpr "),
        (("verify", OLD_RUN), "sound"),
        (("report", OLD_RUN, "--json"), '"questions"'),
        (("peek", OLD_RUN), "Rejected"),
        (("pair", OLD_RUN, "--dry-run"), "a dry run: nothing was written"),
        (("settings", "--json"), '"model"'),
    ],
)
def test_with_data_alone_the_verbs_that_look_at_a_run_work(words, says):
    done = without(MORE, CLI, *words)
    assert done.returncode == 0 and says in done.stdout + done.stderr


def test_with_data_alone_a_source_is_checked_and_a_run_exported(tmp_path):
    (tmp_path / "vqa.jsonl").write_text(json.dumps({"question": "Two and two?", "answer": 4}) + "\n")
    assert without(MORE, CLI, "check", "--source", tmp_path / "vqa.jsonl").returncode == 0
    done = without(MORE, CLI, "export", OLD_RUN, "--format", "jsonl", "--to", tmp_path / "out")
    assert done.returncode == 0 and "load:" in done.stdout


@pytest.mark.parametrize(
    ("hidden", "words", "extra"),
    [
        ((*DATA, *MORE), ("verify", OLD_RUN), "data"),
        (MORE, ("build", "--source", "x.jsonl", "--out", "out"), "cpu"),
        (MORE, ("build", "--source", "x", "--out", "y", "engine=endpoint", "endpoint_url=http://host:1"), "endpoint"),
        (MORE, ("push", OLD_RUN, "owner/name", "--allow-pocket"), "hub"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(hidden, words, extra):
    if extra == "cpu" and list(Path("/dev").glob("nvidia[0-9]*")):
        extra = "gpu"
    done = without(hidden, CLI, *words)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("model: ")]
    assert done.returncode == 1 and re.fullmatch(rf"mmpr: \w+ is not installed: pip install 'mmpr\[{extra}\]'.*", line)


def test_every_extra_that_an_error_names_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(_MODULES) <= set(extras)
    for name in ("cpu", "gpu", "endpoint"):
        assert "mmpr[build]" in extras[name]
