"""Judge one response against one compiled reference, alone or in a judge with a second reader at hand."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from mmpr.errors import ConfigError, JudgeError
from mmpr.judging.answer_head import retracts, split_head, without_boilerplate
from mmpr.judging.clean import clean, cleaned
from mmpr.judging.extract import extract
from mmpr.judging.kinship import contains
from mmpr.judging.limits import MAX_ANSWER_CHARS, oversized
from mmpr.judging.magnitude import beyond
from mmpr.judging.option_lists import DEFAULTS, JudgeOptions
from mmpr.judging.prose import STOP
from mmpr.judging.reference import Reference, compile_reference
from mmpr.judging.restated import SUBJECT, closing_value
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, is_open
from mmpr.judging.symbolic import SymbolicProcess, TimeLimit
from mmpr.types import Certainty, Outcome, Question, Verdict

_MAX_RULINGS = 256
_RANK = {Outcome.CORRECT: 0, Outcome.AMBIGUOUS: 1, Outcome.INCORRECT: 2}


class SecondOpinion(Protocol):
    """Returns whether two LaTeX expressions are equal, or None if it cannot say."""

    def equal(self, reference: str, answer: str) -> bool | None: ...


class VerifiesResponses(Protocol):
    """A model that is asked about verdicts which the rules leave open."""

    def verify(self, asked: Sequence[tuple[Question, str, Verdict]]) -> list[Verdict]:
        """Return a verdict for each question, response and verdict; unchanged if the model does not decide."""


# Exceptions that a bug of ours may raise on one hostile input; all others are not caused by an input and are raised.
INTERNAL = (
    *(ArithmeticError, LookupError, ValueError, TypeError, AttributeError),
    *(RuntimeError, AssertionError, MemoryError, re.error, JudgeError),
)


def judge(question: Question, response: str, *, options: JudgeOptions = DEFAULTS) -> Verdict:
    """Judge a response's final answer against the question's accepted answers. Pure; uses no second reader.

    A truth that does not parse under its kind is ERROR here; `compile_reference` raises for it.
    """
    reference = compiled(question, options)
    return reference if isinstance(reference, Verdict) else judge_compiled(reference, response)


def judge_response(
    response: str,
    *,
    answer: str | float | Sequence[str | float],
    question: str = "",
    choices: Sequence[str] = (),
    answer_kind: str | None = None,
    answer_form: str = "any",
    tolerance: float | None = None,
    options: JudgeOptions = DEFAULTS,
    verifier: VerifiesResponses | None = None,
) -> Verdict:
    """Judge one response against a reference answer, without any record of this package.

    Args:
        response: the whole text that the model wrote.
        answer: the reference answer, or a sequence of accepted ones: texts, option letters or numbers.
        question: the question's text; it says whether a percentage, a unit, an order or a year is asked for.
        choices: the options' texts, in the order of their letters.
        answer_kind: one of `mmpr.judging.option_lists.KINDS`; None reads it from the reference answer.
        answer_form: the form that was asked for: `final`, `boxed`, `think` or `any`.
        tolerance: relative tolerance of measured values, as a fraction: 0.05 is 5 %. None: exact.
        options: anything else; the three arguments above take precedence.
        verifier: asked where the rules leave it open, such as an `mmpr.Verifier`; a proof stands without it.

    Returns:
        A `Verdict`. A reference answer that cannot be judged by is ERROR with the rule `error-truth`; nothing raises
        for the content of a response.

    Raises:
        ConfigError: `answer_kind`, `answer_form` or `tolerance` is not valid, or `verifier` is no verifier.
    """
    if verifier is not None and (isinstance(verifier, type) or not callable(getattr(verifier, "verify", None))):
        raise ConfigError(
            "verifier: give an mmpr.Verifier, which holds the engine: with mmpr.Verifier(url=..) as one: .."
        )
    accepted = (answer,) if isinstance(answer, (str, int, float)) else tuple(answer)
    stated = replace(
        options,
        answer_kind=answer_kind or options.answer_kind,
        format=answer_form,
        relative_tolerance=options.relative_tolerance if tolerance is None else tolerance,
    )
    asked = Question(
        id="response",
        source="",
        row=0,
        text=question,
        choices=tuple(choices),
        answer=tuple(str(one) for one in accepted),
    )
    verdict = judge(asked, response, options=stated)
    if verifier is None or not is_open(verdict):
        return verdict
    return verifier.verify([(asked, response, verdict)])[0]


def compiled(question: Question, options: JudgeOptions) -> Reference | Verdict:
    """Return the compiled reference answer, or the verdict ERROR for every response if it cannot be compiled."""
    try:
        return compile_reference(question, options=options)
    except JudgeError:
        return Verdict(Outcome.ERROR, None, Rule.REFERENCE)
    except INTERNAL:
        return Verdict(Outcome.ERROR, None, Rule.INTERNAL)


def judge_compiled(reference: Reference, response: str, *, opinion: SecondOpinion | None = None) -> Verdict:
    """The same with a compiled reference answer, and an optional second opinion on mathematics."""
    try:
        return _judged(reference, response, None if opinion is None else _Budget(opinion))
    except TimeLimit:
        return Verdict(Outcome.ERROR, None, Rule.TIME_LIMIT, reference.show())
    except INTERNAL:
        return Verdict(Outcome.ERROR, None, Rule.INTERNAL, " | ".join(reference.plain))  # `show` may be what fails


def _judged(reference: Reference, response: str, opinion: SecondOpinion | None) -> Verdict:
    extraction = extract(response, form=reference.format)
    if extraction.answer is None:
        if extraction.rule is not Rule.THINK and (verbatim := _verbatim(reference, response)) is not None:
            return Verdict(Outcome.CORRECT, verbatim, Rule.EXACT, reference.show())
        if extraction.rule is Rule.NO_ANSWER and (said := _said_in_prose(reference, response)) is not None:
            return said
        return Verdict(Outcome.UNPARSED, None, extraction.rule or Rule.NO_ANSWER, reference.show())
    ruling = (
        ambiguous(Rule.LIMIT)
        if extraction.rule is Rule.LIMIT
        else rule_answer(reference, extraction.answer, opinion=opinion)
    )
    if ruling.outcome is Outcome.INCORRECT and _bulleted(response, extraction.answer):
        negative = rule_answer(reference, "-" + extraction.answer)
        ruling = negative if negative.outcome is Outcome.CORRECT else ruling
    return Verdict(
        ruling.outcome, extraction.answer, ruling.rule, reference.show(), ruling.certainty, extraction.off_format
    )


def _bulleted(response: str, answer: str) -> bool:
    """Whether the answer follows a dash that may be its sign: `- 62` on its own line."""
    at = response.rfind(answer)
    before = response[max(0, at - 20) : max(0, at)].rstrip(" $*")
    return before.endswith(("-", "–", "−")) and not before[:-1].rstrip()[-1:].isdigit()


_ONE_SENTENCE = re.compile(r"[^\n.!?]{3,200}[.!]?\s{0,4}$")
_NAMED_OPTION = frozenset((Rule.CHOICE_TEXT, Rule.CHOICE_LETTER))


def _said_in_prose(reference: Reference, response: str) -> Verdict | None:
    """A value that the closing sentence names in the question's words, or an option that a lone sentence names; None
    where the prose decides nothing."""
    closing = closing_value(response, reference.forms[0].question)
    answer = None if closing is None else closing.sentence if reference.kind == "yes_no" else closing.value
    if answer is None and reference.kind != "number" and _ONE_SENTENCE.match(response.strip()) is not None:
        answer = response.strip()
        subject = SUBJECT.match(answer)  # `The box is red.` says nothing of the ball
        foreign = subject is not None and not (_asked_for(reference, subject[1]) or _holds(reference, subject[1]))
        if reference.kind != "choice" and foreign:
            return None
    if answer is None:
        return None
    found = rule_answer(reference, answer)
    if reference.kind == "choice" and found.rule not in _NAMED_OPTION:
        return None
    surely = reference.kind == "choice" if closing is None else closing.whole
    wrong = found.certainty is Certainty.PROVEN and surely
    decided = wrong or found.outcome is Outcome.CORRECT
    off_format = reference.format != "any"
    shown = reference.show()
    return Verdict(found.outcome, answer, found.rule, shown, found.certainty, off_format) if decided else None


_PLAIN_ENDING = re.compile(r"null$|todo$|tbd$|xxx|undefined$|answer$|response$", re.I)
_STATES = ("answer:", "answer：", "答案:", "答案：", "\\boxed{", "<answer>")


def _verbatim(reference: Reference, response: str) -> str | None:
    """Return the reference if a response ends in it after stating an answer: `{}`, `null` are otherwise no answers."""
    end = response[-2 * MAX_ANSWER_CHARS :].strip().removesuffix("</answer>")
    for written in reference.written:
        whole = all(written.count(pair[0]) == written.count(pair[1]) for pair in ("()", "[]", "{}"))
        if whole and written[-1:].isalnum() and _PLAIN_ENDING.match(written) is None:  # `12` after `\\boxed{` is cut
            continue
        for text in (end, end.removesuffix("}"), end.removesuffix("$")):
            before = text[: len(text) - len(written)].rstrip("*_$ \n").lower()
            if text.endswith(written) and before.endswith(_STATES):
                return written
    return None


def rule_answer(reference: Reference, answer: str, *, opinion: SecondOpinion | None = None) -> Ruling:
    """Compare an extracted answer with every accepted one; one match makes it correct.

    The whole line may be the answer; else its head is, unless the explanation takes it back.
    """
    key = (answer, opinion is None)
    if (known := reference.rulings.get(key)) is None:
        if len(reference.rulings) >= _MAX_RULINGS:
            reference.rulings.clear()
        known = _ruled(reference, answer, opinion)
        fewer = reference.minority
        if fewer and known.outcome is Outcome.INCORRECT and rule_answer(fewer, answer).outcome is Outcome.CORRECT:
            known = ambiguous(Rule.MINORITY)  # some annotators of this very question say so
        reference.rulings[key] = known
    return known


def _ruled(reference: Reference, answer: str, opinion: SecondOpinion | None) -> Ruling:
    text = cleaned(answer)
    if text in reference.plain:
        return correct(Rule.EXACT)
    if _ONE_PART.match(text) is not None and not (" (" in text and text.endswith(")")):
        return _without_opening(reference, text, _best(reference, text, opinion), opinion)
    if oversized(text):
        found = [beyond(accepted, text) for accepted in reference.plain]
        return found[0] if all(ruling.outcome is Outcome.INCORRECT for ruling in found) else ambiguous(Rule.LIMIT)
    bare = without_boilerplate(text if _IN_DOLLARS.match(answer) is not None else answer)
    head, explanation = split_head(bare)
    if head.count("$") % 2:
        head, explanation = split_head(text)
    if retracts(explanation):
        return ambiguous(Rule.SEVERAL)
    whole = _without_opening(reference, cleaned(bare), _best(reference, cleaned(bare), opinion), opinion)
    contradicted = whole.rule in (Rule.YES_NO_CONFLICT, Rule.CHOICE_CONFLICT)
    if contradicted or whole.outcome is Outcome.CORRECT:
        return whole
    if explanation and head:
        return _best(reference, clean(head), opinion)
    return whole


_OPENING = re.compile(
    r"(?:(?:so|thus|therefore|hence),? )?(?:it(?:'s| is| was)|this is|that(?:'s| is)|they are|these are"
    r"|(?:the )?(?:value|result|(?:final )?answer)(?: is|:)) (?=[^\w]{0,4}\w)",
    re.I,
)


def _asked_for(reference: Reference, subject: str) -> bool:
    """Whether the question says the words of a subject."""
    question = f" {reference.forms[0].question} "
    return all(word in STOP or word in question for word in subject.lower().split())


def _holds(reference: Reference, text: str) -> bool:
    return any(contains(text, accepted) for accepted in reference.plain)


# Words of doubt of an answer's writer, whatever follows the subject.
_DOUBTS = frozenset((Rule.SOFT, Rule.NEGATED, Rule.REFUSAL, Rule.BOUND, Rule.SEVERAL))


def _without_opening(reference: Reference, text: str, ruling: Ruling, opinion: SecondOpinion | None) -> Ruling:
    """Read `It is 5`, `The car is blue` as `5` and `blue`, if the family cannot read the whole."""
    if ruling.outcome is not Outcome.AMBIGUOUS or ruling.rule in _DOUBTS:
        return ruling
    if (opening := _OPENING.match(text)) is None:
        opening = SUBJECT.match(text)
        # the subject is a part of a yes or no (`B is greater` denies that A is), or the answer (`The plate is bigger`)
        said = reference.kind == "yes_no" or (opening is not None and _holds(reference, opening[1]))
        if opening is None or said or not _asked_for(reference, opening[1]):
            return ruling
    rest = _best(reference, clean(text[opening.end() :]), opinion)
    return ruling if rest.outcome is Outcome.AMBIGUOUS else rest


# `$ \text{No, they do not.} $`
_IN_DOLLARS = re.compile(r"\$\s{0,4}\\text\s{0,2}\{[^$]{0,400}\}[\s.]{0,4}\$[\s.]{0,4}$")


def _standing(ruling: Ruling) -> tuple[int, bool]:
    return _RANK[ruling.outcome], ruling.certainty is Certainty.PROVEN


# Without an end of a sentence, a clause or a formula, and without a tower of powers: the head is all there is.
_ONE_PART = re.compile(
    r"^(?:[^\W\d_]|\d(?![eE])|[ %/()\[\]°:'=<>≤≥√×·]|\.(?=\d)|(?<![^ ])\$(?=\d[^$]*$)|-(?=\d)"
    r"|(?<=[A-Za-z])-(?=[A-Za-z])){0,60}+$"
)


def _best(reference: Reference, text: str, opinion: SecondOpinion | None) -> Ruling:
    best = reference.forms[0].compare(text)
    for form in reference.forms[1:]:
        if best.outcome is Outcome.CORRECT:
            return best
        best = min(best, form.compare(text), key=_standing)
    if opinion is None or best.rule not in _UNREAD or best.outcome is not Outcome.AMBIGUOUS:
        return best
    return _asked(reference, text, best, opinion)


# Text that another reader of mathematics may understand.
_UNREAD = frozenset((Rule.EXPRESSION_UNREAD, Rule.TEXT_NEAR, Rule.TEXT_EXTRA, Rule.TEXT))
_ASKING_S = 0.5
_COMMAND = re.compile(r"\\[a-zA-Z]")


class _Budget:
    """A second opinion that is no longer asked after half a second of one response, whatever is compared."""

    def __init__(self, opinion: SecondOpinion) -> None:
        self._opinion = opinion
        self._until: float | None = None

    def equal(self, reference: str, answer: str) -> bool | None:
        now = time.monotonic()
        self._until = self._until or now + _ASKING_S
        return None if now > self._until else self._opinion.equal(reference, answer)


def _asked(reference: Reference, text: str, ruling: Ruling, opinion: SecondOpinion) -> Ruling:
    """The same by a second reader, where ours cannot read the mathematics. Its "equal" counts; what it holds to be
    unequal it may only have misread."""
    for accepted in reference.plain:
        if _COMMAND.search(accepted + text) is not None and opinion.equal(accepted, text):
            return correct(Rule.SECOND_OPINION)
    return ruling


def normal_form(question: Question, answer_text: str, *, options: JudgeOptions = DEFAULTS) -> str:
    """Return one text for all ways to write an extracted answer: equal answers give equal texts.

    Raises:
        JudgeError: the question's truth does not parse under its kind.
    """
    return normal_compiled(compile_reference(question, options=options), answer_text)


def normal_compiled(reference: Reference, answer_text: str) -> str:
    """The same with a compiled reference; a correct answer gets the reference's own form."""
    text = clean(answer_text)[:MAX_ANSWER_CHARS]
    if not oversized(text):
        if rule_answer(reference, answer_text).outcome is Outcome.CORRECT:
            return f"={reference.show()}"
        form = reference.forms[0].normal(text)
        if form is not None:
            return form
    return text.casefold()


