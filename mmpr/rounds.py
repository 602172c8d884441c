"""Adaptive sampling: how many more responses a question is worth asking for, decided between rounds. Pure.

The paper samples 32 responses of every question; most questions have enough of both sides long before. A decision may
only fall when every response of a round is in: were the quick ones looked at first, short responses would decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from mmpr.options import option
from mmpr.pairing import Judged, PairOptions, Sides, outside_window, pairs_of, sides
from mmpr.types import Outcome, Question

_WORTH_ASKING = 0.15  # least chance that the rest of the cap brings what is missing; benchmarks/NOTES.md has others


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How responses are sampled, and how many of a question with a reference answer."""

    n: int = option(32, "most responses for a question with a reference answer", ge=1)
    adaptive: bool = option(
        True, "ask in rounds until a question has its pairs; false: n responses for every question, as in the paper"
    )
    first_round: int = option(4, "responses in the first round, from which accuracy is computed", ge=1)
    evaluate: bool = option(
        False, "compute figures instead of pairs, from questions with a reference answer; set by `mmpr eval`"
    )
    temperature: float = option(1.0, "sampling temperature; 0: always the likeliest token", ge=0)
    top_k: int = option(50, "number of likeliest tokens to sample from; 0: no limit", ge=0)
    top_p: float = option(1.0, "probability mass of the likeliest tokens to sample from; 1: all", gt=0, le=1)
    max_tokens: int = option(4096, "most tokens of a response", ge=1)
    seed: int = option(0, "seed of the sample of rows, and of the requests if seeded is true")
    seeded: bool = option(False, "send a seed with each request, made of seed, question and stage")


def next_round(question: Question, judged: Sequence[Judged], rule: PairOptions, *, first: int, cap: int) -> int:
    """How many responses to ask for next; 0 where the question has what it needs, or little more can be hoped for.

    Half of what would do if responses of either side kept coming at the rate seen so far (Laplace's rule of succession,
    so that a side not seen yet is rare, not impossible): 4 right of 4 ask for 6 more, 3 of 4 for 2. What is asked for
    too much is paid for; what is asked for too little costs another prefill, which the engine has cached.

    Args:
        question: with a reference answer.
        judged: every response so far, rounds complete.
        rule: what pairs are; its `pairs_per_question` is the target.
        first: responses of the first round.
        cap: most responses of a question.
    """
    n, left = len(judged), cap - len(judged)
    if not judged:
        return min(first, cap)
    if left <= 0 or _is_hopeless(question, judged, rule):
        return 0
    found = sides(judged, rule)
    pairs = len(pairs_of(question, [found], rule))
    if pairs >= rule.pairs_per_question:
        return 0
    scarce = min(len(found[0]), len(found[1]) + len(found[2]))
    lacking = _lacking(found, rule, left) if pairs else 1
    most = min(max(math.ceil(_expected(found, n, rule, cap) / 2), 2), left)
    if not any(found):
        worth = (chance_of_both(n + more, left - more) >= _WORTH_ASKING for more in range(most))
    else:
        worth = (chance(scarce, n + more, lacking, left - more) >= _WORTH_ASKING for more in range(most))
    return sum(takewhile(bool, worth))


def chance(seen: int, n: int, lacking: int, left: int) -> float:
    """Chance that `left` more responses bring `lacking` of a side that was seen so many times in n: beta-binomial.

    The prior is Laplace's: every rate is as likely before the first response.
    """
    alpha, beta = seen + 1, n - seen + 1
    fewer = range(min(lacking, left + 1))
    return 1 - sum(
        math.comb(left, k) * math.exp(_log_beta(alpha + k, beta + left - k) - _log_beta(alpha, beta)) for k in fewer
    )


def chance_of_both(n: int, left: int) -> float:
    """Chance that `left` more responses bring one of either side, where none of n was of any: all were undecided, cut
    off, or in another form.

    The same prior; a question whose answers the judge cannot decide on is given up before one that is only hard.
    """
    neither = n * (n + 1) / ((n + left) * (n + left + 1))
    return 1 - 2 * (n + 1) / (n + left + 1) + neither


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _lacking(found: Sides, rule: PairOptions, left: int) -> int:
    """The fewest more of the scarcer side that complete the pairs, were all other responses of the other side."""
    scarce, plenty = sorted((len(found[0]), len(found[1]) + len(found[2])))
    rooms = ((more, _room(scarce + more, plenty + left - more, rule)) for more in range(1, left + 1))
    return next((more for more, room in rooms if room >= rule.pairs_per_question), 1)


def _is_hopeless(question: Question, judged: Sequence[Judged], rule: PairOptions) -> bool:
    """Whether more responses cannot help: the reference answer does not parse, or accuracy lies outside the window."""
    if all(verdict.outcome is Outcome.ERROR for _, verdict in judged):
        return True
    return outside_window(question, judged, rule.accuracy_window) is not None


def _expected(found: Sides, n: int, rule: PairOptions, cap: int) -> int:
    """The fewest more responses, up to `cap`, of which both sides would have enough at the rates seen in n so far."""
    chosen, wrong, unparsed = (len(side) for side in found)
    rejected = wrong + unparsed
    rates = (chosen + 1) / (n + 2), (rejected + 1) / (n + 2)
    for more in range(1, cap):
        if _room(chosen + more * rates[0], rejected + more * rates[1], rule) >= rule.pairs_per_question:
            return more
    return cap


def _room(chosen: float, rejected: float, rule: PairOptions) -> float:
    """Most pairs of so many responses a side, each in at most `max_uses` pairs."""
    combinations = chosen * rejected
    return combinations if rule.max_uses is None else min(combinations, rule.max_uses * min(chosen, rejected))
