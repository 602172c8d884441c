"""The codes of all rules that can decide a verdict, and the ruling that a family of answers returns."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import NamedTuple

from mmpr.types import Certainty, JudgedBy, Outcome, Verdict

# Stands in the key of stored verdicts: a run with older ones is judged again when it is paired or resumed. It rises
# whenever any verdict changes; runs that name none were judged by version 1.
VERSION = 6


class Rule(StrEnum):
    """The code of a verdict's rule. `docs/judge.md` shows each with an example, which a test checks."""

    EXACT = "exact"
    # no clear final answer
    NO_ANSWER = "unparsed-no-answer"
    EMPTY = "unparsed-empty"
    PLACEHOLDER = "unparsed-placeholder"
    THINK = "unparsed-think"
    CUT = "unparsed-cut"
    LOOP = "unparsed-loop"
    # guards
    REFUSAL = "refusal"
    SEVERAL = "several-candidates"
    BOUND = "bound"
    NEGATED = "negated"
    SOFT = "soft-confidence"
    # one a family
    CHOICE_LETTER = "choice-letter"
    CHOICE_TEXT = "choice-text"
    CHOICE_STATEMENTS = "choice-statements"
    CHOICE_CONFLICT = "choice-conflict"
    CHOICE_OUTSIDE = "choice-outside"
    CHOICE_NEAR = "choice-near"
    YES_NO = "yes-no"
    YES_NO_SENTENCE = "yes-no-sentence"
    YES_NO_CONFLICT = "yes-no-conflict"
    NUMBER = "number"
    NUMBER_NONE = "number-none"
    NUMBER_REST = "number-rest"
    NUMBER_ROUNDED = "number-rounded"
    NUMBER_COARSER = "number-coarser"
    NUMBER_COMMA = "number-decimal-comma"
    NUMBER_PERCENT = "number-percent-base"
    NUMBER_TOLERANCE = "number-tolerance"
    UNIT = "unit"
    UNIT_MISSING = "unit-missing"
    CURRENCY = "currency"
    YEAR_FORM = "year-form"
    ROMAN = "roman"
    FRACTION = "fraction"
    INTERVAL = "interval"
    INTERVAL_ENDS = "interval-ends"
    SET = "set"
    SET_REPEATS = "set-repeats"
    LIST_ORDER = "list-order"
    TUPLE = "tuple"
    TUPLE_FORM = "tuple-form"
    RATIO = "ratio"
    EXPRESSION = "expression"
    EXPRESSION_SYMBOLS = "expression-symbols"
    EXPRESSION_UNREAD = "expression-unread"
    INEQUALITY = "inequality"
    MATRIX = "matrix"
    FORMULA = "formula"
    EQUATION = "equation"
    EQUATION_SIDE = "equation-side"
    TEXT = "text"
    TEXT_EXTRA = "text-extra"
    TEXT_NEAR = "text-near"
    TEXT_SCRIPT = "text-script"
    OCR = "ocr"
    OCR_NEAR = "ocr-near"
    DATE = "date"
    DATE_ORDER = "date-order"
    TIME = "time"
    TIME_HALF = "time-half"
    TIME_PARTIAL = "time-partial"
    BOX = "box"
    BOX_FORM = "box-form"
    BOX_BAND = "box-band"
    MULTIPART = "multipart"
    MULTIPART_EXTRA = "multipart-extra"
    # limits and technical causes
    LIMIT = "limit"
    SECOND_OPINION = "second-opinion"
    TIME_LIMIT = "error-time-limit"
    INTERNAL = "error-internal"
    REFERENCE = "error-truth"
    MINORITY = "minority-answer"


# Ambiguous on purpose: a refusal and a minority's answer have settings of their own, a text model sees no box.
_NEUTRAL = frozenset({Rule.REFUSAL, Rule.MINORITY, Rule.BOX_BAND})


def is_open(verdict: Verdict) -> bool:
    """Whether a verifier may be asked about the verdict: undecided, or only likely wrong."""
    if verdict.judged_by is JudgedBy.VERIFIER or verdict.rule in _NEUTRAL:
        return False
    likely = verdict.outcome is Outcome.INCORRECT and verdict.certainty is Certainty.LIKELY
    return likely or verdict.outcome is Outcome.AMBIGUOUS


def is_proven(verdict: Verdict) -> bool:
    """Whether the rules have proved it right or wrong."""
    if verdict.judged_by is JudgedBy.VERIFIER:
        return False
    wrong = verdict.outcome is Outcome.INCORRECT and verdict.certainty is Certainty.PROVEN
    return wrong or verdict.outcome is Outcome.CORRECT


class Ruling(NamedTuple):
    """The result of a family for one answer.

    `certainty` is of an INCORRECT only. None: the family claims a difference and the gate (`proof.py`) looks for its
    proof. PROVEN: the family itself understood both sides completely.
    """

    outcome: Outcome
    rule: Rule
    certainty: Certainty | None = None


@cache
def correct(rule: Rule) -> Ruling:
    """The answer is the reference answer."""
    return Ruling(Outcome.CORRECT, rule)


@cache
def incorrect(rule: Rule) -> Ruling:
    """The answer does not seem to be the reference answer: INCORRECT if the gate finds proof, else AMBIGUOUS."""
    return Ruling(Outcome.INCORRECT, rule)


@cache
def different(rule: Rule) -> Ruling:
    """Both sides were understood completely under one kind, and they differ."""
    return Ruling(Outcome.INCORRECT, rule, Certainty.PROVEN)


@cache
def unlike(rule: Rule) -> Ruling:
    """Open text that no test relates to the reference answer."""
    return Ruling(Outcome.INCORRECT, rule, Certainty.LIKELY)


@cache
def ambiguous(rule: Rule) -> Ruling:
    """A careful person could disagree, or the answer was not understood: the response is undecided and counted."""
    return Ruling(Outcome.AMBIGUOUS, rule)


def ruled(equal: bool, rule: Rule) -> Ruling:
    """Return correct if equal, otherwise incorrect, by the same rule."""
    return correct(rule) if equal else incorrect(rule)
