"""Deep and long input at every entry, response, question, reference and option, ends in a verdict and never raises."""

from __future__ import annotations

import pytest

from judging.asking import question
from mmpr.judging import judge
from mmpr.types import Outcome

UNITS = [
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
