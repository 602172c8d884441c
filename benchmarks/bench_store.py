"""What a chunk costs on its way through Ray: from the engine's actor to the judging task beside it, and to the driver.

    python -m benchmarks.bench_store
    python -m benchmarks.bench_store --chunks 50 --json store.json

A chunk of 128 questions with as many responses as the adaptive default asks for (19 of 300 tokens, bench_adaptive) is
pickled, put into the object store, fetched by a task on the same node, and answered by a report of its size. Beside it
stands what InternVL2-8B on one H100 takes to generate the chunk (6,500 tokens a second).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
from ray import cloudpickle

from mmpr import pool
from mmpr.builder.answer import AnsweredQuestion
from mmpr.builder.chunk import ChunkReport
from mmpr.pool.cluster import call
from mmpr.types import Finish, Outcome, Question, Response, Stage, Verdict

QUESTIONS, RESPONSES, TOKENS = 128, 19, 300
H100_TOKENS_S = 6500
_WORD = "the "  # a token of four characters, as English has on average


@dataclass(frozen=True)
class Line:
    """One chunk; sizes in kB, times in milliseconds (medians over chunks)."""

    chunk_kb: float
    report_kb: float
    there_and_back_ms: float
    empty_ms: float
    h100_ms: float


def answered_chunk() -> list[AnsweredQuestion]:
    """128 questions with 19 judged responses each."""
    return [
        AnsweredQuestion(
            Question(f"vqa:{row}", "vqa", row, "How many apples are on the table?", answer=("3",)),
            responses=tuple(
                Response(f"vqa:{row}", Stage.SAMPLE, i, f"{row} {i} {_WORD * TOKENS}", (), TOKENS, Finish.STOP)
                for i in range(RESPONSES)
            ),
            verdicts=(Verdict(Outcome.CORRECT, "3", "integer", "3"),) * RESPONSES,
        )
        for row in range(QUESTIONS)
    ]


def report_of(answered: Sequence[AnsweredQuestion]) -> ChunkReport:
    """A report as a chunk's, without the judging."""
    return ChunkReport(7, len(answered), {"correctness": 200, "format": 3}, {"all_correct": 20}, {}, 60.0, "node-7")


def measure(chunks: int) -> Line:
    """Send so many chunks, one after the other."""
    chunk = answered_chunk()
    task = ray.remote(num_cpus=1)(call)

    def median_ms(*arguments: object) -> float:
        took = []
        for _ in range(chunks + 1):
            began = time.perf_counter()
            ray.get(task.remote(report_of, *arguments))
            took.append(1000 * (time.perf_counter() - began))
        return statistics.median(took[1:])  # the first one starts the process

    return Line(
        chunk_kb=len(cloudpickle.dumps(chunk)) / 1000,
        report_kb=len(cloudpickle.dumps(report_of(chunk))) / 1000,
        there_and_back_ms=median_ms(chunk),
        empty_ms=median_ms([]),
        h100_ms=1000 * QUESTIONS * RESPONSES * TOKENS / H100_TOKENS_S,
    )


def table(line: Line) -> str:
    """Markdown."""
    return "\n".join(
        (
            "| a chunk | its report | to the task and back | the same, empty | one H100's time for it | share |",
            "|---|---|---|---|---|---|",
            f"| {line.chunk_kb:,.0f} kB | {line.report_kb:.1f} kB | {line.there_and_back_ms:.0f} ms "
            f"| {line.empty_ms:.0f} ms | {line.h100_ms / 1000:.0f} s "
            f"| {100 * line.there_and_back_ms / line.h100_ms:.2f} % |",
        )
    )


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description="What a chunk costs on its way through Ray.")
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with pool.connected(None):
        line = measure(given.chunks)
    print(table(line))
    if given.json:
        given.json.write_text(json.dumps(asdict(line), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
