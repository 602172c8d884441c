"""The same verdicts off the main thread, in a subprocess and in a Ray worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from judging.case_files import Case, cases
from mmpr.judging import Judge, judge

SOME = [
    case for case in cases("judge_cases.jsonl") if case.kind in ("latex_expr", "equation", "unit", "mc_letter", "zh_mc")
]


def verdicts(found: list[Case]) -> list[tuple[str, str]]:
    with Judge(time_limit_s=60) as one:
        said = [one.judge(case.question, case.response) for case in found]
    return [(str(v.outcome), str(v.rule)) for v in said]


@pytest.fixture(scope="module")
def here() -> list[tuple[str, str]]:
    return verdicts(SOME)


def test_the_pure_function_and_the_judge_with_a_worker_say_the_same(here: list[tuple[str, str]]) -> None:
    pure = [judge(case.question, case.response) for case in SOME]
    assert [(str(v.outcome), str(v.rule)) for v in pure] == here


def test_off_the_main_thread(here: list[tuple[str, str]]) -> None:
    found: list[list[tuple[str, str]]] = []
    thread = threading.Thread(target=lambda: found.append(verdicts(SOME)))
    thread.start()
    thread.join()
    assert found == [here]


def test_in_a_subprocess(here: list[tuple[str, str]]) -> None:
    code = "import json,sys;from judging.test_places import SOME,verdicts;print(json.dumps(verdicts(SOME)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert [tuple(pair) for pair in json.loads(done.stdout)] == here


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_a_ray_worker(here: list[tuple[str, str]]) -> None:
    import ray

    path = os.pathsep.join(p for p in sys.path if p)
    ray.init("local", num_cpus=1, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    try:
        task = ray.remote(verdicts)
        assert [tuple(pair) for pair in ray.get(task.remote(SOME))] == here
    finally:
        ray.shutdown()


def test_the_worker_dies_with_its_judge() -> None:
    code = (
        "import os,signal\nfrom mmpr.judging.symbolic import SymbolicProcess\n"
        "one = SymbolicProcess(time_limit_s=60)\none.equal('x', 'x+0')\nprint(one.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    pid = int(done.stdout)
    for _ in range(600):
        if not _alive(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"the worker {pid} outlived its judge")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
