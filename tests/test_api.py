"""The Python API: `__all__` is the contract, `docs/api.md` shows each name, and importing it costs nothing."""

import re
import subprocess
import sys
from pathlib import Path

import my_judge
import pytest
from conftest import scripted_engine

import mmpr
from mmpr.builder import engine_choice
from mmpr.builder.run_recipes import judge_options, rejudged
from mmpr.judging import JudgeOptions, judge_key
from mmpr.judging.own_judge import OwnJudge, load_judge, place_of
from mmpr.settings.config import BuildConfig

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
IMPORT_ALL = """
import importlib, pkgutil, mmpr
for module in pkgutil.walk_packages(mmpr.__path__, "mmpr."):
    if not module.name.endswith("__main__") and ".checkpoint" not in module.name:
        importlib.import_module(module.name)
for _ in range(2):
    for name in mmpr.__all__:
        found = getattr(mmpr, name)
        assert not isinstance(found, type(mmpr)), f"{name} is a module"
        assert callable(found) or name == "__version__", name
assert mmpr.judge("Final Answer: 4", answer="4").outcome is mmpr.Outcome.CORRECT
for name in ("build", "compare", "evaluate", "export", "merge", "open_run", "pair", "read_source", "verify"):
    for _ in range(2):
        try:
            getattr(mmpr, name)()
        except (TypeError, mmpr.ConfigError):
            pass
        else:
            raise AssertionError(f"{name}() returned")
"""


def test_every_name_is_callable_after_every_submodule_was_imported():
    subprocess.run([sys.executable, "-c", IMPORT_ALL], check=True)


def test_importing_it_imports_nothing_else():
    program = (
        "import sys; before = set(sys.modules); import mmpr; mine = set(sys.modules) - before; mmpr.judge\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'pydantic', 'ray', 'torch', 'PIL', 'sympy'} & set(sys.modules)\n"
        "print(sorted(name for name in mine if name.startswith('mmpr')), sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mmpr'] []"


def test_all_is_sorted_whole_and_typed():
    stubs = set(
        re.findall(r"\b(\w+)\b", Path(mmpr.__file__).read_text().split("if TYPE_CHECKING:")[1].split("_HOMES")[0])
    )
    assert set(mmpr.__all__) - stubs == {"__version__"}
    assert set(mmpr.__all__) <= set(dir(mmpr)) and len(set(mmpr.__all__)) == len(mmpr.__all__)
    with pytest.raises(AttributeError, match="'mmpr' has no attribute 'biuld'"):
        _ = mmpr.biuld


def test_the_page_shows_every_name():
    code = "\n".join(BLOCKS)
    missing = [name for name in mmpr.__all__ if not re.search(rf"\b{name}\b", code) and name != "__version__"]
    assert missing == [] and "`mmpr.__version__`" in PAGE


def test_the_pages_examples_run(write_source, tmp_path, cluster, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        engine_choice, "engine_maker", lambda _: scripted_engine
    )  # the words of a model, not its weights
    write_source(15)
    write_source(6, name="more.jsonl", first=15)
    names = {}
    for block in BLOCKS:
        if block.startswith("# my_judge.py\n"):
            assert block.partition("\n")[2] == Path(my_judge.__file__).read_text()
        else:
            exec(compile(block, "docs/api.md", "exec"), names)
    own = names["own"]
    rules = {one.verdict.rule for one in own.responses() if one.verdict}
    assert rules <= {"last-word", "empty"} and own.report.pairs > 0
    again = names["again"].responses().to_pandas()
    assert set(again.rule.dropna()) <= {"last-word", "empty"}
    assert again.equals(own.responses().to_pandas()[again.columns])


def test_a_judge_of_ones_own_is_found_by_name_and_has_name_and_version():
    assert place_of(my_judge.last_word) == "my_judge:last_word"
    assert load_judge("my_judge:last_word") is my_judge.last_word
    for place, says in (
        ("my_judge:gone", "cannot be imported"),
        ("no_such_module:judge", "cannot be imported"),
        ("json:dumps", "with the texts `name` and `version`"),
    ):
        with pytest.raises(mmpr.ConfigError, match=says):
            load_judge(place)

    def local(question, response):
        return mmpr.Verdict(mmpr.Outcome.CORRECT, response, "always")

    local.name, local.version = "local", "1"
    with pytest.raises(mmpr.ConfigError, match=r"judge: "):
        mmpr.build("x.jsonl", "run", judge=local)
    with pytest.raises(mmpr.ConfigError, match="must be module:name"):
        mmpr.build("x.jsonl", "run", judge="nothing")


def test_a_new_version_of_a_judge_judges_again(monkeypatch):
    config = BuildConfig(judge="my_judge:last_word")
    key = judge_key(judge_options(config))
    assert rejudged(config, {key}) is None
    monkeypatch.setattr(my_judge.last_word, "version", "2")
    assert rejudged(config, {key}) is not None and rejudged(BuildConfig(), {key}) is not None


def test_the_key_of_the_rules_is_the_key_of_runs_from_before_there_were_other_judges():
    assert '"judge' not in judge_key(JudgeOptions())


def test_what_a_judge_of_ones_own_does_wrong_is_that_responses_error():
    own = OwnJudge("my_judge:last_word")
    question = mmpr.Question(id="q", source="s", row=0, text="?", answer=(1,))  # .lower() of a number
    (verdict,) = own.judge_all(question, ["It is 1."])
    assert verdict.outcome is mmpr.Outcome.ERROR and verdict.rule == "error-own-judge-AttributeError"


def test_faults_of_a_call_are_one_line(tmp_path, write_source):
    with pytest.raises(mmpr.ConfigError, match="give source="):
        mmpr.build(out=tmp_path / "run")
    with pytest.raises(mmpr.ConfigError, match="run=, or source="):
        mmpr.evaluate(write_source(3))
    with pytest.raises(mmpr.ConfigError, match="not both"):
        mmpr.evaluate(write_source(3), tmp_path / "x", run="runs/mine")
    with pytest.raises(mmpr.RunFolderError, match="no run folder"):
        mmpr.open_run(tmp_path)
    with pytest.raises(mmpr.ConfigError, match="may not hold object"):
        mmpr.build("x.jsonl", "run", vllm=object())
