import asyncio
from collections import Counter
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpr.builder.answer import Rounds, answer
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import RequestRefused
from mmpr.judging import Judge
from mmpr.pairing import PairOptions, first_round, pair_responses, sides
from mmpr.rounds import LAPLACE, SourceRates, chance, chance_of_both, fit_prior, next_round
from mmpr.types import Certainty, Finish, Outcome, Question, Reason, Response, Skip, Stage, Verdict
from tests.recipes import make_recipe

QUESTION = Question("q", "s", 1, "How many?", answer=("2",))
C, W, A, U, E = Outcome.CORRECT, Outcome.INCORRECT, Outcome.AMBIGUOUS, Outcome.UNPARSED, Outcome.ERROR
RECIPE = make_recipe(n=32, max_tokens=100, draft_max_tokens=100, min_side_tokens=8, seed=7, seeded=True)


def judged(outcomes, *, after=0, number=0, certainty=Certainty.PROVEN):
    answers = {C: "2", U: None}
    return [
        (
            Response("q", Stage.SAMPLE, index, f"text {index}", (), 5, Finish.STOP, round=number),
            Verdict(
                outcome, answers.get(outcome, f"wrong {index}"), "rule", certainty=certainty if outcome is W else None
            ),
        )
        for index, outcome in enumerate(outcomes, after)
    ]


def sampled(draw, rule, *, first=4, cap=32, prior=LAPLACE):
    """All rounds of one question whose outcomes `draw()` gives."""
    all_judged, number = [], 0
    while n := next_round(QUESTION, all_judged, rule, first=first, cap=cap, prior=prior):
        all_judged += judged([draw() for _ in range(n)], after=len(all_judged), number=number)
        number += 1
    return all_judged


@pytest.mark.parametrize(
    ("outcomes", "more"),
    [
        ((), 4),
        ((C, C, W, W), 0),  # two of each side, each in two pairs: four pairs
        ((C, C, C, W), 1),  # one more wrong one, which come at (1 + 1) / (4 + 2): a third of 3
        ((C, C, C, C), 4),  # two more wrong ones, at 1 in 6: a third of 12
        ((W, W, W, W), 4),
        ((C, C, U, U), 0),  # without a clear answer is a rejected side too
        ((E, E, E, E), 0),  # the truth does not parse: nothing will ever be judged
        ((A, A, A, A), 4),
        ((C,) * 16, 11),  # a third of the cap; of 28 and more see below
        ((C,) * 29, 0),  # a wrong one among the last three: 3 in 33
        ((C,) * 32, 0),
    ],
)
def test_a_round_is_as_large_as_the_side_that_is_short_makes_it(outcomes, more):
    assert next_round(QUESTION, judged(outcomes), PairOptions(), first=4, cap=32) == more


def test_a_source_where_most_are_always_right_gives_a_question_up_sooner():
    rates = SourceRates()
    assert rates.prior("easy") == LAPLACE
    for easy, even in [((C, C, C, C), (C, C, W, W))] * 15 + [((C, C, C, W), (C, W, W, W))]:
        rates.add("easy", judged(easy), PairOptions())
        rates.add("even", judged(even), PairOptions())
    easy, even, new = (
        len(sampled(lambda: C, PairOptions(), prior=rates.prior(source))) for source in ("easy", "even", "new")
    )
    assert easy < new < even  # at even odds so many right ones in a row were luck: a wrong one will come


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_a_prior_lies_on_the_side_that_first_rounds_showed(seen):
    prior = fit_prior(Counter(seen))
    assert min(prior) > 0 and sum(prior) <= 8
    swapped = fit_prior(Counter((rejected, chosen) for chosen, rejected in seen))
    assert tuple(swapped) == pytest.approx((prior.rejected, prior.chosen))


def test_first_rounds_that_show_nothing_leave_laplaces_prior():
    assert tuple(fit_prior(Counter({(0, 0): 40}))) == pytest.approx(tuple(LAPLACE))


