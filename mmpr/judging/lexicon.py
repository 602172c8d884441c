"""WordNet as a graph: whether two words may be said of the same thing. It never proves that they may not.

`lexicon.txt.gz` holds sorted lines (see `pipelines/lexicon/compile.py`); it is unpacked when open text must first be
decided, and read by binary search.
"""

from __future__ import annotations

import gzip
from functools import cache, lru_cache
from importlib.resources import files

# What is above everything says nothing.
_MAX_ANCESTORS = 60


@cache
def _data() -> bytes:
    return gzip.decompress((files("mmpr.judging") / "lexicon.txt.gz").read_bytes())


def _line(key: str) -> list[str]:
    """What stands behind a key of the file, or nothing."""
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
    """The synsets of a word or phrase in any of its forms, most common first; empty where it is not known."""
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
    """What a synset is a kind of, and what else it is related to."""
    found = _line(f"s:{synset}")
    return (
        tuple(one[1:] for one in found if one[0] == "@"),
        tuple(one[1:] for one in found if one[0] == "~"),
    )


def _ancestors(synset: str) -> set[str]:
    """Everything that a synset is a kind of."""
    found: set[str] = set()
    ahead = list(_pointers(synset)[0])
    while ahead and len(found) < _MAX_ANCESTORS:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += _pointers(one)[0]
    return found


def synonyms(a: str, b: str) -> bool:
    """Whether both words have one synset as their most common sense, as nouns or as adjectives: `sofa`, `couch`."""
    for part in ("n", "a"):
        first = next((sense for sense in senses(a) if sense[0] == part), None)
        second = next((sense for sense in senses(b) if sense[0] == part), None)
        if first is not None and first == second:
            return True
    return False


@lru_cache(maxsize=4096)
def related(a: str, b: str) -> bool:
    """Whether any sense of one word is a sense, a kind, a part, a relative or a brother of one of the other's."""
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
    """The parents and relatives of some synsets."""
    return {other for synset in synsets for others in _pointers(synset) for other in others}
