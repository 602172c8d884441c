"""Measure what `grounding=true` adds to a build: the engine's seconds and tokens, on the same seeded responses.

    python -m benchmarks.bench_grounding
    python -m benchmarks.bench_grounding --questions 400 --runs 3 --json grounding.json

Every arm is a whole `mmpr build` with the pocket model and the default strategy; the arms take turns. A seed makes
their responses equal, so that only the scoring differs. The seconds of an engine change by some per cent from run to
run; the prompt tokens (those that were computed, without those from the cache) do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.bench_adaptive import usage_of_build
from pipelines.pocket.questions import write_questions

ARMS = {"without": ("grounding=false",), "with grounding": ("grounding=true",)}


@dataclass(frozen=True)
class GroundingArm:
    """One build: what its engine did, and the seconds in which it had requests."""

    arm: str
    generated: int
    prompt: int
    engine_s: float


def build(arm: str, questions: Path, out: Path) -> GroundingArm:
    """Run the build of an arm."""
    usage = usage_of_build(arm, ("seed=1", *ARMS[arm]), questions, out)
    prompt = int(usage["prompt_tokens"] - usage["cached_tokens"])
    return GroundingArm(arm, int(usage["generated_tokens"]), prompt, usage["busy_s"])


def table(arms: Sequence[GroundingArm]) -> str:
    """Return a Markdown table, relative to the builds without grounding: medians over the runs."""
    lines = [
        "| build | generated tokens | prompt tokens computed | engine seconds | of each run |",
        "|---|---|---|---|---|",
    ]
    base = [one for one in arms if one.arm == "without"]
    for name in ARMS:
        mine = [one for one in arms if one.arm == name]
        seconds = [one.engine_s / other.engine_s for one, other in zip(mine, base, strict=True)]
        lines.append(
            f"| {name} | {mine[0].generated / base[0].generated:.2f} | {mine[0].prompt / base[0].prompt:.2f} "
            f"| {median(seconds):.3f} | {', '.join(f'{one:.3f}' for one in seconds)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="What grounding adds to a build.")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--open-fraction", type=float, default=0.3)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    arms = []
    with TemporaryDirectory() as room:
        questions = Path(room) / "questions"
        write_questions(questions, n=given.questions, open_fraction=given.open_fraction, seed=8)
        for i in range(given.runs):
            arms += [build(arm, questions, Path(room) / f"{arm.split()[0]}-{i}") for arm in ARMS]
    print(table(arms))
    if given.json:
        given.json.write_text(json.dumps([asdict(arm) for arm in arms], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
