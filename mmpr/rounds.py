"""Adaptive sampling: decide between rounds how many more responses to ask for. Pure.

The paper samples 32 responses to every question, but most questions have enough right and wrong ones long before. A
decision waits for all responses of a round: with the fast ones alone, short responses would decide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from mmpr.options import Needs, option
from mmpr.pairing import Judged, PairOptions, Sides, outside_window, pairs_of, sides
from mmpr.types import Outcome, Question

_ROUNDS = Needs("sampling.adaptive", "without adaptive=true")
_THOUGHTS = Needs("prompt.thinking!=off", "with thinking=off")
# smallest chance that the remaining responses bring what is missing; benchmarks/NOTES.md compares other values
_WORTH_ASKING = 0.12
_ROUND_SHARE = 3  # a round asks for this part of the expected need
_LEARN_EVERY = 8  # first rounds of a source between two updates of its prior
# possible strengths of a source's prior, in responses
_STRENGTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
_MEANS = tuple(i / 20 for i in range(1, 20))
_CAUTION = 3.0  # how strongly a prior is pulled to Laplace's strength of 2 while there are few first rounds


class RatePrior(NamedTuple):
    """The belief about a question's two rates before its first response: a beta distribution, in responses."""

    chosen: float = 1.0
    rejected: float = 1.0


LAPLACE = RatePrior()  # all rates are equally likely


class SourceRates:
    """Collects the first rounds of each source, and derives the prior of its next questions.

    If most questions of a source are answered right every time, four right of four mean little hope for a wrong one; if
    the odds are even, four right of four are chance. Only first rounds count, because whether a question gets a second
    one depends on its first.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Counter[tuple[int, int]]] = {}
        self._priors: dict[str, RatePrior] = {}

    def prior(self, source: str) -> RatePrior:
        """Return the prior for a question of the source."""
        return self._priors.get(source, LAPLACE)

    def add(self, source: str, judged: Sequence[Judged], rule: PairOptions) -> None:
        """Add one question's first round."""
        chosen, wrong, unparsed = (len(side) for side in sides(judged, rule))
        seen = self._seen.setdefault(source, Counter())
        seen[chosen, wrong + unparsed] += 1
        if seen.total() % _LEARN_EVERY == 0:
            self._priors[source] = fit_prior(seen)


def fit_prior(seen: Counter[tuple[int, int]]) -> RatePrior:
    """Return the most likely prior for these counts of chosen and rejected responses per question (beta-binomial).

    Its mean and its strength are pulled towards Laplace's, the strength with a normal density of its logarithm.
    Otherwise a few first rounds that agree would give a prior that no response can change.
    """

    def log_posterior(prior: RatePrior) -> float:
        base, strength = _log_beta(*prior), sum(prior)
        likelihood = sum(n * (_log_beta(prior.chosen + c, prior.rejected + r) - base) for (c, r), n in seen.items())
        even = math.log(prior.chosen * prior.rejected / strength**2)
        return likelihood + even - _CAUTION * math.log(strength / sum(LAPLACE)) ** 2

    return max((RatePrior(mean * s, (1 - mean) * s) for s in _STRENGTHS for mean in _MEANS), key=log_posterior)


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How responses are sampled, and how many per question with a reference answer."""

    n: int = option(32, "most responses for a question with a reference answer", ge=1)
    adaptive: bool = option(
        True, "ask in rounds until a question has its pairs; false: n responses for every question, as in the paper"
    )
    first_round: int = option(4, "responses in the first round, from which accuracy is computed", ge=1, needs=_ROUNDS)
    evaluate: bool = option(
        False, "compute figures instead of pairs, from questions with a reference answer; set by `mmpr eval`"
    )
    temperature: float = option(1.0, "sampling temperature; 0: always the likeliest token", ge=0)
    top_k: int = option(50, "number of likeliest tokens to sample from; 0: no limit", ge=0)
    top_p: float = option(1.0, "probability mass of the likeliest tokens to sample from; 1: all", gt=0, le=1)
    max_tokens: int = option(4096, "most tokens of a response, thoughts included", ge=1)
    max_thought_tokens: int | None = option(
        None,
        "tokens of thoughts after which vLLM closes them and the answer begins; None: no limit",
        ge=0,
        needs=_THOUGHTS,
    )
    seed: int = option(0, "seed of the sample of rows, and of the requests if seeded is true")
    seeded: bool = option(False, "send a seed with each request, made of seed, question and stage")


def next_round(
    question: Question,
    judged: Sequence[Judged],
    rule: PairOptions,
    *,
    first: int,
    cap: int,
    prior: RatePrior = LAPLACE,
) -> int:
    """Return how many responses to ask for next; 0 if the question is complete, or too little can be expected.

    It is a third of what would complete the question if both kinds of responses came at the rate seen so far. With the
    prior, a kind not seen yet is rare but possible: 4 right of 4 ask for 4 more, 3 right of 4 for 2. Too many responses
    are paid for; too few cost another prefill, which the engine has cached.

    Args:
        question: has a reference answer.
        judged: every response so far, in complete rounds.
        rule: decides what a pair is; its `pairs_per_question` is the target.
        first: number of responses in the first round.
        cap: most responses to a question.
        prior: prior of the question's source.
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
    chosen, rejected = len(found[0]), len(found[1]) + len(found[2])
    lacking = _lacking(found, rule, left) if pairs else 1
    most = min(max(math.ceil(_expected(chosen, rejected, n, rule, cap, prior) / _ROUND_SHARE), 1), left)
    scarce, belief = (chosen, prior) if chosen <= rejected else (rejected, RatePrior(prior.rejected, prior.chosen))
    if not any(found):
        worth = (chance_of_both(n + more, left - more) >= _WORTH_ASKING for more in range(most))
    else:
        worth = (chance(scarce, n + more, lacking, left - more, belief) >= _WORTH_ASKING for more in range(most))
    return sum(takewhile(bool, worth))


