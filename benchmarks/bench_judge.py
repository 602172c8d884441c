"""Compare the judge with Math-Verify on the same rows, in one run; then measure its memory over many verdicts.

    python benchmarks/bench_judge.py
    python benchmarks/bench_judge.py --verdicts 1000000 --json judge.json

There are two kinds of rows: "plain" rows need no symbolic work; "mathematics" rows have an expression or an equation as
their reference answer. There are two shapes: "hard" is every case of our files once, and no answer occurs twice;
"sampled" draws 16 responses per question from the same cases with repetition, because a model repeats itself too. Both
sides parse each reference answer once per question, as `judge_all` does in a run. Math-Verify runs without its
time-outs, which need the main thread, on at most 1,000 rows (150 of mathematics). Rates are per second of CPU time,
with that of the worker, so that other work on the machine matters less. "worker" is the fraction of verdicts that used
the judge's worker process, whose time and memory are bounded.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil

from mmpr.judging import Judge, compile_reference
from mmpr.judging.symbolic import SymbolicProcess
from mmpr.types import Question

CASES = Path(__file__).parent.parent / "tests" / "cases"
FILES = (
    "judge_cases.jsonl",
    "lookalikes.jsonl",
    "lookalikes_2.jsonl",
    "lookalikes_3.jsonl",
    "lookalikes_4.jsonl",
    "lookalikes_5.jsonl",
    "long_responses.jsonl",
    "tricky_responses.jsonl",
)
Group = tuple[Question, list[str]]


@dataclass(frozen=True)
class Line:
    """One line of the table; rates are verdicts per second, `worker` is a fraction of the verdicts."""

    rows: str
    n: int
    judge_rate: float
    math_verify_rate: float
    ratio: float
    wanted_rate: float
    worker: float


class Counted:
    """The judge's worker process, with the number of its requests."""

    def __init__(self) -> None:
        self.worker = SymbolicProcess(time_limit_s=60)
        self.asked = 0

    def equal(self, reference: str, answer: str) -> bool | None:
        self.asked += 1
        return self.worker.equal(reference, answer)


