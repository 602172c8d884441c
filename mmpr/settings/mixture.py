"""Several sources in one build: what each may set for itself, and how many rows of each a limited build asks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

# Settings of `BuildConfig` that a source may have a value of its own for; a build's value is that of the others.
PER_SOURCE = (
    *("image_root", "columns", "language", "limit", "answer_index", "answer_agreement"),
    *("prompt_version", "prompt_template", "system_message", "thinking"),
    *("max_tiles", "video_frames", "video_tiles"),
    *("keep_fraction", "min_side_tokens", "rejected_view", "endings"),
    *("answer_kind", "relative_tolerance", "ordered", "box_format", "box_iou"),
)
_OWN = ("source", "name", "weight")  # what only an entry of `sources` has


def spread(values: Mapping[str, Any], selection: Collection[str]) -> dict[str, Any]:
    """Settings with `sources` by name; the entries' settings of selection are in `per_source`.

    The two are apart since a run folder keeps what may never change from what pairing again may. Names are in order,
    so that a file whose entries were moved means the same run. What is spread already stays as it is.

    Args:
        values: settings as they were given; `sources` a list of entries, or a mapping of names to them.
        selection: names of the settings that pairing again may change.

    Raises:
        ValueError: an entry is no mapping, names no source, has an unknown name, or the name of another one.
    """
    entries = _named(values.get("sources") or {})
    chosen = {name: dict(own) for name, own in _mappings("per_source", values.get("per_source") or {}).items()}
    for name, own in chosen.items():
        _check_names(f"per_source.{name}", own, [key for key in PER_SOURCE if key in selection])
    sources = {}
    for name, entry in sorted(entries.items()):
        _check(name, entry)
        sources[name] = {key: value for key, value in entry.items() if key not in selection and key != "name"}
        if own := {key: value for key, value in entry.items() if key in selection}:
            chosen[name] = {**chosen.get(name, {}), **own}
    return {**values, "sources": sources, "per_source": chosen}


def _named(given: object) -> dict[str, dict[str, Any]]:
    """Entries by their names: those of a list by `name`, else as the source alone would be called."""
    if isinstance(given, Mapping):
        return _mappings("sources", given)
    if not isinstance(given, list):
        raise ValueError("sources: expected a list of entries, each with its `source`")
    found: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(given, start=1):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("source"), str) or not entry["source"]:
            raise ValueError(f"sources: entry {number} names no file: give it a `source`")
        name = entry["name"] if "name" in entry else _default_name(entry["source"])
        if not isinstance(name, str):
            raise ValueError(f"sources: entry {number}: its `name` must be a text (got {name!r})")
        if name in found:
            raise ValueError(f"sources: two are named {name!r}: give one of them a `name` of its own")
        found[name] = dict(entry)
    return found


def _mappings(field: str, given: object) -> dict[str, dict[str, Any]]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{field}: expected names of sources, each with its settings")
    for name, entry in given.items():
        if not isinstance(name, str) or not isinstance(entry, Mapping):
            raise ValueError(f"{field}.{name}: expected `setting: value` lines")
    return {name: dict(entry) for name, entry in given.items()}


def _default_name(source: str) -> str:
    from mmpr.sources import default_name  # needs pyarrow's room, which the help does not

    return default_name(source)


def _check(name: str, entry: Mapping[str, Any]) -> None:
    place = f"sources.{name}"
    _check_names(place, entry, [*_OWN, *PER_SOURCE])
    if not isinstance(entry.get("source"), str) or not entry["source"]:
        raise ValueError(f"{place} names no file: give it a `source`")
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ValueError(f"{place}.weight: must be a number above 0 (got {weight!r})")


def _check_names(place: str, entry: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"it may have {', '.join(known)}"
            raise ValueError(f"{place}: no setting of one source is named {str(key)!r}; {remedy}")


def shares(rooms: Sequence[int], weights: Sequence[float], limit: int) -> list[int]:
    """How many rows of each source make up `limit`: by weight, and what one source has not is shared by the others.

    Args:
        rooms: rows that each has to give.
        weights: above 0, one a source.
        limit: rows of all.

    Returns:
        Numbers that add up to `limit`, or `rooms` where there is no more.
    """
    taken, exact = [0] * len(rooms), [Fraction(weight) for weight in weights]
    filling = [i for i, room in enumerate(rooms) if room]
    while filling:
        left, whole = limit - sum(taken), sum(exact[i] for i in filling)
        parts = {i: left * exact[i] / whole for i in filling}
        full = [i for i in filling if parts[i] >= rooms[i]]
        if not full:
            return _rounded(taken, parts)
        for i in full:
            taken[i] = rooms[i]
        filling = [i for i in filling if i not in full]
    return taken


def _rounded(taken: list[int], parts: Mapping[int, Fraction]) -> list[int]:
    """Whole rows; those that rounding down leaves go where most was cut off."""
    whole = {i: int(part) for i, part in parts.items()}
    left = int(sum(parts.values())) - sum(whole.values())
    most_cut = sorted(parts, key=lambda i: (whole[i] - parts[i], i))
    return [n + whole.get(i, 0) + (i in most_cut[:left]) for i, n in enumerate(taken)]
