"""Judge finished runs again with this judge and with that of another checkout, and compare verdicts and pairs.

    python benchmarks/bench_rejudge.py runs/demo runs/mine --other ../mmpr-of-last-month

The table has one line for each source and judge: the responses that are right, proven wrong, likely wrong and undecided
(those without an answer count as undecided); the questions with a right and a proven wrong response; and the tokens per
such pair, which are all sampled tokens divided by the number of pairs, where each response is used once. For a judge
without certainties, everything that it calls incorrect counts as proven. After the table, every verdict is listed that
is right for one judge and wrong for the other: a person should read these. Only sampled responses to questions with a
reference answer count. The runs are not changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent.parent
# Runs in either checkout: reads one question per line, writes one list of (outcome, certainty) per line.
CHILD = """
import json, sys
try:
    from mmpr.judging import Judge
except ImportError:
    from mmpr.judge import Judge
from mmpr.types import Question
with Judge() as judge:
    for line in sys.stdin:
        row = json.loads(line)
        asked = Question(row["id"], row["source"], 0, row["text"], choices=tuple(row["choices"]),
                         answer=tuple(row["answer"]), answer_kind=row["answer_kind"])
        found = judge.judge_all(asked, row["responses"])
        print(json.dumps([[str(v.outcome), str(getattr(v, "certainty", None) or "proven")] for v in found]))
"""


@dataclass(frozen=True)
class Asked:
    """A question of a run, its sampled responses and their numbers of tokens."""

    line: dict[str, object]
    responses: list[str]
    tokens: list[int]


def read_run(folder: Path) -> list[Asked]:
    """Return all questions of a run that have a reference answer and sampled responses."""
    sampled: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for file in sorted((folder / "responses").rglob("*.parquet")):
        for row in pq.read_table(file, columns=["question_id", "source", "stage", "text", "n_tokens"]).to_pylist():
            if row["stage"] == "sample":
                sampled[row["source"], row["question_id"]].append((row["text"], row["n_tokens"]))
    found = []
    for file in sorted((folder / "questions").rglob("*.parquet")):
        columns = ["id", "source", "text", "choices", "answer", "answer_kind"]
        for row in pq.read_table(file, columns=columns).to_pylist():
            given = sampled.get((row["source"], row["id"]), [])
            if row["answer"] and given:
                line = {**row, "choices": row["choices"] or [], "responses": [text for text, _ in given]}
                found.append(Asked(line, line["responses"], [tokens for _, tokens in given]))
    return found


def judged(asked: list[Asked], root: Path) -> list[list[str]]:
    """Return `right`, `proven`, `likely` or `undecided` for every response, from the judge of a checkout."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(json.dumps(one.line) for one in asked),
        env={**os.environ, "PYTHONPATH": str(root.resolve())},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    words = {"correct": "right", "incorrect": ""}
    return [
        [words.get(outcome, "undecided") or certainty for outcome, certainty in json.loads(line)]
        for line in done.stdout.splitlines()
    ]


def table(asked: list[Asked], verdicts: dict[str, list[list[str]]]) -> str:
    """Return the table: one line for each source and judge."""
    sources = sorted({str(one.line["source"]) for one in asked})
    lines = [f"{'source':<26}{'judge':<8}" + "".join(f"{name:>11}" for name in (*COLUMNS, "paired", "tokens/pair"))]
    for source in [*sources, "all"]:
        for name, found in verdicts.items():
            chosen = [(a, v) for a, v in zip(asked, found, strict=True) if source in ("all", a.line["source"])]
            counts = Counter(verdict for _, row in chosen for verdict in row)
            pairs = [min(row.count("right"), row.count("proven")) for _, row in chosen]
            tokens = sum(sum(one.tokens) for one, _ in chosen)
            cost = f"{tokens / sum(pairs):,.0f}" if sum(pairs) else "-"
            cells = [*(counts[column] for column in COLUMNS), sum(pair > 0 for pair in pairs), cost]
            lines.append(f"{source[-25:]:<26}{name:<8}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


COLUMNS = ("right", "proven", "likely", "undecided")


def turned(asked: list[Asked], before: list[list[str]], after: list[list[str]]) -> list[str]:
    """Return the responses that one judge calls right and the other wrong, as lines."""
    return [
        f"{was} -> {now}: {one.line['answer']} of {one.line['choices']} <- {text[-100:]!r}"
        for one, olds, news in zip(asked, before, after, strict=True)
        for text, was, now in zip(one.responses, olds, news, strict=True)
        if "right" in (was, now) and was != now and "undecided" not in (was, now)
    ]


def main() -> None:
    """Read the runs, judge them twice, print the table and the changed verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--other", type=Path, required=True, help="another checkout of mmpr, judged with as `before`")
    given = parser.parse_args()
    asked = [one for run in given.runs for one in read_run(run)]
    verdicts = {"before": judged(asked, given.other), "now": judged(asked, HERE)}
    print(table(asked, verdicts))
    found = turned(asked, verdicts["before"], verdicts["now"])
    print(f"\nright and wrong turned: {len(found)}")
    for line in found[:40]:
        print(line)


if __name__ == "__main__":
    main()
