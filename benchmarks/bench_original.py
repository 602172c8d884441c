"""Compare mmpr with the algorithm of the original pipeline on the same engine: paired questions per second.

    python -m benchmarks.bench_original
    python -m benchmarks.bench_original --questions 256 --lockstep-questions 64 --json original.json

The original (`reasoning_data_pipeline`, arXiv 2411.10442) takes batches of 8 questions through 32 rounds of one
response each; every round waits for its longest response. Here that loop calls `vllm.LLM.generate`. There is one
engine, so the shard of its one rank has all questions. Its responses are judged and paired by mmpr's judge and pair
rule, so that only the algorithm differs. Seconds are those of the engine, from its first token to its last. Loading,
judging and writing do not count for the original; for mmpr they count if the engine waits for them. The original gets
fewer questions: it is slow, and its batches are independent of each other.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench_engine import Bare, asked, one_request, run_arm, settings_of, whole
from mmpr.builder.engine_choice import engine_options, recipe
from mmpr.judging import Judge
from mmpr.pairing import PairOptions, pair_responses
from mmpr.types import Question, Response, Skip
from pipelines.pocket.questions import write_questions

BATCH, ROUNDS = 8, 32
BUILDS = {"adaptive": "adaptive=true", "fixed 32": "adaptive=false"}


@dataclass(frozen=True)
class Arm:
    """One algorithm's figures."""

    arm: str
    questions: int
    paired: int
    tokens: float
    engine_s: float

    @property
    def rate(self) -> float:
        """Paired questions per second of the engine."""
        return self.paired / self.engine_s


def lockstep(room: Path) -> Arm:
    """Run the original algorithm: batches of 8 questions, 32 rounds of one response per question.

    A round ends with its longest response.
    """
    config = settings_of(room)
    how = recipe(config)
    bare = Bare(engine_options(config))
    questions = asked(config)
    sampling = one_request(how, 1, how.sampling.max_tokens)
    bare.generate([questions[0][1]], [sampling])  # the first request is slow, and builds do not count theirs either
    seconds, n_tokens, paired = 0.0, 0, 0
    for first in range(0, len(questions), BATCH):
        batch = questions[first : first + BATCH]
        began = time.monotonic()
        rounds = [bare.generate([prompt for _, prompt in batch], [sampling] * len(batch)) for _ in range(ROUNDS)]
        seconds += time.monotonic() - began
        for i, (question, _) in enumerate(batch):
            given = [replace(responses[i][0], index=index) for index, responses in enumerate(rounds)]
            n_tokens += sum(response.tokens for response in given)
            paired += is_paired(question, given)
    bare.close()
    return Arm("original", len(questions), paired, n_tokens, seconds)


def is_paired(question: Question, given: Sequence[Response]) -> bool:
    """Whether the build's own judge and rule make a pair of these responses."""
    with Judge() as judge:
        verdicts = judge.judge_all(question, [response.text for response in given])
    return not isinstance(pair_responses(question, list(zip(given, verdicts, strict=True)), PairOptions()), Skip)


def built(arm: str, room: Path, settings: Sequence[str]) -> Arm:
    """Run a whole build; its seconds are those of its engine."""
    series, out = run_arm("build", room, settings, bound=False)
    tokens, seconds = whole(series)
    report = json.loads((out / "report.json").read_text())
    return Arm(arm, report["questions"], report["paired"], tokens, seconds)


def table(arms: Sequence[Arm]) -> str:
    """Return a Markdown table; the other arms are relative to the first one."""
    base = arms[0]
    lines = ["| | questions | paired | tokens a paired question | questions paired a second, to the original |"]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {arm.arm} | {arm.questions} | {arm.paired / arm.questions:.1%} | {arm.tokens / arm.paired:,.0f} "
        f"| {arm.rate / base.rate:.1f} |"
        for arm in arms
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="mmpr against the algorithm of the original pipeline.")
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--lockstep-questions", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # as in the builds
    with TemporaryDirectory() as folder:
        many, few = Path(folder) / "many", Path(folder) / "few"
        write_questions(many / "questions", n=given.questions, open_fraction=0.0, seed=66)
        write_questions(few / "questions", n=given.lockstep_questions, open_fraction=0.0, seed=66)
        builds = [built(arm, many, [setting, f"n={ROUNDS}"]) for arm, setting in BUILDS.items()]
        arms = [lockstep(few), *builds]
    print(table(arms))
    if given.json:
        given.json.write_text(json.dumps([asdict(arm) for arm in arms], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
