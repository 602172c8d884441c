"""Put `<image>` where a row's images belong, whatever dialect of tags the row uses."""

from __future__ import annotations

from dataclasses import dataclass

from mmpr.image_tags import IMAGE_TAG, inline_images, place_tags, plain_tags, tag_words
from mmpr.option_letters import letter, lettered, lists_options, lists_otherwise
from mmpr.sources.row_faults import RowFault
from mmpr.types import Reason


class ImageSlots(list[object]):
    """Images in numbered columns (`image_1`, `image_2`, ..).

    An empty column is None, so that the numbers do not change.
    """


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A row's texts and images.

    Args:
        text, history, choices: as the row has them.
        images: one reference per image; None for an empty slot.
        numbered: tags name the images by number. If some images are named, the other ones are left out: MMMU has images
            that belong to its explanations.
    """

    text: str
    history: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    images: tuple[str | None, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """The row with `<image>` as the only tag: one per reference in `images`, or none."""

    text: str
    history: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    images: tuple[str, ...]


def placed(row: TaggedRow) -> PlacedRow:
    """Place the tags of a row; a row without images has those that `<img>a.png</img>` names.

    Options with tags are listed in the question's text, where their images can appear.

    Raises:
        RowFault: IMAGE_TAGS: the tags do not fit the images. BAD_ROW: an option is empty, or the text lists the options
            under other letters.
    """
    if blank := [letter(i) for i, choice in enumerate(row.choices) if not choice.strip()]:
        raise RowFault(Reason.BAD_ROW, f"option {blank[0]} is empty: give each option a text")
    if lists_otherwise(row.text, row.choices):
        raise RowFault(
            Reason.BAD_ROW, "the question lists its options under other letters than `choices` has: remove one list"
        )
    listed = lists_options(row.text, row.choices)
    turns = [turn for pair in row.history for turn in pair]
    texts = [*turns, row.text, *(() if listed else row.choices)]
    given = row.images or tuple(inline_images(texts))
    images = {place: image for place, image in enumerate(given) if image is not None}
    if images:  # in a model's own turn, any tag except `<image>` is plain text
        texts[1 : len(turns) : 2] = [tag_words(reply) for reply in texts[1 : len(turns) : 2]]
    tags = place_tags(texts, tuple(images), named_only=row.numbered)
    if isinstance(tags, str):
        raise RowFault(Reason.IMAGE_TAGS, tags)
    n = len(turns)
    text, choices = tags.texts[n], tags.texts[n + 1 :]
    if listed:
        choices = tuple(map(plain_tags, row.choices)) if images else row.choices
    elif any(IMAGE_TAG in choice for choice in choices):
        text = f"{text}\n{lettered(choices)}"
    history = tuple(zip(tags.texts[0:n:2], tags.texts[1:n:2], strict=True))
    return PlacedRow(text, history, choices, tuple(images[place] for place in tags.order))
