"""Turn judged responses into ranked pairs, or a skip with its reason. Pure; every machine gives the same result.

The rule (arXiv 2411.10442, section 3.1): a pair has one response that matches the reference answer, and one that does
not or that has no clear final answer. The original code compares answers by substring, and so loses or corrupts pairs
(fault 9). Here the verdicts decide: a rejected side needs a proof that it is wrong, an undecided response is in no
pair, and equal answers are never on both sides.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from mmpr.errors import ConfigError
from mmpr.judging.rules import Rule
from mmpr.options import Needs, option
from mmpr.prompts import has_media_tag
from mmpr.types import Certainty, JudgedBy, Outcome, Pair, PairKind, Question, Reason, Response, Skip, Stage, Verdict
from mmpr.verifier.opinions import UseVerifier

_FORMAT_PAIRS = Needs("pairs.format_pairs", "without format_pairs=true")
ANY, SAME = "any", "same"  # values of `PairOptions.chosen_from`

Judged = tuple[Response, Verdict]
Sides = tuple[list[Judged], list[Judged], list[Judged]]  # chosen, wrong, without a clear answer


# A run of letters and digits, or one character of punctuation or of a script without spaces.
_WORD = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\S")
# The middle of longer texts is not compared. 32 x 32 such texts take about 3 s on one core; with 300 words, 20 ms.
_MOST_WORDS = 4096


class Strategy(StrEnum):
    """How a question's responses are combined: the cheapest pair first, then the cheapest of the remaining ones.

    - RANDOM: all pairs cost the same; the least used responses come first, then hashes decide.
    - LENGTH_MATCHED: the cost is the difference of both lengths in tokens. The result is stable: a pair that was left
      out is not closer in length than those that filled one of its sides, or the question. Among equal costs, the pair
      comes first that brings the question's sum of chosen minus rejected tokens closest to zero.
    - HARDEST: the cost is the fraction of words that differ (Indel distance over the sum of both lengths, 0 to 1): the
      wrong response closest to a right one comes first.
    - GROUNDED: the cost falls with the gain of the chosen side from the image, in nats (`Response.gain` times its
      tokens: the pointwise mutual information of image and response). The right response that depends most on the
      image comes first, one that may have been guessed comes last. A response without a score has no gain.
    """

    RANDOM = "random"
    LENGTH_MATCHED = "length_matched"
    HARDEST = "hardest"
    GROUNDED = "grounded"


@dataclass(frozen=True, slots=True)
class PairOptions:
    """What a usable pair is.

    `accuracy_window`: the whole `FirstRound.interval` must be inside. `max_uses`: the paper has None.
    `min_grounding_margin`: see `mmpr.dropout.pair_completions`. `rejected_certainty`: LIKELY includes PROVEN.

    Raises:
        ConfigError: `accuracy_window` is no interval within 0 and 1.
    """

    pairs_per_question: int = option(4, "most pairs of a question, of all kinds together", ge=1)
    max_uses: int | None = option(2, "most pairs that one response may be in, except drafts; None: no limit", ge=1)
    rejected_certainty: Certainty = option(
        Certainty.PROVEN, "proven: reject only responses that are proven wrong; likely: reject likely wrong ones too"
    )
    refusal_negatives: bool = option(False, "allow refusals as rejected sides")
    format_pairs: bool = option(True, "make pairs whose rejected side has no final answer")
    unfinished_negatives: bool = option(
        False, "allow responses that max_tokens cut as rejected sides of format pairs", needs=_FORMAT_PAIRS
    )
    use_verifier: UseVerifier = option(
        UseVerifier.NONE,
        "sides for which a verifier's decision counts: none, both, chosen, rejected; proofs always count",
    )
    strategy: Strategy = option(
        Strategy.RANDOM,
        "which pairs come first: random, length_matched (tokens), hardest (closest in words), grounded (in the image)",
    )
    accuracy_window: tuple[float, float] | None = option(
        None, "pair only questions whose fraction of correct responses is inside, such as [0.2, 0.8]; None: all"
    )
    near_duplicate: float | None = option(
        1.0,
        "fraction of equal words at which two responses count as one; 1: equal texts only; None: keep all",
        ge=0,
        le=1,
    )
    min_grounding_margin: float | None = option(
        None,
        "nats per token by which the image must make the draft's part likelier than the completion; None: no limit",
    )
    policy: str | None = option(
        None,
        "the model to be trained, if several models answered: rejected sides are its responses; None: all models alike",
    )
    chosen_from: str = option(
        ANY,
        "who writes chosen sides: any (the policy, else others), same (who wrote the rejected side), or a model's name",
    )
    keep_thoughts: bool = option(
        False, "put a side's thoughts in front of it, between <think> marks; else pairs have answers alone"
    )
    max_across: int | None = option(
        None, "most pairs of a question whose sides come from two models; None: no limit", ge=0
    )

    def __post_init__(self) -> None:
        low, high = self.accuracy_window or (0, 1)
        if not 0 <= low <= high <= 1:
            raise ConfigError("accuracy_window: must be [low, high] with low at most high, both from 0 to 1")


@dataclass(frozen=True, slots=True)
class FirstRound:
    """Counts of a question's first responses: right, wrong (also those without an answer) and undecided.

    Only the first round counts. Later rounds depend on it, so that all rounds together would be biased: a question that
    is right one time in ten is asked again until it is.
    """

    n_correct: int = 0
    n_wrong: int = 0
    n_undecided: int = 0

    @property
    def accuracy(self) -> float | None:
        """Fraction of right responses among the decided ones; None without any."""
        decided = self.n_correct + self.n_wrong
        return self.n_correct / decided if decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy if all undecided responses were wrong, and if all were right; (0, 1) without responses."""
        n = self.n_correct + self.n_wrong + self.n_undecided
        return (self.n_correct / n, (self.n_correct + self.n_undecided) / n) if n else (0.0, 1.0)


