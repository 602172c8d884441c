"""One value written in several ways is never INCORRECT; another value of its kind is never CORRECT."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judging.asking import outcome
from mmpr.types import Outcome

EACH = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
COLOURS = ["black", "white", "red", "green", "yellow", "blue", "brown", "orange", "pink", "purple"]


def duration(minutes: int) -> list[str]:
    hours, rest = divmod(minutes, 60)
    return [f"{hours} hours {rest} minutes", f"{hours}h {rest}m", f"{hours} hours and {rest} min", f"{minutes} minutes"]


def height(inches: int) -> list[str]:
    feet, rest = divmod(inches, 12)
    return [f"{feet} ft {rest} in", f"{feet}'{rest}\"", f"{feet} feet {rest} inches", f"{inches} inches"]


def money(cents: int) -> list[str]:
    dollars, rest = divmod(cents, 100)
    return [f"${dollars}.{rest:02}", f"{dollars} dollars and {rest} cents", f"{dollars}.{rest:02} dollars"]


def percentages(low: int) -> list[str]:
    a, b = low / 10, low / 10 + 1.5
    return [f"{a}% to {b:.1f}%", f"{a}%-{b:.1f}%", f"between {a}% and {b:.1f}%", f"from {a}% to {b:.1f}%"]


def days(low: int) -> list[str]:
    return [f"{low}-{low + 3} days", f"{low} to {low + 3} days", f"between {low} and {low + 3} days"]


def opening(hour: int) -> list[str]:
    start, end = hour % 11 + 1, (hour // 11) % 11 + 1
    return [f"{start} AM to {end} PM", f"{start}am-{end}pm", f"{start}:00 a.m. to {end}:00 p.m."]


def date(day: int) -> list[str]:
    month, number, year = MONTHS[day % 12], day % 28 + 1, 1900 + day % 120
    return [f"{month} {number}, {year}", f"{number} {month} {year}", f"{year}-{day % 12 + 1:02}-{number:02}"]


def clock(minutes: int) -> list[str]:
    hour, rest = divmod(minutes % 1440, 60)
    return [
        f"{hour % 12 or 12}:{rest:02} {'AM' if hour < 12 else 'PM'}",
        f"{hour % 12 or 12}:{rest:02}{'am' if hour < 12 else 'pm'}",
    ]


def slots(value: int) -> list[str]:
    a, b = value, value + 7
    return [f"x={a}, y={b}", f"y = {b}, x = {a}", f"x = {a} and y = {b}", f"x: {a}, y: {b}"]


def roots(value: int) -> list[str]:
    return [f"x = {value} or x = -{value}", f"{value} and -{value}", f"x=\\pm {value}", f"-{value}, {value}"]


def count(value: int) -> list[str]:
    return [f"{value}", f"{value} dogs", f"There are {value} dogs", f"{value} dogs in total"]


FAMILIES = {
    "How long does it take?": duration,
    "How tall is the man?": height,
    "How much is it?": money,
    "What is the range of the rate?": percentages,
    "How long is the delivery?": days,
    "When is the shop open?": opening,
    "On what date was it signed?": date,
    "What time is shown?": clock,
    "Solve for x and y.": slots,
    "Solve for x.": roots,
    "How many dogs are there?": count,
}


@pytest.mark.parametrize("question", FAMILIES)
def test_a_paraphrase_is_correct_and_another_value_is_not(question: str) -> None:
    family = FAMILIES[question]

    @EACH
    @given(st.integers(61, 2000), st.integers(61, 2000), st.data())
    def check(value: int, other: int, data: st.DataObject) -> None:
        forms = family(value)
        reference, answer = data.draw(st.sampled_from(forms)), data.draw(st.sampled_from(forms))
        assert outcome(question, reference, answer) is Outcome.CORRECT, (reference, answer)
        wrong = family(other)
        if wrong != forms:
            answer = data.draw(st.sampled_from(wrong))
            assert outcome(question, reference, answer) is not Outcome.CORRECT, (reference, answer)

    check()


@EACH
@given(st.lists(st.sampled_from(COLOURS), min_size=3, max_size=5, unique=True), st.data())
def test_a_set_in_any_separator_is_one_set(colours: list[str], data: st.DataObject) -> None:
    written = [
        ", ".join(colours),
        "/".join(colours),
        "; ".join(colours),
        ", ".join(colours[:-1]) + " and " + colours[-1],
    ]
    reference, answer = data.draw(st.sampled_from(written)), data.draw(st.sampled_from(written))
    assert outcome("Which colors are on the flag?", reference, answer) is Outcome.CORRECT
    assert outcome("Which colors are on the flag?", reference, ", ".join(colours[1:])) is not Outcome.CORRECT


@pytest.mark.parametrize(
    ("question", "reference", "answer", "expected"),
    [
        ("What is the temperature?", "25 C", "25 °C", Outcome.CORRECT),
        ("What is the temperature?", "25 C", "77 F", Outcome.CORRECT),
        ("How loud is it?", "60 decibels", "60 dB", Outcome.CORRECT),
        ("How loud is it?", "60 decibels", "70 dB", Outcome.INCORRECT),
        ("How much is it?", "69 cents", "$0.69", Outcome.CORRECT),
        ("How much is it?", "€0.69", "69 cents", Outcome.CORRECT),
        ("What is the revenue?", "$8.6 million", "$8,605,302", Outcome.AMBIGUOUS),
        ("What is the balance?", "-64", "(64)", Outcome.AMBIGUOUS),
        ("What are the sales in thousands?", "5", "5000", Outcome.AMBIGUOUS),
        ("How many sheep are there?", "0", "There are no sheep", Outcome.CORRECT),
        ("How many sheep are there?", "3", "none", Outcome.INCORRECT),
        ("What is the answer?", "[0,1]", "(0,1)", Outcome.AMBIGUOUS),
        ("What time is it?", "noon", "12 PM", Outcome.CORRECT),
        ("When was it?", "2019-07", "July 2019", Outcome.CORRECT),
        ("How long?", "5-7 days", "5 days", Outcome.INCORRECT),
        ("Solve for x and y.", "x=1, y=2", "x=2, y=1", Outcome.INCORRECT),
        ("What are its sides?", "length 7, width 4", "7 and 4", Outcome.CORRECT),
    ],
)
def test_one_writing(question: str, reference: str, answer: str, expected: Outcome) -> None:
    assert outcome(question, reference, answer) is expected
