"""WordNet as a graph: whether two words may be said of the same thing. It never proves that they may not.

`lexicon.txt.gz` holds sorted lines (see `pipelines/lexicon/compile.py`); it is unpacked when open text must first be
decided, and read by binary search.
"""

from __future__ import annotations

import gzip
from functools import cache, lru_cache
from importlib.resources import files

# Ancestors of everything prove no relation.
_MAX_ANCESTORS = 60


@cache
def _data() -> bytes:
    return gzip.decompress((files("mmpr.judging") / "lexicon.txt.gz").read_bytes())


def _line(key: str) -> list[str]:
    """Return the text after a key of the file; empty if the key is unknown."""
    data, wanted = _data(), key.encode() + b"\t"
    low, high = 0, len(data)
    while low < high:
        middle = data.rfind(b"\n", 0, (low + high) // 2) + 1
        middle = max(low, middle)
        end = data.find(b"\n", middle)
        if data[middle : middle + len(wanted)] == wanted:
            return data[middle + len(wanted) : end].decode().split(" ")
        if data[middle:end] < wanted:
            low = end + 1
        else:
            high = middle
    return []


_ENDINGS_TEXT = "ies y|ves f|men man|ches ch|shes sh|ses s|xes x|s |ing |ing e|ed |ed e|er |est "
_ENDINGS = [ending.split(" ") for ending in _ENDINGS_TEXT.split("|")]


@lru_cache(maxsize=4096)
def senses(phrase: str) -> tuple[str, ...]:
    """Return the synsets of a word or phrase in any form, most common first; empty if it is unknown."""
    if found := _line(f"l:{phrase}"):
        return tuple(found)
    if irregular := _line(f"x:{phrase}"):
        return tuple(_line(f"l:{' '.join(irregular)}"))
    for ending, lemma in _ENDINGS:
        if phrase.endswith(ending) and len(phrase) > len(ending) + 2:
            stem = phrase[: len(phrase) - len(ending)]
            bare = stem[:-1] if ending in ("ing", "ed", "er") and not lemma and stem[-1:] == stem[-2:-1] else stem
            if found := _line(f"l:{bare}{lemma}") or _line(f"l:{stem}{lemma}"):
                return tuple(found)
    return ()


@lru_cache(maxsize=4096)
def _pointers(synset: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a synset's parents, and its other relatives."""
    found = _line(f"s:{synset}")
    return (
        tuple(one[1:] for one in found if one[0] == "@"),
        tuple(one[1:] for one in found if one[0] == "~"),
    )


def _ancestors(synset: str) -> set[str]:
    """Return all parents of a synset, direct and indirect."""
    found: set[str] = set()
    ahead = list(_pointers(synset)[0])
    while ahead and len(found) < _MAX_ANCESTORS:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += _pointers(one)[0]
    return found


def synonyms(a: str, b: str) -> bool:
    """Whether both words have the same most common sense, as nouns or as adjectives: `sofa`, `couch`."""
    for part in ("n", "a"):
        first = next((sense for sense in senses(a) if sense[0] == part), None)
        second = next((sense for sense in senses(b) if sense[0] == part), None)
        if first is not None and first == second:
            return True
    return False


@lru_cache(maxsize=4096)
def related(a: str, b: str) -> bool:
    """Whether any sense of one word is a sense, parent, part, relative or sibling of one of the other's."""
    mine, theirs = senses(a), senses(b)
    if set(mine) & set(theirs):
        return True
    near_a, near_b = _neighbours(mine), _neighbours(theirs)
    if near_a & (near_b | set(theirs)) or near_b & set(mine):
        return True
    above_a = set().union(*map(_ancestors, mine)) if mine else set()
    above_b = set().union(*map(_ancestors, theirs)) if theirs else set()
    return bool(above_a & set(theirs)) or bool(above_b & set(mine))


def _neighbours(synsets: tuple[str, ...]) -> set[str]:
    """Return the parents and relatives of some synsets."""
    return {other for synset in synsets for others in _pointers(synset) for other in others}
