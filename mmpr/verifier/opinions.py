"""From the probabilities of a verifier's letters to a decision, a margin and a verdict.

Pure; a proof is never overruled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mmpr.judging.rules import is_open, is_proven
from mmpr.types import Certainty, JudgedBy, Outcome, Question, Verdict
from mmpr.verifier.verifier_prompts import Decision, decisions

ENDS_ENGINES = "ends engines"  # begins the fault of a request that is not sent again
VERIFIER_RULE = "verifier"  # `Verdict.rule` of a verdict that a verifier gave
MOST_MARGIN = 100.0  # nats; also the margin to a letter of probability 0
Letters = tuple[float, float, float]


class UseVerifier(StrEnum):
    """On which sides of a pair a response may be used because of a verifier's decision."""

    NONE = "none"
    BOTH = "both"
    CHOSEN = "chosen"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A decision, and its margin in nats: the distance from the likeliest letter to the next.

    If both orders of the letters were asked and disagree, the decision is "cannot say" with margin 0.
    """

    decision: Decision
    margin: float


@dataclass(frozen=True, slots=True)
class VerifierAnswer:
    """The answer of a verifier about one response.

    Args:
        plain: log-probabilities of A, B and C as the first token of the reply, in nats; None without an answer.
        swapped: the same for the prompt in which A means incorrect and B correct; None if one order was asked.
        model: the verifier's name.
        fault: the reason if there is no answer, in one line.
    """

    plain: Letters | None = None
    swapped: Letters | None = None
    model: str = ""
    fault: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether there is no answer because a request failed, and asking again may give one."""
        return self.plain is None and not (self.fault or "").startswith(ENDS_ENGINES)

    @property
    def opinion(self) -> Opinion | None:
        """The decision and its margin; None if there is no answer."""
        if self.plain is None:
            return None
        one = read_letters(self.plain, swapped=False)
        if self.swapped is None:
            return one
        other = read_letters(self.swapped, swapped=True)
        if one.decision is not other.decision:
            # a model that prefers the letter A whatever it means has no opinion
            return Opinion(Decision.CANNOT_SAY, 0.0)
        return Opinion(one.decision, min(one.margin, other.margin))


def read_letters(logprobs: Sequence[float], *, swapped: bool) -> Opinion:
    """Return the decision of one order of the letters. The margin does not depend on whether the letters sum to 1.

    Two letters that are equally likely, or a score that is no number, decide nothing.
    """
    if any(math.isnan(one) for one in logprobs):
        return Opinion(Decision.CANNOT_SAY, 0.0)
    meant = sorted(zip(logprobs, decisions(swapped=swapped), strict=True), key=lambda one: -one[0])
    (best, decision), (second, _), *_ = meant
    if not math.isfinite(best) or best == second:
        return Opinion(Decision.CANNOT_SAY, 0.0)
    return Opinion(decision, min(best - second, MOST_MARGIN))


def is_audited(question: Question, index: int, share: float) -> bool:
    """Return whether a proven response belongs to the share that is asked about too. A hash of its place decides."""
    # Not random: a chunk that is worked on twice asks about the same responses.
    place = f"{question.source}\n{question.row}\n{index}\naudit"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") < share * 2**64


def is_asked_about(question: Question, index: int, verdict: Verdict, audit: float) -> bool:
    """Whether a verifier is asked about this response."""
    return is_open(verdict) or (is_proven(verdict) and is_audited(question, index, audit))


def agrees(verdict: Verdict, opinion: Opinion) -> bool | None:
    """Return whether an opinion and a proof agree; None if the opinion does not decide."""
    if opinion.decision is Decision.CANNOT_SAY:
        return None
    return (opinion.decision is Decision.CORRECT) == (verdict.outcome is Outcome.CORRECT)


def with_opinion(verdict: Verdict, answer: VerifierAnswer | None, *, min_margin: float, use: UseVerifier) -> Verdict:
    """Return the verdict that counts.

    A proof of the rules always counts. An open verdict is replaced if the verifier decides by at least `min_margin`
    and `use` permits the side. If the rules find a response likely wrong, the verifier finds it right and `use`
    does not permit it as the chosen side, the two disagree and the response is undecided.
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
