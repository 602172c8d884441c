"""Dropout-NTP (arXiv 2411.10442, section 3.2): cut a draft, remove the image, pair the draft with a blind completion.

A `View` says which image the completion sees; by default none. The cut, the faults and the pairs are the same for all
views.

The original pipeline cuts at spaces, so Chinese text is never cut, and it joins stripped strings. Here the cut is made
between tokens, and every text is decoded from the tokens that really ran. Only for servers that return no tokens is the
cut made in the text, at the same places, and the completion must follow it verbatim.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmpr.errors import RequestRefused
from mmpr.options import option
from mmpr.prompts import blind, has_media_tag
from mmpr.types import (
    Continues,
    DecodedImage,
    Finish,
    Pair,
    PairKind,
    Prefix,
    Prompt,
    Question,
    Reason,
    Response,
    Skip,
    Stage,
    View,
)

Decode = Callable[[Sequence[int]], str]

# Letters and digits of scripts with spaces between words (Latin, Greek, Cyrillic, Hebrew, Arabic): no cut between two.
_SPACED = re.compile(r"[A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u052f\u0590-\u06ff]")
# A blind response that says it sees no image ("I can't see the image", "no image was provided") is true, so it must not
# become the rejected side; in a draft, the same sentence is false.
_REFUSES = re.compile(
    r"\b(?:i|we)(?:'m| am| are)? (?:cannot|can't|can not|unable to|not able to|don't|do not)(?: actually)? "
    r"(?:see|view|have access to|access|look at)\b[^.]{0,40}\b(?:image|picture|photo)"
    r"|\bno (?:image|picture|photo) (?:is |was |has been )?(?:provided|attached|visible|available|given)"
    r"|(?:image|picture|photo) (?:is|was) (?:not|n't) (?:provided|attached|visible|available)"
    r"|(?:无法|不能|看不到|没有看到|未提供)[^。]{0,8}(?:图像|图片|图)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DropoutOptions:
    """How the rejected side of a question without a reference answer is made."""

    draft_max_tokens: int = option(2048, "most tokens of a draft", ge=1)
    drafts: int = option(1, "drafts for each question; the one with the largest log-probability gain is chosen", ge=1)
    rejected_view: View = option(
        View.BLIND, "what the rejected side sees: blind, image_kept, shuffled_tiles, other_picture"
    )
    keep_fraction: float = option(
        0.5, "fraction of the draft's tokens in the prefix; 0: the rejected side is an entire answer", ge=0, lt=1
    )
    completions: int = option(1, "rejected completions of each draft, in one request; each can make a pair", ge=1)
    min_side_tokens: int = option(8, "fewest tokens on each side of the cut", ge=1)
    grounding: bool = option(
        False, "score correct responses with and without the image, and both sides after a cut with it"
    )


@dataclass(frozen=True, slots=True)
class Cut:
    """The cut of a draft: `kept_tokens` tokens stay as the prefix, `remaining_tokens` tokens are cut off.

    `continues`: how an engine continues the prefix. With TEXT the prefix has no token ids, and both numbers of tokens
    are estimated from the numbers of characters. If nothing of the draft is kept, the prefix has an empty text.
    """

    prefix: Prefix
    remaining_tokens: int
    kept_tokens: int
    continues: Continues = Continues.EXACT


def cut_draft(
    draft: Response, *, decode: Decode, keep_fraction: float = 0.5, min_side_tokens: int = 8
) -> Cut | tuple[Reason, str]:
    """Cut a draft so that about `keep_fraction` of its tokens stay.

    The cut moves back until the kept tokens decode to a true prefix of the draft's text, without a broken character
    and at a word boundary, if the script has spaces ("the red cir|cle" moves to "the red| circle"). A `keep_fraction`
    of 0 keeps nothing. Thoughts are not cut; they stay, closed, before the prefix.

    Returns:
        The cut, or (reason, detail) if a side would have fewer than `min_side_tokens` tokens. With a `keep_fraction`
        of 0 this holds for the remaining side only.
    """
    ids = draft.token_ids  # those after the thoughts
    if keep_fraction == 0:
        return _whole(draft, Continues.EXACT, min_side_tokens)
    # A `keep_fraction` of 0.9 would leave 4 of 40 tokens after the cut, fewer than the default of 8.
    aim = min(int(len(ids) * keep_fraction), len(ids) - min_side_tokens)
    for kept in range(aim, min_side_tokens - 1, -1):
        text = decode(ids[:kept])
        if _splits_cleanly(text, draft.text):
            return Cut(Prefix(text, ids[:kept], draft.thoughts, draft.thought_ids), len(ids) - kept, kept)
    return _no_cut(len(ids), keep_fraction, min_side_tokens)


def cut_text(draft: Response, *, keep_fraction: float = 0.5, min_side_tokens: int = 8) -> Cut | tuple[Reason, str]:
    """Cut a draft that has no token ids, by characters.

    The cut moves back to a place before a space, or to any place in a script without spaces.

    Returns:
        The cut, or (reason, detail) if a side would have fewer than `min_side_tokens` tokens; the number is estimated
        from the side's fraction of the draft's characters.
    """
    text, n_tokens = draft.text, draft.text_tokens
    if keep_fraction == 0:
        return _whole(draft, Continues.TEXT, min_side_tokens)
    for at in range(int(len(text) * keep_fraction), 0, -1):
        kept = round(n_tokens * at / len(text))
        if kept < min_side_tokens:
            break
        seam, following = text[at - 1], text[at]
        parts = not seam.isspace() and (following.isspace() or not _puts_blanks(seam))
        if parts and n_tokens - kept >= min_side_tokens:
            return Cut(Prefix(text[:at], (), draft.thoughts), n_tokens - kept, kept, Continues.TEXT)
    return _no_cut(n_tokens, keep_fraction, min_side_tokens)


def _whole(draft: Response, continues: Continues, min_side_tokens: int) -> Cut | tuple[Reason, str]:
    """Return the cut that keeps nothing: the thoughts are cut off too.

    The blind answer then has thoughts of its own, so the tokens of the draft's thoughts count for its budget.
    """
    if draft.text_tokens < min_side_tokens:
        return _no_cut(draft.text_tokens, 0, min_side_tokens)
    return Cut(Prefix("", ()), draft.tokens, 0, continues)


def follows(prefix: str, completion: str) -> bool:
    """Whether a completion can be the text after a prefix from `cut_text`, which cuts before the space of a word.

    A server that strips its texts returns "and" after "a cat,", and not " and": that completion does not follow.
    """
    return not (_SPACED.match(completion) and _puts_blanks(prefix[-1]))


def _puts_blanks(char: str) -> bool:
    """Whether the next word after this character begins with a space: ASCII, or a script with spaces."""
    return char.isascii() or _SPACED.match(char) is not None


def _no_cut(n_tokens: int, keep_fraction: float, min_side_tokens: int) -> tuple[Reason, str]:
    return (
        Reason.DRAFT_TOO_SHORT,
        f"{n_tokens} tokens have no cut that leaves {min_side_tokens} on each side (keep_fraction {keep_fraction:g})",
    )


def _splits_cleanly(prefix: str, whole: str) -> bool:
    if not prefix or len(prefix) >= len(whole) or not whole.startswith(prefix) or prefix.endswith(("\ufffd", " ")):
        return False  # tokenizers put a space at the beginning of the next word; U+FFFD is a half character
    return not (_SPACED.match(prefix[-1]) and _SPACED.match(whole[len(prefix)]))


def draft_fault(draft: Response) -> tuple[Reason, str] | None:
    """Return why a draft cannot be the chosen side, as (reason, detail); None if it can."""
    if draft.finish_reason is not Finish.STOP:
        return Reason.DRAFT_UNFINISHED, f"the draft ran into its limit of {draft.tokens} tokens"
    if draft.only_thinks:
        return Reason.DRAFT_UNFINISHED, "no answer stands behind the draft's thoughts"
    if refusal := _REFUSES.search(draft.text):
        return Reason.DRAFT_REFUSES, f"the draft says {refusal[0]!r}"
    if has_media_tag(draft.text):
        return Reason.IMAGE_TAGS, "the draft itself has an image tag"
    return None


def completion_fault(rest: str, completion: Response) -> tuple[Reason, str] | None:
    """Return why a completion cannot be the rejected side, as (reason, detail); None if it can.

    Args:
        rest: the draft's own text after the cut.
        completion: the response to judge.
    """
    if completion.finish_reason is not Finish.STOP:
        return Reason.COMPLETION_UNFINISHED, f"the completion ran into its limit of {completion.tokens} tokens"
    if not completion.text.strip():
        return Reason.COMPLETION_UNFINISHED, "the completion is empty"
    # Compared without spaces: sides that differ only in a line break would teach nothing.
    if completion.text.split() == rest.split():
        return Reason.COMPLETION_EQUAL, "the completion repeats the draft's own"
    if refusal := _REFUSES.search(completion.text):
        return Reason.COMPLETION_REFUSES, f"the completion says {refusal[0]!r}"
    if has_media_tag(completion.text):
        return Reason.IMAGE_TAGS, "the completion has an image tag"
    return None


def usable_completions(rest: str, completions: Sequence[Response]) -> list[Response] | tuple[Reason, str]:
    """Return the completions that can be rejected sides; of equal texts only the first.

    Args:
        rest: the draft's own text after the cut.
        completions: at least one.

    Returns:
        The usable completions in the given order; if there is none, the (reason, detail) of the first completion.
    """
    faults = [completion_fault(rest, completion) for completion in completions]
    usable: dict[tuple[str, ...], Response] = {}
    for completion, fault in zip(completions, faults, strict=True):
        if fault is None:
            usable.setdefault(tuple(completion.text.split()), completion)
    return list(usable.values()) or next(fault for fault in faults if fault)


def completion_prompt(asked: Prompt, cut: Cut, shown: tuple[DecodedImage, ...] = ()) -> Prompt:
    """Return the prompt of a completion: the draft's prompt with the prefix, and with other images or none.

    Without images the prompt is blind: the tags and labels of the images are removed too, and nothing else is changed.

    Args:
        asked: the prompt of the draft.
        cut: where the draft was cut.
        shown: as many images as the draft's prompt has, or none.
    """
    # An empty prefix would close the thoughts, so the blind answer could not think. With None it is a new answer.
    completion = replace(asked, stage=Stage.COMPLETION, prefix=cut.prefix if cut.prefix.text else None)
    return replace(completion, images=shown) if shown else without_images(completion)


def without_images(prompt: Prompt) -> Prompt:
    """Return the same prompt without its images and their tags."""
    return replace(prompt, messages=blind(prompt.messages), images=(), max_tiles=None)


def completion_budget(cut: Cut) -> int:
    """Return the limit of a completion's tokens: twice those that were cut off; longer texts leave the question."""
    return 2 * cut.remaining_tokens


