"""Measure the speed and the memory of an import, for a growing number of rollouts; each import has its own process.

    python -m benchmarks.bench_import
    python -m benchmarks.bench_import --rollouts 10000 200000 1000000 --json import.json

The file has JSON lines as InternVL's pipeline writes them: eight rounds over all questions, one after another, so the
responses to a question are as far apart as possible. A response has about a hundred words. All questions have the same
image. The measurement is of `mmpr import` from its start to its last file: reading, grouping, judging, committing, the
dataset and its reports. Peaks are the kernel's (VmHWM) for the driver and for the largest of Ray's workers.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from PIL import Image

import mmpr

ROUNDS = 8
_WORDS = ("the", "image", "shows", "a", "small", "red", "round", "shape", "left", "of", "two", "green", "ones", "again")
_RESPONSE_WORDS = 100


@dataclass(frozen=True)
class ImportFigures:
    """One line of the table; memory in MiB, files in MB."""

    rollouts: int
    questions: int
    file_mb: float
    driver_mib: float
    worker_mib: float
    seconds: float
    rollouts_per_s: float


def write_rollouts(path: Path, n: int) -> None:
    """Write `n` rollouts of `n / ROUNDS` questions; half of the rollouts are right."""
    draw = random.Random(0)
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path.parent / "one.png")
    with path.open("w") as file:
        for turn in range(ROUNDS):
            for question in range(n // ROUNDS):
                answer = question % 7 + 2
                words = " ".join(draw.choices(_WORDS, k=_RESPONSE_WORDS))
                row = {
                    "image": "one.png",
                    "question_orig": f"How many round shapes are there in case {question}?",
                    "answer": str(answer),
                    "response": f"{words}.\n\nFinal Answer: {answer + draw.randrange(2)}",
                    "prompt_version": "en",
                    "round": turn,
                }
                file.write(json.dumps(row) + "\n")


def measure(n: int) -> ImportFigures:
    """Run one import of n rollouts in its own process."""
    with tempfile.TemporaryDirectory(prefix="mmpr-bench-") as folder:
        path = Path(folder, "rollouts.jsonl")
        write_rollouts(path, n)
        began, peaks, done = time.monotonic(), {"driver": 0, "worker": 0}, threading.Event()
        words = [sys.executable, "-m", "mmpr", "import", str(path), "--out", f"{folder}/run", "--model", "theirs"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done))
        watcher.start()
        _, errors = process.communicate()
        done.set()
        watcher.join()
        seconds = time.monotonic() - began
        if process.returncode:
            sys.exit(errors)
        report = mmpr.open_run(f"{folder}/run").report
        return ImportFigures(
            rollouts=n,
            questions=report.questions,
            file_mb=round(path.stat().st_size / 1e6, 1),
            driver_mib=round(peaks["driver"] / 1024, 1),
            worker_mib=round(peaks["worker"] / 1024, 1),
            seconds=round(seconds, 1),
            rollouts_per_s=round(n / seconds, 1),
        )


def _watch(pid: int, peaks: dict[str, int], done: threading.Event) -> None:
    """Record the largest VmHWM in KiB of the process, and of the Ray workers that it starts, until `done` is set."""
    driver = psutil.Process(pid)
    while not done.wait(0.2):
        with suppress(psutil.NoSuchProcess):
            peaks["driver"] = max(peaks["driver"], _peak_kib(pid))
            for child in driver.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if child.name().startswith("ray::"):
                        peaks["worker"] = max(peaks["worker"], _peak_kib(child.pid))


def _peak_kib(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description="Memory and speed of `mmpr import`.")
    parser.add_argument("--rollouts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = []
    print("rollouts | questions | file MB | driver MiB | worker MiB | seconds | rollouts/s", flush=True)
    for n in given.rollouts:
        found.append(measure(n))
        print(" | ".join(f"{value:,}" for value in asdict(found[-1]).values()), flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
