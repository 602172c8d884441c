"""Measure how often a model is right, with intervals, and test whether two models differ. Pure.

Every figure is a mean over questions of a value from 0 to 1: a question counts once, however often it was asked.
Responses to one question are correlated, so intervals treat questions, not responses, as independent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean, stdev
from typing import TypeVar

from mmpr.pairing import Judged
from mmpr.types import Outcome, Question

Z = 1.959964  # 95 % of a normal distribution are within this many standard deviations
FLIPS = 100_000
_SEED = 0  # equal verdicts give an equal p

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one question.

    Args:
        source: source of the question.
        kind: kind of its answer, as the judge read it.
        content: hash of what was asked: text, options, answer, images.
        n: number of responses.
        right: number of right responses.
        parsed: number of responses with a final answer.
        undecided: number of responses that the judge could not decide; these are not right.
        majority: 1 if the most frequent final answer is right, 0 if it is not, its share of a tie otherwise.
        tokens: mean tokens per response; None if unknown.
        unfinished: number of responses that reached the length limit.
    """

    source: str
    kind: str
    content: str
    n: int
    right: int
    parsed: int
    undecided: int
    majority: float
    tokens: float | None
    unfinished: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a set of questions; `passes` by k, `tokens` per response, the last two are fractions of responses."""

    questions: int
    responses: int
    right: Estimate
    majority: Estimate
    passes: dict[int, Estimate]
    parsable: Estimate
    tokens: float | None
    undecided: float
    unfinished: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The second mean minus the first over the same questions, its 95 % interval, and p of a permutation test."""

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two evaluations on the questions that both have."""

    questions: int
    only_first: int
    only_second: int
    measures: dict[str, Difference]
    by_source: dict[str, Difference] = field(default_factory=dict)
    by_kind: dict[str, Difference] = field(default_factory=dict)


def result(
    question: Question, judged: Sequence[Judged], *, kind: str, images: Sequence[str], form: Callable[[str], str]
) -> Result | None:
    """Compute a question's result from its first round; later rounds depend on the result of the first.

    Args:
        question: the question.
        judged: its responses with their verdicts.
        kind: kind of its answer.
        images: hashes of its images.
        form: maps an extracted answer to one text for all its spellings.

    Returns:
        None if no response could be judged.
    """
    first = [(response, verdict) for response, verdict in judged if response.round == 0]
    outcomes = Counter(verdict.outcome for _, verdict in first)
    # only faults of the judge or the reference: no figure of the model
    if outcomes[Outcome.ERROR] == len(first):
        return None
    return Result(
        source=question.source,
        kind=kind,
        content=content_hash(question, images),
        n=len(first),
        right=outcomes[Outcome.CORRECT],
        parsed=len(first) - outcomes[Outcome.UNPARSED],
        undecided=outcomes[Outcome.AMBIGUOUS] + outcomes[Outcome.ERROR],
        majority=majority(first, form),
        tokens=_mean([response.n_tokens for response, _ in first]),
        unfinished=sum(response.is_cut for response, _ in first),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def content_hash(question: Question, images: Sequence[str]) -> str:
    """Hash a question's content; equal questions give equal hashes, whatever their file and id are."""
    asked = [question.system, question.history, question.text, question.choices, question.answer, list(images)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def majority(judged: Sequence[Judged], form: Callable[[str], str]) -> float:
    """Return whether the most frequent final answer is right (self-consistency, arXiv 2203.11171).

    All right answers are one candidate. Responses without a final answer do not vote. For a tie, return the mean of a
    random choice.
    """
    votes: Counter[str | None] = Counter()
    for _, verdict in judged:
        if verdict.outcome is Outcome.CORRECT:
            votes[None] += 1
        elif verdict.answer is not None:
            votes[form(verdict.answer)] += 1
    most = max(votes.values(), default=0)
    return (votes[None] == most) / list(votes.values()).count(most) if most else 0.0


def pass_at(k: int, *, n: int, right: int) -> float:
    """Return the chance that one of k responses drawn from n is right (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Raises:
        ValueError: k is not from 1 to n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} responses")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def estimate(values: Sequence[float], *, responses: int) -> Estimate:
    """Return the mean of questions' values with an interval that is clustered by question.

    It is Wilson's interval with the effective number of responses, mean(1 - mean) / (variance of the mean), as
    recommended for clustered surveys (PMC6690503). It stays within 0 and 1, and has a width even if all values are
    equal. With one response per question it is Wilson's own interval. With few questions it is slightly too narrow.

    Args:
        values: one per question, from 0 to 1; at least one.
        responses: number of responses behind them; a sample counts as at most this many independent ones.
    """
    n = len(values)
    mean = fmean(values)
    variance = fmean((value - mean) ** 2 for value in values)
    spread = mean * (1 - mean)
    worth = n if spread <= 0 else responses if variance <= 0 else min(responses, n * spread / variance)
    return wilson(mean, worth)


def wilson(mean: float, n: float) -> Estimate:
    """Return Wilson's interval of a fraction.

    Args:
        mean: the fraction, 0 to 1.
        n: number of independent values; more than 0.
    """
    centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(max(0.0, mean * (1 - mean)) / n + Z * Z / (4 * n * n))
    return Estimate(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def figures(results: Sequence[Result]) -> Figures:
    """Return the figures of at least one question."""
    responses = sum(one.n for one in results)

    def mean(value: Callable[[Result], float]) -> Estimate:
        return estimate([value(one) for one in results], responses=responses)

    return Figures(
        questions=len(results),
        responses=responses,
        right=mean(_right),
        majority=mean(lambda one: one.majority),
        passes={k: mean(partial(_pass, k)) for k in passes(results)},
        parsable=mean(_parsable),
        tokens=_mean([one.tokens for one in results]),
        undecided=sum(one.undecided for one in results) / responses,
        unfinished=sum(one.unfinished for one in results) / responses,
    )


def passes(results: Sequence[Result]) -> list[int]:
    """Return the values of k for pass@k: 2, 4, 8, .. and the smallest n of all questions."""
    least = min(one.n for one in results)
    return [*(2**i for i in range(1, least.bit_length()) if 2**i < least), *([least] if least > 1 else [])]


def grouped(all_of: Iterable[Kept], name: Callable[[Kept], str]) -> dict[str, list[Kept]]:
    """Group values by a name, keeping their order; the largest group comes first."""
    found: defaultdict[str, list[Kept]] = defaultdict(list)
    for one in all_of:
        found[name(one)].append(one)
    return dict(sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def compare(first: Sequence[Result], second: Sequence[Result]) -> Comparison:
    """Compare two evaluations on the questions that both asked; count the other questions.

    Returns:
        No measures if there is no common question.
    """
    pairs = _paired(first, second)
    rest = len(first) - len(pairs), len(second) - len(pairs)
    if not pairs:
        return Comparison(0, *rest, {})
    # pass@k of both runs at the same k
    k = min(one.n for pair in pairs for one in pair)
    measures: dict[str, Callable[[Result], float]] = {
        "right": _right,
        "majority": lambda one: one.majority,
        **({f"pass@{k}": partial(_pass, k)} if k > 1 else {}),
        "parsable": _parsable,
    }
    return Comparison(
        len(pairs),
        *rest,
        {name: _differ(pairs, value) for name, value in measures.items()},
        _differ_by(pairs, lambda one: one.source),
        _differ_by(pairs, lambda one: one.kind),
    )


def _paired(first: Sequence[Result], second: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pair questions by content; repeated questions are paired in order."""
    # reversed, so that `pop` takes the first of equal questions
    waiting = grouped(reversed(second), lambda one: one.content)
    return [(one, waiting[one.content].pop()) for one in first if waiting.get(one.content)]


def _right(one: Result) -> float:
    return one.right / one.n


def _parsable(one: Result) -> float:
    return one.parsed / one.n


def _pass(k: int, one: Result) -> float:
    return pass_at(k, n=one.n, right=one.right)


def _differ(pairs: Sequence[tuple[Result, Result]], value: Callable[[Result], float]) -> Difference:
    return difference([value(one) for one, _ in pairs], [value(other) for _, other in pairs])


def _differ_by(pairs: Sequence[tuple[Result, Result]], name: Callable[[Result], str]) -> dict[str, Difference]:
    return {group: _differ(own, _right) for group, own in grouped(pairs, lambda pair: name(pair[0])).items()}


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean difference of paired values.

    The interval is the normal one over the questions' differences. p is that of a paired permutation test: if it did
    not matter which model gave a question's responses, how often would the sum of differences be at least as large?

    Args:
        first, second: one value per question, in the same order; at least one.
    """
    steps = [b - a for a, b in zip(first, second, strict=True)]
    mean = fmean(steps)
    half = Z * stdev(steps) / math.sqrt(len(steps)) if len(steps) > 1 else 2.0
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Difference(fmean(first), fmean(second), mean, low, high, _permuted(steps))


def _permuted(steps: Sequence[float]) -> float:
    """Return the fraction of `FLIPS` random signs with a sum at least as far from 0; equal sizes are drawn together."""
    import numpy as np

    # With n responses per question there are few sizes: one binomial draw replaces n flips.
    sizes = Counter(round(abs(step), 12) for step in steps)
    random = np.random.default_rng(_SEED)
    sums = np.zeros(FLIPS)
    for size, n in sorted(sizes.items()):
        if size:
            sums += size * (2.0 * random.binomial(n, 0.5, FLIPS) - n)
    as_far = np.count_nonzero(np.abs(sums) >= abs(math.fsum(steps)) - 1e-9)
    # the observed signs are one of the permutations, so p is never 0
    return float((as_far + 1) / (FLIPS + 1))
