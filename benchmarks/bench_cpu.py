"""Measure the work of a CPU core next to an engine: judging, pairing, writing a chunk, in responses per second.

    python -m benchmarks.bench_cpu
    python -m benchmarks.bench_cpu --questions 512 --json cpu.json

Each question has 32 responses of about 300 tokens and one image of 150 kB. The rates are compared with what one H100
generates with InternVL2-8B: 6,500 tokens per second, 300 tokens per response, 22 responses per second. A rate is the
median of five passes, on one core, in one process. "numbers" are integers and decimals; "expressions" are mathematics
that may need the judge's worker process.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from mmpr.builder.pair_rule import count
from mmpr.judging import Judge, JudgeOptions, judge_key
from mmpr.pairing import PairOptions, Strategy, pair_responses
from mmpr.run import ChunkAccount, RunFolder, StoredImage, StoredQuestion, StoredResponse, new_attempt
from mmpr.run.stored_verdicts import with_verdicts
from mmpr.types import Finish, Question, Response, Stage

H100_RESPONSES = 6_500 / 300  # per second
RESPONSES, PASSES = 32, 5
_SENTENCE = "In the upper row of the chart there are {} bars, of which the left ones are taller than the rest. "


@dataclass(frozen=True)
class Line:
    """One kind of work; the rate is in responses per second."""

    work: str
    rate: float

    @property
    def ratio(self) -> float:
        """The rate divided by that of one H100."""
        return self.rate / H100_RESPONSES


def asked(n: int, answers: Sequence[tuple[str, Sequence[str]]], shown: Sequence[StoredImage]) -> list[StoredQuestion]:
    """Return questions with responses of about 300 tokens (1,200 characters); a third of the responses is right."""
    draw = random.Random(0)
    found = []
    for row in range(n):
        reference, wrong = answers[row % len(answers)]
        question = Question(f"q{row}", "bench", row, "How much is it?", images=("p.png",), answer=(reference,))
        responses = []
        for index in range(RESPONSES):
            said = reference if draw.random() < 1 / 3 else draw.choice(wrong)
            text = "".join(_SENTENCE.format(draw.randrange(99)) for _ in range(12)) + f"\n\nFinal Answer: {said}"
            responses.append(StoredResponse(Response(question.id, Stage.SAMPLE, index, text, (), 300, Finish.STOP)))
        found.append(StoredQuestion(question, (shown[row % len(shown)],), tuple(responses)))
    return found


def image(seed: int) -> StoredImage:
    """Return an image of noise with 150 kB, which compression does not make smaller."""
    file = io.BytesIO()
    Image.frombytes("RGB", (224, 224), random.Random(seed).randbytes(3 * 224 * 224)).save(file, "PNG")
    encoded = file.getvalue()
    sha256 = hashlib.sha256(encoded).hexdigest()
    return StoredImage(sha256, sha256, 224, 224, "PNG", len(encoded), encoded)


def judged(questions: Sequence[StoredQuestion], judge: Judge) -> list[StoredQuestion]:
    """Return the same questions with verdicts."""
    return [with_verdicts(one, judge) for one in questions]


def rate(work: Callable[[], object], n: int) -> float:
    """Return the median rate of a few passes over n responses."""
    rates = []
    for _ in range(PASSES):
        began = time.perf_counter()
        work()
        rates.append(n / (time.perf_counter() - began))
    return statistics.median(rates)


def commit(folder: RunFolder, chunks: list[int], questions: Sequence[StoredQuestion]) -> None:
    """Count, write and commit one chunk, like the task on an engine's node."""
    counts, skips = count(questions, PairOptions())
    lease = {"spans": [[0, 0, len(questions)]]}
    account = ChunkAccount(lease, "", counts, skips, {}, 0.0, "", "", judge_key(JudgeOptions()))
    chunks.append(len(chunks))
    folder.commit_chunk(chunks[-1], new_attempt(), questions, account)


def measure(n: int) -> list[Line]:
    """Measure every kind of work on n questions."""
    shown = [image(seed) for seed in range(n)]
    numbers = asked(n, [("12", ("13", "14", "2")), ("3.5", ("3.6", "5.3", "0.35"))], shown)
    maths = asked(n, [(r"\frac{x+1}{2}", (r"\frac{x-1}{2}", "(1+x)/2", "x")), ("2x^2+1", ("x^2", "2x^2", "1"))], shown)
    total = n * RESPONSES
    lines = []
    with Judge() as judge, tempfile.TemporaryDirectory() as room:
        lines.append(Line("judging, numbers", rate(lambda: judged(numbers, judge), total)))
        lines.append(Line("judging, expressions", rate(lambda: judged(maths, judge), total)))
        ready = judged(numbers, judge)
        for strategy in Strategy:
            rule = PairOptions(strategy=strategy)
            pairing = rate(lambda r=rule: [pair_responses(q.question, q.judged, r) for q in ready], total)  # type: ignore[misc]
            lines.append(Line(f"pairing, {strategy}", pairing))
        folder, chunks = RunFolder(room), list[int]()
        lines.append(Line("writing and committing", rate(lambda: commit(folder, chunks, ready), total)))
    return lines


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table."""
    printed = ["| one core | responses a second | of what one H100 feeds |", "|---|---|---|"]
    printed += [f"| {line.work} | {line.rate:,.0f} | {line.ratio:,.0f} times |" for line in lines]
    return "\n".join(printed)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="Judging, pairing and writing on one core.")
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lines = measure(given.questions)
    print(table(lines))
    if given.json:
        rows = [{**asdict(line), "ratio": line.ratio} for line in lines]
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
