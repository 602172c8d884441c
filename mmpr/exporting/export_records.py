"""What passes through an export: rows that are fit, row group by row group, and what is told at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mmpr.types import Message

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """Whose format the pairs are written in; JSONL is nobody's and everybody's."""

    INTERNVL = "internvl"
    LLAMAFACTORY = "llamafactory"
    SWIFT = "swift"
    TRL = "trl"
    JSONL = "jsonl"


class Unfit(StrEnum):
    """Why a pair is left out: each would stop a trainer or silently teach it something else."""

    EMPTY_TEXT = "empty_text"
    SAME_TEXT = "same_text"
    MEDIA_TAG = "media_tag"
    IMAGE_TAGS = "image_tags"
    SAME_WITHIN_MAX_CHARS = "same_within_max_chars"
    IMAGE_UNREADABLE = "picture_unreadable"


EXPLAINED = {
    Unfit.EMPTY_TEXT: "question, chosen or rejected is null or blank",
    Unfit.SAME_TEXT: "chosen and rejected are the same",
    Unfit.MEDIA_TAG: "a text says <image>, <video>, <audio> or <IMG_CONTEXT> where a trainer would look for an image",
    Unfit.IMAGE_TAGS: "the prompt has more or fewer <image> tags than images",
    Unfit.SAME_WITHIN_MAX_CHARS: "chosen and rejected are the same within --max-chars",
    Unfit.IMAGE_UNREADABLE: "an image cannot be decoded",
}


@dataclass(frozen=True, slots=True)
class FitPair:
    """One pair that passed. `columns` are its row's, with `images` as paths relative to the export."""

    columns: Mapping[str, Any]
    turns: tuple[
        Message, ...
    ]  # what was asked: a system message perhaps, then questions and answers, then the question
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One row group of the run: its place, its pairs that are fit, and the same rows as they lie in the file."""

    split: str
    path: str
    pairs: list[FitPair]
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many pairs one reason left out, and where the first of them lies."""

    reason: Unfit
    pairs: int
    first: str

    def __str__(self) -> str:
        return f"left out: {self.pairs:,} {self.reason.value} ({EXPLAINED[self.reason]}); the first is {self.first}"


@dataclass(frozen=True, slots=True)
class Counts:
    """A finished export.

    Args:
        pairs: written.
        images: files written; 0 where images are embedded.
        left_out: by reason, in the order of `Unfit`.
        load: one line: how the trainer is pointed at it.
    """

    pairs: int
    images: int
    left_out: tuple[LeftOut, ...]
    load: str