def form_of(reference: Reference, answer: str) -> str:
    """The same as `normal_compiled`; the answer itself if one of our readers fails on it."""
    try:
        return normal_compiled(reference, answer)
    except INTERNAL:
        return answer.strip().casefold()


_MAX_REMEMBERED = 20_000


class _Remembered:
    """A second opinion that is asked once per pair, also for a pair that exceeds its time limit."""

    def __init__(self, opinion: SecondOpinion) -> None:
        self._opinion = opinion
        self._said: dict[tuple[str, str], bool | TimeLimit | None] = {}

    def equal(self, reference: str, answer: str) -> bool | None:
        pair = (reference, answer)
        if pair not in self._said:
            if len(self._said) >= _MAX_REMEMBERED:
                self._said.clear()
            try:
                self._said[pair] = self._opinion.equal(reference, answer)
            except TimeLimit as err:
                self._said[pair] = err
        said = self._said[pair]
        if isinstance(said, TimeLimit):
            raise said
        return said


class Judge:
    """Judges responses; mathematics that our reader cannot read is shown to a second one.

    Owns one worker process, started at the first symbolic comparison, killed at its time limit and replaced. Safe in a
    Ray task, off the main thread and in a subprocess: no signals, no process-wide state. Not shared between threads.

    Args:
        options: how this source's answers are judged.
        time_limit_s: seconds that the second reader may take over one response before it becomes ERROR.
        command: what to start as the worker, instead of `mmpr.judging.worker`.
        opinion: who is asked instead of a worker process.
    """

    def __init__(
        self,
        *,
        options: JudgeOptions = DEFAULTS,
        time_limit_s: float = 1.0,
        command: tuple[str, ...] | None = None,
        opinion: SecondOpinion | None = None,
    ) -> None:
        self._options = options
        self._symbolic = SymbolicProcess(time_limit_s=time_limit_s, command=command)
        self._opinion = _Remembered(opinion or self._symbolic)

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def judge(self, question: Question, response: str) -> Verdict:
        """One response. A truth that does not parse is ERROR with the rule `error-truth`."""
        return self.judge_all(question, (response,))[0]

    def judge_all(self, question: Question, responses: Sequence[str]) -> list[Verdict]:
        """Judge all responses to one question; the reference is compiled once."""
        reference = compiled(question, self._options)
        if isinstance(reference, Verdict):
            return [reference for _ in responses]
        different = dict.fromkeys(responses)  # equal responses of a model are judged once
        found = {response: judge_compiled(reference, response, opinion=self._opinion) for response in different}
        return [found[response] for response in responses]

    def close(self) -> None:
        """End the worker process; a later judgement starts a new one."""
        self._symbolic.close()
