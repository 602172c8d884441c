"""Show a question as it will be asked and judged, before GPU time is spent on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mmpr.judging import Reference
from mmpr.judging.choice import Choice
from mmpr.reporting.safe_text import visible_json
from mmpr.types import Message, Question, Skip

OPEN = "open"  # the kind of a question without a reference answer


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One row of a source, ready to print.

    Args:
        row: number of the row in its source.
        prompt: the text that the model receives, with `<image>` in the place of each image.
        options: the options in order, without letters.
        images: number of images.
        reference: every accepted answer in its compiled form; for an option its text and its letter.
        kind: kind of the reference answer, or `OPEN`.
        layout: layout of the source.
    """

    row: int
    prompt: str
    options: tuple[str, ...]
    images: int
    reference: tuple[str, ...]
    kind: str
    layout: str

    def to_json(self) -> str:
        """Format as one line of JSON; control characters are escaped."""
        return _line({name: getattr(self, name) for name in self.__slots__})

    def lines(self, place: str) -> list[str]:
        """Format as lines for people; `place` names the row."""
        asked = [f"    {line}" for line in self.prompt.split("\n")]
        judged = " | ".join(self.reference) or "none: completed with and without the image"
        return [f"-- {place}", *asked, f"images     {self.images}", f"reference  {judged} ({self.kind})"]


def view_of(
    question: Question, messages: Sequence[Message], reference: Reference | None, *, layout: str
) -> QuestionView:
    """Return the view of a question; its messages become one text."""
    return QuestionView(
        row=question.row,
        prompt=rendered(messages),
        options=question.choices,
        images=len(question.images),
        reference=() if reference is None else accepted(question, reference),
        kind=OPEN if reference is None else reference.kind,
        layout=layout,
    )


def rendered(messages: Sequence[Message]) -> str:
    """Join messages to one text; several messages are shown with their roles."""
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in messages)


def accepted(question: Question, reference: Reference) -> tuple[str, ...]:
    """Return the accepted answers as texts; for a choice the right options, then their letters."""
    found: list[str] = []
    for form, plain in zip(reference.forms, reference.plain, strict=True):
        if isinstance(form.inner, Choice):
            texts = question.choices or form.inner.texts
            found += [texts[place] for place in sorted(form.inner.reference) if place < len(texts)]
            found.append(form.show())
        else:
            found.append(plain)
    # two annotators may have written the same answer
    return tuple(dict.fromkeys(found))


def skip_json(row: int, skip: Skip) -> str:
    """Format a row that is not asked as one line of JSON."""
    return _line({"row": row, "skip": skip.reason.value, "detail": skip.detail})


def _line(values: dict[str, object]) -> str:
    return visible_json(json.dumps(values, ensure_ascii=False))
