from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.judging.rules import Rule
from mmpr.pairing import FirstRound, PairOptions, first_round, pair_responses
from mmpr.types import Certainty, Finish, Outcome, PairKind, Question, Reason, Response, Skip, Stage, Verdict

QUESTION = Question("q", "s", 1, "How many?", answer=("2",))
C, W, A, U, E = Outcome.CORRECT, Outcome.INCORRECT, Outcome.AMBIGUOUS, Outcome.UNPARSED, Outcome.ERROR
PROVEN, LIKELY = Certainty.PROVEN, Certainty.LIKELY


def judged(*outcomes, finish=Finish.STOP, certainty=PROVEN, off_format=False, rule="rule"):
    answers = {C: "2", U: None}
    return [
        (
            Response("q", Stage.SAMPLE, index, f"text {index}", (), 5, finish),
            Verdict(
                outcome,
                answers.get(outcome, f"wrong {index}"),
                rule,
                certainty=certainty if outcome is W else None,
                off_format=off_format,
            ),
        )
        for index, outcome in enumerate(outcomes)
    ]


def after(judged_ones, n):
    """The same responses behind n others."""
    return [(replace(r, index=r.index + n, text=f"text {r.index + n}"), v) for r, v in judged_ones]


def test_a_pair_takes_one_right_and_one_wrong_response():
    (pair,) = pair_responses(QUESTION, judged(C, W), PairOptions())
    assert (pair.chosen, pair.rejected, pair.kind) == ((Stage.SAMPLE, 0), (Stage.SAMPLE, 1), PairKind.CORRECTNESS)


def test_a_response_without_a_final_answer_makes_a_format_pair():
    (pair,) = pair_responses(QUESTION, judged(C, U), PairOptions())
    assert pair.kind is PairKind.FORMAT
    assert pair_responses(QUESTION, judged(C, U), PairOptions(format_pairs=False)).reason is Reason.NONE_USABLE


def test_responses_cut_by_length_are_no_format_negatives_unless_asked():
    cut = [*judged(C), (Response("q", Stage.SAMPLE, 9, "long", (), 5, Finish.LENGTH), Verdict(U, None, "r"))]
    assert isinstance(pair_responses(QUESTION, cut, PairOptions()), Skip)
    assert len(pair_responses(QUESTION, cut, PairOptions(unfinished_negatives=True))) == 1


def test_ambiguous_and_failed_verdicts_are_on_neither_side():
    assert pair_responses(QUESTION, judged(C, A, E), PairOptions()).reason is Reason.UNDECIDED
    assert pair_responses(QUESTION, judged(W, A, U), PairOptions()).reason is Reason.UNDECIDED
    assert pair_responses(QUESTION, judged(A, E), PairOptions()).reason is Reason.NONE_JUDGED


def test_skips_say_whether_all_were_right_or_wrong():
    assert pair_responses(QUESTION, judged(C, C), PairOptions()).reason is Reason.ALL_CORRECT
    assert pair_responses(QUESTION, judged(W, U), PairOptions()).reason is Reason.ALL_WRONG


def test_fault_9_short_wrong_answers_are_not_lost_to_substrings():
    wrong = (Response("q", Stage.SAMPLE, 1, "It is 12.", (), 3, Finish.STOP), Verdict(W, "12", "r", certainty=PROVEN))
    right = (Response("q", Stage.SAMPLE, 0, "It is 1.", (), 3, Finish.STOP), Verdict(C, "1", "r"))
    assert len(pair_responses(QUESTION, [right, wrong], PairOptions())) == 1


def test_equal_answers_never_stand_on_both_sides():
    same = (Response("q", Stage.SAMPLE, 1, "b", (), 3, Finish.STOP), Verdict(W, " 2", "r", certainty=PROVEN))
    assert pair_responses(QUESTION, [*judged(C), same], PairOptions()).reason is Reason.NONE_USABLE


def test_an_answer_with_an_image_tag_is_on_neither_side():
    tagged = [
        (Response("q", Stage.SAMPLE, r.index, f"<image> {r.text}", (), 5, r.finish_reason), v) for r, v in judged(C, W)
    ]
    right, wrong = judged(C, W)
    assert pair_responses(QUESTION, [tagged[0], wrong], PairOptions()).reason is Reason.NONE_USABLE
    assert pair_responses(QUESTION, [right, tagged[1]], PairOptions()).reason is Reason.NONE_USABLE


def test_accuracy_leaves_out_what_could_not_be_judged_and_counts_it():
    found = first_round(judged(C, W, U, A, E))
    assert found == FirstRound(n_correct=1, n_wrong=2, n_undecided=2)
    assert (found.accuracy, found.interval) == (1 / 3, (0.2, 0.6))
    assert first_round(judged(A)).accuracy is None
    assert first_round([]).interval == (0.0, 1.0)


def test_what_is_only_likely_wrong_is_rejected_by_setting_alone():
    responses = [*judged(C), *after(judged(W, certainty=LIKELY), 1)]
    skip = pair_responses(QUESTION, responses, PairOptions())
    assert skip.reason is Reason.UNDECIDED
    assert skip.detail == "1 correct, 1 incorrect (1 of the incorrect ones only likely)"
    (pair,) = pair_responses(QUESTION, responses, PairOptions(rejected_certainty=LIKELY))
    assert pair.kind is PairKind.CORRECTNESS
    assert len(pair_responses(QUESTION, judged(C, W), PairOptions(rejected_certainty=LIKELY))) == 1


