"""The records of an export: fit rows in batches, and the counts that are reported at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mmpr.types import Message, Reason, TableRow

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """The formats. The first five hold the run's pairs; JSONL belongs to no trainer.

    The others hold more than pairs: prompts with reference answers for reinforcement learning (VERL to OPENRLHF), and
    judged responses (KTO with labels, SFT right ones, ORM with outcome labels). ROLLOUTS has every response with all
    that is known about it, in the form that `mmpr import` reads.
    """

    INTERNVL = "internvl"
    LLAMAFACTORY = "llamafactory"
    SWIFT = "swift"
    TRL = "trl"
    JSONL = "jsonl"
    VERL = "verl"
    GRPO = "grpo"
    EASYR1 = "easyr1"
    SWIFT_GRPO = "swift-grpo"
    OPENRLHF = "openrlhf"
    KTO = "kto"
    SFT = "sft"
    ORM = "orm"
    ROLLOUTS = "rollouts"

    @property
    def unit(self) -> str:
        """The plural name of a row."""
        if self in _OF_PAIRS:
            return "pairs"
        if self is Format.ROLLOUTS:
            return "rollouts"
        return "responses" if self in OF_RESPONSES else "prompts"


_OF_PAIRS = frozenset((Format.INTERNVL, Format.LLAMAFACTORY, Format.SWIFT, Format.TRL, Format.JSONL))
OF_RESPONSES = frozenset((Format.KTO, Format.SFT, Format.ORM))


class Unfit(StrEnum):
    """Why a pair, a question or a response is left out."""

    # These would stop a trainer, or make it learn something else without a warning.
    EMPTY_TEXT = "empty_text"
    SAME_TEXT = "same_text"
    MEDIA_TAG = "media_tag"
    IMAGE_TAGS = "image_tags"
    SAME_WITHIN_MAX_CHARS = "same_within_max_chars"
    IMAGE_UNREADABLE = "picture_unreadable"  # stored in `export.json` under this name
    # questions
    NO_REFERENCE = "no_reference"
    REFERENCE_UNFIT = "reference_unfit"
    PROMPT_BEYOND_MAX_CHARS = "prompt_beyond_max_chars"
    # responses
    RESPONSE_EMPTY = "response_empty"
    RESPONSE_TAG = "response_tag"
    BEYOND_MAX_CHARS = "beyond_max_chars"
    UNDECIDED = "undecided"
    UNPROVEN = "unproven"
    OFF_FORMAT = "off_format"
    NO_FINAL_ANSWER = "no_final_answer"
    UNFINISHED = "unfinished"
    REFUSAL = "refusal"
    WRONG = "wrong"
    NEAR_DUPLICATE = "near_duplicate"
    PER_QUESTION = "per_question"


EXPLAINED = {
    Unfit.EMPTY_TEXT: "question, chosen or rejected is null or blank",
    Unfit.SAME_TEXT: "chosen and rejected are the same",
    Unfit.MEDIA_TAG: "a text says <image>, <video>, <audio> or <IMG_CONTEXT> where a trainer would look for an image",
    Unfit.IMAGE_TAGS: "the prompt has more or fewer <image> tags than images",
    Unfit.SAME_WITHIN_MAX_CHARS: "chosen and rejected are the same within --max-chars",
    Unfit.IMAGE_UNREADABLE: "an image cannot be decoded",
    Unfit.NO_REFERENCE: "questions without a reference answer",
    Unfit.REFERENCE_UNFIT: "questions with a reference answer that the judge cannot use",
    Unfit.PROMPT_BEYOND_MAX_CHARS: "questions whose prompt alone is longer than --max-chars",
    Unfit.RESPONSE_EMPTY: "responses without text",
    Unfit.RESPONSE_TAG: "responses that say <image>, <video> or <audio>",
    Unfit.BEYOND_MAX_CHARS: "responses that end after --max-chars",
    Unfit.UNDECIDED: "responses that the judge cannot decide",
    Unfit.UNPROVEN: "responses that are likely wrong, without proof: rejected_certainty=likely takes them",
    Unfit.OFF_FORMAT: "responses that are right, but not in the form that was asked for",
    Unfit.NO_FINAL_ANSWER: "responses without a final answer",
    Unfit.UNFINISHED: "responses that ended at their length limit",
    Unfit.REFUSAL: "responses that refuse",
    Unfit.WRONG: "responses that are wrong",
    Unfit.NEAR_DUPLICATE: "near-duplicates of another response to the question (near_duplicate)",
    Unfit.PER_QUESTION: "responses beyond the first --per-question",
}
_OF_QUESTIONS = {
    Reason.ACCURACY_WINDOW: "questions whose share of right responses lies outside --accuracy",
    Reason.ACCURACY_UNCLEAR: "questions that may lie outside --accuracy: the judge cannot decide some responses",
    Reason.EXCLUDED: "questions that are in the list of `exclude`",
}


def explained(reason: Unfit | Reason) -> str:
    """Explain a reason in words."""
    if isinstance(reason, Unfit):
        return EXPLAINED[reason]
    return _OF_QUESTIONS.get(reason, "questions that were skipped when they were read or asked")


def reason_named(name: str) -> Unfit | Reason:
    """Return the reason with this name; raises ValueError if there is none."""
    return Unfit(name) if name in set(Unfit) else Reason(name)


@dataclass(frozen=True, slots=True)
class FitPair:
    """A pair that passed all checks.

    Args:
        columns: its row, with `images` as paths relative to the export.
        turns: the prompt: an optional system message, earlier questions with their answers, then the question.
        images: the same paths.
    """

    columns: TableRow
    turns: tuple[Message, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One row group of the run: its place, its fit pairs, and the same rows as stored in the file."""

    split: str
    path: str
    pairs: list[FitPair]
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The number of rows that were left out for one reason, and the place of the first one."""

    reason: Unfit | Reason
    rows: int
    first: str

    def __str__(self) -> str:
        return f"left out: {self.rows:,} {self.reason.value} ({explained(self.reason)}); the first is {self.first}"


class LeftOuts:
    """Counts the rows that an export leaves out."""

    def __init__(self) -> None:
        self._rows: Counter[Unfit | Reason] = Counter()
        self._first: dict[Unfit | Reason, str] = {}

    def add(self, reason: Unfit | Reason, place: str) -> None:
        """Count one row; `place` names it."""
        self._rows[reason] += 1
        self._first.setdefault(reason, place)

    def all(self) -> tuple[LeftOut, ...]:
        """Return the counts in the order of `Unfit`, then `Reason`; a name that both have appears once."""
        # `undecided` is in both
        reasons = dict.fromkeys((*Unfit, *Reason))
        return tuple(LeftOut(why, self._rows[why], self._first[why]) for why in reasons if why in self._first)


@dataclass(frozen=True, slots=True)
class Counts:
    """The result of an export.

    Args:
        rows: number of rows written, in all splits.
        images: number of image files; 0 if images are embedded.
        left_out: rows left out, by reason.
        load: one line that tells how to point the trainer at the export; empty if there is no row to train on.
    """

    rows: int
    images: int
    left_out: tuple[LeftOut, ...]
    load: str
