"""Answers as vision models write them: units that the question names, lists over several lines, sentences, labels."""

from __future__ import annotations

import pytest

from judging.asking import question
from mmpr.judging import JudgeOptions, judge
from mmpr.types import Certainty, Outcome

ANY = JudgeOptions(format="any")
# question | reference | equal to it | proven different | neither
FORMS = r"""
How many minutes does it take? | 75 | 75 minutes ; 75 min ; 1 hour 15 minutes | 75 hours ; 57 minutes | about 75 cats
How many more hours did it last? | 3 | 3 hours ; 180 minutes | 3 minutes | 3 kg or more
How many bars are there? | 4 | 4 bars ; four | 5 bars | 4 kg or 4 bars
What is the charge of the ion? | +2 | 2+ ; +2 ; positive 2 | 2- ; -2 ; 3+ | at least 2+
How long is the arc? | \frac{8\pi}{3} | 2\frac{2}{3}\pi ; \frac{8}{3}\pi | 3\frac{2}{3}\pi | about 8
What are the prime factors? | 2, 3, 5 | 2, 3 and 5 ; 5, 3, 2 | 2, 3, 7 | 2 × 3 × 5
How many apples are there? | 7 | 7 (3 red, 4 green) ; There are 7. | 6 (3 red and 3 green) ; 8-9 ; 1-2 | 6-8 ; 7-8
What share prefers tea? | 34% | 34 percent | 43% ; 40-45% | 34-35% ; 30-40%
What is the address? | 12 Park Avenue, Rye | 12 PARK AVENUE, RYE | 21 Park Avenue, Rye | 12 Park Ave, Rye
What is the fiscal year on the document? | 1998-99 | 1998-99 ; FY 1998-99 | 1997-98 | 1998-1999
What is the URL? | www.cdc.gov/flu | https://www.cdc.gov/flu/ ; [www.cdc.gov/flu](https://cdc.gov) | www.nih.gov |
What is the phone number? | (919) 541-2734 | Tel: 919-541-2734 ; +1 919 541 2734 | (919) 541-2743 | 541-2734
What is the zip code? | 02139 | 02139 | 2139 |
招牌上写的是什么？ | 兰州拉面 | 兰州拉面 | 沙县小吃 | 蘭州拉麵
Is A taller than B? | yes | A is taller than B. ; A is taller. | A is not taller. | B is taller than A. ; B is taller.
Is the left dog bigger? | no | The left dog is not bigger. | The left dog is bigger. | The bigger is the left.
Is the door open? | no | The door is closed. ; It is closed. | The door is open. | The door is ajar.
Are all the cats asleep? | yes | All the cats are asleep. |  | The cats are asleep.
"""
ROWS = [[part.strip() for part in line.split(" |")] for line in FORMS.strip().splitlines()]
STATED = ("Final answer: {}", "Let me see.\n\n**Answer:** {}", "### Final Answer\n\n{}")


@pytest.mark.parametrize(("text", "reference", "same", "other", "neither"), ROWS)
@pytest.mark.parametrize("form", STATED)
def test_an_answer_as_it_is_written(form: str, text: str, reference: str, same: str, other: str, neither: str) -> None:
    for answers, wanted in ((same, Outcome.CORRECT), (other, Outcome.INCORRECT), (neither, Outcome.AMBIGUOUS)):
        for answer in filter(None, answers.split(" ; ")):
            said = judge(question(text, reference), form.format(answer), options=ANY)
            assert said.outcome is wanted, (answer, said)
            assert said.certainty is (Certainty.PROVEN if wanted is Outcome.INCORRECT else None), (answer, said)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("- Blue\n- White\n- Red", Outcome.CORRECT),
        ("1. Red\n2. White\n3. Blue", Outcome.CORRECT),
        ("\n1. **Red**\n2. **White**\n3. **Blue**\n\nThese are the colours.", Outcome.CORRECT),
        ("- Blue\n- White\n- Green", Outcome.INCORRECT),
        ("- Blue\n- White", Outcome.INCORRECT),
    ],
)
def test_a_list_of_several_lines_is_one_answer(written: str, expected: Outcome) -> None:
    asked = question("Which colors are on the flag?", "red, white, blue")
    assert judge(asked, f"Final answer: {written}").outcome is expected


