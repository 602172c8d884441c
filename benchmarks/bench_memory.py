"""Measure the memory and the CPU time of a build's driver: sources of growing size, each built by its own process.

    python -m benchmarks.bench_memory
    python -m benchmarks.bench_memory --rows 10000 1000000 --json memory.json
    python -m benchmarks.bench_memory --bombs

With `--bombs`, small files that unpack to gigabytes are read instead. The table has the memory above that of a file
with one row, for `mmpr check` and for an engine's worker (reads a chunk, opens its images, asks a `ScriptedEngine`).

The build is the real one (counting, leases, judging, commits, census, shards, report). The engine is a `ScriptedEngine`
in an actor, which answers at once with two responses per question, one right and one wrong. Peaks are the kernel's
(VmHWM). The driver's time is the CPU time of all its threads, with counting the source and cutting the dataset.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil

from benchmarks.bench_finalise import peak_bytes
from benchmarks.bombs import write_bombs
from mmpr.builder.build_flow import build, settings_of
from mmpr.builder.chunk import ChunkWork
from mmpr.builder.layout import source_of
from mmpr.engines.protocol import Engine, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.pool import Lease
from mmpr.run import RunFolder
from mmpr.settings.config import load
from mmpr.sources import LeaseRange, index, ranges
from mmpr.types import Prompt, Response

CHUNK = 128  # questions per chunk
R = TypeVar("R")


@dataclass(frozen=True)
class Line:
    """One source; memory in MiB, time in seconds."""

    rows: int
    chunks: int
    driver_mib: float
    driver_cpu_s: float
    seconds: float


async def quick_engine() -> Engine:
    """Return an engine that answers at once and keeps no prompts."""
    return Forgetful(lambda prompt, index: f"I counted.\nFinal Answer: {2 + index % 2}")


class Forgetful(ScriptedEngine):
    """A `ScriptedEngine` that keeps no prompt: its images would stay in memory."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        responses = await super().generate(prompt, sampling)
        self.prompts.clear()
        return responses


def run_build(folder: Path) -> Line:
    """Build the source in the folder, and measure the peak of this process."""
    settings = ("adaptive=false", "n=2", "engines=1", f"chunk_questions={CHUNK}")
    config = load(None, [f"source={folder / 'vqa.jsonl'}", *settings], pocket=True)
    began = time.monotonic()
    report = build(config, str(folder / "run"), quick_engine).report
    assert report is not None, "the build was stopped"
    used = psutil.Process().cpu_times()
    return Line(
        rows=report.questions,
        chunks=-(-report.questions // CHUNK),
        driver_mib=round(peak_bytes(psutil.Process()) / 2**20, 1),
        driver_cpu_s=round(used.user + used.system, 1),
        seconds=round(time.monotonic() - began, 1),
    )


def measure(rows: int) -> Line:
    """Measure a source of this many rows in its own process."""
    with TemporaryDirectory() as folder:
        with (Path(folder) / "vqa.jsonl").open("w") as source:
            source.writelines(json.dumps({"question": f"What is {i} + 1?", "answer": "2"}) + "\n" for i in range(rows))
        command = [sys.executable, "-m", "benchmarks.bench_memory", "--folder", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return Line(**json.loads(done.stdout.splitlines()[-1]))


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table."""
    printed = ["| rows | chunks | driver's peak | driver's time | a chunk |", "|---|---|---|---|---|"]
    printed += [
        f"| {x.rows:,} | {x.chunks:,} | {x.driver_mib:.0f} MiB | {x.driver_cpu_s:.0f} s "
        f"| {1000 * x.driver_cpu_s / x.chunks:.0f} ms |"
        for x in lines
    ]
    return "\n".join(printed)


@dataclass(frozen=True)
class Bomb:
    """One source: its size in bytes, and its memory peaks in MiB above those of a source with one row."""

    name: str
    size_bytes: int
    check_mib: float
    worker_mib: float


class _Beside:
    """A `WorkContext` that runs the commits in this process."""

    async def beside(self, function: Callable[..., R], *arguments: object) -> R:
        return function(*arguments)

    async def announce(self, rows: Sequence[int]) -> None:
        return None


async def work_on(source: Path) -> None:
    """Do the work of all leases of a source, `chunks_in_flight` at once, as an actor does."""
    config = load(None, [f"source={source}", "n=2", "adaptive=false"], pocket=True)
    opened = source_of(config)
    engine, folder = await quick_engine(), RunFolder(str(source) + "-run")
    work = ChunkWork([settings_of(config, folder, opened, None)])
    room = asyncio.Semaphore(config.cluster.chunks_in_flight)

    async def lease(chunk: int, rows: LeaseRange) -> None:
        async with room:
            await work(engine, Lease(chunk, rows.to_json(), attempt="0123abcd"), _Beside())

    await asyncio.gather(*(lease(chunk, rows) for chunk, rows in enumerate(ranges(index(opened)))))


_PEAK = """
import os, sys
nowhere = os.open(os.devnull, os.O_WRONLY)
files = [(os.POSIX_SPAWN_DUP2, nowhere, 1), (os.POSIX_SPAWN_DUP2, nowhere, 2)]
_, _, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=files), 0)
print(used.ru_maxrss)
"""


def peak_of(*command: str) -> float:
    """Return the memory peak of a Python program in MiB; its output and its exit code are ignored.

    The kernel counts the peak of the process that starts a program as the program's own. So a small process starts it.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _PEAK, sys.executable, *command], stdout=subprocess.PIPE, check=True
    )
    return int(done.stdout) / 1024


def measure_bombs() -> list[Bomb]:
    """Measure each source of `bombs`, and one that names each of its images eight times."""
    with TemporaryDirectory() as folder:
        sources, images = write_bombs(Path(folder))
        named = Path(folder) / "images.jsonl"
        rows = [{"question": "How many?", "answer": "2", "image": image.name} for image in images for _ in range(8)]
        named.write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i, row in enumerate(rows)))
        idle = _peaks(Path(folder) / "honest.jsonl")
        found = []
        for source in (*sources, named):
            check, worker = _peaks(source)
            found.append(Bomb(source.name, source.stat().st_size, check - idle[0], worker - idle[1]))
        return found


def _peaks(source: Path) -> tuple[float, float]:
    check = peak_of("-m", "mmpr", "check", "--source", str(source))
    return check, peak_of("-m", "benchmarks.bench_memory", "--work-on", str(source))


def bombs_table(bombs: Sequence[Bomb]) -> str:
    """Return a Markdown table."""
    lines = ["| source | bytes | check | an engine's worker |", "|---|---|---|---|"]
    lines += [f"| {x.name} | {x.size_bytes:,} | {x.check_mib:.0f} MiB | {x.worker_mib:.0f} MiB |" for x in bombs]
    return "\n".join([*lines, "", f"most: {max(max(x.check_mib, x.worker_mib) for x in bombs):.0f} MiB above idle"])


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="How much memory a build's driver takes.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bombs", action="store_true", help="measure small files that unpack to gigabytes")
    parser.add_argument("--work-on", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work_on:
        asyncio.run(work_on(given.work_on))
        return
    if given.bombs:
        print(bombs_table(measure_bombs()))
        return
    if given.folder:
        print(json.dumps(asdict(run_build(given.folder))))
        return
    lines = [measure(rows) for rows in given.rows]
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
