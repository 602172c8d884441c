"""The program that a user with a GPU runs for us: what it prints, and what it says without a GPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from benchmarks import gpu_check
from mmpr.builder.engine_choice import has_gpu

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys):
    assert gpu_check.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no GPU" in line and "--pocket" in line


def test_the_gpus_memory_is_read_as_nvidia_smi_prints_it(tmp_path, monkeypatch):
    standin = tmp_path / "nvidia-smi"
    standin.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 70123'\necho 'NVIDIA H100 80GB HBM3, 12'\n")
    standin.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    peak = gpu_check.MemoryPeak()
    peak.sample()
    assert (peak.gpu_mib, peak.names) == (70123, ["NVIDIA H100 80GB HBM3"]) and peak.used_mib > 0


@pytest.mark.engine
def test_the_pocket_model_gives_a_block_to_paste(cluster):
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--pocket", "--questions", "16", "n=4"]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (.+?) \| (.*) \|$", done.stdout, re.MULTILINE))
    assert rows["preset"] == "pocket n=4" and rows["questions"].startswith("16 = ")
    assert all(rows[name] for name in ("pairs an hour", "engines busy", "peak memory", "versions"))
    assert re.fullmatch(r"\d+\.\d%", rows["engines busy"]) and rows["engines busy"] != "0.0%"
