"""Find image tags of all dialects, replace them by `<image>`, or remove them. Pure.

A tag is *sure* if no other text looks like it (`<image1>`, `<|image_1|>`, `<ImageHere>`, `<img>a.png</img>`). It is
*soft* if it may be code or prose (`[IMG]`, a single `<img>`, `{image}`); soft tags count only if there are images that
no sure tag names. A sure tag in quotes or backticks, in a row without images, is a mention.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

IMAGE_TAG = "<image>"

_NUMBER = r"(?:[ _:-]{0,2}\#?|\s+(?:id|index)=[\"']?)(?P<number>\d{1,3})[\"']?"
_PATH = r"[^<>\n]{0,500}\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif)|[^\s<>]{1,500}"
# Qwen's `<img>a.png</img>` and MiniCPM's `(<image>./</image>)` contain what the tag stands for.
_SURE = rf"""
    <img>(?P<path>{_PATH})</img> | \(<image>(?:{_PATH})?</image>\) | <image>(?:{_PATH})?</image>
  | <\|?\s*image(?:[ _-]?(?:here|placeholder|token|tag))?(?:{_NUMBER})?\s*\|?>
  | <\|img\|> | <\|?img[ _-]?\#?(?P<short>\d{{1,3}})\|?>
  | (?:<IMG_CONTEXT>)+ | (?:<\|(?:image_pad|imgpad|media_pad|image_soft_token)\|>)+ | (?:<image_soft_token>)+
  | (?:<im_patch>)+ | <start_of_image> | <__(?:media|image)__>
