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
Is 51 a prime? | no | No, it is 3 × 17. | Yes, it is. | 51
Is 7 greater than 5? | yes | 7 is greater than 5 | No. | 5 is greater than 7
Do more people like tea than coffee? | yes | Yes, tea. | No, coffee. | More people like coffee
Has it increased? | no | It decreased. ; It has decreased. | It increased. | Twice
What are sales in million dollars? | 1,482.6 | $1,482.6 million ; 1.4826 billion dollars | 1,428.6 | 1,483 million
How many people are there, in thousands? | 125 | 125 thousand | 152 thousand | 125,000
What is the world GDP? | 2.1 trillion | 2.1T ; 2,100 billion | 2.2 trillion ; 2.1 billion | over 2.1T
What is the temperature in kelvin? | 300 | 300 K | 301 K | above 300 K
What is the molarity? | 0.5 | 0.5 M | 0.4 M | at least 0.5 M
What is the temperature? | 300 K | 300K | 310 K | 300
What is the revenue? | 1,234 |  | 1,235 million | 1,234 million
What fraction is left? | 1/3 | one third | 43.3% | 33.3% ; 33%
What share is left? | 33.3% | 33.3 percent | 2/3 | 1/3
What are the coefficients? | 1, 3, 2 | 1, 3, 2 | 3, 1, 2 ; 1, 2, 3 |
What is the domain? | x \neq 2 | x != 2 ; ℝ \ {2} ; x ≠ 2 | x ≠ 3 ; x > 1 |
What is the circumference? | 12\pi | 12π ; 12 pi | 36 ; 37.5 | 37.68 ; 37.7
How many degrees in the angle? | 37.5 | 37.5° ; 37.5 degrees ; 37 1/2 degrees | 38.5° ; 73 | 37.5 or 38
How many meters in the lap? | 400 | 400 m ; 400 meters ; 0.4 km | 40 m ; 400 km | over 400 m
How many more apples than pears? | 5 | 5 more ; five | 6 more | 5 fewer
What is x? | x = \frac{-1 \pm \sqrt{5}}{2} | \frac{-1 \pm \sqrt{5}}{2} | | x = (-1+√5)/2 or x = (-1-√5)/2
What is the ratio of A to B? | 3.5 | 3.5:1 ; 3.5 to 1 ; 7:2 | 2:7 | 3.5 or 7
How many dogs are there? | 3 | There are 3 dogs: two brown ; 3 out of 5 | There are 2 dogs: 1 and 1 | 3 to 5
How many scored above 80%? | 15 | 15 out of 30 | 15% ; 80 | 15 or 80
What percent is blue? | 25 | 25% | 75% | a quarter ; 0.25
How many calories are in it? | 650 | 650 kcal ; 650 calories | 560 kcal | 650 or less
What was the revenue? | $8.6 million | US$8.6m ; $8.6m | $8.6 billion | about $8.6m or $9m
What is the rent per month? | $1,200 | $1200/month | $2,100/month | $1,200 or more
Which is bigger, a plate or a cup? | plate | The plate is bigger. | cup ; The cup is bigger. | plate is larger
Which country leads? | Germany | Germany, with 14.2% ; Germany (14.2%) | France | France with 14.2%
What colors does it have? | red and white | white and red ; red, white | blue ; green and red | red ; dark red and white
图中的人是男性还是女性？ | 女性 | 女 ; 女的 ; 女士 | 男 ; 男人 | 不是女性
这是哪个城市？ | 北京 | 北京市 |  | 上海市
List them in order from the sun. | Mars, Venus, Earth | Mars → Venus → Earth | Venus, Mars, Earth | Earth, Venus, Mars
What is the order of the steps? | B, D, A, C | BDAC ; B-D-A-C | A, B, C, D ; DBAC ; B, D | C, A, D, B
What did they order? | B, D, A | A, B, D | B, D, C |
What is the age range? | 18-34 | 18-34 years old ; ages 18 to 34 | 18-43 years old | 18
What are the dimensions? | 12 ft x 15 ft | 12 feet by 15 feet ; 12' x 15' ; 12 x 15 ft | 12 ft x 16 ft | 12 x 15 ; 12 ft
How many cats and dogs? | 2 cats and 3 dogs | two cats, three dogs ; dogs: 3, cats: 2 | 3 cats and 2 dogs | 5
What is the chemical formula? | H2SO4 | acid (H2SO4) ; H2SO4 (sulfuric acid) | H2SO3 (acid) | an acid
What is the difference? | 3 | 3 | 4 ; -4 | -3
What is the slope? | -2/3 | −2/3 | 3/2 | -2/3 or 2/3
In which row is the square? | 2 | the second row ; second ; row 2 | the third row ; first | the top row ; row B
Which quadrant is it in? | 4 | Quadrant IV ; the fourth quadrant | Quadrant II ; the second quadrant | the lower right
How many columns are there? | 3 | 3 columns | 4 columns | the third column ; third
Is there a purple square? | yes | There is a purple square. ; a purple square | no | square ; a square
Are there any dogs in the park? | yes | There are dogs in the park. ; dogs | There are no dogs. | park
When was it signed? | 04/07/1985 | 4/7/1985 ; 04-07-1985 | 04/07/1958 | 1985-07-04
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
    ("reference", "response", "expected"),
    [
        ("62", "### Final Answer\n- 62", Outcome.CORRECT),
        ("-62", "### Final Answer\n- 62", Outcome.CORRECT),
        ("-62", "The final answer is – 62", Outcome.CORRECT),
        ("62", "### Answer\n**62**", Outcome.CORRECT),
        ("12\\sqrt{3}", "So it is $\\boxed{12}\\sqrt{3}$.", Outcome.CORRECT),
        ("12", "So it is $\\boxed{12}\\sqrt{3}$.", Outcome.INCORRECT),
        ("62", "**Answer**\n63", Outcome.INCORRECT),
    ],
)
def test_a_mark_before_a_number_may_be_its_sign(reference: str, response: str, expected: Outcome) -> None:
    assert judge(question("What is the change?", reference), response).outcome is expected


