"""A video in a row is so many images: each frame has a reference of its own, `<video>#frame=3/8`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.prompts import is_frame

_FRAME = re.compile(r"(?P<video>.+)#frame=(?P<number>[1-9]\d*)/(?P<of>[1-9]\d*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video: the `number`-th, from 1, of so many that are spread evenly over it."""

    video: str
    number: int
    of: int


def frame_references(video: str, n_frames: int) -> tuple[str, ...]:
    """The references of a video's frames, in order."""
    return tuple(f"{video}#frame={number}/{n_frames}" for number in range(1, n_frames + 1))


def frame_of(reference: str) -> Frame | None:
    """The frame that a reference names; None where it names an image."""
    found = _FRAME.fullmatch(reference) if is_frame(reference) else None
    if found is None or int(found["number"]) > int(found["of"]):
        return None
    return Frame(found["video"], int(found["number"]), int(found["of"]))
