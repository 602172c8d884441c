"""Short ways to ask the judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmpr.judging import JudgeOptions, judge
from mmpr.types import Outcome, Question, Verdict


def question(text: str, *answer: str, choices: Sequence[str] = (), kind: str | None = None) -> Question:
    """A question with its accepted answers."""
    return Question(id="q", source="test", row=0, text=text, answer=answer, choices=tuple(choices), answer_kind=kind)


def verdict(text: str, reference: str, answer: str, *, choices: Sequence[str] = (), **options: Any) -> Verdict:
    """What a final answer is worth."""
    return judge(question(text, reference, choices=choices), f"Final answer: {answer}", options=JudgeOptions(**options))


def outcome(text: str, reference: str, answer: str, *, choices: Sequence[str] = (), **options: Any) -> Outcome:
    """The outcome alone."""
    return verdict(text, reference, answer, choices=choices, **options).outcome