def needs_scores(strategy: Strategy, min_grounding_margin: float | None) -> str | None:
    """Return the setting that needs the scores of a build with `grounding`; None if there is none."""
    if min_grounding_margin is not None:
        return "min_grounding_margin"
    return "strategy=grounded" if strategy is Strategy.GROUNDED else None


def pair_responses(question: Question, judged: Sequence[Judged], rule: PairOptions) -> list[Pair] | Skip:
    """Pair a question's judged responses.

    Hashes of the responses' content decide the order of candidates, so that neither the number of engines nor the order
    of arrival matters. Correctness pairs come before format pairs.

    Returns:
        At least one pair, best first, or the skip that explains why there is none.
    """
    parts = model_parts(judged, rule)
    usable = any(found[0] and (found[1] or found[2]) for found in parts)
    if usable and (outside := outside_window(question, of_policy(judged, rule.policy), rule.accuracy_window)):
        return outside
    return pairs_of(question, parts, rule) or _why_none(question, judged, rule, usable=usable)


def pairs_of(question: Question, parts: Sequence[Sides], rule: PairOptions) -> list[Pair]:
    """Return the pairs of these responses, best first; may be empty.

    Args:
        parts: groups of responses that may be combined; earlier groups come first.
    """
    uses: Counter[int] = Counter()
    pairs: list[Pair] = []
    models = {j[0].index: j[0].model for part in parts for side in part for j in side}
    for kind, place in ((PairKind.CORRECTNESS, 1), (PairKind.FORMAT, 2)):
        for part in parts:
            # counted over both kinds: `max_across` limits the question
            across = sum(models[pair.chosen[1]] != models[pair.rejected[1]] for pair in pairs)
            most_across = None if rule.max_across is None else rule.max_across - across
            most = rule.pairs_per_question - len(pairs)
            pairs += _match(question, part[0], part[place], kind, rule, uses, most, most_across)
    return [Pair(p.question_id, p.chosen, p.rejected, p.kind, rank) for rank, p in enumerate(pairs)]


