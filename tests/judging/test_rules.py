"""Single judgements that a case file has no place for: each names the mistake that it keeps away."""

from __future__ import annotations

import pytest

from judging.asking import outcome, question
from mmpr.errors import ConfigError, JudgeError
from mmpr.judging import JudgeOptions, compile_reference, judge, normal_form
from mmpr.types import Outcome

CORRECT, INCORRECT, AMBIGUOUS = Outcome.CORRECT, Outcome.INCORRECT, Outcome.AMBIGUOUS
PETS = ("cat", "dog", "horse")


@pytest.mark.parametrize(
    ("text", "reference", "answer", "expected"),
    [
        ("How many dogs are there?", "2 dogs", "2", CORRECT),
        ("How many dogs are there?", "2 dogs", "two dogs", CORRECT),
        ("How many dogs are there?", "2 dogs", "3", INCORRECT),
        ("Which period is shown?", "1990-2000", "from 1990 to 2000", CORRECT),
        ("Which period is shown?", "1990-2000", "1990-2010", INCORRECT),
        ("What is the value of the expression?", "2x-1", "-1 + 2x", CORRECT),
        ("How many of the 12 eggs are broken?", "3", "3 of the 12 eggs are broken", CORRECT),
        ("What is the area of the 3 by 4 rectangle?", "12", "The area of the 3 by 4 rectangle is 12", CORRECT),
        ("What is the distance?", "15 km", "15,000 m", CORRECT),
        ("What is the temperature?", "20 °C", "68 °F", CORRECT),
        ("What is the temperature?", "20 °C", "20 °F", INCORRECT),
        ("What is the value?", "1/3", "0.33", AMBIGUOUS),
        ("What is the value?", "1/3", "0.4", INCORRECT),
        ("How many?", "1000", "1.000", INCORRECT),
        ("In which quadrant is the point?", "III", "3", CORRECT),
        ("In which quadrant is the point?", "III", "II", INCORRECT),
        ("What is the value of k?", "3", "3x", AMBIGUOUS),
        ("What is the value of k?", "3", "3 - x", AMBIGUOUS),
        ("What is the value of k?", "3", "k = 3", CORRECT),
        ("What is the value of 1 - x?", "1 - x", "1", INCORRECT),
        ("What is the value of 1 - x, where x = 3?", "1 - x", "-2", AMBIGUOUS),
        ("Where is the ball?", "left", "on the left", CORRECT),
        ("Where is the ball?", "left", "right", INCORRECT),
    ],
)
def test_one_answer(text: str, reference: str, answer: str, expected: Outcome) -> None:
    assert outcome(text, reference, answer) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A cat", CORRECT),
        ("a cat", CORRECT),
        ("A dog", INCORRECT),
        ("A and B are wrong, so C", AMBIGUOUS),
        ("A is incorrect", AMBIGUOUS),
        ("A good choice is A", CORRECT),
        ("1", AMBIGUOUS),
        ("not B but A", CORRECT),
    ],
)
def test_one_letter(answer: str, expected: Outcome) -> None:
    assert outcome("Which pet is it?", "A", answer, choices=PETS) is expected


@pytest.mark.parametrize(
    ("choices", "answer", "expected"),
    [
        (("2.5", "25", "0.25"), "25", INCORRECT),
        (("2.5", "25", "0.25"), "2.5", CORRECT),
        (("-1/2", "1/2", "2"), "(A) -1/2", CORRECT),
        (("-1/2", "1/2", "2"), "1/2", INCORRECT),
        (("[-2, 3)", "(-2, 3]", "[-2, 3]"), "[-2, 3)", CORRECT),
        (("[-2, 3)", "(-2, 3]", "[-2, 3]"), "(-2,3]", INCORRECT),
        (("x - 1", "x + 1", "1 - x"), "x-1", CORRECT),
        (("x - 1", "x + 1", "1 - x"), "1 - x", INCORRECT),
        (("3:4", "4:3", "3:7"), "6:8", CORRECT),
        (("10:15", "10:50", "1:50"), "a quarter past ten", CORRECT),
    ],
)
def test_options_of_numbers_are_compared_as_numbers(choices: tuple[str, ...], answer: str, expected: Outcome) -> None:
    assert outcome("Which value does the clock or figure show?", "A", answer, choices=choices) is expected


def test_options_in_the_question_are_read() -> None:
    asked = "What is it?\nA. cat\nB. dog\nC. horse"
    assert outcome(asked, "B", "dog") is CORRECT
    assert outcome(asked, "B", "B. dog") is CORRECT
    assert outcome(asked, "B", "horse") is INCORRECT


def test_several_letters_where_the_truth_has_several() -> None:
    assert outcome("Which are pets?", "AC", "A and C", choices=PETS) is CORRECT
    assert outcome("Which are pets?", "AC", "A", choices=PETS) is INCORRECT


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("choice", "Water"), ("number", "many"), ("date", "soon"), ("box", "[1, 2]"), ("interval", "wide"), ("poem", "x")],
)
def test_a_truth_that_is_none_of_its_kind_is_an_error_of_the_source(kind: str, reference: str) -> None:
    asked = question("What is it?", reference, choices=PETS, kind=kind)
    with pytest.raises(JudgeError):
        compile_reference(asked)
    assert judge(asked, "Final answer: 1").outcome is Outcome.ERROR


def test_a_question_without_an_answer_cannot_be_judged() -> None:
    with pytest.raises(JudgeError):
        compile_reference(question("What is it?"))


@pytest.mark.parametrize(
    "stated",
    [
        {"answer_kind": "poem"},
        {"format": "loud"},
        {"box_format": "abcd"},
        {"box_iou": 0.0},
        {"relative_tolerance": 1.5},
    ],
)
def test_a_wrong_option_is_refused(stated: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        JudgeOptions(**stated)  # type: ignore[arg-type]


def test_a_row_s_own_kind_wins_over_the_source_s() -> None:
    asked = question("What is it?", "12", kind="ocr")
    assert judge(asked, "Final answer: 12.0", options=JudgeOptions(answer_kind="number")).outcome is INCORRECT
    assert judge(question("What is it?", "12"), "Final answer: 12.0").outcome is CORRECT


def test_years_on_an_axis_have_no_tolerance() -> None:
    assert outcome("Which label has the tallest bar?", "2016", "2015", relative_tolerance=0.05) is INCORRECT


@pytest.mark.parametrize(
    ("form", "box"), [("xywh", "[10, 20, 30, 40]"), ("cxcywh", "[25, 40, 30, 40]"), ("xyxy", "[10, 20, 40, 60]")]
)
def test_the_source_states_the_form_of_its_boxes(form: str, box: str) -> None:
    assert outcome("Where is the dog?", box, box, box_format=form, answer_kind="box") is CORRECT
    assert outcome("Where is the dog?", box, "[110, 120, 130, 140]", box_format=form, answer_kind="box") is INCORRECT


@pytest.mark.parametrize(
    ("reference", "one", "other"),
    [("15 cm", "150 mm", "0.15 m"), ("12", "12", "twelve"), ("8", "6", "6.0"), ("cat", "a dog", "The dog.")],
)
def test_what_means_the_same_has_one_normal_form(reference: str, one: str, other: str) -> None:
    asked = question("What is it?", reference)
    assert normal_form(asked, one) == normal_form(asked, other)
    assert normal_form(asked, one) != normal_form(asked, "something else")
