"""The rule that turns a committed question into pairs or a skip; build, final selection and `pair` share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mmpr.dropout import pair_completions, usable_completions
from mmpr.pairing import PairOptions, pair_responses
from mmpr.prompts import has_media_tag
from mmpr.run import StoredQuestion
from mmpr.types import Pair, Reason, Skip, Stage


def make_pairs(committed: StoredQuestion, rule: PairOptions) -> list[Pair] | Skip:
    """Return a committed question's pairs, or its skip."""
    if committed.skip is not None:
        return committed.skip
    if committed.question.answer is None:
        return _pair_completions(committed, rule)
    return pair_responses(committed.question, committed.judged, rule)


def _pair_completions(committed: StoredQuestion, rule: PairOptions) -> list[Pair] | Skip:
    spliced = [(stored.response, stored.splice) for stored in committed.responses if stored.splice is not None]
    draft = committed.find((Stage.DRAFT, spliced[0][1].draft_index)).response
    if rule.keep_thoughts and draft.thoughts is not None and has_media_tag(draft.thoughts):
        detail = "the draft's thoughts have an image tag, and keep_thoughts puts them in both sides"
        return Skip(committed.question.id, Stage.PAIR, Reason.IMAGE_TAGS, detail)
    rest = draft.text[spliced[0][1].prefix_chars :]  # all completions continue the same prefix
    usable = usable_completions(rest, [completion for completion, _ in spliced])
    if isinstance(usable, tuple):
        return Skip(committed.question.id, Stage.COMPLETION, *usable)
    scored = [(completion, splice.scores) for completion, splice in spliced if completion in usable]
    return pair_completions(draft, scored, min_margin=rule.min_grounding_margin, most=rule.pairs_per_question)


def count(committed: Iterable[StoredQuestion], rule: PairOptions) -> tuple[dict[str, int], dict[str, int]]:
    """Count paired questions and pairs by kind, and skips by reason."""
    counts: Counter[str] = Counter(paired=0)
    skips: Counter[str] = Counter()
    for one in committed:
        pairs = make_pairs(one, rule)
        if isinstance(pairs, Skip):
            skips[pairs.reason.value] += 1
            continue
        counts["paired"] += 1
        counts.update(pair.kind.value for pair in pairs)
    return dict(counts), dict(skips)
