"""Input that would hang or break a checker, and the worker that is killed for it."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.asking import question
from judging.case_files import Case, cases
from mmpr.judging import Judge, form_of, judge
from mmpr.judging.judge_session import judge_compiled
from mmpr.judging.reference import compile_reference
from mmpr.judging.rules import Rule
from mmpr.judging.symbolic import SymbolicProcess, TimeLimit
from mmpr.types import Outcome

TECHNICAL = (Outcome.AMBIGUOUS, Outcome.ERROR, Outcome.UNPARSED)
ASKED = [
    question("What is the result?", "12"),
    question("Simplify.", "2x^2 - 1"),
    question("Write the equation of the line.", "y = 2x - 1"),
    question("Write the domain in interval notation.", "[-2, 3)"),
]
HOSTILE = {
    "tower": "10^{10^{10}}",
    "stars": "9**9**9**9",
    "factorial": "1000000!",
    "factorials": "((9!)!)!",
    "scientific": "1e999999999",
    "braces": "{" * 400 + "1" + "}" * 400,
    "roots": "\\sqrt{" * 200 + "2" + "}" * 200,
    "digits": "9" * 1_000_000,
    "megabytes": "x + " * 1_000_000,
}


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.answer[0])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mathematics_ends_undecided_or_is_surely_larger(asked: object, name: str) -> None:
    said = judge(asked, f"Final answer: {HOSTILE[name]}")  # type: ignore[arg-type]
    vast = asked is ASKED[0] and name in ("tower", "stars", "factorial", "factorials")
    assert said.outcome is Outcome.INCORRECT if vast else said.outcome in TECHNICAL


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.answer[0])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mathematics_has_a_form_of_its_own(asked: object, name: str) -> None:
    reference = compile_reference(asked)  # type: ignore[arg-type]
    assert form_of(reference, HOSTILE[name]) != form_of(reference, reference.plain[0])


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "\\boxed{" * 20_000, "<think>" * 50_000, "final answer " * 100_000, "*" * 300_000]
)
def test_megabytes_of_marks_end(text: str) -> None:
    assert judge(ASKED[0], text).outcome is not Outcome.CORRECT


HANGS = (
    sys.executable,
    "-c",
    "import struct,sys,time;sys.stdout.buffer.write(struct.pack('>I',2)+b'{}');sys.stdout.flush();time.sleep(600)",
)
DIES = (sys.executable, "-c", "import struct,sys;sys.stdout.buffer.write(struct.pack('>I',2)+b'{}');sys.stdout.flush()")


def test_a_hanging_worker_is_killed_and_the_next_one_starts() -> None:
    worker = SymbolicProcess(time_limit_s=0.2, command=HANGS)
    for _ in range(2):
        with pytest.raises(TimeLimit):
            worker.equal("x", "x + 0")
        assert worker.pid is None
    worker.close()


def test_a_worker_that_dies_has_no_opinion() -> None:
    worker = SymbolicProcess(time_limit_s=5, command=DIES)
    assert worker.equal("x", "x + 0") is None
    assert worker.equal("x", "x + 0") is None
    worker.close()


# Our reader knows no sums: the other one is asked.
SUM, RENAMED_SUM = "\\sum_{k=1}^{n} k^2", "\\sum_{j=1}^{n} j^2"


def test_a_time_limit_is_an_error_of_one_response_and_the_following_is_judged_normally() -> None:
    asked = question("Simplify.", SUM)
    with Judge(time_limit_s=0.2, command=HANGS) as slow:
        found = slow.judge_all(asked, [f"Final answer: {RENAMED_SUM}", f"Final answer: {SUM}"])
    assert [(v.outcome, v.rule) for v in found] == [(Outcome.ERROR, Rule.TIME_LIMIT), (Outcome.CORRECT, Rule.EXACT)]


def test_the_real_worker_is_killed_over_hostile_input_and_a_new_one_answers() -> None:
    """sympy takes minutes over this tower; the limit of a second is only how long the test waits."""
    hasty = SymbolicProcess(time_limit_s=1.0)
    with pytest.raises(TimeLimit):
        hasty.equal("10^{10^{10}}", "9^{9^{9^{9}}}")
    assert hasty.pid is None
    patient = SymbolicProcess(time_limit_s=120.0)
    assert patient.equal("x^2 - 1", "(x - 1)(x + 1)") is True
    assert patient.equal("x^2 - 1", "(x - 1)(x + 2)") is False
    patient.close()


class Says:
    """A second opinion that always says the same."""

    def __init__(self, said: bool | None) -> None:
        self.said = said
        self.asked: list[tuple[str, str]] = []

    def equal(self, reference: str, answer: str) -> bool | None:
        self.asked.append((reference, answer))
        return self.said


@pytest.mark.parametrize(
    ("said", "outcome"), [(True, Outcome.CORRECT), (None, Outcome.AMBIGUOUS), (False, Outcome.AMBIGUOUS)]
)
def test_the_second_reader_proves_equality_and_never_a_difference(said: bool | None, outcome: Outcome) -> None:
    reference = compile_reference(question("Simplify.", SUM))
    found = judge_compiled(reference, f"Final answer: {RENAMED_SUM}", opinion=Says(said))
    assert found.outcome is outcome
    assert (found.rule == Rule.SECOND_OPINION) == (said is True)


def test_what_our_reader_reads_needs_no_second_one() -> None:
    nobody = Says(True)
    reference = compile_reference(question("Simplify.", "\\cos(2x)"))
    found = [judge_compiled(reference, f"Final answer: {k} - 2\\sin^2 x", opinion=nobody) for k in (1, 2)]
    assert [v.outcome for v in found] == [Outcome.CORRECT, Outcome.INCORRECT]
    assert nobody.asked == []


def test_one_pair_is_asked_once() -> None:
    said = Says(False)
    with Judge(opinion=said) as one:
        one.judge_all(question("Simplify.", SUM), [f"Final answer: {RENAMED_SUM}"] * 5)
    assert len(said.asked) == 1


def test_nobody_is_asked_about_what_needs_no_symbols() -> None:
    nobody = Says(True)
    for asked, answer in ((ASKED[0], "12"), (ASKED[3], "-2 ≤ x < 3"), (ASKED[1], "x^2 + x^2 - 1")):
        judge_compiled(compile_reference(asked), f"Final answer: {answer}", opinion=nobody)
    assert nobody.asked == []


class Broken:
    """A second opinion with a fault."""

    def equal(self, reference: str, answer: str) -> bool | None:
        raise ZeroDivisionError(f"{reference} {answer} at {time.time()}")


def test_a_fault_of_the_judge_is_an_error_and_never_incorrect() -> None:
    with Judge(opinion=Broken()) as one:
        found = one.judge_all(question("Simplify.", SUM), [f"Final answer: {RENAMED_SUM}", f"Final answer: {SUM}"])
    assert [v.outcome for v in found] == [Outcome.ERROR, Outcome.CORRECT]
    assert found[0].rule == Rule.INTERNAL


PAIRED = [
    "{a} or {b}",
    "{a}, because {b}",
    "It is {a}",
    "({a}, {b})",
    "{a} ± {b}",
    "{a} to {b}",
    "x = {a}, y = {b}",
    "{a}/{b}",
    "\\frac{{{a}}}{{{b}}}",
    "{a}≈{b}",
    "{a} ({b})",
    "-{a}!",
    "{a} < x < {b}",
    "{{{a}}}",
]
ANSWERS = sorted({answer for case in cases() for answer in case.question.answer or ()})


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(ANSWERS), st.sampled_from(ANSWERS), st.sampled_from(PAIRED), st.sampled_from(cases()))
def test_no_mixture_of_answers_is_a_fault_of_ours(a: str, b: str, form: str, case: Case) -> None:
    mixed = form.format(a=a[:80], b=b[:80])
    assert judge(case.question, f"Final answer: {mixed}").rule != Rule.INTERNAL
    assert judge(question(case.question.text, mixed), f"Final answer: {a}").rule != Rule.INTERNAL


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("(0, -6)", "90.04/7:35"),
        ("3/4", "1/0:2"),
        ("2\\sqrt{3}", "185!"),
        ("y = 2x", "y = 2x ± 3"),
        ("y = 2x", "because it is so"),
        ("x < 5", "x < 10^{400}"),
    ],
)
def test_what_once_was_a_fault_of_ours_is_none(reference: str, answer: str) -> None:
    for asked in (question("What is the value?", reference), question("What is the value?", answer)):
        for said in (reference, answer):
            assert judge(asked, f"Final answer: {said}").rule != Rule.INTERNAL
