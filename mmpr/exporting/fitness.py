"""Check rows for what would stop a trainer or make it train on something else. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.exporting.export_records import Unfit
from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import count_tags, has_media_tag
from mmpr.run.columns import text_of_parts
from mmpr.types import Message, TableRow

# Tags that some trainer replaces by media; <IMG_CONTEXT> is a token in InternVL's vocabulary.
_OTHER_MEDIA = ("<video>", "<audio>", "<IMG_CONTEXT>")


def text_fault(row: TableRow, turns: Sequence[Message], *, max_chars: int | None) -> Unfit | None:
    """Return why a pair's texts are unfit, or None.

    Args:
        row: a row of `data/`.
        turns: the prompt, from `turns_of`.
        max_chars: characters of prompt and answer together that a trainer keeps; None: all.
    """
    chosen, rejected = row["chosen_text"] or "", row["rejected_text"] or ""
    if not (chosen.strip() and rejected.strip()) or _is_blank(turns):
        return Unfit.EMPTY_TEXT
    if chosen.strip() == rejected.strip():  # InternVL strips answers: a final line break is no difference
        return Unfit.SAME_TEXT
    if says_media(chosen) or says_media(rejected):
        return Unfit.MEDIA_TAG
    if fault := prompt_fault(turns, len(row["images"] or ())):
        return fault
    if max_chars is not None:
        n_chars = max(0, max_chars - sum(len(turn.text) for turn in turns))
        if chosen[:n_chars] == rejected[:n_chars]:
            return Unfit.SAME_WITHIN_MAX_CHARS
    return None


def prompt_fault(turns: Sequence[Message], n_images: int) -> Unfit | None:
    """Return why a prompt is unfit, whatever the answer is, or None."""
    if _is_blank(turns):
        return Unfit.EMPTY_TEXT
    # no trainer counts an image tag there
    system = any(turn.role == "system" and IMAGE_TAG in turn.text for turn in turns)
    if system or any(tag in turn.text for tag in _OTHER_MEDIA for turn in turns):
        return Unfit.MEDIA_TAG
    return Unfit.IMAGE_TAGS if count_tags(turn.text for turn in turns) != n_images else None


def says_media(answer: str) -> bool:
    """Whether a trainer would look for media where the answer only mentions a tag."""
    return has_media_tag(answer) or any(tag in answer for tag in _OTHER_MEDIA)


def _is_blank(turns: Sequence[Message]) -> bool:
    return not turns or not turns[-1].text.strip()


def turns_of(row: TableRow) -> tuple[Message, ...]:
    """Return the prompt as messages with `<image>` tags; empty if it is null or does not end in a question.

    The text of a single question is the column `question`; earlier turns are joined from their content parts.
    """
    turns = [Message(turn["role"], text_of_parts(turn["content"] or ())) for turn in row["prompt"] or ()]
    spoken = [turn for turn in turns if turn.role != "system"]
    if not spoken or spoken[-1].role != "user" or row["question"] is None:
        return ()
    return tuple(turns) if len(spoken) > 1 else (*turns[:-1], Message("user", row["question"]))
