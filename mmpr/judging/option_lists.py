"""The options of judging: what a source may state about its answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.errors import ConfigError
from mmpr.judging.tables import meanings
from mmpr.options import derived, option

_KINDS_TEXT = """
choice yes_no number year roman date time ratio interval tuple set list expression equation text ocr box multipart
"""
KINDS = tuple(_KINDS_TEXT.split())
_SYNONYMS = meanings("synonyms of kinds")  # names of the same kinds in datasets
FORMATS = ("final", "boxed", "think", "any")
_OWN_JUDGE = re.compile(r"\A[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+:[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+\Z")
BOX_FORMATS = ("xyxy", "xywh", "cxcywh")


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How a source's answers are judged. Plain values; the defaults are right for most sources.

    `box_band`: boxes within this distance of `box_iou` are ambiguous. `format`: the form that was asked for: `final`
    ("Final answer: .."), `boxed`, `think` (a closed think block and a box) or `any`; a clear answer in another form is
    judged, and its verdict says `off_format`. A row's own hint of its kind takes precedence.

    Raises:
        ConfigError: a value is none of those that are possible.
    """

    answer_kind: str | None = option(None, "kind of all answers, such as number or choice; None: found for each row")
    relative_tolerance: float | None = option(
        None,
        "relative tolerance of numbers, such as 0.05 for charts; never used for years, counts and codes; None: exact",
        ge=0,
        lt=1,
    )
    box_format: str | None = option(
        None, "form of boxes: xyxy, xywh or cxcywh; None: as the question states, else xyxy"
    )
    box_iou: float = option(0.5, "smallest intersection over union at which a box is correct")
    box_band: float = derived(0.02)
    ordered: bool | None = option(None, "whether lists are compared in order; None: as the question states")
    format: str = derived("final")
    judge: str | None = option(None, "your own judge as module:name (docs/api.md); None: the rules")

    def __post_init__(self) -> None:
        if self.judge is not None and not _OWN_JUDGE.match(self.judge):
            raise ConfigError("judge: must be module:name of a judge that every node can import")
        if self.answer_kind is not None and kind_named(self.answer_kind) is None:
            raise ConfigError(f"answer_kind {self.answer_kind!r} is none of {', '.join(KINDS)}")
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r} is none of {', '.join(FORMATS)}")
        if self.box_format is not None and self.box_format not in BOX_FORMATS:
            raise ConfigError(f"box_format {self.box_format!r} is none of {', '.join(BOX_FORMATS)}")
        if not 0 < self.box_iou <= 1:
            raise ConfigError(f"box_iou {self.box_iou} is not in (0, 1]")
        if self.relative_tolerance is not None and not 0 <= self.relative_tolerance < 1:
            raise ConfigError(f"relative_tolerance {self.relative_tolerance} is not in [0, 1)")
        if self.relative_tolerance == 0:  # as in older runs, so that equal options have equal keys
            object.__setattr__(self, "relative_tolerance", None)


def kind_named(name: str) -> str | None:
    """Return the kind for a dataset's word, or None."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in KINDS else _SYNONYMS.get(plain)


DEFAULTS = JudgeOptions()
