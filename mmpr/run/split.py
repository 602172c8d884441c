"""Assign questions to the train or the validation split. Pure. Images decide, so that no image is in both.

The hash of an image decides its split; the text decides for a question without images. A question with several images
ties them together: all images that are connected by questions go to the split of the smallest hash among them. So no
image leaks and no question is lost. Every committed question counts, with pairs or without, so that the splits stay
the same when the run is paired again under other settings. Memory: about 100 bytes per image of such questions.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpr.types import Question

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TRAIN, VALIDATION = "train", "validation"


def _none() -> array[int]:
    return array("Q")


@dataclass(frozen=True, slots=True)
class Split:
    """The split of a run.

    Args:
        fraction: fraction of images (and of texts of questions without images) that is held out for validation.
        moved: numbers of the images whose group is in another split than their own hash says, ascending.
    """

    fraction: float = 0.0
    moved: array[int] = field(default_factory=_none)

    def side(self, question: Question, images: Sequence[str]) -> str:
        """Return `train` or `validation`.

        Args:
            question: its text decides if it has no images.
            images: the sha256 of each of its images.
        """
        if not self.fraction:
            return TRAIN
        number = image_number(images[0]) if images else _text_number(question.text)
        at = bisect_left(self.moved, number)
        moved = bool(images) and at < len(self.moved) and self.moved[at] == number
        return VALIDATION if is_held_out(number, self.fraction) != moved else TRAIN


def image_number(sha256: str) -> int:
    """Return the first 64 bits of an image's hash. Two images with equal numbers would only stay together."""
    return int(sha256[:16], 16)


def is_held_out(number: int, fraction: float) -> bool:
    """Whether a number's own split is validation.

    It is hashed again, because the smallest number of a group is small.
    """
    digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8, person=b"mmpr split").digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def ties(images: Sequence[str]) -> list[int]:
    """Return the images of one question as pairs of numbers that must stay together, in a flat list."""
    first, *others = sorted({image_number(sha256) for sha256 in images})
    return [number for other in others for number in (first, other)]


def moved_images(tied: array[int], fraction: float) -> array[int]:
    """Return the images whose group is in another split than their own hash says, ascending.

    Args:
        tied: `ties` of all questions with several images, in any order.
        fraction: fraction of images that is held out.
    """
    import numpy as np

    if not tied:
        return _none()
    numbers, places = np.unique(np.frombuffer(tied, dtype=np.uint64), return_inverse=True)
    groups = _smallest_of_group(len(numbers), places.reshape(-1, 2))
    own = np.array([is_held_out(number, fraction) for number in numbers.tolist()])
    return array("Q", numbers[own != own[groups]].tobytes())


def _smallest_of_group(n: int, edges: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the smallest node connected to each node. Labels spread along edges until nothing changes."""
    import numpy as np

    label = np.arange(n)
    while True:
        before = label.copy()
        smaller = np.minimum(label[edges[:, 0]], label[edges[:, 1]])
        for nodes in (edges[:, 0], edges[:, 1]):
            np.minimum.at(label, before[nodes], smaller)
            np.minimum.at(label, nodes, smaller)
        # twice the distance per round: a chain of 1,000 images takes about ten rounds
        label = np.take(label, label)
        if np.array_equal(label, before):
            break
    return label


def _text_number(text: str) -> int:
    return image_number(hashlib.sha256(" ".join(text.split()).casefold().encode()).hexdigest())
