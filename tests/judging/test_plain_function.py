"""The plain function: a response and a reference answer, no record of this package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmpr.errors import ConfigError
from mmpr.judging import judge_response
from mmpr.types import Certainty, Outcome

CORRECT, INCORRECT, AMBIGUOUS = Outcome.CORRECT, Outcome.INCORRECT, Outcome.AMBIGUOUS


def test_texts_numbers_letters_and_several_references_are_taken() -> None:
    assert judge_response("Final answer: 0.15 kg", answer="150 g").outcome is CORRECT
    assert judge_response("12", answer=12).outcome is CORRECT
    assert judge_response("The answer is (B).", answer="B", choices=["wood", "copper"]).outcome is CORRECT
    assert judge_response("Final answer: NYC", answer=["New York City", "NYC"]).outcome is CORRECT


def test_the_certainty_of_a_wrong_answer_is_in_the_verdict() -> None:
    assert judge_response("Final answer: Tuesday", answer="Monday").certainty is Certainty.PROVEN
    assert judge_response("Final answer: umbrella", answer="cat").certainty is Certainty.LIKELY
    assert judge_response("Final answer: a sofa", answer="couch").outcome is CORRECT
    assert judge_response("Final answer: cap", answer="hat").outcome is AMBIGUOUS


def test_the_form_that_was_asked_for_and_a_tolerance_are_stated() -> None:
    assert judge_response("so \\boxed{5}", answer="5").off_format is False
    assert judge_response("so \\boxed{5}", answer="5", answer_form="final").off_format is True
    assert judge_response("Final answer: 103", answer="100", question="What is the height?").outcome is INCORRECT
    close = judge_response("Final answer: 103", answer="100", question="What is the height?", tolerance=0.05)
    assert close.outcome is CORRECT


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(ConfigError, match="poem"):
        judge_response("5", answer="5", answer_kind="poem")


def test_the_judge_needs_nothing_heavy() -> None:
    code = (
        "import sys, mmpr.judging as j; j.judge_response('Final answer: dog', answer='cat');"
        "print([m for m in ('ray', 'torch', 'pyarrow', 'sympy', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
