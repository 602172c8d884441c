"""The statistics of an evaluation, against counting by hand and against brute force."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpr.evaluation import Result, Z, compare, difference, estimate, figures, majority, pass_at, result
from mmpr.types import Finish, Outcome, Question, Response, Stage, Verdict

OUTCOMES = {"C": Outcome.CORRECT, "X": Outcome.INCORRECT, "A": Outcome.AMBIGUOUS, "E": Outcome.ERROR}
QUESTION = Question("q", "s", 1, "How many?", answer=("2",))


def judged(*words, rounds=None):
    """`C2` is a right 2, `X3` a wrong 3, `-` no final answer, `A?` and `E` what the judge could not decide."""
    found = []
    for i, word in enumerate(words):
        outcome = OUTCOMES.get(word[0], Outcome.UNPARSED)
        finish = Finish.LENGTH if word == "-" else Finish.STOP
        asked = rounds[i] if rounds else 0
        response = Response("q", Stage.SAMPLE, i, "text", (), 10 + i, finish, round=asked)
        found.append((response, Verdict(outcome, word[1:] or None, "rule")))
    return found


def of(*words, **options):
    return result(QUESTION, judged(*words, **options), kind="number", images=["p"], form=str.strip)


def many(rights, n=4, source="s", kind="number"):
    return [Result(source, kind, f"{source}{i}", n, right, n, 0, 1.0, 5.0, 0) for i, right in enumerate(rights)]


def test_a_result_counts_the_first_round_alone():
    found = of("C2", "X3", "-", "A?", "E", "C2", "C2", rounds=(0, 0, 0, 0, 0, 1, 1))
    assert (found.n, found.right, found.parsed, found.undecided, found.unfinished) == (5, 1, 4, 2, 1)
    assert found.tokens == 12


def test_a_question_on_which_the_judge_decided_nothing_has_no_result():
    assert of("E", "E") is None
    assert of("E", "-") is not None


def test_the_content_of_a_question_is_what_was_asked_and_not_where_it_lay():
    same, other = replace(QUESTION, id="x", source="t", row=9), replace(QUESTION, text="How few?")
    contents = [
        result(q, judged("C2"), kind="number", images=p, form=str).content
        for q, p in ((QUESTION, ["p"]), (same, ["p"]), (other, ["p"]), (QUESTION, ["r"]))
    ]
    assert contents[0] == contents[1] and len(set(contents)) == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("C2", "C2.0", "X3"), 1.0),
        (("C2", "X3", "X3"), 0.0),
        (("C2", "X3"), 0.5),
        (("C2", "X3", "X4"), 1 / 3),
        (("C2", "X3", "X 3", "X4"), 0.0),
        (("C2", "A2 or 3", "A2 or 3"), 0.0),
        (("C2", "-", "-", "-"), 1.0),
        (("-", "E"), 0.0),
    ],
)
def test_the_majority_is_of_final_answers_and_a_tie_is_shared(words, expected):
    assert majority(judged(*words), str.strip) == pytest.approx(expected)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_right_response(drawn):
    n, right, k = drawn
    draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
    assert pass_at(k, n=n, right=right) == pytest.approx(float(Fraction(sum(map(any, draws)), len(draws))))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_responses(k):
    with pytest.raises(ValueError, match=f"pass@{k} of 4"):
        pass_at(k, n=4, right=1)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_with_one_response_a_question_the_interval_is_wilsons(values):
    n, p = len(values), sum(values) / len(values)
    # the two shares whose distance from p is Z of their own standard errors: roots of a quadratic
    a, b, c = 1 + Z * Z / n, -(2 * p + Z * Z / n), p * p
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    found = estimate([float(v) for v in values], responses=n)
    assert found.low == pytest.approx((-b - root) / (2 * a), abs=1e-9)
    assert found.high == pytest.approx((-b + root) / (2 * a), abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_lies_within_0_and_1_and_has_a_width(rights):
    found = figures(many(rights))
    estimates = [found.right, found.majority, found.parsable, *found.passes.values()]
    for one in estimates:
        assert 0 <= one.low <= one.value <= one.high <= 1 and one.high > one.low
    assert found.right.value == pytest.approx(sum(rights) / 4 / len(rights))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40))
def test_no_sample_counts_for_fewer_than_its_questions_nor_more_than_its_responses(rights):
    found, p = figures(many(rights)).right, sum(rights) / 4 / len(rights)
    widths = []
    for worth in (len(rights), 4 * len(rights)):  # as if so many independent responses had given the mean
        half = Z / (1 + Z * Z / worth) * math.sqrt(p * (1 - p) / worth + Z * Z / (4 * worth * worth))
        widths.append(2 * half)
    assert widths[1] - 1e-9 <= found.high - found.low <= widths[0] + 1e-9


def test_the_interval_holds_the_truth_as_often_as_it_says_though_responses_of_a_question_are_alike():
    draw = random.Random(5)
    held = naive = 0
    for _ in range(600):  # each question has a difficulty of its own; the mean over all is 2/3
        rights = [sum(draw.random() < p for _ in range(8)) for p in (draw.betavariate(1, 0.5) for _ in range(60))]
        clustered = figures(many(rights, n=8)).right
        alone = estimate([float(i < right) for right in rights for i in range(8)], responses=480)
        held += clustered.low <= 2 / 3 <= clustered.high
        naive += alone.low <= 2 / 3 <= alone.high
    assert 0.92 <= held / 600 <= 0.98
    assert naive / 600 < 0.75  # what taking responses for independent would promise


def test_pass_at_1_is_what_is_right_and_pass_at_n_what_was_right_at_all():
    found = figures(many([0, 1, 2, 4]))
    assert list(found.passes) == [2, 4]
    assert found.passes[4].value == 3 / 4
    assert figures(many([1, 0], n=1)).passes == {}


def brute(steps):
    """p by every choice of signs."""
    sums = [abs(sum(s * d for s, d in zip(signs, steps, strict=True))) for signs in _signs(len(steps))]
    return sum(one >= abs(sum(steps)) - 1e-9 for one in sums) / len(sums)


def _signs(n):
    return itertools.product((-1, 1), repeat=n)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_p_is_the_share_of_all_choices_of_signs(pairs):
    first, second = ([pair[i] / 4 for pair in pairs] for i in (0, 1))
    found = difference(first, second)
    exact = brute([b - a for a, b in zip(first, second, strict=True)])
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 100_000) + 2e-5)
    assert found.value == pytest.approx(found.second - found.first)


def test_a_difference_turned_round_is_the_same_with_the_other_sign():
    first, second = [0.25, 0.5, 1.0, 0.0, 0.75], [0.5, 0.5, 1.0, 0.75, 0.5]
    one, other = difference(first, second), difference(second, first)
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))


def test_chance_alone_is_called_a_difference_no_more_often_than_it_says():
    draw = random.Random(7)
    found = 0
    for _ in range(80):
        difficulty = [draw.random() for _ in range(40)]
        first, second = ([sum(draw.random() < p for _ in range(4)) / 4 for p in difficulty] for _ in range(2))
        found += difference(first, second).p < 0.05
    assert found <= 11  # expected are 4; 12 or more of 80 come once in a thousand


def test_two_evaluations_are_compared_on_the_questions_that_both_asked():
    first, second = many([4, 0, 2, 1, 3]), many([4, 4, 4, 4, 4, 4])[1:]
    compared = compare(first, second)
    assert (compared.questions, compared.only_first, compared.only_second) == (4, 1, 1)
    assert compared.measures["right"].first == 6 / 16 and compared.measures["right"].second == 1
    assert list(compared.measures) == ["right", "majority", "pass@4", "parsable"]


def test_a_question_that_stands_twice_is_paired_in_order():
    first = [replace(one, content="same") for one in many([0, 4])]
    compared = compare(first, [replace(one, content="same") for one in many([0, 4, 4])])
    assert compared.measures["right"].value == 0 and compared.only_second == 1


def test_nothing_in_common_gives_no_measure():
    assert compare(many([1]), many([1], source="t")).measures == {}


def test_pass_at_k_is_compared_at_what_both_can_tell():
    assert "pass@2" in compare(many([1, 1]), many([2, 2], n=2)).measures
    assert list(compare(many([1], n=1), many([1], n=1)).measures) == ["right", "majority", "parsable"]


def test_groups_are_compared_one_by_one():
    first = [*many([0, 0]), *many([4, 4, 4], source="t", kind="choice")]
    second = [*many([4, 4]), *many([4, 4, 4], source="t", kind="choice")]
    compared = compare(first, second)
    assert {name: one.value for name, one in compared.by_source.items()} == {"t": 0, "s": 1}
    assert list(compared.by_kind) == ["choice", "number"]