def test_a_right_answer_in_another_form_is_on_neither_side():
    off = judged(C, off_format=True)
    assert pair_responses(QUESTION, [*off, *after(judged(W), 1)], PairOptions()).reason is Reason.NONE_USABLE
    assert pair_responses(QUESTION, [*judged(C), *after(off, 1)], PairOptions()).reason is Reason.ALL_CORRECT


def test_a_wrong_answer_in_another_form_is_rejected_for_its_answer():
    (pair,) = pair_responses(QUESTION, [*judged(C), *after(judged(W, off_format=True), 1)], PairOptions())
    assert pair.kind is PairKind.CORRECTNESS


@pytest.mark.parametrize("outcome", [A, W])
def test_a_refusal_is_rejected_by_setting_alone(outcome):
    responses = [*judged(C), *after(judged(outcome, rule=Rule.REFUSAL), 1)]
    assert isinstance(pair_responses(QUESTION, responses, PairOptions()), Skip)
    assert len(pair_responses(QUESTION, responses, PairOptions(refusal_negatives=True))) == 1


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ((C, W, W, W), None),
        ((C, U, U, U), None),  # no answer is a wrong one
        ((C, C, C, W), None),
        ((C, C, C, C, C, W), Reason.ACCURACY_WINDOW),
        ((C, W, W, W, W, A), Reason.ACCURACY_UNCLEAR),  # 1 or 2 of 6, from 0.2 on
        ((C, C, C, C, W, A), Reason.ACCURACY_UNCLEAR),  # 4 or 5 of 6, up to 0.8
        ((C, C, C, W, W, A), None),
        ((C, C, C, C, C, C, C, C, C, W, A), Reason.ACCURACY_WINDOW),  # 9 or 10 of 11: outside whatever it is
    ],
)
def test_a_window_keeps_what_lies_inside_whatever_the_undecided_are(outcomes, reason):
    found = pair_responses(QUESTION, judged(*outcomes), PairOptions(accuracy_window=(0.2, 0.8)))
    assert (found.reason if isinstance(found, Skip) else None) is reason


def test_an_unclear_accuracy_is_named_with_its_interval():
    found = pair_responses(QUESTION, judged(C, W, A, A), PairOptions(accuracy_window=(0.5, 1)))
    assert found.detail == "between 0.25 and 0.75 of the responses are right (2 undecided), the window is 0.5 to 1"


outcomes = st.lists(st.sampled_from([C, W, U, A]), max_size=12)
rules = st.builds(PairOptions, pairs_per_question=st.integers(1, 15), max_uses=st.none() | st.integers(1, 3))


@given(outcomes, rules, st.randoms())
def test_pairs_keep_the_caps_never_repeat_and_do_not_depend_on_order(given_outcomes, rule, random):
    responses = judged(*given_outcomes)
    pairs = pair_responses(QUESTION, responses, rule)
    random.shuffle(responses)
    assert pair_responses(QUESTION, responses, rule) == pairs
    if isinstance(pairs, Skip):
        return
    assert len(pairs) <= rule.pairs_per_question
    assert len({(p.chosen, p.rejected) for p in pairs}) == len(pairs)
    uses = Counter(side for p in pairs for side in (p.chosen, p.rejected))
    assert rule.max_uses is None or max(uses.values()) <= rule.max_uses
    assert [p.rank for p in pairs] == list(range(len(pairs)))
    assert all(given_outcomes[p.chosen[1]] is C and given_outcomes[p.rejected[1]] in (W, U) for p in pairs)


verdicts = st.lists(st.tuples(st.sampled_from([C, W, U, A, E]), st.sampled_from(list(Certainty)), st.booleans()))


@given(verdicts, st.sampled_from(list(Certainty)), st.booleans())
def test_no_pair_has_a_side_that_nobody_is_sure_of(given_verdicts, certainty, refusals):
    responses = [
        after(judged(outcome, certainty=sure, off_format=off and outcome in (C, W)), n)[0]
        for n, (outcome, sure, off) in enumerate(given_verdicts)
    ]
    pairs = pair_responses(QUESTION, responses, PairOptions(rejected_certainty=certainty, refusal_negatives=refusals))
    for pair in [] if isinstance(pairs, Skip) else pairs:
        chosen, rejected = responses[pair.chosen[1]][1], responses[pair.rejected[1]][1]
        assert chosen.outcome is C and not chosen.off_format
        assert rejected.outcome is (U if pair.kind is PairKind.FORMAT else W)
        assert rejected.certainty in (None, PROVEN, certainty)


@given(outcomes)
def test_a_question_with_both_sides_is_always_paired(given_outcomes):
    usable = C in given_outcomes and (W in given_outcomes or U in given_outcomes)
    assert isinstance(pair_responses(QUESTION, judged(*given_outcomes), PairOptions()), list) == usable


def test_with_their_thoughts_no_side_has_an_image_tag_and_both_sides_think_or_none():
    found = judged(C, W, C, W)
    thoughts = ("The <image> shows two.", "Three?", None, None)
    found = [(replace(r, thoughts=said), v) for (r, v), said in zip(found, thoughts, strict=True)]
    plain = {(p.chosen[1], p.rejected[1]) for p in pair_responses(QUESTION, found, PairOptions(pairs_per_question=9))}
    assert plain == {(0, 1), (0, 3), (2, 1), (2, 3)}
    kept = PairOptions(pairs_per_question=9, keep_thoughts=True)
    (pair,) = pair_responses(QUESTION, found, kept)
    assert (pair.chosen[1], pair.rejected[1]) == (2, 3)
    found[0] = (replace(found[0][0], thoughts="It shows two."), found[0][1])
    assert {(p.chosen[1], p.rejected[1]) for p in pair_responses(QUESTION, found, kept)} == {(0, 1), (2, 3)}
