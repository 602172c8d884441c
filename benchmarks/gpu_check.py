"""Measure a preset on your GPU and print a block to paste into an issue.

    python -m benchmarks.gpu_check --preset internvl2-8b
    python -m benchmarks.gpu_check --preset internvl3-38b --questions 512 max_tiles=12
    python -m benchmarks.gpu_check --pocket --questions 24     # without a GPU: the pocket model, to try the program

The program builds pairs of demo questions in a temporary folder with `mmpr build`, and reads the run's report: the
fraction of the time in which engines were busy, tokens per second, pairs per hour, and the most memory in use on a GPU.
The model's weights are downloaded if they are missing. Settings (`KEY=VALUE`) take precedence over the preset's.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import mmpr
from mmpr.builder.engine_choice import has_gpu
from mmpr.demo.demo_questions import write_questions
from mmpr.reporting.report_record import Report

_SAMPLE_S = 2.0
_NO_GPU = "no GPU here (no /dev/nvidia0): run this on a GPU machine, or add --pocket to try it with the pocket model"


@dataclass
class MemoryPeak:
    """The most memory in use at a time, in MiB: on one GPU, and on this machine."""

    gpu_mib: int = 0
    used_mib: int = 0
    names: list[str] = field(default_factory=list)

    def sample(self) -> None:
        """Read the memory in use once."""
        with suppress(OSError, ValueError, IndexError):
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            self.used_mib = max(self.used_mib, (kib["MemTotal"] - kib["MemAvailable"]) // 1024)
        for name, mib in _gpus():
            self.gpu_mib = max(self.gpu_mib, mib)
            if len(self.names) < 16 and name not in self.names:
                self.names.append(name)


def _gpus() -> list[tuple[str, int]]:
    """Return each GPU's name and used memory in MiB from nvidia-smi; empty if it is not installed."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.rpartition(",") for line in done.stdout.splitlines() if "," in line]
    return [(name.strip(), int(used)) for name, _, used in rows if used.strip().isdigit()]


@contextmanager
def watching() -> Iterator[MemoryPeak]:
    """Read the memory in use every two seconds inside the block."""
    peak, ended = MemoryPeak(), Event()

    def look() -> None:
        while not ended.wait(_SAMPLE_S):
            peak.sample()

    peak.sample()
    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def block(report: Report, seconds: float, peak: MemoryPeak, *, preset: str, settings: Sequence[str]) -> str:
    """Return the block to paste into an issue: a Markdown table.

    Args:
        report: report of the run.
        seconds: duration of `mmpr build`, with loading the model.
        peak: the most memory in use.
        preset: the value of `--config`.
        settings: settings that take precedence over the preset's.
    """
    usage = report.engine_usage
    work_s = usage.get("wall_s") or seconds
    rows = [
        ("preset", " ".join([preset, *settings])),
        ("model", f"{report.model} {report.model_revision or ''}".strip()),
        ("machine", f"{', '.join(peak.names) or 'no GPU'}; {os.cpu_count()} CPUs; Python {platform.python_version()}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("questions", f"{report.questions:,} = {report.paired:,} paired + {report.skipped:,} skipped"),
        ("pairs", f"{report.pairs:,} ({', '.join(f'{n:,} {kind}' for kind, n in report.pairs_by_kind.items())})"),
        ("whole build", f"{seconds:,.0f} s, of which engines were up {work_s:,.0f} s"),
        ("pairs an hour", f"{report.pairs / work_s * 3600:,.0f} while engines were up"),
        ("generated tokens a second", f"{usage.get('generated_tokens_per_s', 0):,}"),
        ("engines busy", f"{usage.get('busy_share', 0):.1%}"),
        ("waiting for images", f"{usage.get('waiting_for_pictures_share', 0):.1%}"),
        ("waiting for work", f"{usage.get('waiting_for_work_share', 0):.1%}"),
        ("prompt tokens from the cache", f"{usage.get('cached_share', 0):.1%}"),
        ("peak memory", f"{peak.gpu_mib:,} MiB of one GPU, {peak.used_mib:,} MiB of the machine"),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(["### mmpr gpu_check", "", "| | |", "|---|---|", *lines])


def main(words: Sequence[str] | None = None) -> int:
    """Build, print the block, and return the exit code of `mmpr build`."""
    parser = argparse.ArgumentParser(description="Measure a preset on your GPU, for an issue of mmpr.")
    parser.add_argument(
        "--preset", default="internvl2-8b", help="a preset's name, or a YAML file (mmpr settings --presets)"
    )
    parser.add_argument("--questions", type=int, default=256, help="demo questions, half of them open (default: 256)")
    parser.add_argument("--pocket", action="store_true", help="use the pocket model, without a GPU")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings over the preset's")
    given = parser.parse_args(words)
    if not given.pocket and not has_gpu():
        print(_NO_GPU, file=sys.stderr)
        return 1
    preset = "pocket" if given.pocket else given.preset
    with TemporaryDirectory(prefix="mmpr-gpu-check-") as root:
        write_questions(Path(root, "questions"), n=given.questions, open_fraction=0.5, seed=1)
        command = [
            sys.executable,
            "-m",
            "mmpr",
            "build",
            "--source",
            f"{root}/questions/vqa.jsonl",
            "--out",
            f"{root}/run",
        ]
        began = time.monotonic()
        with watching() as peak:
            done = subprocess.run([*command, "--config", preset, *given.settings], stdout=sys.stderr, check=False)
        if done.returncode:
            return done.returncode
        seconds = time.monotonic() - began
        report = mmpr.open_run(f"{root}/run").report
        assert isinstance(report, Report)
        print(block(report, seconds, peak, preset=preset, settings=given.settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
