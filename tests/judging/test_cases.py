"""The case files: every case gets the verdict of its label, but for the known misses listed here."""

from __future__ import annotations

from collections import Counter

import pytest

from judging.case_files import FILES, cases
from mmpr.judging import judge
from mmpr.types import Outcome

# Right answers on which the judge abstains. A miss that is no more one leaves this list; no other may join it.
KNOWN_MISSES = {
    "lookalikes_3.jsonl": ["third-set_list-004"],
    "lookalikes_4.jsonl": ["fourth-latex_expr-004"],
    "lookalikes_5.jsonl": ["fifth-angle-003"],
}
# A mismatch without proof (a hedge, a refusal, open text akin to the reference) is dropped, not called wrong; which
# ones these are is frozen in test_frozen.
_ALLOWED = {Outcome.INCORRECT: {Outcome.INCORRECT, Outcome.AMBIGUOUS}}


@pytest.mark.parametrize("name", FILES)
def test_every_case_but_the_known_misses_gets_its_label(name: str) -> None:
    missed = {}
    for case in cases(name):
        found = judge(case.question, case.response).outcome
        if not case.may_abstain and found not in _ALLOWED.get(case.expected, {case.expected}):
            missed[case.name] = found
    assert list(missed) == KNOWN_MISSES.get(name, []), missed
    assert set(missed.values()) <= {Outcome.AMBIGUOUS}, "a known miss is an abstention, never an opposite verdict"


def test_a_label_that_may_differ_is_never_a_technical_error() -> None:
    found = Counter(judge(case.question, case.response).outcome for case in cases())
    assert found[Outcome.ERROR] == 0