def read_groups() -> list[Group]:
    """Return all cases, with the responses of each question together."""
    groups: dict[tuple[object, ...], Group] = {}
    for name in FILES:
        for line in (CASES / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            answer = (row["answer"],) if isinstance(row["answer"], str) else tuple(row["answer"])
            key = (row["question"], answer, tuple(row.get("choices") or ()))
            question = Question(row["id"], "bench", 0, row["question"], choices=key[2], answer=answer)
            groups.setdefault(key, (question, []))[1].append(row["response"])
    return list(groups.values())


def divided(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """Divide questions into plain ones and those whose reference answer is an expression or an equation."""
    parts: tuple[list[Group], list[Group]] = ([], [])
    for group in groups:
        parts[compile_reference(group[0]).kind in ("expression", "equation")].append(group)
    return parts


def other_forms(count: int) -> list[Group]:
    """Return products with their expansions, and trigonometric identities; each has other numbers."""
    groups = []
    for k in range(count):
        a, b, c, d = 2 + k % 7, 1 + k % 5, 1 + k % 11, 2 + k
        if k % 2:
            reference, answer = f"({a}x + {b})({c}x + {d})", f"{a * c}x^2 + {a * d + b * c}x + {b * d}"
        else:
            reference, answer = f"{d} + \\cos(2x)", f"{d + 1} - 2\\sin^2(x)"
        question = Question(f"form-{k}", "bench", k, "Simplify the expression.", answer=(reference,))
        groups.append((question, [f"I look at every term.\n\nThen I collect them.\n\nFinal answer: ${answer}$"]))
    return groups


def math_verify_all(groups: list[Group]) -> None:
    """Judge the rows with Math-Verify as its users do: parse each reference once, and each whole response.

    A response is right if it matches any of the reference answers.
    """
    from math_verify import parse, verify

    for question, responses in groups:
        golds = [parse(f"\\boxed{{{reference}}}", parsing_timeout=None) for reference in question.answer or ()]
        for response in responses:
            said = parse(response, parsing_timeout=None)
            any(verify(gold, said, timeout_seconds=None) for gold in golds)


def judge_all(judge: Judge, groups: list[Group]) -> None:
    """Judge the same rows with the judge."""
    for question, responses in groups:
        judge.judge_all(question, responses)


def sampled(groups: list[Group], n: int = 16) -> list[Group]:
    """Return the same questions with `n` responses each, drawn with repetition."""
    draw = random.Random(0)
    return [(question, draw.choices(responses, k=n)) for question, responses in groups]


def first_rows(groups: list[Group], count: int) -> list[Group]:
    """Return random questions with all their responses, until there are `count` responses."""
    random.Random(1).shuffle(mixed := list(groups))
    taken, rows = [], 0
    for group in mixed:
        if rows >= count:
            break
        taken.append(group)
        rows += len(group[1])
    return taken


def size(groups: list[Group]) -> int:
    return sum(len(responses) for _, responses in groups)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the worker that it started."""
    children = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(used.user + used.system for used in children)


def best_seconds(work: Callable[[], None], times: int) -> float:
    """Return the CPU seconds of the fastest of some runs, which other work disturbed least."""
    seconds = []
    for _ in range(times):
        start = cpu_seconds()
        work()
        seconds.append(cpu_seconds() - start)
    return min(seconds)


def compare(name: str, groups: list[Group], *, wanted: float, times: int, theirs: int) -> Line:
    """Measure one line: both sides on the same rows, after a warm-up.

    Args:
        name: of the rows.
        groups: the questions with their responses.
        wanted: the judge's target rate, verdicts per second.
        times: runs of the judge; the fastest counts.
        theirs: most rows for Math-Verify.
    """
    opinion = Counted()
    opinion.worker.equal("x^2", "y^2")  # starts the process

    def mine() -> None:
        opinion.asked = 0
        with Judge(opinion=opinion) as judge:
            judge_all(judge, groups)

    mine()
    rate = size(groups) / best_seconds(mine, times)
    opinion.worker.close()
    some = first_rows(groups, theirs)
    math_verify_all(some[:1])
    their_rate = size(some) / best_seconds(lambda: math_verify_all(some), 1)
    return Line(name, size(groups), rate, their_rate, rate / their_rate, wanted, opinion.asked / size(groups))


def memory(groups: list[Group], verdicts: int) -> list[tuple[int, float]]:
    """Return (verdicts so far, resident MB) at the start and at ten points."""
    process = psutil.Process()
    rows: Iterator[tuple[Question, str]] = cycle([(q, r) for q, responses in groups for r in responses])
    points = []
    with Judge(time_limit_s=60) as judge:
        for part in range(11):
            if part:
                for question, response in islice(rows, verdicts // 10):
                    judge.judge(question, response)
            points.append((part * (verdicts // 10), process.memory_info().rss / 2**20))
    return points


def main() -> None:
    """Print the table, then the memory; write both as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=20_000, help="how many verdicts to watch the memory over")
    parser.add_argument("--times", type=int, default=3, help="runs of each side; the fastest counts")
    parser.add_argument("--json", type=Path, default=None, help="where to write the figures")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    plain, symbolic = divided(read_groups())
    symbolic += other_forms(80)
    lines = [
        compare("plain, hard", plain, wanted=20_000, times=given.times, theirs=1_000),
        compare("plain, sampled", sampled(plain), wanted=20_000, times=given.times, theirs=1_000),
        compare("mathematics, hard", symbolic, wanted=1_000, times=given.times, theirs=150),
        compare("mathematics, sampled", sampled(symbolic), wanted=1_000, times=given.times, theirs=150),
    ]
    print(f"{'rows':<22}{'n':>6}{'judge/s':>10}{'wanted':>9}{'Math-Verify/s':>16}{'ratio':>8}{'worker':>9}")
    for line in lines:
        print(
            f"{line.rows:<22}{line.n:>6}{line.judge_rate:>10,.0f}{line.wanted_rate:>9,.0f}"
            f"{line.math_verify_rate:>16,.0f}{line.ratio:>8.1f}{line.worker:>9.1%}"
        )
    points = memory(plain, given.verdicts)
    print("resident MB: " + ", ".join(f"{n:,}: {mb:.1f}" for n, mb in points))
    if given.json is not None:
        given.json.write_text(
            json.dumps({"rates": [asdict(line) for line in lines], "memory_mb": points}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
