"""Measure the transport of a chunk through Ray: from the engine's actor to a judging task, and its report back.

    python -m benchmarks.bench_store
    python -m benchmarks.bench_store --chunks 50 --json store.json

A chunk has 128 questions with as many responses as adaptive sampling requests by default (19 of 300 tokens, see
bench_adaptive). It is pickled, put into the object store and fetched by a task on the same node, which returns a report
of the usual size. The table also has the time in which InternVL2-8B on one H100 generates the chunk (6,500 tokens per
second).
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
_WORD = "the "  # a token of four characters, the mean in English


@dataclass(frozen=True)
class Line:
    """One chunk: sizes in kB, times in milliseconds (medians over chunks)."""

    chunk_kb: float
    report_kb: float
    there_and_back_ms: float
    empty_ms: float
    h100_ms: float


def answered_chunk() -> list[AnsweredQuestion]:
    """Return 128 questions with 19 judged responses each."""
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
    """Return a report like that of a real chunk; nothing is judged."""
    return ChunkReport(7, len(answered), {"correctness": 200, "format": 3}, {"all_correct": 20}, {}, 60.0, "node-7")


def measure(chunks: int) -> Line:
    """Send `chunks` chunks, one after another."""
    chunk = answered_chunk()
    task = ray.remote(num_cpus=1)(call)

    def median_ms(*arguments: object) -> float:
        took = []
        for _ in range(chunks + 1):
            began = time.perf_counter()
            ray.get(task.remote(report_of, *arguments))
            took.append(1000 * (time.perf_counter() - began))
        return statistics.median(took[1:])  # the first call starts the task's process

    return Line(
        chunk_kb=len(cloudpickle.dumps(chunk)) / 1000,
        report_kb=len(cloudpickle.dumps(report_of(chunk))) / 1000,
        there_and_back_ms=median_ms(chunk),
        empty_ms=median_ms([]),
        h100_ms=1000 * QUESTIONS * RESPONSES * TOKENS / H100_TOKENS_S,
    )


def table(line: Line) -> str:
    """Return a Markdown table."""
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
    """Parse the command line, run the benchmark, print the table."""
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