def chance(seen: int, n: int, lacking: int, left: int, prior: RatePrior = LAPLACE) -> float:
    """Return the chance that `left` more responses bring `lacking` of a kind seen `seen` times in n (beta-binomial).

    Args:
        prior: its first value belongs to this kind.
    """
    alpha, beta = seen + prior[0], n - seen + prior[1]
    fewer = range(min(lacking, left + 1))
    return 1 - sum(
        math.comb(left, k) * math.exp(_log_beta(alpha + k, beta + left - k) - _log_beta(alpha, beta)) for k in fewer
    )


def chance_of_both(n: int, left: int) -> float:
    """Return the chance that `left` more responses bring one of each kind, if none of n was usable.

    Unusable means undecided, cut off, or in another form. The prior is Laplace's. A question whose answers the judge
    cannot decide is given up earlier than a hard one.
    """
    neither = n * (n + 1) / ((n + left) * (n + left + 1))
    return 1 - 2 * (n + 1) / (n + left + 1) + neither


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _lacking(found: Sides, rule: PairOptions, left: int) -> int:
    """Return how many more of the scarcer kind complete the pairs, if all others are of the other kind."""
    scarce, plenty = sorted((len(found[0]), len(found[1]) + len(found[2])))
    rooms = ((more, _room(scarce + more, plenty + left - more, rule)) for more in range(1, left + 1))
    return next((more for more, room in rooms if room >= rule.pairs_per_question), 1)


def _is_hopeless(question: Question, judged: Sequence[Judged], rule: PairOptions) -> bool:
    """Whether more responses cannot help: the reference answer does not parse, or accuracy is outside the window."""
    if all(verdict.outcome is Outcome.ERROR for _, verdict in judged):
        return True
    return outside_window(question, judged, rule.accuracy_window) is not None


def _expected(chosen: int, rejected: int, n: int, rule: PairOptions, cap: int, prior: RatePrior) -> int:
    """Return the expected number of further responses, up to `cap`, until there are enough of both kinds."""
    rates = [(side + before) / (n + sum(prior)) for side, before in zip((chosen, rejected), prior, strict=True)]
    for more in range(1, cap):
        if _room(chosen + more * rates[0], rejected + more * rates[1], rule) >= rule.pairs_per_question:
            return more
    return cap


def _room(chosen: float, rejected: float, rule: PairOptions) -> float:
    """Return the largest number of pairs from these counts, with each response in at most `max_uses` pairs."""
    combinations = chosen * rejected
    return combinations if rule.max_uses is None else min(combinations, rule.max_uses * min(chosen, rejected))
