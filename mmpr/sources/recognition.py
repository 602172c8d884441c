"""Decide once how a source's rows are read: the layout when it is opened, the answers' rule from all its rows."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mmpr.errors import ConfigError, SourceError
from mmpr.sources import array_file, arrow, csv_file, parquet, xlsx_file
from mmpr.sources.answer_rules import RuleProofs
from mmpr.sources.answer_texts import answers_in, repeats
from mmpr.sources.file_columns import FileColumns, columns_of_row, recognised, recognised_rows
from mmpr.sources.layout_rows import filled, first_value, labelled_place, options_of
from mmpr.sources.layouts import AnswerRule, RowLayout, layout_named
from mmpr.sources.ranges import ranges
from mmpr.sources.row_faults import RowFault
from mmpr.sources.row_reader import raw_values
from mmpr.sources.rows import listed_choices
from mmpr.sources.source_records import ASKING, PART_ROWS, Index, LeaseRange, Source, Span
from mmpr.sources.streams import head, unpacked

_PROVING_ROWS = 500  # rows that may show that a file's answers differ from those of its layout
_LAYOUT_MARGIN = 3  # a single wrong label in a published data set proves nothing
_HEAD_BYTES = 4096
_LONG_CHARS, _ROW_CHARS = 100_000, 1_000_000  # kept of one column, and of all columns of a row
_ROWS = 200  # rows that are examined for the layout: rows of JSON may differ in their keys
# `answer_idx`, and the class that GeoQA names `label`: counted from 0 unless a row proves another rule.
_INDEX_NAME = re.compile(r"(?:idx|index|Idx|Index)$|^(?:label|cop)$")
_TABLES = {"parquet": parquet.names, "arrow": arrow.names, "csv": csv_file.names, "xlsx": xlsx_file.names}


def recognise(source: Source, names: list[str] | None) -> Source:
    """Return the source of one file with its layout; `names` are its columns if it has a schema or header.

    Raises:
        SourceError: a mapped column does not exist, or no column may hold a question.
    """
    sample = list(first_rows(source)) if names is None else []
    seen = names if names is not None else list(dict.fromkeys(name for row in sample for name in row))
    if seen:
        by_row = recognised_rows([tuple(row) for row in sample], source.format) if names is None else None
        found = replace(source, layout=(by_row or recognised(seen, source.format)).name)
        if names is not None:
            found = _with_image(found, seen)
            check_columns(found, seen)
        else:
            _check_mapped(found, seen)
    elif names is not None:
        check_columns(source, names)
        found = source
    else:
        found = source
    layout = layout_named(found.layout)
    if names is not None and (found.format != "csv" or layout.files):  # only now its columns are known
        sample = list(first_rows(found))
    votes = layout.votes or (layout.open and any(_repeats(found, row) for row in sample))
    return replace(found, votes=votes, answers=_of_layout(found, seen), image_files=_image_files(found, sample))


def _with_image(source: Source, names: list[str]) -> Source:
    """Map the only column of image type of a table, if no column has a name of an image.

    Raises:
        SourceError: there are several.
    """
    places = columns_of_row(source, names).places
    if (
        source.format not in ("parquet", "arrow")
        or places["image"]
        or places["video"]
        or "image" in dict(source.columns)
    ):
        return source
    typed = {"parquet": parquet, "arrow": arrow}[source.format].image_typed(source)
    if len(typed) > 1:
        raise SourceError(
            f"{source.path}: {' and '.join(typed)} hold images: columns.image={typed[0]} reads one of them"
        )
    return replace(source, columns=tuple(sorted((*source.columns, ("image", typed[0]))))) if typed else source


def _of_layout(source: Source, names: Iterable[str]) -> AnswerRule | None:
    """Return the layout's rule, unless its columns are replaced by mapped ones; a column's name may give a rule too."""
    mapped = dict(source.columns)
    rule = None if "answer" in mapped or "choices" in mapped else layout_named(source.layout).rule
    found = columns_of_row(source, tuple(names)).places
    if rule is None and found["options"] and found["answer"] and _INDEX_NAME.search(found["answer"][0][0]):
        return AnswerRule.INDEX0
    return rule


def _margin(source: Source) -> int:
    """Return by how many rows another rule must be proven to replace the layout's."""
    layout = layout_named(source.layout)
    return 1 if layout.alone or layout.rule is None else _LAYOUT_MARGIN


