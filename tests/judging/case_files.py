"""The case files, read once a session: rows as questions, and what is expected of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mmpr.judging import JudgeOptions
from mmpr.types import Outcome, Question

CASES = Path(__file__).parent.parent / "cases"
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
_EXPECTED = {"match": Outcome.CORRECT, "mismatch": Outcome.INCORRECT, "format": Outcome.UNPARSED}


class Case(NamedTuple):
    """One row; `may_abstain` where a careful person could differ from the label."""

    name: str
    kind: str
    question: Question
    response: str
    expected: Outcome
    may_abstain: bool


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of one file."""
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def question_of(row: dict[str, Any]) -> Question:
    """The question of a row; `answer` is one text or a list."""
    answer = row["answer"]
    return Question(
        id=row.get("id", "case"),
        source="cases",
        row=0,
        text=row["question"],
        choices=tuple(row.get("choices") or ()),
        answer=(answer,) if isinstance(answer, str) else tuple(answer),
        answer_kind=row.get("answer_kind"),
        minority_answers=tuple(row.get("minority") or ()),
    )


def cases(*names: str) -> list[Case]:
    """Every case of the files, all by default."""
    return [
        Case(
            row["id"],
            row["kind"],
            question_of(row),
            row["response"],
            _EXPECTED[row["expected"]],
            row["note"].startswith("abstain-ok"),
        )
        for name in names or FILES
        for row in rows(name)
    ]


def options_of(row: dict[str, Any]) -> JudgeOptions:
    """The options of a rule's example."""
    return JudgeOptions(**row.get("options", {}))