OPTIONS = ("The population of snakes decreases", "The population of snakes increases", "Nothing changes")


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        ("The snake population would decrease.", OPTIONS, Outcome.CORRECT),
        ("The snake population increases.", OPTIONS, Outcome.INCORRECT),
        ("The snake population would not decrease.", OPTIONS, Outcome.AMBIGUOUS),
        ("dog bites man", ("man bites dog", "man bites cat"), Outcome.AMBIGUOUS),
        ("7.07", ("5√2", "5√3", "10"), Outcome.CORRECT),
        ("8.66", ("5√2", "5√3", "10"), Outcome.INCORRECT),
        ("7", ("5√2", "5√3", "10"), Outcome.AMBIGUOUS),
    ],
)
def test_an_option_in_other_words_or_digits(answer: str, options: tuple[str, ...], expected: Outcome) -> None:
    assert judge(question("What follows?", "A", choices=options), f"Final answer: {answer}").outcome is expected


@pytest.mark.parametrize(
    ("text", "reference", "response", "expected"),
    [
        ("What kind of vehicle is in front of the house?", "truck", "The vehicle is a truck.", Outcome.CORRECT),
        ("What is the capital of the country?", "Paris", "It is France.\n\nThe capital is **Paris**.", Outcome.CORRECT),
        ("Who is the author of the book?", "J.K. Rowling", "The author is J.K. Rowling.", Outcome.CORRECT),
        ("Is the statement true or false?", "True", "The statement is **true**.", Outcome.CORRECT),
        ("What animal is the tallest?", "giraffe", "It is the giraffe", Outcome.CORRECT),
        ("天空是什么颜色？", "蓝色", "天空是蓝色的", Outcome.CORRECT),
        ("What color is the ball?", "red", "The ball is red.", Outcome.CORRECT),
        ("What color is the ball?", "red", "The box is red.", Outcome.UNPARSED),
        ("Is A taller than B?", "yes", "B is taller than A.", Outcome.UNPARSED),
        ("What is the capital of the country?", "Paris", "The capital is not Paris.", Outcome.UNPARSED),
        ("What is the capital of the country?", "Paris", "The river is the Seine in Paris.", Outcome.UNPARSED),
    ],
)
def test_a_sentence_in_the_questions_words_states_its_answer(
    text: str, reference: str, response: str, expected: Outcome
) -> None:
    assert judge(question(text, reference), response).outcome is expected
