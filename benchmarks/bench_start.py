"""Measure how long starts take, and their ratios to the least that could be started instead, in one run.

    python -m benchmarks.bench_start
    python -m benchmarks.bench_start --runs 5 --rows 100000 --json start.json

`--help` is compared with an interpreter that imports typer and shows the help of one command. `check` of a source is
compared with one pass that parses its lines. A build, from the start of its process to the first token of its engine,
is compared with a bare `ray.init`, one actor with the same vLLM engine, and one token for the same question. The two
sides alternate; each ratio is the median over the runs of one side to the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.bench_engine import asked, run_arm, settings_of
from mmpr.builder.engine_choice import engine_options
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import start_vllm
from mmpr.types import Prompt
from pipelines.pocket.questions import write_questions

_TYPER = "import typer\napp = typer.Typer()\n@app.command()\ndef main(name: str = '') -> None: ...\napp()"
_PASS = "import json, sys\nfor line in open(sys.argv[1], 'rb'): json.loads(line)"
_QUICK_RUNS = 5  # factor for the number of runs of commands that take seconds


@dataclass(frozen=True)
class Line:
    """One kind of start: median seconds over the runs, and the median of the ratios."""

    start: str
    ours_s: float
    least_s: float
    ratio: float


def process_s(*command: str) -> float:
    """Run a Python process and return its duration in seconds."""
    began = time.monotonic()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def side_by_side(start: str, ours: Callable[[], float], least: Callable[[], float], runs: int) -> Line:
    """Run both sides in turn, `runs` times; an additional first pair fills the disk's cache and does not count."""
    pairs = [(ours(), least()) for _ in range(runs + 1)][1:]
    mine, other = zip(*pairs, strict=True)
    return Line(
        start,
        round(statistics.median(mine), 3),
        round(statistics.median(other), 3),
        round(statistics.median(a / b for a, b in pairs), 3),
    )


def build_s(room: Path) -> float:
    """Return the seconds from a build's start to the first token of its engine."""
    began = time.time()
    series, _ = run_arm("build", room, bound=False)
    return min(at for at, n in series if n > 0) - began


def bare_s(room: Path) -> float:
    """Return the same seconds for Ray and vLLM alone."""
    began = time.time()
    command = [sys.executable, "-m", "benchmarks.bench_start", "--bare", str(room)]
    environment = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    return float(done.stdout.split()[-1]) - began


async def first_token(settings: EngineOptions, prompt: Prompt) -> float:
    """Start an engine, request one token, and return the Unix time of its arrival."""
    engine = await start_vllm(settings)
    await engine.generate(prompt, Sampling(n=1, temperature=1.0, top_k=0, top_p=1.0, max_tokens=1))
    return time.time()


def start_bare(room: Path) -> None:
    """Start Ray on this machine, one actor and one engine, request one token, and print the time of its arrival."""
    import ray

    class Holder:
        def first(self, settings: EngineOptions, prompt: Prompt) -> float:
            return asyncio.run(first_token(settings, prompt))

    config = settings_of(room)
    ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    holder: Any = ray.remote(Holder).remote()  # ray's type hints require decorated methods
    print(ray.get(holder.first.remote(engine_options(config), asked(config)[0][1])))


def lines(folder: Path, rows: int, runs: int) -> list[Line]:
    """Measure all kinds of starts."""
    source = folder / "many.jsonl"
    source.write_text(
        "".join(json.dumps({"question": f"What is {i} + 1?", "answer": i + 1}) + "\n" for i in range(rows))
    )
    room = folder / "room"
    write_questions(room / "questions", n=8, open_fraction=0.0, seed=66)
    help_ = side_by_side(
        "`mmpr --help`",
        lambda: process_s("-m", "mmpr", "--help"),
        lambda: process_s("-c", _TYPER, "--help"),
        runs * _QUICK_RUNS,
    )
    check = side_by_side(
        f"`mmpr check`, {rows:,} rows",
        lambda: process_s("-m", "mmpr", "check", "--source", str(source)),
        lambda: process_s("-c", _PASS, str(source)),
        runs,
    )
    build = side_by_side("`mmpr build` to its first token", lambda: build_s(room), lambda: bare_s(room), runs)
    return [help_, check, build]


def table(found: Sequence[Line]) -> str:
    """Return a Markdown table."""
    printed = ["| start | took | the least | ratio |", "|---|---|---|---|"]
    return "\n".join(printed + [f"| {x.start} | {x.ours_s:.2f} s | {x.least_s:.2f} s | {x.ratio:.2f} |" for x in found])


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="What a start costs.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        start_bare(given.bare)
        return
    with TemporaryDirectory() as folder:
        found = lines(Path(folder), given.rows, given.runs)
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in found], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
