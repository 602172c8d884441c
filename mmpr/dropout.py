"""Dropout-NTP (arXiv 2411.10442, section 3.2): cut a draft, take the image away, pair draft and blind completion.

A `View` says what the completion is written with, nothing by default; the cut, the faults and the pairs are the same.

The original pipeline cuts by spaces, so that Chinese is not cut at all, and glues stripped strings. Here the cut is
made in tokens and every text is decoded from the tokens that really ran. Only where a server gives no tokens is the cut
made in the text, at the same places, and what follows must follow it verbatim.
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

# Scripts that put spaces between words: only there must a cut fall beside a blank.
_SPACED = re.compile(r"[A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u052f\u0590-\u06ff]")
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
    """Where a draft was cut: `prefix` stays, `remaining_tokens` of the draft were taken off.

    `continues` is how an engine continues it; with TEXT the prefix has no token ids and the counts of tokens are
    the draft's own, shared out by characters. A prefix without text: nothing of the draft stays.
    """

    prefix: Prefix
    remaining_tokens: int
    kept_tokens: int
    continues: Continues = Continues.EXACT


def cut_draft(
    draft: Response, *, decode: Decode, keep_fraction: float = 0.5, min_side_tokens: int = 8
) -> Cut | tuple[Reason, str]:
    """Cut a draft so that about `keep_fraction` of its tokens stay.

    The cut moves back until the kept tokens decode to a true prefix of the draft's text, without a broken character, at
    a word boundary where the script has them ("the red cir|cle" moves to "the red| circle"). A `keep_fraction` of 0
    keeps nothing. Thoughts are not cut: closed, they stand in front of the prefix.

    Returns:
        The cut, or (reason, detail) where a side would have fewer than `min_side_tokens` tokens; a side that 0 leaves
        out is none.
    """
    ids = draft.token_ids
    if keep_fraction == 0:
        return _whole(draft, Continues.EXACT, min_side_tokens)
    aim = min(int(len(ids) * keep_fraction), len(ids) - min_side_tokens)
    for kept in range(aim, min_side_tokens - 1, -1):
        text = decode(ids[:kept])
        if _splits_cleanly(text, draft.text):
            return Cut(Prefix(text, ids[:kept], draft.thoughts, draft.thought_ids), len(ids) - kept, kept)
    return _no_cut(len(ids), keep_fraction, min_side_tokens)


def cut_text(draft: Response, *, keep_fraction: float = 0.5, min_side_tokens: int = 8) -> Cut | tuple[Reason, str]:
    """Cut a draft without token ids: by characters, back to a blank, or to any character of a script without blanks.

    Returns:
        The cut, or (reason, detail) where a side would have fewer than `min_side_tokens` tokens, as far as its share
        of the draft's characters tells.
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
    """Everything is cut off, thoughts too: the blind answer has thoughts of its own, and tokens for them."""
    if draft.text_tokens < min_side_tokens:
        return _no_cut(draft.text_tokens, 0, min_side_tokens)
    return Cut(Prefix("", ()), draft.tokens, 0, continues)


def follows(prefix: str, completion: str) -> bool:
    """Whether a completion can be the text behind a prefix that `cut_text` cut: there no word begins without its blank.

    A server that takes blanks off its texts gives "and" behind "a cat," where " and" was.
    """
    return not (_SPACED.match(completion) and _puts_blanks(prefix[-1]))


def _puts_blanks(char: str) -> bool:
    """Whether behind this character words begin with a blank: letters of such scripts, and ASCII's punctuation."""
    return char.isascii() or _SPACED.match(char) is not None


def _no_cut(n_tokens: int, keep_fraction: float, min_side_tokens: int) -> tuple[Reason, str]:
    return (
        Reason.DRAFT_TOO_SHORT,
        f"{n_tokens} tokens have no cut that leaves {min_side_tokens} on each side (keep_fraction {keep_fraction:g})",
    )


def _splits_cleanly(prefix: str, whole: str) -> bool:
    if not prefix or len(prefix) >= len(whole) or not whole.startswith(prefix) or prefix.endswith(("\ufffd", " ")):
        return False  # a blank belongs to the word behind it, as tokenizers have it
    return not (_SPACED.match(prefix[-1]) and _SPACED.match(whole[len(prefix)]))


