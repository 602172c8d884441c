"""Compare bounding boxes by intersection over union."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mmpr.judging.cues import Cues
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect

Corners = tuple[float, float, float, float]
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,9}(?:\.\d{1,12})?|\.\d{1,12})(?![\w.]*\w)")
_NAME = re.compile(
    r"[\"']?\b(?:x|y)_?(?:1|2|min|max|left|right|top|bottom)\b[\"']?\s{0,4}[:=]|bbox(?:_2d)?|\b(?:left|top|right"
    r"|bottom|width|height|w|h|x|y)\b[\"']?\s{0,4}[:=]",
    re.I,
)
_IOU = re.compile(r"\biou\b[^.\d]{0,60}?(0?\.\d{1,60}|\d{1,2}\s?%)", re.I)
_XYWH = re.compile(r"\bx,?\s{0,4}y,?\s{0,4}w(?:idth)?,?\s{0,4}h(?:eight)?\b", re.I)
_CENTRE = re.compile(r"\bcx,?\s{0,4}cy\b|\bcent(?:er|re)[_ ]x|\bx_?cent", re.I)


@dataclass(frozen=True, slots=True)
class Box:
    """One box, given by its corners."""

    corners: Corners
    form: str
    threshold: float
    band: float
    kind: str = "box"

    def compare(self, answer: str) -> Ruling:
        """Return correct at or above the threshold; in the band around it the response is ambiguous."""
        low = answer.casefold()
        if re.search(r"\bor\b|或", low):
            return incorrect(Rule.SEVERAL)
        numbers = read_numbers(answer)
        if len(numbers) != 4:
            return incorrect(Rule.BOX_FORM)
        box = corners(numbers, self.form)
        if box is None:
            return self._turned(numbers)
        overlap = intersection_over_union(box, self.corners)
        if abs(overlap - self.threshold) < self.band and overlap != 1:
            return ambiguous(Rule.BOX_BAND)
        return correct(Rule.BOX) if overlap >= self.threshold else incorrect(Rule.BOX)

    def normal(self, answer: str) -> str | None:
        numbers = read_numbers(answer)
        return ",".join(f"{n:g}" for n in numbers) if len(numbers) == 4 else None

    def show(self) -> str:
        return ",".join(f"{n:g}" for n in self.corners)

    def _turned(self, numbers: list[float]) -> Ruling:
        """Return the corners in order if they may be a box; a box without an area is none."""
        x1, y1, x2, y2 = numbers
        turned = corners([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)], self.form)
        if turned is None or intersection_over_union(turned, self.corners) < self.threshold:
            return incorrect(Rule.BOX_FORM)
        return ambiguous(Rule.BOX_FORM)


def read_numbers(text: str) -> list[float]:
    """Read the numbers of a box in any notation: brackets, tags, JSON, named values."""
    plain = re.sub(r"<[^<>]*>", " ", text) if "<" in text else text
    plain = _NAME.sub(" ", plain)
    return [float(number) for number in _NUMBER.findall(plain)]


def corners(numbers: list[float], form: str) -> Corners | None:
    """Return x1, y1, x2, y2; None if the box has no area."""
    a, b, c, d = numbers
    if form == "xywh":
        a, b, c, d = a, b, a + c, b + d
    elif form == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (a, b, c, d) if c > a and d > b else None


def intersection_over_union(a: Corners, b: Corners) -> float:
    """Return the intersection over union of two boxes that have an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area - shared)


def compile_box(text: str, cues: Cues, *, form: str | None, threshold: float, band: float, forced: bool) -> Box | None:
    """Compile the reference answer as a box, if the source or the question asks for one."""
    if not (forced or form is not None or cues.box()):
        return None
    numbers = read_numbers(text)
    if len(numbers) != 4:
        return None
    form = form or ("xywh" if _XYWH.search(cues.low) else "cxcywh" if _CENTRE.search(cues.low) else "xyxy")
    found = corners(numbers, form)
    if found is None:
        return None
    asked = _IOU.search(cues.low)
    if asked is not None:
        number = asked.group(1)
        threshold = float(Fraction(number.rstrip("% ")) / 100) if "%" in number else float(number)
    return Box(found, form, threshold, band)