def test_format_negatives_do_not_count_where_they_make_no_pairs():
    rule = PairOptions(format_pairs=False)
    assert next_round(QUESTION, judged((C, C, U, U)), rule, first=4, cap=32) > 0


def test_near_equal_responses_are_one():
    same = [(Response("q", Stage.SAMPLE, r.index, "Final Answer: 2", (), 5, Finish.STOP), v) for r, v in judged((C, C))]
    assert next_round(QUESTION, [*same, *judged((W, W), after=2)], PairOptions(), first=4, cap=32) > 0


def test_a_question_outside_the_window_is_asked_no_more():
    rule = PairOptions(accuracy_window=(0.2, 0.8))
    assert next_round(QUESTION, judged((C, C, C, C)), rule, first=4, cap=32) == 0
    assert next_round(QUESTION, judged((C, C, C, W)), rule, first=4, cap=32) > 0
    # 1 to 3 of 4 are right: no later response makes that clear
    assert next_round(QUESTION, judged((C, W, A, A)), PairOptions(accuracy_window=(0.3, 0.8)), first=4, cap=32) == 0
    assert next_round(QUESTION, judged((A, A, A, A)), rule, first=4, cap=32) == 0


def test_sampling_goes_on_until_the_wrong_ones_are_proven():
    likely = judged((C, C, W, W), certainty=Certainty.LIKELY)
    assert next_round(QUESTION, likely, PairOptions(), first=4, cap=32) > 0
    assert next_round(QUESTION, likely, PairOptions(rejected_certainty=Certainty.LIKELY), first=4, cap=32) == 0


def test_right_answers_in_another_form_are_no_chosen_sides_yet():
    off = [(response, replace(verdict, off_format=True)) for response, verdict in judged((C, C))]
    assert next_round(QUESTION, [*off, *judged((W, W), after=2)], PairOptions(), first=4, cap=32) > 0


rules = st.builds(
    PairOptions,
    pairs_per_question=st.integers(1, 15),
    max_uses=st.none() | st.integers(1, 3),
    format_pairs=st.booleans(),
)


@given(rules, st.integers(1, 8), st.integers(1, 32), st.randoms(), st.lists(st.sampled_from([C, W, A, U]), min_size=1))
def test_rounds_end_with_the_pairs_or_where_more_would_hardly_help(rule, first, cap, random, urn):
    found = sampled(lambda: random.choice(urn), rule, first=first, cap=cap)
    if not pairs_found(found, rule):
        chosen, *rejected = map(len, sides(found, rule))
        scarce, plenty = sorted((chosen, sum(rejected)))
        left = cap - len(found)
        hope = urn_chance(scarce, len(found), 1, left) if plenty else urn_chance_of_both(len(found), left)
        assert hope < 0.12 + 1e-9
    before = [j for j in found if j[0].round < found[-1][0].round]
    if before:  # the last round was asked for because the pairs were not complete before it
        assert pairs_found(before, rule) < rule.pairs_per_question


def pairs_found(found, rule):
    pairs = pair_responses(QUESTION, found, rule)
    return 0 if isinstance(pairs, Skip) else len(pairs)


@cache
def urn_chance(seen, n, lacking, left):
    """The same by Polya's urn, one response after the other: the next is of a side at (seen + 1) / (n + 2)."""
    if lacking == 0 or left == 0:
        return float(lacking == 0)
    rate = (seen + 1) / (n + 2)
    met, missed = urn_chance(seen + 1, n + 1, lacking - 1, left - 1), urn_chance(seen, n + 1, lacking, left - 1)
    return rate * met + (1 - rate) * missed


@cache
def urn_chance_of_both(n, left):
    """Either side comes at 1 / (n + 2) as long as none did; then the other one is waited for."""
    if left == 0:
        return 0.0
    return (2 * urn_chance(0, n + 1, 1, left - 1) + n * urn_chance_of_both(n + 1, left - 1)) / (n + 2)


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_chance_that_the_rest_brings_both_sides_is_the_urns(n, left):
    assert chance_of_both(n, left) == pytest.approx(urn_chance_of_both(n, left), abs=1e-9)