"""
_SOFT = r"""
    \[\s*(?:img|image)(?:[ _-]?\#?(?P<bracketed>\d{1,3}))?\s*\]
  | (?P<html><img\s[^<>]{0,2000}>) | <img\s*/?> | </(?:img|image)>
  | (?P<braces>\{\s*(?:img|image)(?:[ _-]?\#?(?P<braced>\d{1,3}))?\s*\})
"""
_ANY = rf"(?:(?P<sure>{_SURE})|(?P<soft>{_SOFT}))"
# The label and the tag of an image: "Image-1: <image>\n", "Frame3: <image>\n", "<image>\n".
_WORD = "(?:Image|Image|Figure|Photo|Frame|图片?|图像|帧)"
_LABEL = (
    rf"(?:{_WORD}\s{{0,3}}-?\s{{0,3}}(?:\d{{1,4}}|[A-H])\s{{0,3}}[:：]\s{{0,9}}|(?m:^){_WORD}\s{{0,3}}[:：]\s{{0,9}})?"
)
_TAG = re.compile(_ANY, re.IGNORECASE | re.VERBOSE)
_LABELLED = re.compile(rf"{_LABEL}{_ANY}[ \t]*\n?", re.IGNORECASE | re.VERBOSE)
# Markers that models put around a tag; they are removed before tags are counted.
_AROUND = re.compile(
    r"(?:<\|(?:vision|image|img|media)_(?:start|begin)\|>|<\|begin_of_image\|>|<(?:im|image)_start>|<img>)\s*"
    r"(?=(?:<image>|<\|image\|>|<\|image_pad\|>|<\|imgpad\|>|<\|media_pad\|>|<im_patch>|<IMG_CONTEXT>))"
    r"|(?:(?<=<image>)|(?<=<\|image\|>)|(?<=_pad\|>)|(?<=<\|imgpad\|>)|(?<=<im_patch>)|(?<=<IMG_CONTEXT>))\s*"
    r"(?:<\|(?:vision|image|img|media)_end\|>|<\|end_of_image\|>|<(?:im|image)_end>|<end_of_image>|</img>)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[\w,(][ \t]+\Z")
_QUOTES = "`'\"“”‘’"


@dataclass(frozen=True, slots=True)
class PlacedTags:
    """Texts with `<image>` as their only tag; `order` has the 0-based index of each tag's image, or of each image."""

    texts: tuple[str, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _FoundTag:
    """One tag of a text and its position."""

    start: int
    end: int
    text: str
    sure: bool
    number: int | None
    is_code: bool  # HTML with attributes, or braces inside a line: kept, unless an image lacks a tag

    within: bool  # inside a sentence: there are words before it on its line

    @property
    def closes(self) -> bool:
        return self.text.startswith("</")

    @property
    def plain(self) -> bool:
        return self.text == IMAGE_TAG


def inline_images(texts: Sequence[str]) -> list[str]:
    """Return what the texts have between `<img>` and `</img>`: Qwen-VL's rows name their images so."""
    return [
        found["path"].strip()
        for text in texts
        if _may_have_tags(text)
        for found in _TAG.finditer(text)
        if found["path"]
    ]


def without_tags(text: str) -> str:
    """Remove every image tag with its label, in any dialect, and change nothing else."""
    if not _may_have_tags(text):
        return text
    return _LABELLED.sub(lambda match: match[0] if _found(match).is_code else "", text)


def plain_tags(text: str) -> str:
    """Replace each sure tag by `<image>`."""
    return _TAG.sub(lambda match: IMAGE_TAG if match["sure"] else match[0], text)


def tag_words(text: str) -> str:
    """Prepare a text that cannot contain an image: tags of other dialects become words or are removed."""
    return _TAG.sub(lambda match: _words(_found(match)) if match["sure"] and match[0] != IMAGE_TAG else match[0], text)


def place_tags(texts: Sequence[str], places: tuple[int, ...], *, named_only: bool = False) -> PlacedTags | str:
    """Replace the tags of every dialect by `<image>` where they are; or return why they do not fit the images.

    A numbered tag names an image, and may do so several times. Images without a tag come first. Tags that do not count
    are removed or become words (`<image 1>` -> `image 1`).

    Args:
        texts: the user's texts, in order.
        places: indices of the row's images, from 0; a missing numbered image leaves a gap.
        named_only: if some images are named by numbered tags, leave out the others.
    """
    if not places:
        return _without_images(texts)
    texts = [_AROUND.sub("", text) for text in texts]
    found = [tag for text in texts for tag in _tags(text)]
    sure = [tag for tag in found if tag.sure]
    plain = sum(tag.plain for tag in sure)
    if plain == len(places):
        return PlacedTags(_rewritten(texts, lambda tag: tag.text if tag.plain else _words(tag)), places)
    numbers = [tag.number for tag in sure if tag.number is not None]
    if numbers and not plain:
        return _numbered(texts, numbers, places, named_only=named_only)
    if len(sure) == len(places):
        return PlacedTags(_rewritten(texts, lambda tag: IMAGE_TAG if tag.sure else _words(tag)), places)
    if sure:
        return _misfit(sure, len(places))
    return _soft(texts, places)


def _without_images(texts: Sequence[str]) -> PlacedTags | str:
    """Treat a tag in a row without images as a missing image, unless the text only mentions the tag."""
    meant = [t for text in texts for t in _tags(text) if t.plain or (t.sure and not _quoted(text, t))]
    return _misfit(meant, 0) if meant else PlacedTags(tuple(texts), ())


def _misfit(sure: Sequence[_FoundTag], n_images: int) -> str:
    shown = next((tag.text for tag in sure if not tag.plain), IMAGE_TAG)
    return f"{len(sure)} {shown} tags for {n_images} images: write one {IMAGE_TAG} an image, or none"


def _numbered(
    texts: Sequence[str], numbers: Sequence[int], places: tuple[int, ...], *, named_only: bool
) -> PlacedTags | str:
    first = 0 if 0 in numbers else 1
    for number in numbers:
        if number - first not in places:
            return f"<image {number}> without an image of that number ({len(places)} given): give it, or no tag"
    named = [number - first for number in numbers]
    unnamed = () if named_only else tuple(place for place in places if place not in named)
    written = _rewritten(texts, lambda tag: IMAGE_TAG if tag.sure and tag.number is not None else _words(tag))
    front = f"{IMAGE_TAG}\n" * len(unnamed)
    return PlacedTags((front + written[0], *written[1:]), (*unnamed, *named))


def _soft(texts: Sequence[str], places: tuple[int, ...]) -> PlacedTags:
    """Place soft tags if there are as many as images; otherwise remove those that are no code."""
    found = [(text, tag) for text in texts for tag in _tags(text)]
    likely = [i for i, (text, tag) in enumerate(found) if not (tag.closes or _is_mention(text, tag))]
    by_number: dict[int, int] = {}
    for i in likely:
        number = found[i][1].number
        by_number.setdefault(-1 if number is None else number - 1, i)  # -1: no number
    if sorted(by_number) == sorted(places):
        return PlacedTags(_placed_at(texts, by_number.values()), tuple(by_number))
    if len(likely) == len(places) and by_number.keys() == {-1}:
        return PlacedTags(_placed_at(texts, likely), places)
    return PlacedTags(tuple(without_tags(text) for text in _rewritten(texts, _named)), places)


def _placed_at(texts: Sequence[str], chosen: Collection[int]) -> tuple[str, ...]:
    """Put `<image>` in the place of the chosen tags, counted from 0; the others become words."""
    counter = itertools.count()
    return _rewritten(texts, lambda tag: IMAGE_TAG if next(counter) in chosen else _words(tag))


def _named(tag: _FoundTag) -> str:
    return _words(tag) or tag.text


def _is_mention(text: str, tag: _FoundTag) -> bool:
    """Whether a soft tag is code that the question is about."""
    return _quoted(text, tag) if tag.text.startswith("<") else tag.is_code


def _tags(text: str) -> list[_FoundTag]:
    return [_found(match) for match in _TAG.finditer(text)] if _may_have_tags(text) else []


def _may_have_tags(text: str) -> bool:
    """Whether a text may contain tags: every tag has one of these characters, and most texts have none."""
    return any(sign in text for sign in "<[{")


def _found(match: re.Match[str]) -> _FoundTag:
    digits = next((match[name] for name in ("number", "short", "bracketed", "braced") if match[name]), None)
    alone = match["braces"] and not _line_around(match).strip(" \t.:,;")
    code = bool(match["html"]) or bool(match["braces"] and not alone)
    within = _SENTENCE.search(match.string[max(0, match.start() - 20) : match.start()]) is not None
    number = None if digits is None else int(digits)
    return _FoundTag(*match.span(), match[0], bool(match["sure"]), number, code, within)


def _line_around(match: re.Match[str]) -> str:
    """Return the line of a tag without the tag."""
    text, (start, end) = match.string, match.span()
    stop = text.find("\n", end)
    return text[text.rfind("\n", 0, start) + 1 : start] + (text[end:] if stop < 0 else text[end:stop])


def _quoted(text: str, tag: _FoundTag) -> bool:
    before, behind = text[max(0, tag.start - 1) : tag.start], text[tag.end : tag.end + 1]
    return before != "" and before in _QUOTES and behind != "" and behind in _QUOTES


def _words(tag: _FoundTag) -> str:
    """Return what replaces a tag that does not count: "Is it like <image 1>?" keeps its meaning."""
    if tag.is_code:
        return tag.text
    if tag.number is not None:
        return f"image {tag.number}"
    return "the image" if tag.within and not tag.closes else ""


def _rewritten(texts: Sequence[str], write: Callable[[_FoundTag], str]) -> tuple[str, ...]:
    return tuple(_TAG.sub(lambda match: write(_found(match)), text) for text in texts)
