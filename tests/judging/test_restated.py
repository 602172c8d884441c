"""A response without an answer line: its closing sentence counts where it says the question's own words."""

from __future__ import annotations

import pytest

from judging.asking import question
from mmpr.judging import judge
from mmpr.types import Outcome

STEPS = "Each side is 4 m, and a square has 4 sides.\n\n"
SQUARE = "The square has sides of 4 m. What is the perimeter of the square?"


@pytest.mark.parametrize(
    ("text", "reference", "response", "expected"),
    [
        (SQUARE, "16", STEPS + "The perimeter of the square is 16 m.", Outcome.CORRECT),
        (SQUARE, "16", STEPS + "The perimeter of the square is 4 m + 4 m + 4 m + 4 m = **16 m**.", Outcome.CORRECT),
        (SQUARE, "16", STEPS + "The perimeter of the square is 15 m. I hope this helps!", Outcome.INCORRECT),
        ("There are (_) dots in each group.", "3", "9 ÷ 3 = 3\n\nThere are 3 dots in each group.", Outcome.CORRECT),
        # given by the question, said of something else, doubted, denied, or several
        (SQUARE, "4", STEPS + "The square has sides of 4 m.", Outcome.UNPARSED),
        (SQUARE, "16", STEPS + "The area of the circle is 16.", Outcome.UNPARSED),
        (SQUARE, "16", STEPS + "The perimeter of the square might be 16 m.", Outcome.UNPARSED),
        (SQUARE, "16", STEPS + "The perimeter of the square is not 16 m.", Outcome.UNPARSED),
        (SQUARE, "16", STEPS + "The perimeter of the square is 15 or 16.", Outcome.UNPARSED),
        (SQUARE, "16", STEPS + "First I add 4 and 4.", Outcome.UNPARSED),
        # a step of the way is no wrong answer
        ("What is the area of the square outside the circle?", "3", "The area of the square is 9.", Outcome.UNPARSED),
    ],
)
def test_a_closing_sentence(text: str, reference: str, response: str, expected: Outcome) -> None:
    found = judge(question(text, reference), response)
    assert found.outcome is expected
    assert found.off_format is (expected is not Outcome.UNPARSED)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("The designer of the chair is Dutch.", Outcome.CORRECT),
        ("The designer of the chair is German.", Outcome.INCORRECT),
        ("The designer of the chair is not Dutch.", Outcome.UNPARSED),
        ("The designer of the chair is Dutch or German.", Outcome.UNPARSED),
        ("Many Dutch people like this chair.", Outcome.UNPARSED),
    ],
)
def test_a_lone_sentence_that_ends_in_an_option(response: str, expected: Outcome) -> None:
    asked = question("Who designed the chair?", "B", choices=("American", "Dutch", "German"))
    assert judge(asked, response).outcome is expected
