"""Options and their letters: letter them, and recognise letters that a source has written itself. Pure.

The prompt and the judge share this module, so that both treat options equally.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_OPTIONS = 26  # one per letter; programs do not agree on what follows Z

# `A.`, `(A)`, `[A]`, `A)`, `A:`, `A、`, and their full-width forms, perhaps with Markdown's stars around them.
_OPEN = r"[\(\[（【]?\s*"
_ITEM = re.compile(rf"(?<![a-z0-9]){_OPEN}([a-z])\s*[\)\].:、．：）】]+\**\s*")
_OWN_LETTER = re.compile(rf"\s*\**{_OPEN}([A-Za-z])(?:\s*[\)\].、．）】]+[:：]?|\s*[:：])\**\s*(?=\S)")
# Texts that only look like a letter: the ratios `A:B` and `A:BC`, `a.png`, `B.C.`, `a.m.`, `a.D`, `b.org`.
_NO_LETTER = re.compile(
    r"[a-z]:[a-z]{1,2}|[a-z]\.(?:[a-z]\.?|(?:[a-z]\.){2,9}|png|jpe?g|webp|gif|bmp|tiff?|svg|avif|pdf|txt|csv|json|mp[34]"
    r"|com|org|net|html?|py|js|exe)",
    re.IGNORECASE,
)


def letter(place: int) -> str:
    """Return the letter of an option by its 0-based index."""
    return chr(ord("A") + place)


def bare(choices: Sequence[str]) -> tuple[str, ...]:
    """Strip options, and remove their letters if each option starts with its own: `A. red`.

    If only one has a letter, it is text: of "Mr. Green", "B. Brown", the second is a name.
    """
    choices = [choice.strip() for choice in choices]
    found = [_OWN_LETTER.match(choice) for choice in choices]
    if len(found) < 2 or any(one is None or one[1].upper() != letter(i) for i, one in enumerate(found)):
        return tuple(choices)
    if any(_NO_LETTER.fullmatch(choice) for choice in choices):
        return tuple(choices)
    return tuple(choice[one.end() :] if one else choice for choice, one in zip(choices, found, strict=True))


def lettered(choices: Sequence[str]) -> str:
    """List the options as a prompt does, one per line."""
    return "\n".join(f"{letter(i)}. {choice}" for i, choice in enumerate(choices))


def lists_options(text: str, choices: Sequence[str]) -> bool:
    """Whether a text lists all these options, each after its own letter.

    It is not enough that their texts occur in it: "A path is 12 m long" contains the options 1 and 2.
    """
    return bool(choices) and all(letter(i) in found for i, found in enumerate(_letters_in(text, choices)))


def lists_otherwise(text: str, choices: Sequence[str]) -> bool:
    """Whether a text lists all these options after other letters: then "A" would name two of them."""
    found = _letters_in(text, choices)
    return bool(choices) and all(found) and any(letter(i) not in one for i, one in enumerate(found))


def _letters_in(text: str, choices: Sequence[str]) -> list[set[str]]:
    """By option: the letters that the text writes it behind, whatever the case and the white space."""
    words = [_plain(choice) for choice in choices]
    plain = _plain(text)
    if not words or not all(
        word and word in plain for word in words
    ):  # nearly always; and one option that is missing decides
        return [set() for _ in choices]
    items = [(found[1].upper(), found.end()) for found in _ITEM.finditer(plain)]
    return [{one for one, at in items if _stands_at(plain, at, word)} for word in words]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _stands_at(text: str, at: int, word: str) -> bool:
    """Whether a word stands there whole: of `A. 12` the option 1 does not."""
    behind = text[at + len(word) : at + len(word) + 1]
    return text.startswith(word, at) and not (word[-1].isascii() and word[-1].isalnum() and behind.isalnum())
