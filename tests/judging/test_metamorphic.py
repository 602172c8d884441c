"""What must not change a verdict, and what must: properties over the case files and over any text."""

from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judging.asking import outcome, question
from judging.case_files import Case, cases
from mmpr.errors import JudgeError
from mmpr.judging import judge
from mmpr.types import Outcome, Question

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PLAIN = [
    case
    for case in cases("judge_cases.jsonl")
    if case.expected is not Outcome.UNPARSED
    and case.kind not in ("extraction", "format")
    and "答案" not in case.response
]
WIDE = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in string.digits + string.ascii_letters + "()=+%"})


def answer_of(case: Case) -> str:
    return case.response.rsplit("Final answer: ", 1)[1]


def redressed(case: Case, response: str) -> None:
    assert judge(case.question, response).outcome is judge(case.question, case.response).outcome, response


@QUICK
@given(
    st.sampled_from(PLAIN),
    st.sampled_from(["**Final answer:** {}", "**Final answer: {}**", "### Final Answer\n{}", "> Final answer: {}"]),
)
def test_markdown_changes_nothing(case: Case, form: str) -> None:
    redressed(case, "Let me see.\n\n" + form.format(answer_of(case)))


@QUICK
@given(st.sampled_from(PLAIN), st.sampled_from(["  {}", "{}   ", "\t{} ", "\n\n{}\n\n"]))
def test_blanks_change_nothing(case: Case, form: str) -> None:
    redressed(case, "Final answer: " + form.format(answer_of(case)))


@QUICK
@given(st.sampled_from([case for case in PLAIN if "\\" not in case.response and "@" not in case.response]))
def test_full_width_characters_change_nothing(case: Case) -> None:
    redressed(case, "Final answer: " + answer_of(case).translate(WIDE))


@QUICK
@given(st.sampled_from([case for case in PLAIN if not answer_of(case).endswith((".", "?", "!"))]))
def test_a_trailing_dot_changes_nothing(case: Case) -> None:
    redressed(case, f"Final answer: {answer_of(case)}.")


@QUICK
@given(st.sampled_from(PLAIN), st.integers(1, 40))
def test_longer_reasoning_changes_nothing(case: Case, times: int) -> None:
    filler = "At first the result might be 12 or (B), but this has to be checked: 3 + 4 = 7. "
    redressed(case, filler * times + "\n\n" + case.response)


REFERENCES = [
    (case.question, text)
    for case in cases("judge_cases.jsonl", "lookalikes.jsonl")
    for text in case.question.answer or ()
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REFERENCES))
def test_every_truth_matches_itself(pair: tuple[Question, str]) -> None:
    asked, text = pair
    assert judge(asked, f"Final answer: {text}").outcome is Outcome.CORRECT


@QUICK
@given(st.integers(-(10**9), 10**9), st.integers(0, 8))
def test_a_changed_digit_or_sign_is_wrong(number: int, place: int) -> None:
    digits = str(abs(number))
    place %= len(digits)
    changed = digits[:place] + str((int(digits[place]) + 1) % 10) + digits[place + 1 :]
    assert outcome("What is the result?", str(number), ("-" if number < 0 else "") + changed) is Outcome.INCORRECT
    if number:
        assert outcome("What is the result?", str(number), str(-number)) is Outcome.INCORRECT


UNITS = ("mm", "cm", "m", "km", "kg", "g", "s", "N", "J", "W", "V", "mL", "L", "km/h", "m/s", "cm^2", "°C")


@QUICK
@given(st.integers(2, 9999), st.permutations(UNITS))
def test_another_unit_is_wrong_and_the_same_is_right(number: int, units: list[str]) -> None:
    reference, other = f"{number} {units[0]}", f"{number} {units[1]}"
    assert outcome("What is measured?", reference, reference) is Outcome.CORRECT
    assert outcome("What is measured?", reference, other) is Outcome.INCORRECT


@QUICK
@given(st.integers(-99, 99), st.integers(1, 99), st.permutations(["[]", "[)", "(]", "()"]))
def test_another_bracket_is_wrong(low: int, width: int, brackets: list[str]) -> None:
    reference, other = (f"{pair[0]}{low}, {low + width}{pair[1]}" for pair in brackets[:2])
    asked = "Write the domain in interval notation."
    assert outcome(asked, reference, reference) is Outcome.CORRECT
    assert outcome(asked, reference, other) is Outcome.INCORRECT


@QUICK
@given(st.integers(1, 200), st.integers(2, 200), st.integers(1, 12))
def test_a_fraction_is_itself_unreduced_and_never_inverted(top: int, bottom: int, factor: int) -> None:
    asked, reference = "What fraction is shaded?", f"{top}/{bottom}"
    assert outcome(asked, reference, rf"\frac{{{top * factor}}}{{{bottom * factor}}}") is Outcome.CORRECT
    if top != bottom:
        assert outcome(asked, reference, f"{bottom}/{top}") is Outcome.INCORRECT


QUESTIONS = [
    question("How many?", "12"),
    question("How long is it?", "15 cm"),
    question("Which?", "B", choices=("cat", "dog", "I only", "5 cm")),
    question("Is it so?", "yes"),
    question("When was it?", "March 4, 2015"),
    question("What time is it?", "3:15"),
    question("What is the ratio?", "2:3"),
    question("Where is the vertex?", "(1, 2)"),
    question("Write the domain in interval notation.", "[-2, 3)"),
    question("List the primes.", "2, 5, 11"),
    question("Simplify.", "2x^2 - 1"),
    question("Write the equation of the line.", "y = 2x - 1"),
    question("What is the serial number?", "AB-12-34"),
    question("What is it?", "大熊猫"),
    question("Give the bounding box [x1, y1, x2, y2].", "[1, 2, 3, 4]"),
    question("(a) How many cats? (b) How many dogs?", "(a) 3 (b) 5"),
    question("In which quadrant is it?", "III"),
    question("In which year?", "2016"),
]
SCRAPS = st.text(
    alphabet=st.one_of(
        st.sampled_from("0123456789.,:;-+*/^=()[]{}<>|\\$%°\"' \n_#`~!?&@πABIVXabxy是不或零十百万年月日点分"),
        st.characters(),
    ),
    max_size=60,
)


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.answer[0])
@settings(max_examples=40, deadline=None)
@given(text=SCRAPS)
def test_no_string_makes_the_judge_raise(asked: Question, text: str) -> None:
    assert judge(asked, text).outcome in Outcome
    assert judge(asked, f"Final answer: {text}").outcome in Outcome


@settings(max_examples=200, deadline=None)
@given(
    reference=SCRAPS,
    asked=st.sampled_from(["How many?", "What is the ratio?", "In which year?", "List all.", "哪一年？"]),
)
def test_no_truth_makes_the_judge_raise_anything_but_its_own_error(reference: str, asked: str) -> None:
    try:
        found = judge(question(asked, reference), f"Final answer: {reference}")
    except JudgeError:
        pytest.fail("judge turns a bad truth into an error verdict")
    assert found.outcome in Outcome
