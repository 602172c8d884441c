"""Choose the images for a question's rejected completions: none, its own, or corrupted ones.

The choice depends only on the question's place, the run's seed and the rows of the chunk, so that a chunk that is built
again shows the same images.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mmpr.errors import ImageError
from mmpr.prompts import is_frame
from mmpr.types import DecodedImage, Question, Reason, Skip, Stage, View

_TILES = 4  # per side: 16 tiles per image

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
    """Return the images for the rejected completions: as many as the question has, or none. May open files.

    Args:
        question: a question with images.
        images: its images, with their pixels.
        view: the setting `rejected_view`.
        seed: the run's seed.
        others: the questions of its chunk; they may include the question itself.
        load: opens the images of another question.

    Returns:
        The images. A skip if the chunk has no other image, or if the question's images do not change when their tiles
        are shuffled.
    """
    if view is View.BLIND:
        return ()
    if view is View.IMAGE_KEPT:
        return images
    key = f"{seed}\n{question.source}\n{question.row}"
    shown = _shuffled(images, key) if view is View.SHUFFLED_TILES else _another(question, images, key, others, load)
    if shown is not None:
        return shown
    shuffled = view is View.SHUFFLED_TILES
    detail = "with its tiles shuffled, it looks the same" if shuffled else "its chunk has no other image"
    return Skip(question.id, Stage.READ, Reason.NO_CORRUPTED_IMAGE, f"{detail} (rejected_view {view})")


def _shuffled(images: tuple[DecodedImage, ...], key: str) -> tuple[DecodedImage, ...] | None:
    """Shuffle the tiles of each image or frame; return None if no image changes."""
    shuffled = [shuffle_tiles(image, f"{key}\n{number}") for number, image in enumerate(images)]
    if not any(shuffled):
        return None
    return tuple(new or own for new, own in zip(shuffled, images, strict=True))


def _another(
    question: Question, images: tuple[DecodedImage, ...], key: str, others: Sequence[Question], load: LoadImages
) -> tuple[DecodedImage, ...] | None:
    """Return the first images of another question, all different from its own; a video is replaced by a video."""
    own = {image.sha256 for image in images}
    for references in _candidates(question, key, others):
        try:
            found = load(references)
        except ImageError:  # the other question has its own skip for this
            continue
        # two paths may hold the same image
        if own.isdisjoint(image.sha256 for image in found):
            return found
    return None


def _candidates(question: Question, key: str, others: Sequence[Question]) -> Iterator[tuple[str, ...]]:
    """Yield the images of other questions with enough of them, each once; the question's place decides the order."""
    n, is_video = len(question.images), is_frame(question.images[0])
    fitting = {
        other.images[:n]: f"{key}\n{other.source}\n{other.row}"
        for other in others
        if len(other.images) >= n and is_frame(other.images[0]) is is_video
    }
    known = [references for references in fitting if set(references).isdisjoint(question.images)]
    yield from sorted(known, key=lambda references: hashlib.sha256(fitting[references].encode()).digest())


def shuffle_tiles(image: DecodedImage, key: str) -> DecodedImage | None:
    """Cut an image into 4 x 4 equal tiles and exchange them; a rest of pixels at the right and bottom edge stays.

    Args:
        image: with its pixels.
        key: decides the order by a hash; `random` may give another order under the Python version that resumes a run.

    Returns:
        The image as PNG; None if it does not change, because it has one colour or is too small.
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
    # the identity would show the question's own image: rotate the tiles by one
    return [*order[1:], order[0]] if order == corners else order
