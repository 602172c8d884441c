"""A row's video becomes several images; each frame has its own reference, `<video>#frame=3/8`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.prompts import is_frame

_FRAME = re.compile(r"(?P<video>.+)#frame=(?P<number>[1-9]\d*)/(?P<of>[1-9]\d*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video: number `number`, from 1, of `of` frames that are spread evenly over it."""

    video: str
    number: int
    of: int


def frame_references(video: str, n_frames: int) -> tuple[str, ...]:
    """Return the references of a video's frames, in order."""
    return tuple(f"{video}#frame={number}/{n_frames}" for number in range(1, n_frames + 1))


def frame_of(reference: str) -> Frame | None:
    """Return the frame that a reference names; None for an image."""
    found = _FRAME.fullmatch(reference) if is_frame(reference) else None
    if found is None or int(found["number"]) > int(found["of"]):
        return None
    return Frame(found["video"], int(found["number"]), int(found["of"]))