def model_parts(judged: Sequence[Judged], rule: PairOptions) -> list[Sides]:
    """Group responses that may be combined in pairs by their models; a single group if all are of one model."""
    own = of_policy(judged, rule.policy)
    if rule.chosen_from == SAME:
        models = sorted({response.model or "" for response, _ in judged}, key=lambda name: (name != rule.policy, name))
        return [sides([j for j in judged if (j[0].model or "") == name], rule) for name in models]
    found = sides(own, rule)
    if rule.chosen_from != ANY:
        named = [j for j in judged if (j[0].model or rule.policy) == rule.chosen_from]
        return [(sides(named, rule)[0], *found[1:])]
    # others are needed only if the policy has no right response
    if found[0] or len(own) == len(judged):
        return [found]
    others = [j for j in judged if j[0].model not in (None, rule.policy)]
    return [(sides(others, rule)[0], *found[1:])]


def of_policy(judged: Sequence[Judged], policy: str | None) -> list[Judged]:
    """Return the policy's own responses; all, if there is no policy or it did not answer this question."""
    own = [j for j in judged if policy is None or j[0].model in (None, policy)]
    return own or list(judged)


def sides(judged: Sequence[Judged], rule: PairOptions) -> Sides:
    """Return the responses that may be in pairs, without near-duplicates: chosen, wrong, without a clear answer."""
    distinct = partial(without_duplicates, rule=rule)
    chosen = distinct([j for j in judged if may_be_chosen(j, rule)])
    wrong = distinct([j for j in judged if _is_wrong(j, rule)])
    unparsed = distinct([j for j in judged if rule.format_pairs and _is_format_negative(j, rule)])
    return chosen, wrong, unparsed


def first_round(judged: Iterable[Judged]) -> FirstRound:
    """Count the first round of a question's responses."""
    outcomes = Counter(verdict.outcome for response, verdict in judged if response.round == 0)
    wrong = outcomes[Outcome.INCORRECT] + outcomes[Outcome.UNPARSED]
    return FirstRound(outcomes[Outcome.CORRECT], wrong, outcomes[Outcome.AMBIGUOUS] + outcomes[Outcome.ERROR])


def _is_usable(response: Response, rule: PairOptions) -> bool:
    # trainers count the image tags of what is written, thoughts too
    written = response.whole_text if rule.keep_thoughts else response.text
    return bool(response.text.strip()) and not has_media_tag(written)


def may_be_chosen(judged: Judged, rule: PairOptions) -> bool:
    """Whether a response is right, in the requested form, complete, and usable by trainers."""
    response, verdict = judged
    right = verdict.outcome is Outcome.CORRECT and not verdict.off_format
    return right and not response.is_cut and _is_usable(response, rule)


def may_be_rejected(judged: Judged, rule: PairOptions) -> bool:
    """Whether a response is surely wrong, or has no final answer where that counts, and is usable by trainers."""
    return _is_wrong(judged, rule) or (rule.format_pairs and _is_format_negative(judged, rule))


def _is_wrong(judged: Judged, rule: PairOptions) -> bool:
    response, verdict = judged
    if verdict.rule == Rule.REFUSAL:
        wrong = rule.refusal_negatives and verdict.outcome in (Outcome.INCORRECT, Outcome.AMBIGUOUS)
    else:
        wrong = verdict.outcome is Outcome.INCORRECT and _is_sure(verdict, rule)
    return wrong and not response.is_cut and _is_usable(response, rule)


def _is_sure(verdict: Verdict, rule: PairOptions) -> bool:
    if verdict.judged_by is JudgedBy.VERIFIER:  # `use_verifier` decides whether such a verdict exists
        return rule.use_verifier in (UseVerifier.BOTH, UseVerifier.REJECTED)
    return verdict.certainty is Certainty.PROVEN or verdict.certainty is rule.rejected_certainty


def _is_format_negative(judged: Judged, rule: PairOptions) -> bool:
    """Whether a response has no final answer; an answer in another form than requested counts as an answer."""
    response, verdict = judged
    if verdict.outcome is not Outcome.UNPARSED or not _is_usable(response, rule):
        return False
    return rule.unfinished_negatives or not response.is_cut