# A completion, and the scores of the draft's own rest and of the completion (mean log-probability in nats per token).
Scored = tuple[Response, tuple[float, float] | None]


def pair_completions(
    draft: Response, completions: Sequence[Scored], *, min_margin: float | None = None, most: int | None = None
) -> list[Pair] | Skip:
    """Make one pair of each completion, the largest margin first; without scores, in the given order.

    Args:
        draft: the chosen side.
        completions: usable ones, each with its scores, if there are any: the mean log-probability per token, given
            the image.
        min_margin: nats per token by which the draft's rest must be likelier than the completion, given the image. A
            blind completion that is as likely with the image may be correct, and then must not be rejected.
        most: the largest number of pairs; None: one of each completion.

    Returns:
        At least one pair, or the skip that says why there is none.
    """
    margins = [(completion, scores[0] - scores[1] if scores else -math.inf) for completion, scores in completions]
    ranked = sorted(margins, key=lambda one: -one[1])  # stable: completions without scores keep their order
    kept = [completion for completion, margin in ranked if min_margin is None or margin >= min_margin]
    if not kept:
        best = ranked[0][1]
        found = "no scores" if math.isinf(best) else f"{best:.2f} nats a token"
        detail = f"margin {found}, at least {min_margin:g} asked for (min_grounding_margin)"
        return Skip(draft.question_id, Stage.PAIR, Reason.GROUNDING_MARGIN, detail)
    return [
        Pair(
            draft.question_id,
            (draft.stage, draft.index),
            (completion.stage, completion.index),
            PairKind.DROPOUT_NTP,
            rank,
        )
        for rank, completion in enumerate(kept[:most])
    ]


def given_draft(question: Question, text: str, thoughts: str | None, n_tokens: int) -> Response:
    """Return the draft that the source gives (`chosen`) as a response of the engine, without token ids.

    Args:
        question: has a draft.
        text: of the draft, without its thoughts.
        thoughts: None: the draft has none.
        n_tokens: of both.
    """
    return Response(question.id, Stage.DRAFT, 0, text, (), n_tokens, Finish.STOP, thoughts=thoughts)


def with_ids(draft: Response, token_ids: tuple[int, ...], decoded: str) -> Response:
    """Return the source's draft with its token ids.

    Args:
        draft: from `given_draft`.
        token_ids: of its text.
        decoded: the text of these ids.

    Raises:
        RequestRefused: the ids do not decode to the same text, so no prefix could be exact.
    """
    if decoded != draft.text:
        raise RequestRefused(Reason.PREFIX_CHANGED, "the tokenizer changes the text of `chosen`")
    return replace(draft, token_ids=token_ids)
