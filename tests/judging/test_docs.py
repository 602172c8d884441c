"""Every rule has an example accepted and one rejected, and `docs/judge.md` shows just these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from judging.case_files import options_of, question_of, rows
from judging.rule_table import table
from mmpr.judging import judge
from mmpr.judging.rules import Rule
from mmpr.types import Outcome

EXAMPLES = rows("rule_examples.jsonl")
# What one response cannot show: annotators, a worker that reads or hangs, a fault of ours (see test_hostile.py).
OF_THE_WORKER = {Rule.SECOND_OPINION, Rule.TIME_LIMIT, Rule.INTERNAL}


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["rule"])
def test_the_accepted_example_is_correct(row: dict[str, Any]) -> None:
    if row["accepted"] is not None:
        assert judge(question_of(row), row["accepted"], options=options_of(row)).outcome is Outcome.CORRECT


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["rule"])
def test_the_rejected_example_is_decided_by_its_rule(row: dict[str, Any]) -> None:
    if row["rejected"] is None:
        return
    verdict = judge(question_of(row), row["rejected"], options=options_of(row))
    assert verdict.outcome is not Outcome.CORRECT
    if row["rule"] not in (Rule.EXACT, Rule.NUMBER_TOLERANCE):  # they only accept
        assert verdict.rule == row["rule"]


def test_every_rule_has_an_example() -> None:
    assert {row["rule"] for row in EXAMPLES} == set(Rule) - OF_THE_WORKER


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
    assert table() in page, "run PYTHONPATH=tests python -m judge.rule_table"


def test_the_page_names_the_rules_of_the_worker() -> None:
    page = (Path(__file__).parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
    assert all(f"`{rule}`" in page for rule in OF_THE_WORKER)