def draft_fault(draft: Response) -> tuple[Reason, str] | None:
    """Why a draft cannot be the chosen side, or None."""
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
    """Why a completion cannot be the rejected side, or None; `rest` is the draft's own text behind the cut."""
    if completion.finish_reason is not Finish.STOP:
        return Reason.COMPLETION_UNFINISHED, f"the completion ran into its limit of {completion.tokens} tokens"
    if not completion.text.strip():
        return Reason.COMPLETION_UNFINISHED, "the completion is empty"
    if completion.text.split() == rest.split():
        return Reason.COMPLETION_EQUAL, "the completion repeats the draft's own"
    if refusal := _REFUSES.search(completion.text):
        return Reason.COMPLETION_REFUSES, f"the completion says {refusal[0]!r}"
    if has_media_tag(completion.text):
        return Reason.IMAGE_TAGS, "the completion has an image tag"
    return None


def usable_completions(rest: str, completions: Sequence[Response]) -> list[Response] | tuple[Reason, str]:
    """The completions that can be rejected sides, each text once.

    Args:
        rest: the draft's own text behind the cut.
        endings: at least one.

    Returns:
        In the order given; (reason, detail) of the first one's fault where none is usable.
    """
    faults = [completion_fault(rest, completion) for completion in completions]
    usable: dict[tuple[str, ...], Response] = {}
    for completion, fault in zip(completions, faults, strict=True):
        if fault is None:
            usable.setdefault(tuple(completion.text.split()), completion)
    return list(usable.values()) or next(fault for fault in faults if fault)


def completion_prompt(asked: Prompt, cut: Cut, shown: tuple[DecodedImage, ...] = ()) -> Prompt:
    """The draft's own prompt continued from the cut, with other images, as many, or with none.

    With none it is blind: the images' tags and labels go with them, and nothing else is changed.
    """
    completion = replace(asked, stage=Stage.COMPLETION, prefix=cut.prefix if cut.prefix.text else None)
    return replace(completion, images=shown) if shown else without_images(completion)


def without_images(prompt: Prompt) -> Prompt:
    """The same prompt, blind."""
    return replace(prompt, messages=blind(prompt.messages), images=(), max_tiles=None)


def completion_budget(cut: Cut) -> int:
    """Tokens a completion may take: twice what was cut off; a longer one has lost the thread."""
    return 2 * cut.remaining_tokens


Scored = tuple[Response, tuple[float, float] | None]  # a completion; the scores of the draft's half and its own


def pair_completions(
    draft: Response, completions: Sequence[Scored], *, min_margin: float | None = None, most: int | None = None
) -> list[Pair] | Skip:
    """One pair a completion; the greatest margins first, else in the endings' order.

    Args:
        draft: the chosen side.
        endings: usable ones, each with its scores (mean log-probability a token given the image), if it has any.
        min_margin: a pair stays where the draft's half is by so much likelier than the completion, given the image: a
            blind completion that the image does not speak against may well be true.
        most: pairs; None for one of each completion.

    Returns:
        At least one pair, or the skip that says why there is none.
    """
    margins = [(completion, scores[0] - scores[1] if scores else -math.inf) for completion, scores in completions]
    ranked = sorted(margins, key=lambda one: -one[1])
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


def given_draft(question: Question, token_ids: tuple[int, ...], decoded: str) -> Response:
    """A draft that the source gives (`chosen`), as if the engine had written it.

    Raises:
        RequestRefused: the tokenizer does not give the text back, so that no prefix of it could be exact.
    """
    if decoded != question.draft:
        raise RequestRefused(Reason.PREFIX_CHANGED, "the tokenizer changes the text of `chosen`")
    return Response(question.id, Stage.DRAFT, 0, decoded, token_ids, len(token_ids), Finish.STOP)


def given_text(question: Question, n_tokens: int) -> Response:
    """The same for an engine that gives no token ids."""
    assert question.draft is not None, "a draft that no source gave"
    return Response(question.id, Stage.DRAFT, 0, question.draft, (), n_tokens, Finish.STOP)
