"""Which columns a source has, which are read, and which look as if they should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mmpr.errors import SourceError
from mmpr.sources import arrow, csv_file, parquet
from mmpr.sources.file_columns import columns_of_row
from mmpr.sources.ranges import ranges
from mmpr.sources.row_reader import index, read_with_values
from mmpr.sources.source_records import Source

_ROWS = 200  # of JSON, whose rows may each have other keys
_PARTS = 20
_LOOKS = re.compile(
    r"^(?:.{0,60}(?:image|img|picture|photo|screenshot)s?(?:path|file|filename|name|url|bytes|b64|base64)?s?\d*|pics?|figures?"
    r"|.{0,60}(?:choices|options|candidates|alternatives|distractors)|(?:choice|option|distractor)[a-z0-9]?"
    r"|hints?|contexts?|passage|lecture|.{0,60}answers?)$"
)


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """A source's columns by the file's names, in its order."""

    read: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def suspects(self) -> tuple[str, ...]:
        """Columns that are not read, and are called like ones of images, options, answers, hints or contexts."""
        return tuple(name for name in self.unread if _LOOKS.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())))


def column_report(source: Source) -> ColumnReport:
    """The columns of a table's schema or a header; of JSON, the keys of the first rows.

    Raises:
        SourceError: the file cannot be read.
    """
    names = list(dict.fromkeys(name for part in (source.parts or (source,))[:_PARTS] for name in _names(part)))
    found = columns_of_row((source.parts or (source,))[0], names)
    return ColumnReport(found.read, found.unread)


def _names(part: Source) -> Iterator[str]:
    if part.format == "parquet":
        yield from parquet.names(part)
    elif part.format == "arrow":
        yield from arrow.names(part)
    elif part.format == "csv":
        yield from csv_file.names(part)
    else:
        yield from _keys(part)


def _keys(part: Source) -> Iterator[str]:
    rows = (values for lease in ranges(index(part), limit=None) for _, values in read_with_values(part, lease))
    try:
        for values in islice(rows, _ROWS):
            yield from values
    except SourceError:
        return
