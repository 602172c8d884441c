"""Measure what adaptive sampling saves, on the same questions and engine; then other targets on one arm's responses.

    python -m benchmarks.bench_adaptive
    python -m benchmarks.bench_adaptive --questions 600 --json adaptive.json

Every arm is a whole `mmpr build` with the pocket model, on questions with reference answers. "Generated", "prompt" and
"engine s" are the engine's own counts, relative to the first arm; prompt tokens are those that were computed, without
those from the cache. The second table uses the responses of the arm with the most responses, in their order. It stops
each question where a policy would have stopped, so all policies see the same texts. `at a cost of` is the number of
tokens per question that reached the target, relative to "fixed 32" with the same target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmpr.pairing import Judged, PairOptions, pair_responses
from mmpr.rounds import SourceRates, next_round
from mmpr.run import RunFolder, StoredQuestion, read_chunk
from mmpr.types import Question, Skip, Stage
from pipelines.pocket.questions import write_questions

CAP = 32
ARMS = {
    "fixed 32": ("adaptive=false", "n=32"),
    "adaptive, up to 32": ("adaptive=true", "n=32"),
    "fixed 16": ("adaptive=false", "n=16"),
    "fixed 8": ("adaptive=false", "n=8"),
}
TARGETS = ((1, 1), (4, 2), (4, None), (15, 2), (15, None))  # (pairs per question, most uses of a response)
Sampled = Callable[[Question, Sequence[Judged], PairOptions], Sequence[Judged]]


@dataclass(frozen=True)
class Arm:
    """One build: the engine's counts, and the numbers of questions with any pair and with all wanted pairs."""

    arm: str
    responses: int
    generated: int
    prompt: int
    cached: int
    engine_s: float
    paired: int
    reached: int


@dataclass(frozen=True)
class Policy:
    """The figures of one policy for one target, on the same responses."""

    policy: str
    pairs: int
    max_uses: int | None
    responses: float
    tokens: int
    paired: int
    reached: int

    @property
    def cost(self) -> float:
        """Tokens per question that reached the target."""
        return self.tokens / max(1, self.reached)


def usage_of_build(arm: str, settings: Sequence[str], questions: Path, out: Path) -> dict[str, Any]:
    """Run one build in its own process; return what its engines counted."""
    command = [sys.executable, "-m", "mmpr", "build", "--source", str(questions / "vqa.jsonl"), "--out", str(out)]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr[-2000:]}")
    usage: dict[str, Any] = json.loads((out / "report.json").read_text())["engine_usage"]
    return usage


def build(arm: str, questions: Path, out: Path) -> Arm:
    """Run the build of an arm."""
    usage = usage_of_build(arm, ARMS[arm], questions, out)
    return _arm(arm, usage, [judged for _, judged in asked(out)], [q for q, _ in asked(out)])


def _arm(arm: str, usage: dict[str, Any], judged: Sequence[list[Judged]], questions: Sequence[Question]) -> Arm:
    reached = [n_pairs(q, j, PairOptions()) for q, j in zip(questions, judged, strict=True)]
    return Arm(
        arm,
        responses=sum(map(len, judged)),
        generated=int(usage["generated_tokens"]),
        prompt=int(usage["prompt_tokens"] - usage["cached_tokens"]),
        cached=int(usage["cached_tokens"]),
        engine_s=round(usage["busy_s"], 1),
        paired=sum(n > 0 for n in reached),
        reached=sum(n == PairOptions().pairs_per_question for n in reached),
    )


def asked(out: Path) -> Iterator[tuple[Question, list[Judged]]]:
    """Yield every question of a run with its judged responses in the order of their indices."""
    folder = RunFolder(str(out))
    for commit in folder.committed().values():
        for one in read_chunk(folder, commit):
            yield one.question, _in_order(one)


def _in_order(committed: StoredQuestion) -> list[Judged]:
    judged = [j for j in committed.judged if j[0].stage is Stage.SAMPLE]
    return sorted(judged, key=lambda j: j[0].index)


