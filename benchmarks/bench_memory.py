"""What a build's driver takes, memory and time: sources of more and more rows, each built by a process of its own.

    python -m benchmarks.bench_memory
    python -m benchmarks.bench_memory --rows 10000 1000000 --json memory.json

The build is the real one (counting, leases, judging, commits, census, shards, report); the engine is a `ScriptedEngine`
in an actor, which answers at once, two responses a question, one right and one wrong. Peaks are the kernel's (VmHWM);
the driver's time is that of its threads on a core, counting the source and cutting the data set included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.bench_finalise import peak_bytes
from mmpr.builder.build_flow import build
from mmpr.engines.protocol import Engine, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.settings.config import load
from mmpr.types import Prompt, Response

CHUNK = 128  # questions


@dataclass(frozen=True)
class Line:
    """One source; memory in MiB, time in seconds."""

    rows: int
    chunks: int
    driver_mib: float
    driver_cpu_s: float
    seconds: float


async def quick_engine() -> Engine:
    """Answers at once and remembers no prompt."""
    return Forgetful(lambda prompt, index: f"I counted.\nFinal Answer: {2 + index % 2}")


class Forgetful(ScriptedEngine):
    """A `ScriptedEngine` whose record of prompts does not grow."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        self.prompts.clear()
        return await super().generate(prompt, sampling)


def run_build(folder: Path) -> Line:
    """Build what lies in the folder, and look at this process's peak."""
    settings = ("adaptive=false", "n=2", "engines=1", f"chunk_questions={CHUNK}")
    config = load(None, [f"source={folder / 'vqa.jsonl'}", *settings], pocket=True)
    began = time.monotonic()
    report = build(config, str(folder / "run"), quick_engine).report
    assert report is not None, "the build was stopped"
    used = psutil.Process().cpu_times()
    return Line(
        rows=report["questions"],
        chunks=-(-report["questions"] // CHUNK),
        driver_mib=round(peak_bytes(psutil.Process()) / 2**20, 1),
        driver_cpu_s=round(used.user + used.system, 1),
        seconds=round(time.monotonic() - began, 1),
    )


def measure(rows: int) -> Line:
    """One source, built by one process."""
    with TemporaryDirectory() as folder:
        with (Path(folder) / "vqa.jsonl").open("w") as source:
            source.writelines(json.dumps({"question": f"What is {i} + 1?", "answer": "2"}) + "\n" for i in range(rows))
        command = [sys.executable, "-m", "benchmarks.bench_memory", "--folder", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return Line(**json.loads(done.stdout.splitlines()[-1]))


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    told = ["| rows | chunks | driver's peak | driver's time | a chunk |", "|---|---|---|---|---|"]
    told += [
        f"| {x.rows:,} | {x.chunks:,} | {x.driver_mib:.0f} MiB | {x.driver_cpu_s:.0f} s "
        f"| {1000 * x.driver_cpu_s / x.chunks:.0f} ms |"
        for x in lines
    ]
    return "\n".join(told)


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description="How much memory a build's driver takes.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        print(json.dumps(asdict(run_build(given.folder))))
        return
    lines = [measure(rows) for rows in given.rows]
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