def without_duplicates(side: Sequence[Judged], *, rule: PairOptions) -> list[Judged]:
    """Return one of each group of near-equal responses with one answer: the first by a hash of its text.

    With GROUNDED the best grounded one is kept, and the hash decides between equal ones. Two different answers are
    never duplicates.

    Args:
        side: responses of one outcome.
        rule: its `near_duplicate` decides what is near-equal.
    """
    grounded, similarity = rule.strategy is Strategy.GROUNDED, rule.near_duplicate
    # by content: the order of arrival differs between runs
    ordered = sorted(side, key=lambda j: (hashlib.sha256(j[0].text.encode()).digest(), j[0].index))
    ordered.sort(key=lambda j: grounding_cost(j[0]) if grounded else 0.0)
    if similarity is None:
        return ordered
    from rapidfuzz.distance import Indel

    words = _as_words([response.text for response, _ in ordered])
    kept: list[tuple[str | None, list[int], Judged]] = []
    for found, one in zip(words, ordered, strict=True):
        same = (other for answer, other, _ in kept if answer == _answer(one))
        if not any(Indel.normalized_similarity(found, other, score_cutoff=similarity) >= similarity for other in same):
            kept.append((_answer(one), found, one))
    return [one for _, _, one in kept]


def _answer(judged: Judged) -> str | None:
    answer = judged[1].answer
    return answer.strip().casefold() if answer is not None else None


def _as_words(texts: Sequence[str]) -> list[list[int]]:
    """Replace words by numbers, so that a comparison of characters compares words."""
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(word, len(numbers)) for word in _clipped(text)] for text in texts]


