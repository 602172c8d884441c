"""Measure with many engines on one machine how close a build comes to the shortest time that its work allows.

    python -m benchmarks.bench_scale
    python -m benchmarks.bench_scale --engines 64 --seconds 600 --json scale.json

The build is the real one (Ray actors, leases, rounds, judging, commits). The engines are `ScriptedEngine`s that take as
long as a batch of `SLOTS` sequences would; every eighth engine has half the speed of the others. The length of a
response is chosen by a hash; one in twenty responses is five times as long. The ideal time is all work divided by the
speed of all engines, as if the work could be divided anywhere. The measurement is from the first request to the last
committed chunk, so the start of 64 Python processes on a few cores does not count. The engines are slow, so that these
cores have time for the work that 64 nodes would do: judging, writing, and the event loops of 64 actors. `driver` is the
CPU time of the driver process divided by the duration of the build.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mmpr.builder.build_flow import build
from mmpr.engines.protocol import Engine, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.run import RunFolder
from mmpr.settings.config import load
from mmpr.types import Prompt, Response

SLOTS = 8  # sequences in a batch
SECONDS_PER_TOKEN = 0.05
STRAGGLER_EVERY, STRAGGLER_SPEED = 8, 0.5
RESPONSES = 4
_WORDS = 60


def script(prompt: Prompt, index: int) -> str:
    """Return a response of 60 characters (tokens), one in twenty of 300; its index decides whether it is right."""
    digest = hashlib.sha256(f"{prompt.question_id}/{index}".encode()).digest()
    length = _WORDS * (5 if digest[0] % 20 == 0 else 1)
    return f"{digest.hex() * 5}"[: length - 18] + f"\nFinal Answer: {2 + index % 2:>2}"


class PacedEngine(ScriptedEngine):
    """An engine that takes `seconds_per_token` for each token of a sequence, and runs `SLOTS` sequences at once.

    Args:
        room: folder for the time of the first request.
        seconds_per_token: for one sequence.
    """

    def __init__(self, room: Path, seconds_per_token: float) -> None:
        super().__init__(script)
        self._slots = asyncio.Semaphore(SLOTS)
        self._pace = seconds_per_token
        self._room = room
        self._work_s = 0.0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        self._note_first()
        responses = await super().generate(prompt, sampling)
        self.prompts.clear()
        await asyncio.gather(*(self._take(response.tokens) for response in responses))
        return responses

    async def _take(self, n_tokens: int) -> None:
        async with self._slots:
            await asyncio.sleep(n_tokens * self._pace)

    def _note_first(self) -> None:
        """Write the time of the first request to any engine; later calls find the file and do nothing."""
        try:
            with (self._room / "first").open("x") as file:
                file.write(str(time.time()))
        except FileExistsError:
            pass


async def paced_engine(room: Path) -> Engine:
    """Start the next engine; its number is the next free file name in `room` and decides its speed."""
    number = 0
    while True:
        try:
            (room / f"engine-{number}").touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    speed = STRAGGLER_SPEED if number % STRAGGLER_EVERY == STRAGGLER_EVERY - 1 else 1.0
    # All engines begin at the same time: the first ones wait for the last one.
    while len(list(room.glob("engine-*"))) < int(os.environ["MMPR_BENCH_ENGINES"]):
        await asyncio.sleep(0.5)
    return PacedEngine(room, SECONDS_PER_TOKEN / speed)


@dataclass(frozen=True)
class Line:
    """One build; times are in seconds, `efficiency` is `ideal_s / took_s`."""

    engines: int
    questions: int
    chunk_questions: int
    ideal_s: float
    took_s: float
    efficiency: float
    driver: float


def measure(engines: int, seconds: float, chunk_questions: int) -> Line:
    """Run one build, with as many questions as the engines answer in about `seconds`."""
    speeds = [STRAGGLER_SPEED if i % STRAGGLER_EVERY == STRAGGLER_EVERY - 1 else 1.0 for i in range(engines)]
    rate = sum(speeds) * SLOTS / SECONDS_PER_TOKEN  # tokens per second of all engines
    n = int(rate * seconds / (RESPONSES * _WORDS * 1.2))
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        source = room / "vqa.jsonl"
        source.write_text("".join(json.dumps({"question": f"Q{i}?", "answer": "2"}) + "\n" for i in range(n)))
        out = room / "run"
        settings = [f"source={source}", f"engines={engines}", f"chunk_questions={chunk_questions}", "adaptive=false"]
        config = load(None, [*settings, f"n={RESPONSES}", "chunks_in_flight=2"], pocket=True)
        os.environ["MMPR_BENCH_ENGINES"] = str(engines)
        began, driver = time.monotonic(), psutil.Process()
        used = sum(driver.cpu_times()[:2])
        build(config, str(out), functools.partial(paced_engine, room))
        share = (sum(driver.cpu_times()[:2]) - used) / (time.monotonic() - began)
        commits = RunFolder(str(out)).committed().values()
        ended = max((c.account.began or 0.0) + c.account.seconds for c in commits)
        took = ended - float((room / "first").read_text())
        ideal = sum(c.account.tokens["generated"] for c in commits) / rate
    return Line(engines, n, chunk_questions, round(ideal, 1), round(took, 1), round(ideal / took, 3), round(share, 3))


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table."""
    printed = ["| engines | questions | chunk | ideal | took | efficiency | driver |", "|---|---|---|---|---|---|---|"]
    printed += [
        f"| {x.engines} | {x.questions:,} | {x.chunk_questions} | {x.ideal_s} s | {x.took_s} s | {x.efficiency:.3f} | "
        f"{x.driver:.3f} |"
        for x in lines
    ]
    return "\n".join(printed)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="Many simulated engines on one machine.")
    parser.add_argument("--engines", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--chunk-questions", type=int, nargs="+", default=[8])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lines = [measure(given.engines, given.seconds, chunk) for chunk in given.chunk_questions]
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
