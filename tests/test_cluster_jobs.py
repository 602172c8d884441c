"""Builds as schedulers run them, on clusters of this machine: `ray job submit`, Slurm's script, two engines a node."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ray_cluster import environment, free_port, ray_cluster
from test_metrics import shown

from mmpr.pocket import checkpoint_path
from mmpr.status import read_status
from pipelines.pocket.questions import write_questions
from tests.hub_standin import counting_hub

ROOT = Path(__file__).parents[1]
SUBMIT, SLURM = ROOT / "pipelines" / "cluster" / "submit.sh", ROOT / "pipelines" / "cluster" / "slurm.sh"
DRIVE = ROOT / "tests" / "faults" / "drive.py"


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}")
    path.chmod(0o755)
    return path


def commits(run):
    return {path.name: path.read_bytes() for path in (run / "chunks").glob("*.json")}


def wait_for_a_commit(run, process):
    while not commits(run) and process.poll() is None:
        time.sleep(0.2)
    assert process.poll() is None, f"ended before it could be stopped: {process.communicate()}"


def append_rows(folder, n, seed):
    """New questions behind the old ones, with images of their own."""
    more = folder / f"more-{seed}"
    write_questions(more, n=n, open_fraction=0.3, seed=seed)
    rows = [json.loads(line) for line in (more / "vqa.jsonl").read_text().splitlines()]
    with (folder / "vqa.jsonl").open("a") as file:
        file.writelines(json.dumps({**row, "image": f"{more.name}/{row['image']}"}) + "\n" for row in rows)


# -- ray job submit ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.engine
def test_a_ray_job_is_stopped_goes_on_and_pays_for_new_rows_only(tmp_path):
    write_questions(tmp_path, n=80, open_fraction=0.3, seed=21)
    run = tmp_path / "run"
    words = ["--source", tmp_path / "vqa.jsonl", "--out", run, "--config", ROOT / "configs" / "pocket.yaml"]
    words = [*words, "chunk_questions=8", "chunks_in_flight=2", "engine_wait_s=120"]
    # tells the exit code, which Ray keeps to itself where a job was stopped
    found = write_script(
        tmp_path / "bin" / "mmpr",
        f'trap : TERM\n{sys.executable} -m mmpr "$@" &\nbuild=$!\nwait $build; wait $build\necho "exit code $?"\n',
    )
    with ray_cluster(workers=2) as cluster:
        environs = environment(DASHBOARD=cluster.dashboard, MMPR=str(found), PATH=_path())

        def submit(name):
            command = [SUBMIT, *map(str, words)]
            return subprocess.Popen(
                command, env={**environs, "JOB_ID": name}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )

        first = submit("first")
        wait_for_a_commit(run, first)
        stop = ["ray", "job", "stop", "first", "--address", cluster.dashboard]
        subprocess.run(stop, env=environs, check=True, capture_output=True)
        log, _ = first.communicate()
        assert "exit code 75" in log and "mmpr: stopped (SIGTERM)" in log
        kept = commits(run)
        assert 0 < len(kept) < 10 and read_status(str(run)).ended["event"] == "stopped"

        second = submit("second")
        samples = _vllm_samples(cluster, second)
        log, _ = second.communicate()
        assert second.returncode == 0 and "exit code 0" in log and "80 questions = " in log
        assert shown("ray_vllm_") <= samples
        assert kept.items() <= commits(run).items()

        kept = commits(run)
        append_rows(tmp_path, 50, seed=22)
        third = submit("third")
        log, _ = third.communicate()
        assert third.returncode == 0 and "130 questions = " in log
        assert kept.items() <= commits(run).items() and len(commits(run)) == 10 + 7
        fourth = submit("fourth")
        log, _ = fourth.communicate()
        assert "nothing left to do: 130 questions" in log and fourth.returncode == 0


def _path():
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _vllm_samples(cluster, process):
    """The names of the samples that the nodes export while a build with vLLM runs."""
    names = set()
    while process.poll() is None and not shown("ray_vllm_") <= names:
        with suppress(OSError):  # a node's exporter may not answer yet
            names |= set(re.findall(r"^(ray_\w+)", cluster.metrics(), re.MULTILINE))
        time.sleep(1)
    return names


# -- Slurm ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
    """Stand-ins for Slurm's commands that start processes here, and mmpr with scripted engines beside Ray."""
    bin = tmp_path / "bin"
    write_script(
        bin / "srun",
        'while [[ $1 == --* ]]; do echo "$1" >> "$0.log"; shift; done\nexec "$@" --dashboard-agent-listen-port=0\n',
    )
    write_script(
        bin / "scontrol",
        'case $1 in show) printf "127.0.0.1\\n127.0.0.1\\n" ;; requeue) echo "$2" >> "$0.requeued" ;; esac\n',
    )
    shift = 'shift  # "build", which drive.py puts there itself\n'
    write_script(bin / "mmpr", f'{shift}exec {sys.executable} {DRIVE} "$@"\n')
    (bin / "ray").symlink_to(Path(sys.executable).with_name("ray"))
    return bin


@pytest.mark.slow
def test_the_slurm_script_builds_stops_in_time_and_is_queued_again(slurm, tmp_path):
    write_questions(tmp_path, n=160, open_fraction=0.0, seed=23)
    run = tmp_path / "run"
    words = ["--source", tmp_path / "vqa.jsonl", "--out", run, "chunk_questions=8", "model=pocket", "n=4", "engines=1"]
    job = environment(
        PATH=f"{slurm}:{_path()}",
        MMPR=str(slurm / "mmpr"),
        PYTHONPATH=str(ROOT),
        SLURM_JOB_ID=str(free_port()),  # the script's port is made of it, and another one
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_CPUS_PER_TASK="2",
    )
    command = [str(SLURM), *map(str, words)]
    script = subprocess.Popen(command, env=job, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_a_commit(run, script)
    script.send_signal(signal.SIGTERM)  # as `--signal=B:TERM@300` does, to the batch script alone
    _, printed = script.communicate(timeout=120)
    assert script.returncode == 75, printed
    assert (slurm / "scontrol.requeued").read_text().strip() == job["SLURM_JOB_ID"]
    assert (slurm / "srun.log").read_text().count("--nodelist=127.0.0.1") == 2
    kept = commits(run)
    again = subprocess.run(command, env=job, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "160 questions = " in again.stdout and kept.items() <= commits(run).items()


# -- one download a node ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.engine
def test_two_engines_of_a_node_download_their_model_once(tmp_path):
    write_questions(tmp_path, n=32, open_fraction=0.3, seed=24)
    repository = tmp_path / "repository"
    shutil.copytree(checkpoint_path(), repository)
    words = [
        "--source",
        tmp_path / "vqa.jsonl",
        "--out",
        tmp_path / "run",
        "--config",
        ROOT / "configs" / "pocket.yaml",
    ]
    words = [*words, "model=owner/vqa", "engines=2", "chunk_questions=8"]
    with counting_hub(repository) as (address, downloads):
        environs = environment(HF_ENDPOINT=address, HF_HOME=str(tmp_path / "cache"))
        command = [sys.executable, "-m", "mmpr", "build", *map(str, words)]
        done = subprocess.run(command, env=environs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert downloads["model.safetensors"] == 1
