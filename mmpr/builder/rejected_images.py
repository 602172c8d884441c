"""The images that a question's rejected endings are written with: none, its own, or corrupted ones.

Which ones depends on the question's place, the run's seed and the rows of its chunk alone, so that a chunk that is
built again shows the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from mmpr.errors import ImageError
from mmpr.images import shuffle_tiles
from mmpr.prompts import is_frame
from mmpr.types import DecodedImage, Question, Reason, Skip, Stage, View

LoadImages = Callable[[Sequence[str]], tuple[DecodedImage, ...]]


def shown_images(
    question: Question,
    images: tuple[DecodedImage, ...],
    view: View,
    *,
    seed: int,
    others: Sequence[Question],
    load: LoadImages,
) -> tuple[DecodedImage, ...] | Skip:
    """What the endings of a question are written with; as many images as it has, or none. May open files.

    Args:
        question: one with images.
        images: its own, with their pixels.
        view: what is asked for.
        seed: the run's.
        others: the questions of its chunk; it may be among them.
        load: opens their images.

    Returns:
        The images, or the skip of a question for which the chunk has no other image, or whose own look the same
        with their tiles shuffled.
    """
    if view is View.BLIND:
        return ()
    if view is View.IMAGE_KEPT:
        return images
    key = f"{seed}\n{question.source}\n{question.row}"
    shown = _shuffled(images, key) if view is View.SHUFFLED_TILES else _another(question, images, key, others, load)
    if shown is not None:
        return shown
    told = "its tiles shuffled, it looks as before" if view is View.SHUFFLED_TILES else "its chunk has no other picture"
    return Skip(question.id, Stage.READ, Reason.NO_CORRUPTED_IMAGE, f"{told} (rejected_view {view})")


def _shuffled(images: tuple[DecodedImage, ...], key: str) -> tuple[DecodedImage, ...] | None:
    """Each image, or frame, within itself; None where none of them changes."""
    shuffled = [shuffle_tiles(image, f"{key}\n{number}") for number, image in enumerate(images)]
    if not any(shuffled):
        return None
    return tuple(new or own for new, own in zip(shuffled, images, strict=True))


def _another(
    question: Question, images: tuple[DecodedImage, ...], key: str, others: Sequence[Question], load: LoadImages
) -> tuple[DecodedImage, ...] | None:
    """The first images of one other question, none of them among its own; a video stands in for a video."""
    own = {image.sha256 for image in images}
    for references in _candidates(question, key, others):
        try:
            found = load(references)
        except ImageError:  # that question's own skip says so
            continue
        if own.isdisjoint(image.sha256 for image in found):
            return found
    return None


def _candidates(question: Question, key: str, others: Sequence[Question]) -> Iterator[tuple[str, ...]]:
    """References of other questions, as many as the question has, each once, in an order that its place decides."""
    n, is_video = len(question.images), is_frame(question.images[0])
    fitting = {
        other.images[:n]: f"{key}\n{other.source}\n{other.row}"
        for other in others
        if len(other.images) >= n and is_frame(other.images[0]) is is_video
    }
    known = [references for references in fitting if set(references).isdisjoint(question.images)]
    yield from sorted(known, key=lambda references: hashlib.sha256(fitting[references].encode()).digest())
