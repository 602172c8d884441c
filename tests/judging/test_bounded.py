"""Deep and long input at every entry, response, question, reference and option, ends in a verdict and never raises."""

from __future__ import annotations

import time

import pytest

from judging.asking import question
from mmpr.judging import Judge, JudgeOptions, judge
from mmpr.judging.judge_session import judge_compiled
from mmpr.judging.option_lists import KINDS
from mmpr.judging.reference import compile_reference
from mmpr.judging.symbolic import TimeLimit
from mmpr.types import Outcome

UNITS = [
    "π①",
    "√",
    "\\sqrt",
    "\\sin \\frac",
    "((((",
    "万",
    "一百亿",
    '_ * " ',
    "_",
    "-",
    "1/",
    "<answer>",
    "A or B ",
    "7,",
    "x^",
    "{",
    "a ",
]
REFERENCES = ["12", "15 cm", "2x^2 - 1", "(1, 2)", "2, 5, 11", "March 4, 2015", "yes", "AB-12-34", "大熊猫", "[-2, 3)"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_long_response_ends_in_a_verdict_that_is_not_correct(unit: str) -> None:
    for reference in REFERENCES:
        for size in (1_900, 1_000_000):
            response = "The answer\n\nFinal answer: " + unit * (size // len(unit))
            assert judge(question("What is it?", reference), response).outcome is not Outcome.CORRECT


@pytest.mark.parametrize("unit", UNITS)
def test_a_long_reference_question_or_option_ends_in_a_verdict(unit: str) -> None:
    text, long = unit * (1_900 // len(unit)), unit * (50_000 // len(unit))
    asked = [
        question("What is it?", text),
        question("List all.", text),
        question(f"{long}?", "12"),
        question(f"{long}?", "B", choices=(text, "dog", long)),
    ]
    for one in asked:
        assert judge(one, f"Final answer: {text[:500]}").outcome in Outcome
        assert judge(one, "Final answer: 13").outcome in Outcome


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_references_or_options_ends_in_a_verdict(unit: str) -> None:
    texts = tuple(f"{unit * (1_900 // len(unit))}{i}" for i in range(500))
    for one in (question("What is it?", *texts), question("What is it?", "B", choices=texts)):
        assert judge(one, f"Final answer: {texts[0][:500]}").outcome in Outcome


def test_every_kind_ends_in_a_verdict_over_references_of_many_parts() -> None:
    for kind in KINDS:
        for text in (
            ", ".join("abcdefghijklmnopqrstuvwxyz0123456789"),
            "; ".join(f"x{i}: {i}" for i in range(40)),
            "亿" * 900,
        ):
            for response in (f"Final answer: {text}", "Final answer: 3"):
                assert (
                    judge(question("What?", text), response, options=JudgeOptions(answer_kind=kind)).outcome in Outcome
                )


class Slow:
    """A second opinion that takes a third of a second over everything and cannot say."""

    def __init__(self) -> None:
        self.asked = 0

    def equal(self, reference: str, answer: str) -> bool | None:
        self.asked += 1
        time.sleep(0.3)
        return None


def test_all_references_and_both_readings_of_a_response_share_one_budget() -> None:
    asked = question("Simplify.", *(f"\\sum_{{k=1}}^{{n}} k^{i}" for i in range(9)))
    slow = Slow()
    judge_compiled(compile_reference(asked), "Final answer: \\sum_{j=1}^{n} j, because that is \\sum j.", opinion=slow)
    assert 1 <= slow.asked <= 3


class Late:
    """A second opinion that always takes too long."""

    asked = 0

    def equal(self, reference: str, answer: str) -> bool | None:
        self.asked += 1
        raise TimeLimit("too long")


def test_what_took_too_long_once_is_not_asked_again() -> None:
    late = Late()
    with Judge(opinion=late) as one:
        found = one.judge_all(question("Simplify.", "\\sum_{k=1}^{n} k"), ["Final answer: \\sum_{j=1}^{n} j"] * 5)
    assert {verdict.rule for verdict in found} == {"error-time-limit"} and late.asked == 1
