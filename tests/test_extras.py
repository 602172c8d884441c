"""What is installed without extras, or with `data` alone: everything that needs no more works, the rest is one line.

Packages are hidden from a process of its own, as if they were not there; `.ci/wheel` installs the real wheel.
"""

import gzip
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmpr.extras import _MODULES

ROOT = Path(__file__).parents[1]
OLD_RUN = ROOT / "tests" / "old_runs" / "first"
DATA = ("pyarrow", "numpy", "PIL", "yaml", "fsspec", "jinja2", "psutil", "aiohttp", "tenacity")
MORE = ("ray", "vllm", "torch", "torchvision", "transformers", "av", "httpx", "datasets", "huggingface_hub", "pandas")
MORE = (*MORE, "s3fs", "gcsfs", "trl", "peft", "accelerate")
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


ENGINE = ("build", "--source", "vqa.jsonl", "--out", "out")
ENDPOINT = ("engine=endpoint", "endpoint_url=http://host:1")
# A command, the extra that it names where none is installed, and where `data` is; "": it needs none.
NAMED = [
    (("--version",), "", ""),
    (("judge", "rollouts.jsonl", "--summary"), "", ""),
    (("judge", "rollouts.jsonl.gz"), "", ""),
    (("judge", "rollouts.csv"), "", ""),
    (("judge", "rollouts.json"), "data", ""),
    (("judge", "rollouts.parquet"), "data", ""),
    (("judge", "hf://owner/name:split"), "hub", "hub"),
    (("judge", "rollouts.jsonl", "--verifier", "http://127.0.0.1:9/v1"), "endpoint", "endpoint"),
    (("judge", "rollouts.jsonl", "--verifier=http://127.0.0.1:9/v1"), "endpoint", "endpoint"),
    (("judge", "rollouts.jsonl", "--verifier", "owner/verifier"), "engine", "engine"),
    (("ask-verifier", OLD_RUN, "--model", "M", "--url", "http://127.0.0.1:9/v1"), "endpoint", "endpoint"),
    (("settings",), "data", ""),
    (("settings", "--json"), "data", ""),
    (("settings", "--presets"), "data", ""),
    (("settings", "--schema"), "data", ""),
    (("check", "--source", "vqa.jsonl"), "data", ""),
    (("check", "--source", "vqa.jsonl", "--show", "1"), "data", ""),
    (("check", "--source", "vqa.jsonl", "--engine"), "engine", "engine"),
    (("check", "--source", "hf://owner/name:split"), "data", "hub"),
    (("check", "--source", "video.jsonl"), "data", "video"),
    (ENGINE, "engine", "engine"),
    ((*ENGINE, *ENDPOINT), "endpoint", "endpoint"),
    (("demo", "--out", "demo"), "engine", "engine"),
    (("demo", "--out", "questions", "--n", "8", "--questions-only"), "engine", ""),
    (("eval", "--source", "vqa.jsonl", "--out", "out"), "engine", "engine"),
    (("eval", "--source=vqa.jsonl", "--out=out"), "engine", "engine"),
    (("eval", OLD_RUN), "data", ""),
    (("eval", "--compare", OLD_RUN, OLD_RUN), "data", ""),
    (("status", OLD_RUN), "data", ""),
    (("verify", OLD_RUN), "data", ""),
    (("verify", "s3://bucket/run"), "data", "stores"),
    (("peek", "gs://bucket/run"), "data", "stores"),
    (("report", OLD_RUN, "--json"), "data", ""),
    (("explain", OLD_RUN, "0"), "data", ""),
    (("peek", OLD_RUN), "data", ""),
    (("pair", OLD_RUN, "--dry-run"), "data", ""),
    (("merge", OLD_RUN, OLD_RUN, "--out", "merged"), "data", ""),
    (("export", OLD_RUN, "--format", "jsonl", "--to", "pairs"), "data", ""),
    (("export", OLD_RUN, "--format", "kto", "--to", "kto"), "data", ""),
    (("push", OLD_RUN, "owner/name", "--allow-pocket"), "data", "hub"),
]
EACH = """
import contextlib, io, json
from mmpr.cli.verbs import app
for words in json.loads(sys.argv[1]):
    stderr = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        try:
            code = app(words, standalone_mode=True)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, [line for line in stderr.getvalue().splitlines() if line.startswith("mmpr: ")]]))
"""


@pytest.mark.parametrize("with_data", [False, True])
def test_every_verb_names_the_extra_that_it_misses_in_one_line(with_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rollouts(tmp_path)
    engine = "gpu" if with_data and list(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
    done = without(MORE if with_data else (*DATA, *MORE), EACH, json.dumps([list(map(str, row[0])) for row in NAMED]))
    assert done.returncode == 0, done.stderr
    for (words, *extras), line in zip(NAMED, done.stdout.splitlines(), strict=True):
        code, faults = json.loads(line)
        extra = engine if extras[with_data] == "engine" else extras[with_data]
        wanted = rf"mmpr: \w+ is not installed: pip install 'mmpr\[{extra}\]'.*"
        if extra:
            assert code == 1 and len(faults) == 1 and re.fullmatch(wanted, faults[0]), (words, code, faults)
        else:
            assert not any("not installed" in fault for fault in faults), (words, faults)


def write_rollouts(folder):
    row = {"question": "Two and two?", "answer": "4", "response": "Final Answer: 4"}
    text = json.dumps(row)
    (folder / "vqa.jsonl").write_text(text + "\n")
    (folder / "video.jsonl").write_text(json.dumps({"video": "a.mp4", "question": "How many?", "answer": 1}) + "\n")
    (folder / "a.mp4").write_bytes(b"none")
    (folder / "rollouts.jsonl").write_text(text + "\n")
    (folder / "rollouts.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "rollouts.json").write_text(f"[{text}]")
    (folder / "rollouts.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), folder / "rollouts.parquet")


def test_every_extra_that_an_error_names_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(_MODULES) <= set(extras)
    for name in ("cpu", "gpu", "endpoint"):
        assert "mmpr[build]" in extras[name]


def test_the_constraints_pin_what_is_installed_directly_and_name_no_index():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    pins = dict(line.split("==") for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name in ("data", "pandas", "build", "cpu", "endpoint", "video", "hub", "mpo", "dev"):
        for wanted in map(Requirement, (*extras[name], *project["dependencies"])):
            if wanted.name != "mmpr":
                assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


def test_uv_asks_pytorchs_index_for_torch_alone_and_only_for_the_cpu():
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    (index,) = uv["index"]
    assert index["explicit"] and index["url"] == "https://download.pytorch.org/whl/cpu"
    assert uv["sources"] == {"torch": [{"index": index["name"], "extra": "cpu"}]}
    assert not (ROOT / "uv.lock").exists() or "uv.lock" in (ROOT / ".gitignore").read_text()
