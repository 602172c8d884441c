"""A verifier's letters as a decision and a margin, and what these make of a verdict. Pure; never overrules a proof."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mmpr.judging.rules import is_open, is_proven
from mmpr.types import Certainty, JudgedBy, Outcome, Question, Verdict
from mmpr.verifier.verifier_prompts import Decision, decisions

VERIFIER_RULE = "verifier"  # of a verdict that a verifier gave
MOST_MARGIN = 100.0  # nats; a letter of probability 0 is no further away
Letters = tuple[float, float, float]


class UseVerifier(StrEnum):
    """Which sides of a pair a response may take by a verifier's decision."""

    NONE = "none"
    BOTH = "both"
    CHOSEN = "chosen"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the letters say: a decision, and nats between it and the next.

    Where both orders were asked and disagree, the decision is "cannot say" and the margin 0.
    """

    decision: Decision
    margin: float


@dataclass(frozen=True, slots=True)
class VerifierAnswer:
    """What a verifier answered about one response.

    Args:
        plain: log-probabilities in nats of A, B and C as the first token of its reply; None where it gave none.
        swapped: the same where A means incorrect and B correct; None where one order was asked.
        model: who answered.
        fault: why it was not answered, in one line.
    """

    plain: Letters | None = None
    swapped: Letters | None = None
    model: str = ""
    fault: str | None = None

    @property
    def opinion(self) -> Opinion | None:
        """The decision; None where there is no answer."""
        if self.plain is None:
            return None
        one = read_letters(self.plain, swapped=False)
        if self.swapped is None:
            return one
        other = read_letters(self.swapped, swapped=True)
        if one.decision is not other.decision:
            return Opinion(Decision.CANNOT_SAY, 0.0)
        return Opinion(one.decision, min(one.margin, other.margin))


def read_letters(logprobs: Sequence[float], *, swapped: bool) -> Opinion:
    """The decision of one order. The margin is the same before and after normalising over the letters."""
    meant = sorted(zip(logprobs, decisions(swapped=swapped), strict=True), key=lambda one: -one[0])
    (best, decision), (second, _), *_ = meant
    margin = best - second
    return Opinion(decision, min(margin, MOST_MARGIN)) if math.isfinite(best) else Opinion(Decision.CANNOT_SAY, 0.0)


def is_audited(question: Question, index: int, share: float) -> bool:
    """Whether a proven response is of the share that is asked about too: a hash decides, so always the same ones."""
    place = f"{question.source}\n{question.row}\n{index}\naudit"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") < share * 2**64


def is_asked_about(question: Question, index: int, verdict: Verdict, audit: float) -> bool:
    """Whether a verifier is asked about this response."""
    return is_open(verdict) or (is_proven(verdict) and is_audited(question, index, audit))


def agrees(verdict: Verdict, opinion: Opinion) -> bool | None:
    """Whether an opinion and a proof say the same; None where the opinion does not decide."""
    if opinion.decision is Decision.CANNOT_SAY:
        return None
    return (opinion.decision is Decision.CORRECT) == (verdict.outcome is Outcome.CORRECT)


def with_opinion(verdict: Verdict, answer: VerifierAnswer | None, *, min_margin: float, use: UseVerifier) -> Verdict:
    """The verdict that counts: the rules' own where they proved it, or where the verifier did not decide.

    A response that is only likely wrong and that the verifier finds right is undecided where it may not be chosen:
    the two disagree.
    """
    opinion = answer.opinion if answer is not None and use is not UseVerifier.NONE else None
    if opinion is None or not is_open(verdict) or opinion.margin < min_margin:
        return verdict
    by = replace(verdict, judged_by=JudgedBy.VERIFIER, verifier_margin=opinion.margin, rule=VERIFIER_RULE)
    if opinion.decision is Decision.INCORRECT and use is not UseVerifier.CHOSEN:
        return replace(by, outcome=Outcome.INCORRECT, certainty=Certainty.LIKELY)
    if opinion.decision is Decision.CORRECT and use is not UseVerifier.REJECTED:
        return replace(by, outcome=Outcome.CORRECT, certainty=None)
    if opinion.decision is Decision.CORRECT and verdict.outcome is Outcome.INCORRECT:
        return replace(by, outcome=Outcome.AMBIGUOUS, certainty=None)
    return verdict