def _clipped(text: str) -> list[str]:
    words = _WORD.findall(text)
    if len(words) <= _MOST_WORDS:
        return words
    return [*words[: _MOST_WORDS // 2], *words[-_MOST_WORDS // 2 :]]


def outside_window(question: Question, judged: Sequence[Judged], window: tuple[float, float] | None) -> Skip | None:
    """Return a skip if the question is too easy or too hard for pairs, or may be because of undecided responses."""
    if window is None:
        return None
    found = first_round(judged)
    low, high = found.interval
    if window[0] <= low <= high <= window[1]:
        return None
    is_outside = high < window[0] or low > window[1]
    share = f"{low:.3g}" if low == high else f"between {low:.3g} and {high:.3g}"
    undecided = f" ({found.n_undecided} undecided)" if found.n_undecided else ""
    detail = f"{share} of the responses are right{undecided}, the window is {window[0]:g} to {window[1]:g}"
    return Skip(question.id, Stage.PAIR, Reason.ACCURACY_WINDOW if is_outside else Reason.ACCURACY_UNCLEAR, detail)


def _match(
    question: Question,
    chosen: Sequence[Judged],
    rejected: Sequence[Judged],
    kind: PairKind,
    rule: PairOptions,
    uses: Counter[int],
    most: int,
    most_across: int | None,
) -> list[Pair]:
    """Combine greedily: cheapest first, then least used, so that a few responses do not fill all pairs."""
    length = lengths_of([*chosen, *rejected])
    limit = rule.max_uses if rule.max_uses is not None else rule.pairs_per_question
    costs = _costs(chosen, rejected, rule.strategy, length)
    left = [
        (costs[i][k], _order_key(question, kind, c, r), c[0], r[0])
        for i, c in enumerate(chosen)
        for k, r in enumerate(rejected)
        if _differ(c, r) and (not rule.keep_thoughts or _both_think(c, r))
    ]
    pairs: list[Pair] = []
    gap = across = 0
    balanced = rule.strategy is Strategy.LENGTH_MATCHED
    while len(pairs) < most:
        left = [p for p in left if uses[p[2].index] < limit and uses[p[3].index] < limit]
        if most_across is not None and across >= most_across:
            left = [p for p in left if p[2].model == p[3].model]
        if not left:
            break
        best = min(left, key=lambda p: _preference(p, uses, length, gap if balanced else None))
        left.remove(best)
        *_, good, bad = best
        gap += length(good) - length(bad)
        across += good.model != bad.model
        uses.update((good.index, bad.index))
        pairs.append(Pair(question.id, (good.stage, good.index), (bad.stage, bad.index), kind, len(pairs)))
    return pairs


def _preference(
    combination: tuple[float, bytes, Response, Response],
    uses: Counter[int],
    length: Callable[[Response], int],
    gap: int | None,
) -> tuple[float, int, int, bytes]:
    """Return the sort key of a combination: cost, balance of lengths (if it counts), uses, hash."""
    cost, order, good, bad = combination
    imbalance = 0 if gap is None else abs(gap + length(good) - length(bad))
    return cost, imbalance, uses[good.index] + uses[bad.index], order


def lengths_of(judged: Sequence[Judged]) -> Callable[[Response], int]:
    """Return a function for the length of responses: in tokens, or in characters if a response's tokens are unknown."""
    if any(response.n_tokens is None for response, _ in judged):
        return lambda response: len(response.text)
    return lambda response: response.text_tokens


def _costs(
    chosen: Sequence[Judged], rejected: Sequence[Judged], strategy: Strategy, length: Callable[[Response], int]
) -> Sequence[Sequence[float]]:
    """Return the cost of every combination, one row per chosen side."""
    if strategy is Strategy.RANDOM or not rejected:
        return [[0.0] * len(rejected) for _ in chosen]
    if strategy is Strategy.GROUNDED:
        return [[grounding_cost(c)] * len(rejected) for c, _ in chosen]
    if strategy is Strategy.LENGTH_MATCHED:
        return [[float(abs(length(c) - length(r))) for r, _ in rejected] for c, _ in chosen]
    from rapidfuzz.distance import Indel

    words = _as_words([response.text for response, _ in (*chosen, *rejected)])
    return [[Indel.normalized_distance(a, b) for b in words[len(chosen) :]] for a in words[: len(chosen)]]


def grounding_cost(chosen: Response) -> float:
    """Return minus the response's gain in nats; 0 without a score."""
    return -chosen.text_tokens * (chosen.gain or 0.0)


def _differ(chosen: Judged, rejected: Judged) -> bool:
    """Whether both sides differ in text and answer: a pair with equal answers would teach nothing."""
    if chosen[0].text.strip() == rejected[0].text.strip():
        return False
    answer = _answer(rejected)
    return answer is None or answer != (_answer(chosen) or "")


def _both_think(chosen: Judged, rejected: Judged) -> bool:
    """Whether both sides have thoughts, or none: a pair with one side's thoughts would teach whether to think."""
    return (chosen[0].thoughts is None) == (rejected[0].thoughts is None)


def _order_key(question: Question, kind: PairKind, chosen: Judged, rejected: Judged) -> bytes:
    place = f"{question.source}\n{question.row}\n{kind}\n{chosen[0].index}\n{rejected[0].index}"
    return hashlib.sha256(place.encode()).digest()


def _why_none(question: Question, judged: Sequence[Judged], rule: PairOptions, *, usable: bool) -> Skip:
    """Explain why there is no pair. ALL_CORRECT and ALL_WRONG need a verdict on every response."""
    outcomes = Counter(verdict.outcome for _, verdict in judged)
    unsure = sum(v.outcome is Outcome.INCORRECT and not _is_sure(v, rule) for _, v in judged)
    counted = ", ".join(f"{outcomes[o]} {o}" for o in Outcome if outcomes[o]) or "no responses"
    detail = f"{counted} ({unsure} of the incorrect ones only likely)" if unsure else counted
    wrong = outcomes[Outcome.INCORRECT] + outcomes[Outcome.UNPARSED]
    n_undecided = outcomes[Outcome.AMBIGUOUS] + outcomes[Outcome.ERROR]
    if usable or (outcomes[Outcome.CORRECT] and wrong - unsure):
        reason = Reason.NONE_USABLE
    elif n_undecided == len(judged):
        reason = Reason.NONE_JUDGED
    elif n_undecided or (unsure and outcomes[Outcome.CORRECT]):
        reason = Reason.UNDECIDED
    else:
        reason = Reason.ALL_WRONG if wrong else Reason.ALL_CORRECT
    return Skip(question.id, Stage.PAIR, reason, detail)
