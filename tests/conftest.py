"""What many tests share: questions with images on disk, and scripted engines that run in real Ray actors."""

import functools
import json
import os
import sys

import endpoint_standin
import pytest
from hypothesis import settings
from PIL import Image
from ray import cloudpickle
from typer import testing

from mmpr import pool
from mmpr.engines.scripted import ScriptedEngine
from mmpr.types import Stage

# Models of these tests are so small that a second thread only waits, and takes a core from the tests that run beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import a conftest

# `CliRunner` builds all verbs again for each command line, which takes longer than many of the verbs.
testing._get_command = functools.cache(testing._get_command)

settings.register_profile("mmpr", deadline=None)  # a test never asserts on time: machines are shared
settings.load_profile("mmpr")


# Files that start a Ray cluster of their own in this process: before the shared one is up, for a process joins one.
OWN_RAY = ("test_cluster.py", "test_metrics.py")
# Files that train, and files of engines alone. Groups without engines do not collect them: they import torch and TRL,
# which takes each process ten seconds. What trains needs the cores but no Ray, so it is a group of its own.
TRAINS = ("test_mpo.py", "test_pocket.py", "test_pocket_letters.py")
ENGINES_ALONE = (
    *(*TRAINS, "test_vllm_engine.py", "test_slow.py"),
    *("test_model_classes.py", "test_other_family.py", "test_endpoint_engine_vllm.py", "test_ask_verifier_vllm.py"),
)
# Files that start builds in processes of their own.
STARTS_BUILDS = ("faults/test_faults.py", "test_signals.py", "test_cluster_jobs.py", "test_ray_token.py")
# Files whose tests take seconds each: they start many programs, or look at all patterns, faults and old runs. The
# longest files are first, for two processes take one after another.
LONG = (
    *("test_damage.py", "test_linear.py", "test_sources_formats.py", "test_extras.py", "test_processes.py"),
    *("test_own_judge.py", "test_run.py", "test_page.py", "test_training.py", "test_terminal_width.py", "test_push.py"),
    *("test_terminal.py", "test_split.py", "test_dataset.py", "test_families.py", "test_bounded.py", "test_cli.py"),
    *("test_fitness.py", "test_layers.py", "test_sources_bombs.py", "test_sources_datasets.py"),
    *("test_endpoint_lies.py", "test_rewards.py", "test_endpoint_engine.py", "test_sources_layouts.py", "test_api.py"),
    *("test_status.py", "test_sources.py", "test_endpoint_engine_thinking.py", "test_old_runs.py"),
)


def pytest_ignore_collect(collection_path, config):
    """Spare each group of tests the import of files that have no test for it."""
    wanted, name = config.option.markexpr, collection_path.name
    if collection_path.suffix != ".py":
        return None
    if "not engine" in wanted:
        return True if name in ENGINES_ALONE else None
    if "not trains" in wanted and name in TRAINS:
        return True
    if "and trains" in wanted and name not in TRAINS:
        return True
    if wanted == "slow":
        return None if "mark.slow" in collection_path.read_text(encoding="utf-8") else True
    return True if "(engine or ray)" in wanted and not _may_need_either(collection_path) else None


def _may_need_either(path):
    """Whether a test of the file can have the mark `engine` or `ray`: see `pytest_collection_modifyitems`."""
    if path.name in (*ENGINES_ALONE, *OWN_RAY) or str(path).endswith(STARTS_BUILDS):
        return True
    text = path.read_text(encoding="utf-8")
    return "cluster" in text or "mark.engine" in text


def pytest_collection_modifyitems(items):
    """Mark what uses Ray and what is long; sort: long files, plain tests, own Rays, engines, the shared Ray."""
    order = {}
    for item in items:
        shared = "cluster" in item.fixturenames and item.path.name not in OWN_RAY
        own = item.path.name in OWN_RAY
        if shared:
            item.add_marker("shared")
        if shared or own or str(item.path).endswith(STARTS_BUILDS):
            item.add_marker("ray")
        if item.path.name in TRAINS:
            item.add_marker("trains")
        if item.path.name in ENGINES_ALONE:
            item.add_marker("engine")
        engine = item.get_closest_marker("engine") is not None
        if item.path.name in LONG and not engine and item.get_closest_marker("ray") is None:
            item.add_marker("long")
        group = 3 if shared else 1 if own else 2 if engine else 0
        order[item] = group, LONG.index(item.path.name) if group == 0 and item.path.name in LONG else len(LONG)
    items.sort(key=order.__getitem__)


@pytest.fixture(scope="session")
def cluster():
    """One Ray for every file whose builds may share one; they join it."""
    os.environ["STANDIN_KEY"] = endpoint_standin.KEY  # Ray's workers have the environment of its start
    with pool.connected(None):
        yield


def script(prompt, index):
    """Half of the answers right, one in four without a final answer; drafts and completions long enough to be cut."""
    if prompt.stage is Stage.SAMPLE:
        answer = ("2", "3", "2", None)[index % 4]
        reasoning = f"Response {index} of {prompt.question_id} counts what it sees."
        return reasoning + (f"\n\nFinal Answer: {answer}" if answer else "")
    if prompt.prefix is None:
        return f"In {prompt.question_id} there is a red circle and a blue square on a white wall."
    return " there is a green cat beside a tree."


async def scripted_engine():
    return ScriptedEngine(script)


def write_rows(folder, n, *, extra=(), name="vqa.jsonl", first=0):
    """Write n questions as JSONL beside their images, every third one open; returns the path."""
    lines = []
    for i in range(first, first + n):
        Image.new("RGB", (40, 30), (i % 256, 80, 160)).save(folder / f"{i}.png")
        row = {"id": f"q{i}", "image": f"{i}.png", "question": "How many?" if i % 3 else "Describe the image."}
        lines.append(json.dumps({**row, "answer": 2} if i % 3 else row))
    path = folder / name
    path.write_text("\n".join([*lines, *extra]) + "\n")
    return path


@pytest.fixture
def write_source(tmp_path):
    """`write_rows` into the test's folder."""
    return functools.partial(write_rows, tmp_path)
