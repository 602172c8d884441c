"""The case files: of confident verdicts nearly all are right, and nearly every case gets one."""

from __future__ import annotations

from collections import Counter

import pytest

from judging.case_files import FILES, Case, cases
from mmpr.judging import judge
from mmpr.types import Outcome

ALL = {name: cases(name) for name in FILES}
KINDS = sorted({case.kind for case in ALL["judge_cases.jsonl"]})
STRICT = [case for found in ALL.values() for case in found if not case.may_abstain]


def outcome(case: Case) -> Outcome:
    return judge(case.question, case.response).outcome


@pytest.mark.parametrize("name", FILES)
def test_confident_verdicts_are_right_and_right_answers_are_found(name: str) -> None:
    strict = [case for case in ALL[name] if not case.may_abstain]
    said = [(outcome(case), case) for case in strict]
    assert _share(said, Outcome.CORRECT) >= 0.995
    assert _share(said, Outcome.INCORRECT) >= 0.99
    right = [found for found, case in said if case.expected is Outcome.CORRECT]
    assert right.count(Outcome.CORRECT) >= 0.97 * len(right)
    unread = [found for found, case in said if case.expected is Outcome.UNPARSED]
    assert unread.count(Outcome.UNPARSED) >= 0.9 * len(unread)


def _share(said: list[tuple[Outcome, Case]], outcome: Outcome) -> float:
    expected = [case.expected for found, case in said if found is outcome]
    return expected.count(outcome) / len(expected) if expected else 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_weak(kind: str) -> None:
    """A mismatch without proof (a hedge, a refusal, open text akin to the reference) is dropped, not called wrong."""
    of_kind = [case for case in ALL["judge_cases.jsonl"] if case.kind == kind and not case.may_abstain]
    allowed = {Outcome.INCORRECT: (Outcome.INCORRECT, Outcome.AMBIGUOUS)}
    misses = [case.name for case in of_kind if outcome(case) not in allowed.get(case.expected, (case.expected,))]
    assert len(misses) <= max(1, len(of_kind) // 20 if len(of_kind) >= 20 else 1), misses


def test_no_case_is_judged_the_opposite_of_its_label() -> None:
    opposite = {Outcome.CORRECT: Outcome.INCORRECT, Outcome.INCORRECT: Outcome.CORRECT}
    wrong = [case.name for case in STRICT if outcome(case) is opposite.get(case.expected)]
    assert len(wrong) <= len(STRICT) // 400, wrong


def test_a_label_that_may_differ_is_never_a_technical_error() -> None:
    found = Counter(outcome(case) for cases_ in ALL.values() for case in cases_)
    assert found[Outcome.ERROR] == 0
