"""Builds of several sources: the settings that each may have for itself, and how a limit is divided among them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

# Settings that a source may have for itself; the build's value applies to the other sources.
PER_SOURCE = (
    *("image_root", "columns", "language", "limit", "answer_index", "answer_agreement"),
    *("prompt_version", "prompt_template", "system_message", "thinking"),
    *("max_tiles", "video_frames", "video_tiles"),
    *("keep_fraction", "min_side_tokens", "rejected_view", "endings"),
    *("answer_kind", "relative_tolerance", "ordered", "box_format", "box_iou"),
)
_OWN = ("source", "name", "weight")  # only entries of `sources` have these


def spread(values: Mapping[str, Any], selection: Collection[str]) -> dict[str, Any]:
    """Return settings with `sources` by name, and the entries' selection settings in `per_source`.

    They are separate because a run folder stores fixed settings apart from those of pairing. Sources are sorted by
    name, so that a file with entries in another order means the same run. Settings in this form are returned unchanged.

    Args:
        values: settings as given; `sources` is a list of entries, or a mapping of names to them.
        selection: names of the settings that pairing again may change.

    Raises:
        ValueError: an entry is no mapping, names no source, has an unknown setting, or the name of another entry.
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
    """Return entries by name: for a list, by `name`, or by the default name of the source."""
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
            raise ValueError(f"sources: two are named {name!r}: give one of them another `name`")
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
    from mmpr.sources import default_name  # imports pyarrow, which `--help` must not do

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
    """Return how many rows of each source make up `limit`: by weight; what one source lacks, the others share.

    Args:
        rooms: number of rows of each source.
        weights: above 0, one per source.
        limit: number of rows of all sources.

    Returns:
        Numbers that add up to `limit`, or `rooms` if there are fewer rows.
    """
    # fractions: as floats, three sources of weight 0.1 would share a limit of 7 as 2, 2 and 2
    taken, exact = [0] * len(rooms), [Fraction(weight) for weight in weights]
    filling = [i for i, room in enumerate(rooms) if room]
    while filling:
        left, whole = limit - sum(taken), sum(exact[i] for i in filling)
        parts = {i: left * exact[i] / whole for i in filling}
        # sources with fewer rows than their share give all; the next round divides the rest
        full = [i for i in filling if parts[i] >= rooms[i]]
        if not full:
            return _rounded(taken, parts)
        for i in full:
            taken[i] = rooms[i]
        filling = [i for i in filling if i not in full]
    return taken


def _rounded(taken: list[int], parts: Mapping[int, Fraction]) -> list[int]:
    """Round to whole rows; the remaining rows go where most was cut off."""
    whole = {i: int(part) for i, part in parts.items()}
    left = int(sum(parts.values())) - sum(whole.values())
    most_cut = sorted(parts, key=lambda i: (whole[i] - parts[i], i))
    return [n + whole.get(i, 0) + (i in most_cut[:left]) for i, n in enumerate(taken)]
