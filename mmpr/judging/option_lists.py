"""What a source may state about its answers."""

from __future__ import annotations

from dataclasses import dataclass

from mmpr.errors import ConfigError

KINDS = (
    "choice",
    "yes_no",
    "number",
    "year",
    "roman",
    "date",
    "time",
    "ratio",
    "interval",
    "tuple",
    "set",
    "list",
    "expression",
    "equation",
    "text",
    "ocr",
    "box",
    "multipart",
)
# What datasets call the same kinds.
_SYNONYMS = {
    "letter": "choice",
    "multiple_choice": "choice",
    "mc": "choice",
    "boolean": "yes_no",
    "yesno": "yes_no",
    "integer": "number",
    "decimal": "number",
    "float": "number",
    "percent": "number",
    "unit": "number",
    "currency": "number",
    "angle": "number",
    "scientific": "number",
    "fraction": "number",
    "coordinates": "tuple",
    "inequality": "interval",
    "short_text": "text",
    "code": "ocr",
    "string": "ocr",
    "bbox": "box",
}
FORMATS = ("final", "boxed", "think", "any")
BOX_FORMATS = ("xyxy", "xywh", "cxcywh")


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How a source's answers are judged. Plain values; the defaults are right for most sources.

    Args:
        answer_kind: one of `KINDS`, or None: the truth's own grammar and the question decide. A row's own hint wins.
        relative_tolerance: opt-in for measured values (ChartQA: 0.05), never for years, counts and codes.
        box_format: `xyxy`, `xywh` or `cxcywh`; None reads it from the question, else `xyxy`.
        box_iou: least intersection over union of a correct box.
        box_band: boxes within this distance of `box_iou` are ambiguous.
        ordered: whether lists are compared in order; None reads it from the question.
        format: the form that was asked for: `final` ("Final answer: .."), `boxed`, `think` (a closed think block and
            a box) or `any`. A clear answer in another form is judged, and its verdict says `off_format`.
        judge: `module:name` of a judge of somebody's own (`mmpr.judging.own_judge`); None: the rules.
    """

    answer_kind: str | None = None
    relative_tolerance: float | None = None
    box_format: str | None = None
    box_iou: float = 0.5
    box_band: float = 0.02
    ordered: bool | None = None
    format: str = "final"
    judge: str | None = None

    def __post_init__(self) -> None:
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


def kind_named(name: str) -> str | None:
    """The kind that a dataset's word means, or None."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in KINDS else _SYNONYMS.get(plain)


DEFAULTS = JudgeOptions()
