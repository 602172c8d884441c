"""One value in any writing is never INCORRECT, and another value of its kind is never CORRECT."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judging.asking import outcome, verdict
from judging.families import AKIN, EXACT
from mmpr.types import Certainty, Outcome

EACH = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = st.integers(3, 999)


@pytest.mark.parametrize("question", [*EXACT, *AKIN])
def test_another_writing_is_never_wrong_and_another_value_never_right(question: str) -> None:
    family = EXACT.get(question) or AKIN[question]

    @EACH
    @given(VALUES, VALUES, st.integers(0, 99), st.integers(0, 99))
    def check(value: int, other: int, i: int, j: int) -> None:
        forms, others = family(value), family(other)
        reference, answer, wrong = forms[i % len(forms)], forms[j % len(forms)], others[j % len(others)]
        said = outcome(question, reference, answer)
        assert said is Outcome.CORRECT if question in EXACT else said is not Outcome.INCORRECT, (reference, answer)
        if not set(forms) & set(others):
            assert outcome(question, reference, wrong) is not Outcome.CORRECT, (reference, wrong)

    check()


# One value a line, in writings that any careful reader takes for one another.
SAME = r"""
What is the value? | \frac{1}{\sqrt{2}} ; \frac{\sqrt{2}}{2} ; \sqrt{2}/2 ; \sqrt{\frac{1}{2}} ; 2^{-1/2}
What is the value? | 2\frac{1}{3} ; 7/3 ; \frac{7}{3} ; 2 1/3 ; 2+\frac13
What is the value? | \sqrt[3]{2} ; 2^{1/3} ; \sqrt[3]2 ; cbrt(2) ; ∛2
What is the value? | \frac{1+\sqrt{5}}{2} ; (1+\sqrt{5})/2 ; \frac{1}{2} + \frac{\sqrt{5}}{2} ; 0.5(1+√5)
What is the value? | 5! ; 120 ; 5 \cdot 4 \cdot 3 \cdot 2
What is the value? | e^3 ; $e^3 \approx 20.09$ ; e^{3}
Find the sum. | \frac{n(n+1)}{2} ; n(n+1)/2 ; \frac{n^2+n}{2} ; 0.5n(n+1)
Simplify. | \frac{x}{x+1} ; x/(x+1) ; 1-\frac{1}{x+1}
Simplify. | 2\sin x\cos x ; \sin 2x ; \sin(2x)
Find the angle. | \frac{\pi}{3} ; π/3 ; 60° ; 60^\circ
Find the equation of the circle. | (x-1)^2+(y+2)^2=9 ; x^2+y^2-2x+4y-4=0
Find the inverse. | f^{-1}(x) = \frac{x-3}{2} ; y = (x-3)/2 ; \frac{x-3}{2}
Find the solutions. | x=2, x=-3 ; -3, 2 ; x = 2 or x = -3 ; \{-3, 2\} ; x_1 = 2, x_2 = -3
Find the range of f. | [0, \infty) ; y \ge 0 ; f(x) \geq 0 ; [0, +∞)
Solve. | |x| < 3 ; -3 < x < 3 ; (-3, 3) ; abs(x) < 3
How long did it take? | 90 minutes ; 1.5 hours ; 1 hour 30 minutes ; 1h30m ; an hour and a half
What is the acceleration? | 9.8 m/s^2 ; 9.8 m/s² ; 9.8\ \mathrm{m/s^2} ; 9.8 meters per second squared
What was the revenue? | $1.2 billion ; $1,200,000,000 ; $1.2B ; USD 1.2 billion
What is the probability? | 1/4 ; 0.25 ; 25% ; one quarter ; one in four
Which city is it? | New York ; New York City ; NYC ; New York, NY
When did it start? | 1990s ; the 1990s ; the nineties ; 1990's
Which direction? | left ; to the left ; leftward ; on the left side
What is the phone number? | 658 7245 ; 658-7245 ; 6587245
What colors? | black white ; black/white ; black and white
"""
DIFFERENT = r"""
What is the value? | \frac{1}{\sqrt{2}} ; \sqrt{2} ; \frac{1}{2} ; \frac{\sqrt{3}}{2} ; -\frac{\sqrt2}{2}
What is the value? | 2\frac{1}{3} ; \frac{2}{3} ; 21/3 ; 2 \cdot \frac13
What is the value? | \sqrt{3}+1 ; \sqrt{3+1} ; \sqrt{31} ; \sqrt{3}-1
What is the value? | \sqrt{2} ; 9^9^9 ; 2^{10^{10}} ; 1/0
Simplify. | x^2-1 ; x^2+1 ; (x-1)^2 ; x^{2-1}
Simplify. | \sin 2x ; 2\sin x ; \sin^2 x ; \sin x^2
Find the angle. | \frac{\pi}{3} ; 30° ; 60 radians ; 120°
Find z. | 3-4i ; 3+4i ; 4-3i ; 3-4
Find the solutions. | x=2, x=-3 ; 2 ; -2, 3 ; 2, -3, 0 ; x = 2 and y = -3
Find the range of f. | [0, \infty) ; (0, \infty) ; (-\infty, 0] ; y > 0
Find the domain. | x \neq 2 ; x = 2 ; x > 2 ; x \neq -2
Solve. | [0, 2] \cup \{3\} ; [0, 3] ; [0, 2] ; (0, 2) \cup \{3\}
What is the formula? | H2O ; H2O2 ; HO2 ; H3O
What is the formula? | SO4^2- ; SO4 ; SO4^- ; SO3^2-
How long is it? | 5 m ; 5 cm ; 5 kg ; 5 feet ; 5 below
How much is it? | $4.50 ; $450 ; €4.50 ; 4.50% ; $4.05
When was it built? | 18th century ; 17th century ; 1800s ; 8th century ; 18 BC
When was it built? | 44 BC ; 44 AD ; 45 BC
Which quarter? | Q3 2020 ; Q2 2020 ; Q3 2021 ; 2020 ; Q3
What time is it? | 3:15 PM ; 3:15 AM ; 15:03 ; quarter to three
What is the ratio? | 2:3 ; 3:2 ; 4:9 ; 23
What is the force? | -5 N ; 5 N ; -50 N
Which country? | Niger ; Nigeria ; Guinea
What colors? | red, white and blue ; red and white ; red, white and green
How many? | 1,234 ; 1.234 ; 1,235 ; 12,34
"""


def lines(table: str) -> list[tuple[str, list[str]]]:
    rows = [line.split(" | ", 1) for line in table.strip().splitlines()]
    return [(question, [form.strip() for form in forms.split(" ; ")]) for question, forms in rows]


@pytest.mark.parametrize(("question", "forms"), lines(SAME))
def test_no_writing_of_one_value_is_wrong(question: str, forms: list[str]) -> None:
    for reference in forms:
        for answer in forms:
            assert outcome(question, reference, answer) is not Outcome.INCORRECT, (reference, answer)


@pytest.mark.parametrize(("question", "forms"), lines(DIFFERENT))
def test_no_other_value_is_right(question: str, forms: list[str]) -> None:
    for other in forms[1:]:
        assert outcome(question, forms[0], other) is not Outcome.CORRECT, other
        assert outcome(question, other, forms[0]) is not Outcome.CORRECT, other


@pytest.mark.parametrize(
    ("question", "reference", "answer", "expected"),
    [
        # a unit, a currency or a per cent sign on one side: where the question says nothing, or names what is measured
        ("What is the answer?", "10", "10 cm", Outcome.CORRECT),
        ("What is the answer?", "10", "10cm", Outcome.AMBIGUOUS),
        ("", "10", "$10", Outcome.CORRECT),
        ("What is the answer?", "10", "10%", Outcome.CORRECT),
        ("What is the answer?", "0.5", "0.5%", Outcome.AMBIGUOUS),
        ("How fast is it?", "60", "60 km/h", Outcome.CORRECT),
        ("How many chairs are there?", "8", "8 kg", Outcome.INCORRECT),
        ("What is the unemployment rate?", "5.3", "5.3%", Outcome.CORRECT),
        ("What is the net force?", "-5", "5 N to the left", Outcome.AMBIGUOUS),
        # values that are stated, computed, listed or out of all bounds
        ("What is the answer?", "42", "The perimeter is 7", Outcome.INCORRECT),
        ("What is the answer?", "42", "The perimeter is not 7", Outcome.AMBIGUOUS),
        ("What is m + n?", "23", "32 + 8 = 40", Outcome.INCORRECT),
        ("What is m + n?", "12", "3 * 4 = 13", Outcome.AMBIGUOUS),
        ("What is the answer?", "12", "(1, 2)", Outcome.INCORRECT),
        ("What is the answer?", "7", "3 and 4", Outcome.AMBIGUOUS),
        ("What is the answer?", "2.5", "2 and 1/2", Outcome.AMBIGUOUS),
        ("What is the answer?", "1234", "1, 234", Outcome.AMBIGUOUS),
        ("How many windows are there?", "6", "5-6", Outcome.AMBIGUOUS),
        ("What is the URL?", "www.foo.com", "www-foo-com", Outcome.AMBIGUOUS),
        # alternatives that the question offers
        ("Are there more circles or more triangles?", "circles", "triangles", Outcome.INCORRECT),
        ("Which way (in, out, along or across) does it face?", "in", "across", Outcome.INCORRECT),
        ("In the image, is the mug ceramic or glass?", "ceramic", "glass", Outcome.INCORRECT),
        ("Is it wood or a type of wood?", "wood", "type of wood", Outcome.AMBIGUOUS),
        ("Is the plant a tree, a shrub, or a vine?", "tree", "oak", Outcome.AMBIGUOUS),
        # sets: another where a member of one side has no match
        ("Which two countries?", "[Australia, Italy]", "[Italy, Japan]", Outcome.INCORRECT),
        ("Which fruits?", "apple, pear, plum", "apple, pear, fig", Outcome.AMBIGUOUS),
        ("Solve.", "1, -2", "1", Outcome.AMBIGUOUS),
        ("Which integers satisfy it?", "1 < x < 5", "2 ≤ x ≤ 4", Outcome.AMBIGUOUS),
        ("Solve.", "(3/5, 8/3]", "(0.6, 2.6667]", Outcome.AMBIGUOUS),
    ],
)
def test_one_side_of_a_rule_and_the_other(question: str, reference: str, answer: str, expected: Outcome) -> None:
    found = verdict(question, reference, answer)
    assert found.outcome is expected
    assert found.certainty is (Certainty.PROVEN if expected is Outcome.INCORRECT else None)
