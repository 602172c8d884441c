"""Measure how often the judge's verdicts are right on labelled cases.

    python benchmarks/judge_accuracy.py CASES.jsonl [--show correct|proven|likely|undecided] [--source S] [--kind K]

The file has one case per line, as a JSON object: {"id", "question", "choices"?, "answer", "response", "answer_kind"?,
"source"?, "expected": "match" | "mismatch" | "abstain-ok"}. The tables are by source and by the kind of the reference
answer:

- n: cases with "match" or "mismatch" expected
- correct: precision of CORRECT, and the number of false ones
- proven, likely: precision of INCORRECT by certainty, and the number of false ones
- decided: (correct + incorrect) / n; UNPARSED, AMBIGUOUS and ERROR are undecided
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmpr.errors import JudgeError
from mmpr.judging import Judge, JudgeOptions, compile_reference
from mmpr.types import Outcome, Question


@dataclass(frozen=True)
class Case:
    """One labelled response and the judge's verdict."""

    name: str
    source: str
    kind: str
    expected: str
    verdict: str  # correct | proven | likely | undecided
    line: str


def read_question(row: dict[str, object]) -> Question:
    """Return the question of one case."""
    answer = row["answer"]
    choices = row.get("choices")
    kind = row.get("answer_kind")
    return Question(
        id=str(row["id"]),
        source="cases",
        row=0,
        text=str(row["question"]),
        choices=tuple(str(c) for c in choices) if isinstance(choices, list) else (),
        answer=tuple(str(a) for a in answer) if isinstance(answer, list) else (str(answer),),
        answer_kind=str(kind) if kind else None,
    )


def judged(path: Path, form: str) -> Iterable[Case]:
    """Yield every case of the file with its verdict."""
    options = JudgeOptions(format=form)
    with Judge(options=options) as judge, path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            question = read_question(row)
            verdict = judge.judge(question, row["response"])
            try:
                kind = compile_reference(question, options=options).kind
            except JudgeError:
                kind = "unknown"
            said = "undecided"
            if verdict.outcome is Outcome.CORRECT:
                said = "correct"
            elif verdict.outcome is Outcome.INCORRECT:
                said = str(verdict.certainty or "proven")
            shown = (
                f"{row['id']:<20} {row['expected']:<9} {verdict.outcome:<10} {said:<9} {verdict.rule:<20} {kind:<10}"
                f" {str(row['answer'])[:90]} <- {str(verdict.answer)[:120]}"
                f" | {row['response'][-60:]!r}"
            )
            yield Case(row["id"], str(row.get("source", "")), kind, row["expected"], said, shown)


def table(title: str, groups: dict[str, list[Case]]) -> str:
    """Return a table with one line per group, and a total."""
    lines = [f"{title:<20} {'n':>5}  {'correct':>14}  {'proven':>14}  {'likely':>14}  {'decided':>14}"]
    everything = [case for group in groups.values() for case in group]
    for name, group in [*sorted(groups.items()), ("total", everything)]:
        counted = [case for case in group if case.expected in ("match", "mismatch")]
        cells = [_precision(counted, "correct", "match")]
        cells += [_precision(counted, said, "mismatch") for said in ("proven", "likely")]
        decided = sum(case.verdict != "undecided" for case in counted) / max(1, len(counted))
        lines.append(
            f"{name:<20} {len(counted):>5}  " + "  ".join(f"{cell:>14}" for cell in cells) + f"  {decided:8.1%}"
        )
    return "\n".join(lines)


def _precision(cases: list[Case], said: str, expected: str) -> str:
    found = [case for case in cases if case.verdict == said]
    false = sum(case.expected != expected for case in found)
    return f"{(1 - false / len(found)):.1%} ({false}/{len(found)})" if found else "-"


def main() -> None:
    """Read the arguments, judge the cases, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="labelled cases, one JSON object a line")
    parser.add_argument("--form", default="final", help="the form that responses were asked for")
    parser.add_argument("--show", nargs="*", default=(), help="list false correct / proven / likely, and undecided")
    parser.add_argument("--source", help="only this source")
    parser.add_argument("--kind", help="only this kind")
    args = parser.parse_args()
    found = [
        c for c in judged(args.cases, args.form) if args.source in (None, c.source) and args.kind in (None, c.kind)
    ]
    by_source: dict[str, list[Case]] = defaultdict(list)
    by_kind: dict[str, list[Case]] = defaultdict(list)
    for case in found:
        by_source[case.source].append(case)
        by_kind[case.kind].append(case)
    print(table("source", by_source) + "\n\n" + table("kind", by_kind))
    wrong = {"correct": "mismatch", "proven": "match", "likely": "match"}
    for said in args.show:
        print(f"\n{said}:")
        for case in found:
            if case.verdict == said and case.expected in (wrong.get(said, case.expected),):
                print(case.line)


if __name__ == "__main__":
    main()
