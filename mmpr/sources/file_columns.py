"""Find the columns of a file by role, from its layout and the setting `columns`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mmpr.sources.layouts import LAYOUTS, PLAIN, RowLayout, layout_named
from mmpr.sources.source_records import COLUMNS, Format, Source

Group = tuple[str, ...]  # one column, or several that form one list
ROLES = ("question", "image", "options", "answer", "hint", "more", "id", "source")  # roles that a layout can place
_OURS = {"options": "choices"}  # roles whose column has another name in mmpr
# in a layout's spelling: `image_#`, `choice_@`, `left_image&right_image`
_NUMBERS, _LETTERS, _BOTH = "#", "@", "&"
FIELD = re.compile(r"\{(\w+)(?::(\d+))?\}")  # in the pattern of an image's path: `{image_id:012}.jpg`
# Names of columns of images, options or answers; `image_width` and the like do not match.
_IMAGE_NAMES = re.compile(
    r"^(?:.{0,60}(?:image|img|picture|photo|screenshot)|pic|figure)s?(?:id|name|file|filename|path|url|data|bytes|b64|base64|list)?s?\d*"
)
_OPTION_NAMES = re.compile(
    r"^(?:.{0,60}(?:choices|options|candidates|alternatives|distractors)|(?:choice|option|distractor)[a-z0-9]?)"
)
# `gpt_answer` and the like are answers of a model.
_ANSWER_NAMES = re.compile(
    r"^(?!gpt|model|llm|pred|generated|reject|wrong|incorrect|difficult)"
    r"(?:.{0,60}answers?(?:key|text|letter|label|value|idx|index|id)?\d*|.{0,60}groundtruth.{0,20}|correct.{1,60})"
)
_CONTEXT_NAMES = re.compile(r"hints?|contexts?|passage|lecture")


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The columns of one file, or of one row of JSON.

    Args:
        places: by role, the groups of columns, which are tried in order.
        read: columns that are read.
        unread: the other columns.
    """

    places: Mapping[str, tuple[Group, ...]]
    read: tuple[str, ...]
    unread: tuple[str, ...]

    def suspects(self, role: str) -> tuple[str, ...]:
        """Return unread columns with a name like those of this role: image, options, answer or hint."""
        names = {"image": _IMAGE_NAMES, "options": _OPTION_NAMES, "answer": _ANSWER_NAMES, "hint": _CONTEXT_NAMES}[role]
        found = (name for name in self.unread if names.fullmatch(bare_name(name)))
        # if images are read already, a `figure_id` is a catalogue number
        known = role == "image" and self.places["image"]
        return tuple(name for name in found if not known or not bare_name(name).endswith("id"))


def recognised(names: Iterable[str], format: Format) -> RowLayout:
    """Return the layout of a file of this format with these columns."""
    plain = frozenset(map(bare_name, names))
    # VLMEvalKit writes the same columns as TSV and as a workbook, so both count as csv
    kind = {"parquet": "table", "arrow": "table", "xlsx": "csv"}.get(format, format)
    return next((one for one in LAYOUTS if (not one.formats or kind in one.formats) and _has_marks(one, plain)), PLAIN)


def recognised_rows(rows: Sequence[Iterable[str]], format: Format) -> RowLayout:
    """Return the most frequent layout of JSON rows, which may have different keys; if no row has one, use all keys."""
    found = Counter(recognised(keys, format).name for keys in rows)
    # rows without a layout do not vote
    del found[PLAIN.name]
    if not found:
        return recognised((name for keys in rows for name in keys), format)
    most = max(found.values())
    return next(one for one in LAYOUTS if found[one.name] == most)


@lru_cache(maxsize=512)
def of_row(source: Source, names: Group) -> Source:
    """Return the source with the layout of one row: a JSON file may mix rows of several kinds of chats."""
    layout = layout_named(source.layout)
    if (
        source.format not in ("json", "jsonl")
        or not layout.open
        or _has_marks(layout, frozenset(map(bare_name, names)))
    ):
        return source
    own = recognised(names, source.format)
    return replace(source, layout=own.name) if own.open else source


