"""Which pairs are taken, which questions and responses are left out before: strategies, window, near duplicates."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.pairing import PairOptions, Strategy, pair_responses
from mmpr.types import Certainty, Finish, Outcome, PairKind, Question, Reason, Response, Skip, Stage, Verdict

QUESTION = Question("q", "s", 1, "How many?", answer=("2",))
C, W, U = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNPARSED


def response(index, outcome, text, *, tokens=5, answer="3", finish=Finish.STOP):
    found = {C: "2", U: None}.get(outcome, answer)
    sure = Certainty.PROVEN if outcome is W else None
    return Response("q", Stage.SAMPLE, index, text, (), tokens, finish), Verdict(outcome, found, "rule", certainty=sure)


def paired(judged, **rule):
    """(chosen, rejected) by index, in order of rank."""
    pairs = pair_responses(QUESTION, judged, PairOptions(**rule))
    assert not isinstance(pairs, Skip), pairs
    return [(pair.chosen[1], pair.rejected[1]) for pair in pairs]


# -- strategies ---------------------------------------------------------------------------------------------------


def test_length_matched_takes_the_closest_lengths_first():
    right = [response(0, C, "a", tokens=10), response(1, C, "b", tokens=40)]
    wrong = [response(2, W, "c", tokens=90), response(3, W, "d", tokens=38), response(4, W, "e", tokens=11)]
    assert paired([*right, *wrong], strategy=Strategy.LENGTH_MATCHED, max_uses=1) == [(0, 4), (1, 3)]


def test_length_matched_balances_which_side_is_longer():
    right = [response(0, C, "a", tokens=20), response(1, C, "b", tokens=20)]
    wrong = [response(2 + k, W, f"c{k}", tokens=tokens) for k, tokens in enumerate((21, 21, 19, 19))]
    pairs = paired([*right, *wrong], strategy=Strategy.LENGTH_MATCHED, pairs_per_question=2, max_uses=1)
    assert sorted(rejected in (2, 3) for _, rejected in pairs) == [False, True]


def test_hardest_takes_the_wrong_response_closest_in_words():
    right = response(0, C, "I see two red circles and one square. Final Answer: 2")
    near = response(1, W, "I see three red circles and one square. Final Answer: 3")
    far = response(2, W, "The sky is full of stars, which are very many. Final Answer: 3")
    assert paired([right, far, near], strategy=Strategy.HARDEST) == [(0, 1), (0, 2)]


def test_hardest_compares_characters_where_a_script_has_no_spaces():
    right, near, far = (
        response(0, C, "图中有两个红色的圆"),
        response(1, W, "图中有三个红色的圆"),
        response(2, W, "天上星星很多"),
    )
    assert paired([far, right, near], strategy=Strategy.HARDEST)[0] == (0, 1)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_long_and_repetitive_response_is_compared_in_bounded_work(strategy):
    judged = [response(k, C if k % 2 else W, f"{k} " + "! " * 200_000, tokens=k) for k in range(4)]
    assert len(paired(judged, strategy=strategy, max_uses=None)) == 4


lengths = st.lists(st.tuples(st.sampled_from([C, W, U]), st.integers(1, 30), st.integers(0, 3)), max_size=12)
rules = st.builds(
    PairOptions,
    pairs_per_question=st.integers(1, 15),
    max_uses=st.none() | st.integers(1, 3),
    strategy=st.sampled_from(Strategy),
    near_duplicate=st.sampled_from([None, 1.0, 0.9, 0.5, 0.0]),
    accuracy_window=st.none() | st.just((0.2, 0.8)),
)


def _judged(drawn):
    texts = "two of them", "two or so of them", "many", "a few of them"
    return [response(k, o, texts[word], tokens=n, answer=str(3 + n % 2)) for k, (o, n, word) in enumerate(drawn)]


@given(lengths, rules, st.randoms())
def test_every_strategy_keeps_the_caps_never_repeats_and_does_not_depend_on_order(drawn, rule, random):
    judged = _judged(drawn)
    pairs = pair_responses(QUESTION, judged, rule)
    random.shuffle(judged)
    assert pair_responses(QUESTION, judged, rule) == pairs
    if isinstance(pairs, Skip):
        return
    assert 0 < len(pairs) <= rule.pairs_per_question
    assert len({(p.chosen, p.rejected) for p in pairs}) == len(pairs)
    uses = Counter(side for p in pairs for side in (p.chosen, p.rejected))
    assert rule.max_uses is None or max(uses.values()) <= rule.max_uses
    assert [p.rank for p in pairs] == list(range(len(pairs)))
    if rule.near_duplicate == 1.0:
        texts = [(drawn[p.chosen[1]][2], drawn[p.rejected[1]][2]) for p in pairs]
        answers = [drawn[p.rejected[1]][1] % 2 if drawn[p.rejected[1]][0] is W else None for p in pairs]
        assert len(set(zip(texts, answers, strict=True))) == len(pairs)


@given(lengths, st.integers(1, 15), st.integers(1, 3))
def test_no_pair_that_length_matching_left_out_is_closer_than_those_that_stand_in_its_way(drawn, most, uses):
    judged = _judged(drawn)
    rule = PairOptions(most, uses, format_pairs=False, strategy=Strategy.LENGTH_MATCHED, near_duplicate=None)
    found = pair_responses(QUESTION, judged, rule)
    pairs = [] if isinstance(found, Skip) else [(p.chosen[1], p.rejected[1]) for p in found]
    gap = {(c, w): abs(drawn[c][1] - drawn[w][1]) for c, w in _combinations(drawn)}
    for left_out in gap.keys() - set(pairs):
        blocking = [pair for pair in pairs if gap[pair] <= gap[left_out]]
        filled = any(sum(pair[side] == left_out[side] for pair in blocking) == uses for side in (0, 1))
        assert filled or len(blocking) == most or drawn[left_out[0]][2] == drawn[left_out[1]][2]


def _combinations(drawn):
    right, wrong = ([k for k, one in enumerate(drawn) if one[0] is outcome] for outcome in (C, W))
    return [(c, w) for c in right for w in wrong]


# -- accuracy window ----------------------------------------------------------------------------------------------


def _question_of(right, wrong):
    outcomes = [C] * right + [W] * wrong
    return [response(k, outcome, f"text {k}") for k, outcome in enumerate(outcomes)]


@pytest.mark.parametrize(("right", "wrong", "kept"), [(1, 9, False), (2, 8, True), (8, 2, True), (9, 1, False)])
def test_a_question_outside_the_accuracy_window_is_a_named_skip(right, wrong, kept):
    found = pair_responses(QUESTION, _question_of(right, wrong), PairOptions(accuracy_window=(0.2, 0.8)))
    assert isinstance(found, list) == kept
    if not kept:
        assert (found.reason, found.stage) == (Reason.ACCURACY_WINDOW, Stage.PAIR)
        assert found.detail == f"{right / 10:g} of the responses are right, the window is 0.2 to 0.8"


def test_the_window_names_only_questions_that_would_have_had_pairs():
    rule = PairOptions(accuracy_window=(0.2, 0.8))
    assert pair_responses(QUESTION, _question_of(5, 0), rule).reason is Reason.ALL_CORRECT
    assert pair_responses(QUESTION, _question_of(0, 5), rule).reason is Reason.ALL_WRONG


# -- near duplicates ----------------------------------------------------------------------------------------------


def test_equal_responses_count_once():
    judged = [response(k, C, "It is 2.") for k in range(3)] + [response(k, W, "It is  3.") for k in range(3, 6)]
    assert len(paired(judged)) == 1
    assert len(paired(judged, near_duplicate=None, max_uses=None, pairs_per_question=15)) == 9


def test_of_near_equal_responses_the_first_by_content_stays_whatever_its_index():
    words = "there are {} red circles above the long blue line that ends at one of two green squares"
    texts = [words.format(number) for number in ("many", "several", "some")]
    wrong = [response(1 + k, W, text) for k, text in enumerate(texts)]
    turned = [response(3 - k, W, text) for k, text in enumerate(texts)]
    right = response(0, C, "two")
    ((_, kept),) = paired([right, *wrong], near_duplicate=0.9)
    ((_, again),) = paired([right, *turned], near_duplicate=0.9)
    assert texts[kept - 1] == texts[3 - again]
    assert len(paired([right, *wrong], max_uses=None)) == 3


def test_two_errors_are_never_one_however_alike_the_texts_are():
    wrong = [response(1, W, "Final Answer: 3", answer="3"), response(2, W, "Final Answer: 4", answer="4")]
    assert len(paired([response(0, C, "two"), *wrong], near_duplicate=0.1)) == 2


# -- unfinished ---------------------------------------------------------------------------------------------------


def test_no_unfinished_response_is_a_chosen_side_nor_a_wrong_answer():
    cut = response(0, C, "It is 2, because", finish=Finish.LENGTH)
    assert pair_responses(QUESTION, [cut, response(1, W, "3")], PairOptions()).reason is Reason.NONE_USABLE
    assert paired([cut, response(1, W, "3"), response(2, C, "2")], max_uses=None) == [(2, 1)]
    wrong = response(3, W, "It is 3, because", finish=Finish.LENGTH)
    assert paired([response(2, C, "2"), wrong, response(1, W, "3")], unfinished_negatives=True) == [(2, 1)]


@given(st.lists(st.tuples(st.sampled_from([C, W, U]), st.sampled_from(Finish)), max_size=10), rules)
def test_every_chosen_side_is_right_and_ended_by_itself(drawn, rule):
    judged = [response(k, outcome, f"text {k}", finish=finish) for k, (outcome, finish) in enumerate(drawn)]
    pairs = pair_responses(QUESTION, judged, rule)
    for pair in [] if isinstance(pairs, Skip) else pairs:
        assert drawn[pair.chosen[1]] == (C, Finish.STOP)
        expected = U if pair.kind is PairKind.FORMAT else W
        assert drawn[pair.rejected[1]] == (expected, Finish.STOP)