def test_a_question_that_stays_undecided_is_given_up_before_one_that_is_hard():
    asked = {outcome: len(sampled(lambda outcome=outcome: outcome, PairOptions())) for outcome in (A, W)}
    assert asked == {A: 21, W: 29}


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(0, 30))
def test_the_chance_that_the_rest_brings_what_lacks_is_the_urns(seen, others, lacking, left):
    n = seen + others
    assert chance(seen, n, lacking, left) == pytest.approx(urn_chance(seen, n, lacking, left), abs=1e-9)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_accuracy_has_no_bias_though_all_responses_together_have_one(p):
    rule = PairOptions(pairs_per_question=1, near_duplicate=None)
    random, first, pooled, n = Random(p), 0.0, 0.0, 4_000
    for _ in range(n):
        found = sampled(lambda: C if random.random() < p else W, rule, first=4, cap=12)
        assert first_round(found).n_correct + first_round(found).n_wrong == 4
        first += first_round(found).accuracy / n
        pooled += sum(v.outcome is C for _, v in found) / len(found) / n
    assert abs(first - p) < 0.01
    if p in (0.2, 0.8):
        assert abs(pooled - p) > 0.01  # what would be told were all responses counted


def asked(engine, *, rule=None, first=4, refuse_after=99, recipe=RECIPE):
    judge, announced = Judge(), []

    async def verdicts(question, responses):
        if len(engine.prompts) > refuse_after:
            raise AssertionError("judged after the refusal")
        return judge.judge_all(question, [r.text for r in responses])

    rounds = Rounds(rule or PairOptions(), first, verdicts, announced.append)
    return asyncio.run(answer(QUESTION, engine, recipe, lambda _: None, rounds)), announced


def script(texts):
    return lambda _, index: f"I see, {index}.\nFinal Answer: {texts[index] if index < len(texts) else 2}"


def test_a_question_is_asked_until_it_has_its_pairs():
    engine = ScriptedEngine(script(["2", "2", "2", "2", "3", "2", "4"]))
    answered, announced = asked(engine)
    assert announced == [4, 4]
    assert [r.index for r in answered.responses] == list(range(8))
    assert [r.round for r in answered.responses] == [0] * 4 + [1] * 4
    assert [r.seed - answered.responses[0].seed for r in answered.responses] == list(range(8))
    assert Counter(v.outcome for v in answered.verdicts) == {C: 6, W: 2}


def test_the_same_responses_come_in_rounds_as_at_once():
    engine = ScriptedEngine(script(["2", "3"] * 16))
    at_once = asyncio.run(answer(QUESTION, engine, RECIPE, lambda _: None))
    answered, _ = asked(engine)
    for one, other in zip(answered.responses, at_once.responses, strict=False):
        assert (one.index, one.text, one.seed) == (other.index, other.text, other.seed)


def test_a_refusal_in_a_later_round_keeps_what_was_answered():
    class Refusing(ScriptedEngine):
        async def generate(self, prompt, sampling):
            if sampling.first:
                raise RequestRefused(Reason.ENGINE_REFUSED, "too busy")
            return await super().generate(prompt, sampling)

    answered, _ = asked(Refusing(script(["2", "2", "2", "2"])), refuse_after=1)
    assert answered.skip == Skip("q", Stage.SAMPLE, Reason.ENGINE_REFUSED, "too busy")
    assert len(answered.responses) == len(answered.verdicts) == 4


def test_sides_are_what_pairs_are_made_of():
    assert [len(side) for side in sides(judged((C, W, W, U, A, E)), PairOptions())] == [1, 2, 1]
    assert [len(side) for side in sides(judged((C, W, W, U)), PairOptions(format_pairs=False))] == [1, 2, 0]
