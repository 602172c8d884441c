"""Identity and guards for every kind: a reference equals itself; what is hedged or taken back is never correct."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judging.asking import question
from mmpr.judging import judge
from mmpr.types import Outcome, Question

FAST = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
PETS = ("cat", "dog", "horse", "bird")
# kind -> (question, reference, another value, options)
KINDS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "choice": ("Which pet is it?", "B", "C", PETS),
    "choice text": ("Which pet is it?", "dog", "horse", PETS),
    "yes": ("Is the door open?", "yes", "no", ()),
    "count": ("How many cats are there?", "12", "13", ()),
    "length": ("How long is the pencil?", "15 cm", "16 cm", ()),
    "money": ("What does it cost?", "$4.50", "$5.50", ()),
    "percent": ("What percentage is rent?", "35%", "40%", ()),
    "date": ("When was it signed?", "March 4, 2015", "March 5, 2015", ()),
    "time": ("What time is it?", "3:15 PM", "4:15 PM", ()),
    "year": ("In which year was it?", "2016", "2017", ()),
    "range": ("Which period is shown?", "1990-2000", "1990-2010", ()),
    "set": ("List the primes.", "2, 5, 11", "2, 5, 13", ()),
    "tuple": ("Where is the vertex?", "(1, 2)", "(1, 3)", ()),
    "ratio": ("What is the ratio?", "2:3", "3:4", ()),
    "expression": ("Simplify.", "2x^2 - 1", "2x^2 + 1", ()),
    "equation": ("Write the equation of the line.", "y = 2x - 1", "y = 2x + 1", ()),
    "inequality": ("Which region is shaded?", "y < 2x + 1", "y > 2x + 1", ()),
    "interval": ("Write the domain in interval notation.", "[-2, 3)", "[-2, 4)", ()),
    "matrix": (
        "What is the product?",
        "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
        "\\begin{pmatrix}1&2\\\\3&5\\end{pmatrix}",
        (),
    ),
    "formula": ("What is the chemical formula of the gas?", "CO_2", "SO_2", ()),
    "text": ("Which animal is it?", "cat", "dog", ()),
    "name": ("Who painted it?", "Vincent van Gogh", "Claude Monet", ()),
    "roman": ("In which quadrant is it?", "III", "II", ()),
    "fraction": ("What fraction is shaded?", "3/4", "1/4", ()),
    "constant": ("What is the value?", "e^3", "e^2", ()),
    "code": ("What is the serial number?", "AB-12-34", "AB-12-35", ()),
    "parts": ("(a) How many cats? (b) How many dogs?", "(a) 3 (b) 5", "(a) 3 (b) 6", ()),
}
NEGATED = (
    "not {r}|It is not {r}|{r} is wrong|{r} is incorrect|{r} cannot be right|definitely not {r}|anything but {r}"
    "|it isn't {r}|{r} is false|不是{r}|It can't be {r}"
)
CORRECTED = (
    "{r}. Wait, no, {o}|{r}? No, {o}.|{r}. Actually, {o}|{r}, no, {o}|{r}... wait, {o}|{r}. Sorry, {o}."
    "|{r} — no, actually {o}|{r}. Hmm, on second thought {o}|First {r}, but it should be {o}|{r}。不对，应该是{o}"
    "|{r}. Correction: {o}|{r}, I mean {o}"
)
HEDGED = (
    "probably {r}|maybe {r}|possibly {r}|perhaps {r}|{r}?|I guess {r}|it might be {r}|could be {r}|{r} (not sure)"
    "|可能是{r}|{r}, but I am not sure|I'm not certain, but {r}"
)
SEVERAL = "{r} or {o}|{o} or {r}|either {r} or {o}|{o}, {r}|{r} vs {o}|{r}或{o}|{o}; {r}|one of {r}, {o}"
BOUNDED = "at least {r}|more than {r}|less than {r}|before {r}|after {r}|up to {r}|over {r}|not before {r}"
GUARDS = [form for forms in (NEGATED, CORRECTED, HEDGED, SEVERAL) for form in forms.split("|")]


def asked(kind: str) -> Question:
    text, reference, _, choices = KINDS[kind]
    return question(text, reference, choices=choices)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_answer_is_correct_and_another_value_never(kind: str) -> None:
    _, reference, other, _ = KINDS[kind]
    assert judge(asked(kind), f"Final answer: {reference}").outcome is Outcome.CORRECT
    assert judge(asked(kind), f"Final answer: {other}").outcome is not Outcome.CORRECT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", GUARDS)
def test_an_answer_that_its_writer_does_not_stand_by_is_never_correct(kind: str, form: str) -> None:
    _, reference, other, _ = KINDS[kind]
    response = "I looked at it.\n\nFinal answer: " + form.format(r=reference, o=other)
    assert judge(asked(kind), response).outcome is not Outcome.CORRECT


@pytest.mark.parametrize("kind", ["count", "length", "money", "percent", "date", "time", "year", "tuple", "ratio"])
@pytest.mark.parametrize("form", BOUNDED.split("|"))
def test_a_bound_is_never_the_value(kind: str, form: str) -> None:
    response = "Final answer: " + form.format(r=KINDS[kind][1])
    assert judge(asked(kind), response).outcome is not Outcome.CORRECT


ODD = r"""
{} [] 1/0 ** 2024! ... () ? - N/A none \emptyset $ _ # unknown null " TBD {1} [1] (1) 0/0
\infty 1e999 9**9**9 10^{400} % $5 5$ \$ \frac{1}{0} \sqrt{-1} ((( ))) {{}} n! 5! !! = == x= =x <> <
≥ 3< a|b || / // \ \\ & @ ~ ^ x^ * + ± . , ; : 。 是 不是 没有 零 一百亿亿 1.2.3 1,,2 007 -0 .5 5. 1e5 0x1F
1010_2 #### --- *** ``` 'a' <b> <answer> (a) A. B) D: II MCMXC true y € 5' 5'10" 12:00 25:61
2020-13-45 30/02/2020 Feb May 101% 1:0 0:0 a:b ∞ π e i 2i ℝ ☃ 😀 ﬁ Ⅳ ½ x² H₂O Na+ e- a→b
"""
PHRASES = [
    "I don't know",
    "cannot be determined",
    "Wait, no, dog",
    "a or b",
    "neither A nor B",
    "not 5",
    "more than 5",
    "before 3 PM",
    "probably",
    "from 1 to 2",
    "Final answer: 5",
    "\\boxed{5}",
    "yes?",
    "(a) 3 (b) 4",
    "1. cat 2. dog",
    "x = 1 or x = 2",
]
QUESTIONS = ("What is it?", "How many are there?", "Is it so?", "When?", "哪一个？", "List all values.")


@pytest.mark.parametrize("reference", [*ODD.split(), *PHRASES])
def test_every_reference_however_odd_is_correct_against_itself(reference: str) -> None:
    for text in QUESTIONS:
        assert judge(question(text, reference), f"Final answer: {reference}").outcome is Outcome.CORRECT, text


NUMBERS = st.one_of(st.integers(-(10**6), 10**6).map(str), st.decimals(-999, 999, places=2).map(str))
NAMES = st.sampled_from("cat dog red blue left north Monday July seven Paris China gold".split())  # noqa: SIM905
UNITS = st.sampled_from(["cm", "kg", "km/h", "%", "dollars", "°C", "hours", "m^2"])
REFERENCES = st.one_of(
    NUMBERS,
    NAMES,
    st.builds("{} {}".format, NUMBERS, UNITS),
    st.builds("({}, {})".format, NUMBERS, NUMBERS),
    st.builds("[{}, {})".format, NUMBERS, NUMBERS),
    st.builds("{}x^2 + {}y - {}".format, *[st.integers(2, 99)] * 3),
    st.builds("y = {}x + {}".format, *[st.integers(2, 99)] * 2),
    st.builds("\\frac{{{}}}{{{}}}".format, *[st.integers(1, 99)] * 2),
    st.builds("{}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    st.builds("{}-{:02d}-{:02d}".format, st.integers(1900, 2030), st.integers(1, 12), st.integers(1, 28)),
    st.lists(NAMES, min_size=2, max_size=4).map(", ".join),
    st.lists(NUMBERS, min_size=2, max_size=4).map(", ".join),
    st.builds("{} to {}".format, NUMBERS, NUMBERS),
    st.text(alphabet="abcXYZ 123.,-:/()", min_size=1, max_size=12).filter(lambda text: text.strip(" .,-:/()")),
)


@FAST
@given(REFERENCES, st.sampled_from(QUESTIONS))
def test_a_reference_of_any_kind_is_correct_against_itself(reference: str, text: str) -> None:
    assert judge(question(text, reference), f"Final answer: {reference}").outcome is Outcome.CORRECT