def n_pairs(question: Question, judged: Sequence[Judged], rule: PairOptions) -> int:
    """Return the number of pairs that the rule makes of these responses."""
    pairs = pair_responses(question, judged, rule)
    return 0 if isinstance(pairs, Skip) else len(pairs)


def fixed(n: int) -> Sampled:
    """Return the policy that takes the first n responses of every question."""
    return lambda question, judged, rule: judged[:n]


def adaptive(first: int) -> Sampled:
    """Return the policy of adaptive rounds, as in a build that answers one question after another.

    Args:
        first: number of responses in the first round.
    """
    rates: dict[PairOptions, SourceRates] = {}

    def sampled(question: Question, judged: Sequence[Judged], rule: PairOptions) -> Sequence[Judged]:
        known = rates.setdefault(rule, SourceRates())
        n, prior = 0, known.prior(question.source)
        while more := next_round(question, judged[:n], rule, first=first, cap=len(judged), prior=prior):
            n += more
            if n == more:
                known.add(question.source, judged[:n], rule)
        return judged[:n]

    return sampled


POLICIES = {
    "fixed 32": fixed(32),
    "fixed 16": fixed(16),
    "fixed 8": fixed(8),
    "adaptive, first 2": adaptive(2),
    "adaptive, first 4": adaptive(4),
    "adaptive, first 8": adaptive(8),
}


def replay(found: Sequence[tuple[Question, list[Judged]]]) -> list[Policy]:
    """Apply every policy for every target."""
    lines = []
    for target, uses in TARGETS:
        rule = PairOptions(pairs_per_question=target, max_uses=uses)
        for name, policy in POLICIES.items():
            taken = [(question, policy(question, judged, rule)) for question, judged in found]
            pairs = [n_pairs(question, judged, rule) for question, judged in taken]
            lines.append(
                Policy(
                    name,
                    target,
                    uses,
                    responses=sum(len(judged) for _, judged in taken) / len(taken),
                    tokens=sum(r.tokens for _, judged in taken for r, _ in judged),
                    paired=sum(n > 0 for n in pairs),
                    reached=sum(n == target for n in pairs),
                )
            )
    return lines


def arm_table(arms: Sequence[Arm]) -> str:
    """Return a Markdown table."""
    base = arms[0]
    lines = ["| arm | responses | generated | prompt | cached | engine s | paired | 4 pairs | tokens for each with 4 |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        cost = arm.generated / max(1, arm.reached) / (base.generated / max(1, base.reached))
        lines.append(
            f"| {arm.arm} | {arm.responses:,} | {arm.generated / base.generated:.2f} | {arm.prompt / base.prompt:.2f} "
            f"| {arm.cached / max(1, arm.cached + arm.prompt):.0%} | {arm.engine_s / base.engine_s:.2f} "
            f"| {arm.paired} | {arm.reached} | {cost:.2f} |"
        )
    return "\n".join(lines)


def policy_table(lines: Sequence[Policy]) -> str:
    """Return a Markdown table; each policy is relative to "fixed 32" with the same target."""
    printed = ["| pairs | uses | policy | responses a question | tokens | paired | reached | at a cost of |"]
    printed.append("|---|---|---|---|---|---|---|---|")
    for line in lines:
        base = next(o for o in lines if (o.pairs, o.max_uses) == (line.pairs, line.max_uses))
        printed.append(
            f"| {line.pairs} | {line.max_uses or 'any'} | {line.policy} | {line.responses:.1f} "
            f"| {line.tokens / base.tokens:.2f} | {line.paired / base.paired:.1%} | {line.reached / base.reached:.1%} "
            f"| {line.cost / base.cost:.2f} |"
        )
    return "\n".join(printed)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="What adaptive sampling saves.")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as room:
        questions = Path(room) / "questions"
        write_questions(questions, n=given.questions, open_fraction=0.0, seed=6)
        arms = [build(arm, questions, Path(room) / arm.replace(" ", "-")) for arm in ARMS]
        lines = replay(list(asked(Path(room) / "fixed-32")))
    print(arm_table(arms), policy_table(lines), sep="\n\n")
    if given.json:
        figures = {"arms": [asdict(arm) for arm in arms], "policies": [asdict(line) for line in lines]}
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