@pytest.mark.parametrize("written", ["{}", "Let me see.\n\nFinal answer: {}"])
@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [("14", "10", Outcome.CORRECT), ("10", "14", Outcome.INCORRECT)],
)
def test_the_box_after_a_but_counts(written: str, first: str, last: str, expected: Outcome) -> None:
    said = f"I first had \\boxed{{{first}}}, but that is the sum. The right value is \\boxed{{{last}}}."
    assert judge(question("What is x?", "10"), written.format(said)).outcome is expected


SEVERAL = ("grasshopper", "hawk", "rabbit", "grass", "mouse")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A, C, E", Outcome.CORRECT),
        ("A/C/E", Outcome.CORRECT),
        ("A. grasshopper, C. rabbit, E. mouse", Outcome.CORRECT),
        ("A. grasshopper\nC. rabbit\nE. mouse", Outcome.CORRECT),
        ("\n**A. grasshopper**\n**C. rabbit**\n**E. mouse**", Outcome.CORRECT),
        ("mouse, grasshopper and rabbit", Outcome.CORRECT),
        ("A, C, E (grasshopper, rabbit, mouse)", Outcome.CORRECT),
        ("A, C, E (grasshopper, rabbit, hawk)", Outcome.AMBIGUOUS),
        ("A. grasshopper, C. hawk, E. mouse", Outcome.AMBIGUOUS),
        ("A. grasshopper, B. hawk", Outcome.INCORRECT),
        ("grasshopper and rabbit", Outcome.INCORRECT),
        ("A, C, and possibly E", Outcome.AMBIGUOUS),
        ("A or C", Outcome.AMBIGUOUS),
    ],
)
def test_several_options_by_letter_by_text_and_by_line(answer: str, expected: Outcome) -> None:
    asked = question("Which eat plants? Select all that apply.", "A, C, E", choices=SEVERAL)
    assert judge(asked, f"Final answer: {answer}").outcome is expected


CITIES = ("Sydney", "Melbourne", "Canberra")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A. Sydney is the largest, but the capital is C. Canberra", Outcome.AMBIGUOUS),
        ("A is the largest, but the answer is Canberra", Outcome.AMBIGUOUS),
        ("C. Canberra, not Sydney", Outcome.CORRECT),
        ("A. Sydney\nB. Melbourne: no", Outcome.AMBIGUOUS),
        ("C. Canberra\nA. Sydney: no", Outcome.CORRECT),
    ],
)
def test_what_follows_a_but_may_be_the_answer(answer: str, expected: Outcome) -> None:
    for reference in ("A", "C") if expected is Outcome.AMBIGUOUS else ("C",):
        asked = question("What is the capital of Australia?", reference, choices=CITIES)
        assert judge(asked, f"Final answer: {answer}").outcome is expected


@pytest.mark.parametrize(
    ("text", "reference", "response", "expected"),
    [
        ("What kind of vehicle is in front of the house?", "truck", "The vehicle is a truck.", Outcome.CORRECT),
        ("What is the capital of the country?", "Paris", "It is France.\n\nThe capital is **Paris**.", Outcome.CORRECT),
        ("Who is the author of the book?", "J.K. Rowling", "The author is J.K. Rowling.", Outcome.CORRECT),
        ("Is the statement true or false?", "True", "The statement is **true**.", Outcome.CORRECT),
        ("Is A taller than B?", "yes", "B is taller than A.", Outcome.UNPARSED),
        ("What is the capital of the country?", "Paris", "The capital is not Paris.", Outcome.UNPARSED),
        ("What is the capital of the country?", "Paris", "The river is the Seine in Paris.", Outcome.UNPARSED),
    ],
)
def test_a_sentence_in_the_questions_words_states_its_answer(
    text: str, reference: str, response: str, expected: Outcome
) -> None:
    assert judge(question(text, reference), response).outcome is expected
