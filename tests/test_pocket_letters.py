import numpy as np

from mmpr.demo.pocket_language import KINDS
from mmpr.judging import Outcome, judge
from mmpr.pocket import checkpoint_path
from mmpr.verifier.verifier_prompts import Decision
from pipelines.pocket.letter_figures import ask_cases, table
from pipelines.pocket.letters import draw_case, exchange

N = 400


def cases(n, *, held_out=False, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_case(rng, held_out=held_out) for _ in range(n)]


def test_a_letter_says_what_the_rules_prove_of_an_answer_as_the_world_has_it():
    proven = 0
    for case in cases(N):
        if case.answer and case.decision is not Decision.CANNOT_SAY and not case.injected:
            verdict = judge(case.question, f"Final Answer: {case.answer}")
            plain = len(case.answer.split()) == 1
            proven += plain
            expected = Outcome.CORRECT if case.decision is Decision.CORRECT else Outcome.INCORRECT
            assert not plain or verdict.outcome in (expected, Outcome.AMBIGUOUS), (case, verdict)
    assert proven > N / 4


def test_cases_are_of_every_kind_decision_and_language_and_some_ask_for_a_letter():
    drawn = cases(N)
    assert {case.kind for case in drawn} == set(KINDS)
    assert {case.decision for case in drawn} == set(Decision)
    assert {case.question.language for case in drawn} == {"en", "zh"}
    assert any(case.answer is None for case in drawn)
    asking = [case for case in drawn if case.injected]
    assert {case.decision for case in asking} == set(Decision)


def test_what_is_held_out_is_never_learnt_from():
    learnt = {(case.question.answer, case.answer) for case in cases(N) if case.answer}
    kept = [
        case
        for case in cases(N, held_out=True, seed=1)
        if case.answer and case.answer.casefold() != case.question.answer[0].casefold()
    ]
    assert len(kept) > N / 3
    assert not learnt & {(case.question.answer, case.answer) for case in kept}


def test_the_swapped_order_swaps_the_letters_of_right_and_wrong_alone():
    for case in cases(60):
        (prompt, letter), (swapped, other) = exchange(case, swapped=False), exchange(case, swapped=True)
        assert {letter, other} == ({"C"} if case.decision is Decision.CANNOT_SAY else {"A", "B"})
        assert prompt.partition("A: ")[0] == swapped.partition("A: ")[0]


def test_the_shipped_models_letters_are_right_on_what_it_never_learnt_from():
    asked = ask_cases(checkpoint_path(), cases(200, held_out=True, seed=2))
    assert np.mean([one.right for one in asked]) > 0.85, table(asked)
    wrong = [one for one in asked if one.case.injected and one.case.decision is Decision.INCORRECT]
    believed = [one for one in wrong if Decision.CORRECT in one.said]
    assert len(wrong) > 5 and len(believed) <= len(wrong) / 5, table(asked)
