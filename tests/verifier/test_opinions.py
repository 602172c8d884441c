"""What letters make of a verdict: margins, both orders, and never anything of a proof."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.judging.rules import Rule, is_open, is_proven
from mmpr.types import Certainty, JudgedBy, Outcome, Question, Verdict
from mmpr.verifier.opinions import (
    MOST_MARGIN,
    UseVerifier,
    VerifierAnswer,
    is_asked_about,
    is_audited,
    read_letters,
    with_opinion,
)
from mmpr.verifier.verifier_prompts import Decision

OPEN = Verdict(Outcome.AMBIGUOUS, "scarlet", "text", "red")
LIKELY = Verdict(Outcome.INCORRECT, "violin", "text", "red", Certainty.LIKELY)
RIGHT = Verdict(Outcome.CORRECT, "red", "text", "red")
WRONG = Verdict(Outcome.INCORRECT, "blue", "text", "red", Certainty.PROVEN)
SAYS_RIGHT = VerifierAnswer((-0.1, -5.1, -6.0), (-5.1, -0.1, -6.0), "v")
SAYS_WRONG = VerifierAnswer((-5.1, -0.1, -6.0), (-0.1, -5.1, -6.0), "v")
logprobs = st.floats(max_value=0, allow_nan=False)
answers = st.builds(
    VerifierAnswer,
    st.none() | st.tuples(logprobs, logprobs, logprobs),
    st.none() | st.tuples(logprobs, logprobs, logprobs),
)
QUESTION = Question("q", "s", 3, "?", answer=("red",))


def test_a_margin_is_the_distance_to_the_next_letter():
    assert read_letters((-0.5, -2.0, -4.0), swapped=False).margin == pytest.approx(1.5)
    assert read_letters((-0.5, -2.0, -4.0), swapped=False).decision is Decision.CORRECT
    assert read_letters((-0.5, -2.0, -4.0), swapped=True).decision is Decision.INCORRECT
    assert read_letters((-3.0, -2.0, -0.5), swapped=True).decision is Decision.CANNOT_SAY


def test_letters_that_cannot_be_are_no_error():
    assert read_letters((0.0, -math.inf, -math.inf), swapped=False).margin == MOST_MARGIN
    assert read_letters((-math.inf,) * 3, swapped=False).decision is Decision.CANNOT_SAY
    for undecided in ((-1.0, -1.0, -1.0), (-0.5, -0.5, -9.0), (math.nan, -1.0, -2.0)):
        opinion = read_letters(undecided, swapped=False)
        assert (opinion.decision, opinion.margin) == (Decision.CANNOT_SAY, 0.0)


def test_only_agreement_of_both_orders_counts_with_the_smaller_margin():
    opinion = VerifierAnswer((-0.1, -3.1, -6.0), (-9.1, -0.1, -12.0)).opinion
    assert (opinion.decision, opinion.margin) == (Decision.CORRECT, pytest.approx(3.0))
    always_a = VerifierAnswer((-0.1, -9.0, -9.0), (-0.1, -9.0, -9.0)).opinion
    assert (always_a.decision, always_a.margin) == (Decision.CANNOT_SAY, 0.0)


@given(st.sampled_from([RIGHT, WRONG]), answers, st.floats(0, 10), st.sampled_from(UseVerifier))
def test_a_proof_stands_whatever_is_answered(verdict, answer, min_margin, use):
    assert with_opinion(verdict, answer, min_margin=min_margin, use=use) == verdict


@given(st.sampled_from([OPEN, LIKELY]), answers, st.floats(0, 10))
def test_nothing_changes_where_no_side_may_go_by_a_verifier(verdict, answer, min_margin):
    assert with_opinion(verdict, answer, min_margin=min_margin, use=UseVerifier.NONE) == verdict


@pytest.mark.parametrize(
    ("verdict", "answer", "use", "outcome", "by"),
    [
        (OPEN, SAYS_RIGHT, "both", Outcome.CORRECT, "verifier"),
        (OPEN, SAYS_RIGHT, "chosen", Outcome.CORRECT, "verifier"),
        (OPEN, SAYS_RIGHT, "rejected", Outcome.AMBIGUOUS, "rule"),
        (OPEN, SAYS_WRONG, "both", Outcome.INCORRECT, "verifier"),
        (OPEN, SAYS_WRONG, "rejected", Outcome.INCORRECT, "verifier"),
        (OPEN, SAYS_WRONG, "chosen", Outcome.AMBIGUOUS, "rule"),
        (LIKELY, SAYS_RIGHT, "both", Outcome.CORRECT, "verifier"),
        (LIKELY, SAYS_RIGHT, "rejected", Outcome.AMBIGUOUS, "verifier"),
        (LIKELY, SAYS_WRONG, "both", Outcome.INCORRECT, "verifier"),
        (LIKELY, SAYS_WRONG, "chosen", Outcome.INCORRECT, "rule"),
        (OPEN, VerifierAnswer(fault="prompt_too_long"), "both", Outcome.AMBIGUOUS, "rule"),
        (OPEN, None, "both", Outcome.AMBIGUOUS, "rule"),
    ],
)
def test_a_decision_stands_for_the_sides_that_a_setting_names(verdict, answer, use, outcome, by):
    found = with_opinion(verdict, answer, min_margin=2.0, use=UseVerifier(use))
    assert (found.outcome, found.judged_by) == (outcome, JudgedBy(by))
    assert found.verifier_margin == (pytest.approx(5.0) if by == "verifier" else None)
    assert found.answer == verdict.answer


def test_below_the_margin_a_verdict_stays_open():
    assert with_opinion(OPEN, SAYS_RIGHT, min_margin=5.1, use=UseVerifier.BOTH) == OPEN


def test_what_is_neutral_on_purpose_is_never_asked_about():
    for rule in (Rule.REFUSAL, Rule.MINORITY, Rule.BOX_BAND):
        assert not is_open(Verdict(Outcome.AMBIGUOUS, None, rule))
    for verdict in (RIGHT, WRONG, Verdict(Outcome.ERROR, None, "error-truth"), Verdict(Outcome.UNPARSED, None, "x")):
        assert not is_open(verdict)
    assert is_open(OPEN) and is_open(LIKELY) and is_proven(RIGHT) and is_proven(WRONG)


def test_the_audited_share_is_the_same_every_time():
    picked = [i for i in range(2000) if is_audited(QUESTION, i, 0.02)]
    assert 20 <= len(picked) <= 65
    assert picked == [i for i in range(2000) if is_asked_about(QUESTION, i, RIGHT, 0.02)]
    assert set(picked) <= {i for i in range(2000) if is_audited(QUESTION, i, 0.1)}
    assert not any(is_audited(QUESTION, i, 0.0) for i in range(100))
    assert all(is_audited(QUESTION, i, 1.0) for i in range(100))