def _has_marks(layout: RowLayout, plain: frozenset[str]) -> bool:
    if layout.alone and plain != set(layout.marks):
        return False
    for mark in layout.marks:
        there = any(bare_name(name) in plain for name in mark.removeprefix("!").split("|"))
        if there is mark.startswith("!"):
            return False
    return True


def columns_of_row(source: Source, names: Iterable[str]) -> FileColumns:
    """Find the columns of each role by the source's layout; the setting `columns` takes precedence."""
    return _found(source.layout, source.columns, tuple(names))


@lru_cache(maxsize=512)
def _found(layout: str, mapped: tuple[tuple[str, str], ...], names: Group) -> FileColumns:
    known, own = layout_named(layout), dict(mapped)
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(bare_name(name), name)
    places: dict[str, tuple[Group, ...]] = {}
    for role in ROLES:
        ours = _OURS.get(role, role)
        if ours in own:
            places[role] = ((own[ours],),) if own[ours] else ()
            continue
        exact = ((ours,),) if ours in names else ()
        tried = [_group(spelling, names, by_plain) for spelling in getattr(known, role)]
        places[role] = tuple(dict.fromkeys((*(exact if known is PLAIN else ()), *(group for group in tried if group))))
    for ours in COLUMNS:
        if ours not in ("choices", *ROLES):
            spellings = (ours, *(known.draft if ours == "chosen" else ()))
            theirs = own.get(ours) or next((by_plain[one] for one in spellings if one in by_plain), ours)
            places[ours] = ((theirs,),) if _top(theirs, names) in names else ()
    more = [known.kind, known.unit, known.turns, *(field for form in known.files for field, _ in FIELD.findall(form))]
    wanted = {_top(column, names) for groups in places.values() for group in groups for column in group}
    wanted |= {by_plain[bare_name(name)] for name in more if bare_name(name) in by_plain}
    read = tuple(name for name in names if name in wanted)
    return FileColumns(places, read, tuple(name for name in names if name not in wanted))


def _group(spelling: str, names: Group, by_plain: Mapping[str, str]) -> Group:
    """Return the columns that a layout's spelling stands for here; empty if there are none."""
    if _BOTH in spelling:
        several = tuple(by_plain.get(bare_name(one), "") for one in spelling.split(_BOTH))
        return several if all(several) else ()
    if spelling == _LETTERS:
        upper = tuple(sorted(name for name in names if len(name) == 1 and "A" <= name <= "Z"))
        lower = tuple(sorted(name for name in names if len(name) == 1 and "a" <= name <= "z"))
        return upper if "A" in upper else lower if lower[:2] == ("a", "b") else ()
    if spelling.endswith((_NUMBERS, _LETTERS)):
        tail = r"(\d{1,3})" if spelling.endswith(_NUMBERS) else r"([a-z])"
        pattern = re.compile(re.escape(bare_name(spelling)) + tail)
        found = [(match.group(1), name) for name in names if (match := pattern.fullmatch(bare_name(name)))]
        in_order = tuple(name for _, name in sorted(found, key=lambda pair: (len(pair[0]), pair[0])))
        if spelling.endswith(_LETTERS):  # `options` is no option S
            in_order = tuple(name for place, (mark, name) in enumerate(sorted(found)) if mark == chr(ord("a") + place))
        # a row may have one image (`image_1`), but a single `option_1` is no choice
        if len(in_order) < 2 and not spelling.startswith("image"):
            return ()
        first = by_plain.get(bare_name(spelling))
        return (first, *in_order) if first and in_order and found[0][0] == "2" else in_order  # `image`, `image_2`
    head, dot, rest = spelling.partition(".")
    there = by_plain.get(bare_name(head))
    return () if there is None else (there + dot + rest,)


def _top(column: str, names: Group) -> str:
    return column if column in names else column.partition(".")[0]


def bare_name(name: str) -> str:
    """Return a column's name as spellings are compared: lower case, letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def value_at(values: Mapping[str, object], column: str) -> object:
    """Return a column's value; `metadata.source` is a field of a struct, unless a column has that name."""
    if column in values or "." not in column:
        return values.get(column)
    value: object = values
    for step in column.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
