"""Detect rows that contain responses to their questions: a build would ask these questions again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

from mmpr.errors import SourceError
from mmpr.sources.column_report import ColumnReport
from mmpr.sources.given_responses import ResponseNames
from mmpr.sources.layouts import layout_named
from mmpr.sources.ranges import ranges
from mmpr.sources.row_reader import read_with_values
from mmpr.sources.source_records import Index, Source
from mmpr.types import Question

_Texts = dict[str, tuple[int, int]]  # of a row: the hash and the length of each text, by column

_RESPONSES = ("response", "responses", "rejected_response")
_ROWS = 200  # rows that are examined
_LEAST = 5  # fewest repeated questions for a warning
_SHORT = 3  # mean characters up to which a text is a label and no response


def rollout_note(source: Source, counted: Index, columns: ColumnReport) -> str | None:
    """Return a warning if rows look like rollouts; it names the command that reads them."""
    names, unread = ResponseNames(), columns.unread
    called = next((found for ours in _RESPONSES if (found := names.column(ours, unread))), None)
    of_rollouts = any(layout_named(part.layout).rollouts for part in source.parts or (source,))
    if called is not None and (columns.has_answer or of_rollouts):
        return _words(source, f"`{called}` beside the answer looks like responses", "")
    repeated, differing = _repeats(source, counted, unread)
    if repeated < _LEAST or differing is None:
        return None
    what = f"{repeated} of the first rows repeat a question and differ in `{differing}`, which looks like responses"
    return _words(source, what, f" columns.response={differing}")


def _words(source: Source, what: str, mapping: str) -> str:
    return (
        f"{what}: a build asks their questions again, row by row; `mmpr import {source.path} --out RUN{mapping}` pairs "
        "what is there"
    )


def _repeats(source: Source, counted: Index, unread: tuple[str, ...]) -> tuple[int, str | None]:
    """Count the first rows that repeat an earlier question, and find the text column in which most of these differ."""
    parts = tuple(replace(part, beside=unread) for part in source.parts)
    source = replace(source, beside=unread, parts=parts)  # a table reads only requested columns
    seen: defaultdict[int, list[_Texts]] = defaultdict(list)
    for question, values in _first_rows(source, counted):
        texts = {name: value for name in unread if isinstance(value := values.get(name), str)}
        # a row may have 10 MB: keep hashes
        asked = hash((question.text, question.answer, question.images, question.choices))
        seen[asked].append({name: (hash(text), len(text)) for name, text in texts.items()})
    repeated = sum(len(rows) - 1 for rows in seen.values())
    several = [rows for rows in seen.values() if len(rows) > 1]
    differing = {name: sum(len({row[name] for row in rows if name in row}) > 1 for rows in several) for name in unread}
    best = max(differing, key=lambda name: (differing[name], _mean_length(name, several)), default=None)
    return repeated, best if best and differing[best] and _mean_length(best, several) > _SHORT else None


def _mean_length(name: str, groups: list[list[_Texts]]) -> float:
    lengths = [row[name][1] for rows in groups for row in rows if name in row]
    return sum(lengths) / max(1, len(lengths))


def _first_rows(source: Source, counted: Index) -> Iterator[tuple[Question, Mapping[str, object]]]:
    rows = (row for lease in ranges(counted.upto(_ROWS)) for row in read_with_values(source, lease))
    try:
        for read, values in islice(rows, _ROWS):
            if isinstance(read, Question):
                yield read, values
    except SourceError:  # reported when all rows are read
        return
