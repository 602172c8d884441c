"""Measure the load of a driver with 512 engines, in a real build whose chunks return as fast as those of H100s would.

    python -m benchmarks.bench_driver
    python -m benchmarks.bench_driver --engines 64 512 --seconds 240 --json driver.json

The driver is the real one: leases, pulses, commits, status, progress. The engines share a few actor processes, because
512 processes do not fit on one machine. Their `ScriptedEngine` keeps each chunk as long as an H100 would (128 questions
with 19 responses of 300 tokens, 6,500 tokens per second, `IN_FLIGHT` chunks at once). The chunks themselves are small,
because other nodes would judge them. The measurement begins when all engines have chunks and takes `--seconds`.
`driver` is the CPU time of the driver process divided by that time. `beat` is the mean interval between two heartbeats,
at which the driver reads the pulses of all engines (one second is planned).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import psutil

from benchmarks.bench_store import H100_TOKENS_S, QUESTIONS, RESPONSES, TOKENS
from mmpr.builder import shared_engines
from mmpr.builder.build_flow import build
from mmpr.engines.protocol import Engine, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.pool import Beat
from mmpr.pool.engine_pool import Pool, _EngineSlot
from mmpr.run import RunFolder
from mmpr.settings.config import load
from mmpr.types import Prompt, Response

IN_FLIGHT = 4  # chunks that an engine has at once
HOLD_S = IN_FLIGHT * QUESTIONS * RESPONSES * TOKENS / H100_TOKENS_S  # seconds from a chunk's lease to its end
PROCESSES = 4  # actor processes for all engines
_SMALL = 2  # questions of a chunk in this benchmark


@dataclass(frozen=True)
class Line:
    """The driver of one build while all engines worked; see the module."""

    engines: int
    chunks: int
    seconds: float
    driver: float
    beat_s: float

    @property
    def rate(self) -> float:
        """Chunks per second."""
        return self.chunks / self.seconds


class Holding(ScriptedEngine):
    """Returns all answers of a chunk at the time at which an H100 would have finished it.

    The first chunks get random remaining times, so that not all chunks end at once.
    """

    def __init__(self, first: int) -> None:
        super().__init__(lambda prompt, index: f"I counted.\nFinal Answer: {2 + index % 2}")
        self._first = first  # number of questions in the chunks that are leased first
        self._ends: dict[int, float] = {}  # end of each chunk, on the monotonic clock

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        responses = await super().generate(prompt, sampling)
        self.prompts.clear()
        row = int(prompt.question_id.rpartition(":")[2])
        chunk, now = (row - 1) // _SMALL, time.monotonic()  # a row is a line number, from 1
        done = random.Random(chunk).random() if row <= self._first else 0.0
        await asyncio.sleep(self._ends.setdefault(chunk, now + (1 - done) * HOLD_S) - now)
        return responses


async def holding_engine() -> Engine:
    """Return an engine; several engine slots of the pool share it (`Crowd`)."""
    return Holding(int(os.environ["MMPR_BENCH_FIRST"]))


class Crowd(Pool):
    """The pool, but its engine slots share actors, and the times of its heartbeats are recorded."""

    beats: ClassVar[list[float]] = []
    _shared: ClassVar[list[object]] = []

    def _fill(self, slot: _EngineSlot) -> None:
        if len(self._shared) < PROCESSES:
            super()._fill(slot)
            self._shared.append(slot.actor)
            return
        slot.actor = self._shared[slot.number % PROCESSES]
        slot.placed, slot.starting = slot.actor.where.remote(), slot.actor.start.remote()
        slot.fills += 1

    def _beat(self) -> Beat:
        self.beats.append(time.monotonic())
        return super()._beat()


class Watch(threading.Thread):
    """Measures this process from the time when every engine has chunks, and stops the build after `seconds`."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self._folder, self._seconds = folder, seconds
        self.line: dict[str, float] = {}

    def run(self) -> None:
        while not Crowd.beats:  # the first one comes when chunks are leased
            time.sleep(1.0)
        time.sleep(20.0)
        process, began, chunks, beats = psutil.Process(), time.monotonic(), self._chunks(), len(Crowd.beats)
        used = sum(process.cpu_times()[:2])
        time.sleep(self._seconds)
        took = time.monotonic() - began
        self.line = {
            "chunks": self._chunks() - chunks,
            "seconds": round(took, 1),
            "driver": round((sum(process.cpu_times()[:2]) - used) / took, 3),
            "beat_s": round(took / (len(Crowd.beats) - beats), 2),
        }
        os.kill(os.getpid(), signal.SIGTERM)

    def _chunks(self) -> int:
        return len(RunFolder(str(self._folder)).committed_chunks())


def run_build(folder: Path, engines: int, seconds: float) -> Line:
    """Run a build with this process as the driver, for about `seconds`."""
    first = engines * IN_FLIGHT * _SMALL
    os.environ["MMPR_BENCH_FIRST"] = str(first)
    rows = first + int(2 * (seconds + 60) * engines * IN_FLIGHT / HOLD_S) * _SMALL
    source = folder / "vqa.jsonl"
    with source.open("w") as file:
        file.writelines(json.dumps({"question": f"What is {i} + 1?", "answer": "2"}) + "\n" for i in range(rows))
    settings = [f"source={source}", f"engines={engines}", f"chunk_questions={_SMALL}", f"chunks_in_flight={IN_FLIGHT}"]
    # Engines in one process share the limit of tokens in flight, so it is set very high.
    settings += ["adaptive=false", "n=2", "grace_s=1", "tokens_in_flight=1000000000"]
    config = load(None, settings, pocket=True)
    shared_engines.Pool = Crowd  # type: ignore[attr-defined]
    watch = Watch(folder / "run", seconds)
    watch.start()
    build(config, str(folder / "run"), holding_engine)
    return Line(engines=engines, **watch.line)  # type: ignore[arg-type]


def measure(engines: int, seconds: float) -> Line:
    """Run one build in its own process."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.bench_driver", "--folder", folder]
        command += ["--engines", str(engines), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
    return Line(**json.loads(done.stdout.splitlines()[-1]))


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table."""
    printed = ["| engines | chunks a second | driver, of one core | looks at all engines every |", "|---|---|---|---|"]
    printed += [f"| {x.engines} | {x.rate:.2f} | {x.driver:.3f} | {x.beat_s:.2f} s |" for x in lines]
    return "\n".join(printed)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="What many engines cost the driver.")
    parser.add_argument("--engines", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        print(json.dumps(asdict(run_build(given.folder, given.engines[0], given.seconds))))
        return
    lines = [measure(engines, given.seconds) for engines in given.engines]
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