def first_rows(source: Source) -> Iterator[Mapping[str, object]]:
    """Yield the values of at most 200 rows of one file, without image bytes and without unreadable rows.

    Long texts and lists are cut, because they are base64 images, and 200 of them may have gigabytes.
    """
    offset, number = 0, 0
    try:
        if source.format in ("jsonl", "json"):
            with unpacked(source) as file:
                offset = array_file.enter(file, source) if source.format == "json" else file.tell()
            number = 1 if source.format == "jsonl" else 0
        header = int(source.format == "csv")  # the header is before the first row
        span = LeaseRange((Span(header, _ROWS, header, offset, number),))
        for _, _, values in raw_values(source, span, hashlib.sha256()):
            if values is not None:
                most = min(_LONG_CHARS, _ROW_CHARS // max(1, len(values)))
                yield {name: _shortened(value, most) for name, value in values.items()}
    except SourceError:  # the file has fewer rows; other faults are reported when the rows are counted
        return


def _shortened(value: object, most: int) -> object:
    """Cut a value to about `most` characters; each of its parts keeps an equal number of them, at least 100."""
    if isinstance(value, str):
        return value if len(value) <= most else value[:most]
    if isinstance(value, list):
        kept = value[: max(1, most // 100)]
        return [_shortened(one, most // len(kept)) for one in kept]
    if isinstance(value, dict):
        named = list(islice(value.items(), max(1, most // 100)))
        return {key: _shortened(one, most // len(named)) for key, one in named}
    return value


def _check_mapped(source: Source, seen: list[str]) -> None:
    """Raise `SourceError` if a mapped column is in no row."""
    for ours, theirs in source.columns:
        top = theirs if theirs in seen else theirs.partition(".")[0]
        if theirs and top not in seen and not _stands_in(source, top):
            have = ", ".join(seen)[:300]
            raise SourceError(f"{source.path}: has no column {theirs!r} (columns.{ours}) but {have}")


def _may_have_options(source: Source) -> bool:
    """Whether the rows must be examined: a file without a column of options needs no rule."""
    if source.format in _TABLES:
        names = _TABLES[source.format](source)
        return bool(columns_of_row(source, names).places["options"])
    if any(columns_of_row(source, tuple(row)).places["options"] for row in first_rows(source)):
        return True
    mapped = dict(source.columns).get("choices")
    # without the first letter, so that `Choices` and `answer_choices` are found too; capitals are listed again
    keys = (mapped.partition(".")[0],) if mapped else ("hoice", "ption", "andidates", '"A"', "HOICE", "PTION")
    return _occurs(source, *map(str.encode, keys))


def _occurs(source: Source, *keys: bytes) -> bool:
    """Whether one of these keys occurs in the file; one pass for all keys, because the file may have gigabytes."""
    tail, longest = b"", max(map(len, keys))
    with unpacked(source) as file:
        while block := file.read(4_000_000):
            block = tail + block
            if any(key in block for key in keys):
                return True
            # a key may be cut by the edge of a block
            tail = block[-longest:]
    return False


def _stands_in(source: Source, name: str) -> bool:
    """Whether a key occurs after the rows that were examined."""
    return _occurs(source, f'"{name}"'.encode())


def _repeats(source: Source, values: Mapping[str, object]) -> bool:
    found = columns_of_row(source, values.keys())
    try:
        answers = answers_in(first_value(values, found, "answer"))
    except RowFault:
        return False
    return answers is not None and (answers.annotated or repeats(answers.texts))


def _image_files(source: Source, sample: list[Mapping[str, object]]) -> str:
    """Return the pattern of image paths for which a file exists, otherwise the first one that the rows can fill."""
    layout = layout_named(source.layout)
    said = source.path + head(source.path, source.compression, _HEAD_BYTES).decode("utf-8", "replace")  # `data_subtype`
    split = next((s for s in ("train2014", "val2014", "test2015", "train2017", "val2017") if s in said), "train2014")
    forms = [form.replace("{data_subtype}", split) for form in layout.files]
    possible = []
    for values in sample:
        found = columns_of_row(source, values.keys())
        image = first_value(values, found, "image")
        if not isinstance(image, str | int) or isinstance(image, bool):
            continue
        for form in forms:
            try:
                path = filled(form, {**values, "image": image})
            except RowFault:
                continue
            possible.append(form)
            if "://" not in source.image_root and Path(source.image_root, path).is_file():
                return form
        break
    return possible[0] if possible else ""


def settled(source: Source, counted: Index, *, answer_index: int | None = None) -> Source:
    """Return the source with the rule by which its answers name options.

    If the layout has no rule, all rows decide; otherwise the first rows may show that the layout's rule is wrong here.

    Args:
        source: an opened source; may have several files.
        counted: its index.
        answer_index: the setting: 0, 1 or None. Whether answers are indices at all is decided by the rows.

    Raises:
        SourceError: the answers have two readings, and no row decides.
    """
    parts = source.parts or (source,)
    rules = {part.name: part.answers for part in parts}
    open_parts = {part.name: part for part in parts if not part.is_settled and _may_have_options(part)}
    proofs = {name: RuleProofs() for name in open_parts}
    for part, number, values in _rows_to_prove(source, counted, open_parts):
        _prove(proofs[part.name], part, number, values)
    for name, part in open_parts.items():
        prior, margin = part.answers, _margin(part)
        if answer_index is not None:
            prior, margin = AnswerRule(f"index{answer_index}"), 1
            # the setting decides between 0 and 1, not between indices and letters
            del proofs[name].support[AnswerRule(f"index{1 - answer_index}")]
        try:
            rules[name] = proofs[name].decided(prior, margin=margin)
        except RowFault as fault:
            raise SourceError(fault.text) from None

    def ruled(part: Source) -> Source:
        return replace(part, answers=rules.get(part.name))

    return replace(ruled(source), parts=tuple(map(ruled, source.parts)))


def _rows_to_prove(
    source: Source, counted: Index, wanted: Mapping[str, Source]
) -> Iterator[tuple[Source, int, Mapping[str, object]]]:
    """Yield the rows that decide, by file: all rows, but only the first ones for a layout with a rule."""
    parts, seen = source.parts or (source,), Counter[str]()

    def enough(part: Source) -> bool:
        known = wanted.get(part.name)
        return known is None or (known.answers is not None and seen[part.name] >= _PROVING_ROWS)

    for lease in ranges(counted) if wanted else ():
        if all(enough(parts[span.number // PART_ROWS]) for span in lease.spans):
            continue
        for part, number, values in raw_values(source, lease, hashlib.sha256()):
            if values is not None and not enough(part):
                seen[part.name] += 1
                yield part, number, values


def _prove(proofs: RuleProofs, part: Source, number: int, values: Mapping[str, object]) -> None:
    found, layout = columns_of_row(part, values.keys()), layout_named(part.layout)
    try:
        given, answer = options_of(values, found, comma=layout.comma), first_value(values, found, "answer")
        options = listed_choices(given)
        if not options or labelled_place(given, answer) is not None:
            return
        answers = answers_in(answer, (*layout.withheld, "-1"))
    except RowFault:
        return
    for answer in answers.texts if answers else ():
        proofs.see(part.place(number), answer, options)


def reading_of(source: Source) -> dict[str, Any]:
    """Return what `run.json` stores about reading a source, so that every later start reads its rows equally."""
    return {
        part.name: {
            "layout": part.layout,
            "answers": part.answers,
            "votes": part.votes,
            "image_files": part.image_files,
            "plain_hash": part.plain_hash,
        }
        for part in source.parts or (source,)
    }


def hashed_plainly(source: Source) -> Source:
    """Return the source with rows hashed as before layouts existed: our columns, and those of MathVista and MMMU."""
    parts = tuple(replace(part, plain_hash=True) for part in source.parts)
    return replace(source, plain_hash=True, parts=parts)


def as_recorded(source: Source, reading: Mapping[str, Any]) -> Source:
    """Return the source with the reading that a run's earlier starts recorded.

    Raises:
        ConfigError: this mmpr does not know the recorded layout.
    """

    def one(part: Source) -> Source:
        kept = reading.get(part.name)
        if kept is None:
            return part
        if layout_named(kept["layout"]).name != kept["layout"]:
            raise ConfigError(f"{part.path}: was read as {kept['layout']}, which this mmpr does not know: update mmpr")
        rule = AnswerRule(kept["answers"]) if kept["answers"] else None
        values = {name: kept[name] for name in ("layout", "votes", "image_files", "plain_hash")}
        return replace(part, answers=rule, is_settled=rule is not None, **values)

    return replace(one(source), parts=tuple(one(part) for part in source.parts))


def check_columns(source: Source, names: Sequence[str]) -> None:
    """Raise `SourceError` if a mapped column is missing, or no column may hold a question."""
    found, layout = columns_of_row(source, names), layout_named(source.layout)
    mapped = [theirs for _, theirs in source.columns if theirs]
    missing = [theirs for theirs in mapped if theirs not in names and theirs.partition(".")[0] not in names]
    asking = any(found.places[ours] for ours in ASKING) or layout.asked or layout.turns
    if not missing and not asking:
        missing = [source.column("question")]
    if not missing:
        _refuse_unread(source, found, layout)
    if missing:
        have = ", ".join(names)
        raise SourceError(f"{source.path}: has no column {missing[0]!r} but {have[:300]}: map it with columns")


def _refuse_unread(source: Source, found: FileColumns, layout: RowLayout) -> None:
    """Raise `SourceError` if a file without images, options or answers has a column with a name like theirs."""
    has = {
        "image": found.places["image"] or found.places["video"],
        "options": found.places["options"],
        "answer": any(found.places[name] for name in ("answer", "chosen", "conversations", "messages"))
        or not layout.open
        or layout.turns,
    }
    for role, there in has.items():
        ours = "choices" if role == "options" else role
        suspects = found.suspects(role)
        if not there and suspects and dict(source.columns).get(ours) != "":
            remedy = f"columns.{ours}={suspects[0]} reads it, columns.{ours}='' says that there is none"
            raise SourceError(f"{source.path}: {suspects[0]!r} looks like its {role} and is not read: {remedy}")
