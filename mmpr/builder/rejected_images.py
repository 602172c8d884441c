"""The images that a question's rejected completions are written with: none, its own, or corrupted ones.

Which ones depends on the question's place, the run's seed and the rows of its chunk alone, so that a chunk that is
built again shows the same.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mmpr.errors import ImageError
from mmpr.prompts import is_frame
from mmpr.types import DecodedImage, Question, Reason, Skip, Stage, View

_TILES = 4  # a side: 16 of an image

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
    """What the completions of a question are written with; as many images as it has, or none. May open files.

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
    detail = "its tiles shuffled, it looks as before" if view is View.SHUFFLED_TILES else "its chunk has no other image"
    return Skip(question.id, Stage.READ, Reason.NO_CORRUPTED_IMAGE, f"{detail} (rejected_view {view})")


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


def shuffle_tiles(image: DecodedImage, key: str) -> DecodedImage | None:
    """The same image cut into 4 x 4 equal tiles that change places; the pixels over at right and bottom stay.

    Args:
        image: with its pixels.
        key: decides the order, by hash and not by `random`, whose draws may change with the Python that resumes a run.

    Returns:
        The image as PNG, or None where it looks as before: of one colour, or too small to be cut.
    """
    from PIL.Image import Image

    assert isinstance(image.pixels, Image), "an image without its pixels"
    columns, rows = min(_TILES, image.width), min(_TILES, image.height)
    wide, high = image.width // columns, image.height // rows
    corners = [(x * wide, y * high) for y in range(rows) for x in range(columns)]
    shuffled = image.pixels.copy()
    for corner, (x, y) in zip(corners, _order(corners, key), strict=True):
        shuffled.paste(image.pixels.crop((x, y, x + wide, y + high)), corner)
    if shuffled.tobytes() == image.pixels.tobytes():
        return None
    buffer = io.BytesIO()
    shuffled.save(buffer, "PNG")
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    return replace(
        image, sha256=sha256, original_sha256=sha256, encoded=buffer.getvalue(), format="PNG", pixels=shuffled
    )


def _order(corners: list[tuple[int, int]], key: str) -> list[tuple[int, int]]:
    order = sorted(corners, key=lambda corner: hashlib.sha256(f"{key}\n{corner}".encode()).digest())
    return [*order[1:], order[0]] if order == corners else order
