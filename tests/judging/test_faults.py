"""Faults 1 to 11 of the original pipeline's checks, each once more: here they do not happen."""

from __future__ import annotations

import pytest

from judging.asking import outcome, question, verdict
from mmpr.judging import JudgeOptions, judge, normal_form
from mmpr.types import Outcome

AMBIGUOUS, CORRECT, INCORRECT = Outcome.AMBIGUOUS, Outcome.CORRECT, Outcome.INCORRECT
UNPARSED = Outcome.UNPARSED
GASES = ("Oxygen", "Carbon dioxide", "Nitrogen", "Hydrogen")


def test_fault_1_not_available_is_not_42_and_colour_is_color() -> None:
    assert outcome("How many are there?", "42", "Not available") is AMBIGUOUS  # a refusal is no proof
    assert outcome("What is shown?", "color", "colour") is CORRECT


@pytest.mark.parametrize(
    ("text", "reference", "answer"),
    [
        ("What is the value?", "-5", "5"),
        ("What is the value?", "5", "-5"),
        ("Simplify.", "x+1", "x-1"),
        ("Write the domain in interval notation.", "[-2,3)", "(-2,3]"),
        ("What is the answer?", "3/4", "34"),
    ],
)
def test_fault_2_signs_brackets_and_fractions_are_not_deleted(text: str, reference: str, answer: str) -> None:
    assert outcome(text, reference, answer) is INCORRECT


def test_fault_2_none_is_zero_where_the_question_counts_and_nowhere_else() -> None:
    assert outcome("How many cars are there?", "0", "none") is CORRECT
    assert outcome("How many cars are there?", "0", "There are no cars.") is CORRECT
    assert outcome("How many cars are there?", "3", "none") is INCORRECT
    assert outcome("What is the value of x?", "0", "none") is not CORRECT
    assert outcome("Is there a car?", "no", "none") is not CORRECT


@pytest.mark.parametrize("year", ["2014", "2015", "2017", "1950", "1916"])
@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_fault_3_years_have_no_tolerance(year: str, tolerance: float | None) -> None:
    assert outcome("In which year was the peak?", "2016", year, relative_tolerance=tolerance) is INCORRECT


def test_fault_3_counts_have_no_tolerance_and_measures_only_where_stated() -> None:
    assert outcome("How many people are there?", "100", "101", relative_tolerance=0.05) is INCORRECT
    assert outcome("What is the height of the bar?", "200", "195") is INCORRECT
    assert outcome("What is the height of the bar?", "200", "195", relative_tolerance=0.05) is CORRECT


@pytest.mark.parametrize("answer", ["15 kg", "15%", "15°", "€15", "15 m"])
def test_fault_4_units_percent_degrees_and_currency_count(answer: str) -> None:
    assert outcome("How long is the pencil?", "15 mm", answer) is INCORRECT


def test_fault_5_a_number_that_begins_like_a_choice_is_none() -> None:
    assert outcome("How many?", "3", "3.14") is INCORRECT
    assert outcome("Which?", "A", "3.14", choices=("3", "3.14", "31")) is INCORRECT


@pytest.mark.parametrize("answer", ["B) Carbon dioxide", "Option B", r"\boxed{B}", "Carbon dioxide", "carbon dioxide."])
def test_fault_5_letters_and_texts_of_options_are_known(answer: str) -> None:
    assert outcome("Which gas?", "B", answer, choices=GASES) is CORRECT


@pytest.mark.parametrize(
    "response",
    [
        "**Final Answer**: 5",
        "FINAL ANSWER: 5",
        "Final answer：5",
        "Final answer: 5\n\nI hope this helps!",
        "## Final Answer\n5",
    ],
)
def test_fault_6_every_dress_of_the_trigger_is_read(response: str) -> None:
    assert judge(question("How many triangles are there?", "5"), response).outcome is CORRECT


def test_fault_7_without_a_box_nothing_is_searched_for_a_number() -> None:
    asked = question("How many triangles are there?", "5")
    assert judge(asked, "I count 5 triangles.").outcome is UNPARSED
    found = judge(asked, "I count 5.\nFinal answer: 5", options=JudgeOptions(format="boxed"))
    assert (found.outcome, found.off_format) == (CORRECT, True)


def test_fault_8_the_verdict_is_on_the_text_as_it_is() -> None:
    response = "The sum is 11, no, 12.\n\nFinal answer: 11"
    found = judge(question("What is the sum?", "12"), response)
    assert (found.outcome, found.answer) == (INCORRECT, "11")


@pytest.mark.parametrize(("reference", "answer"), [("1", "12"), ("No", "Nobody"), ("one", "none"), ("12", "1")])
def test_fault_9_normal_forms_differ_where_answers_do_though_one_holds_the_other(reference: str, answer: str) -> None:
    asked = question("What is it?", reference)
    assert normal_form(asked, reference) != normal_form(asked, answer)


@pytest.mark.parametrize("reference", ["No", "one", "N", "E"])
def test_fault_9_a_response_without_an_answer_carries_no_answer_at_all(reference: str) -> None:
    found = judge(question("Which one is it?", reference), "I am not done yet")
    assert (found.outcome, found.answer) == (UNPARSED, None)


def test_fault_10_the_truth_decides_the_kind_and_lists_stay_lists() -> None:
    asked = question("What is the name of this company?", "Apple", "Apple Inc.")
    assert judge(asked, "Final answer: Apple Inc").outcome is CORRECT
    assert judge(asked, "Final answer: ['Apple', 'Apple Inc.']").outcome is not CORRECT
    assert verdict("How many?", "12", "12").rule == verdict("how many?", "12", "12").rule


@pytest.mark.parametrize(
    ("text", "reference", "answer"),
    [
        ("What animal is it?", "cat", "umbrella"),
        ("What is the weight?", "15 kg", "15 mm"),
        ("What is the value of x?", "x-1", "x+1"),
    ],
)
def test_fault_11_one_comparator_decides_and_leniency_never_adds_up(text: str, reference: str, answer: str) -> None:
    assert outcome(text, reference, answer) is INCORRECT


def test_fault_11_several_candidates_are_wrong_only_where_every_one_is() -> None:
    assert outcome("How many?", "12", "12 or 13") is AMBIGUOUS
    assert outcome("How many?", "12", "13 or 14") is INCORRECT


def test_a_kind_of_the_reference_is_neither_right_nor_wrong() -> None:
    assert outcome("What animal is it?", "cat", "bobcat") is AMBIGUOUS
