"""Report which columns a source has, which are read, and which perhaps should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmpr.sources import arrow, csv_file, parquet, xlsx_file
from mmpr.sources.file_columns import columns_of_row
from mmpr.sources.recognition import first_rows
from mmpr.sources.source_records import Source

# files of a source whose columns are examined: those of a folder are usually equal
_PARTS = 20


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """A source's columns under the file's names, in its order.

    Args:
        read, unread: all columns.
        suspects: unread columns with names like those of images, options, answers, hints or contexts.
        has_answer: whether a column of answers is read.
    """

    read: tuple[str, ...]
    unread: tuple[str, ...]
    suspects: tuple[str, ...]
    has_answer: bool = False


def column_report(source: Source) -> ColumnReport:
    """Report the columns of a table's schema or header; for JSON, the keys of the first rows.

    Raises:
        SourceError: the file cannot be read.
    """
    names = column_names(source)
    found = columns_of_row((source.parts or (source,))[0], names)
    suspects = {name for role in ("image", "options", "answer", "hint") for name in found.suspects(role)}
    return ColumnReport(
        found.read, found.unread, tuple(name for name in found.unread if name in suspects), bool(found.places["answer"])
    )


def column_names(source: Source) -> list[str]:
    """Return all columns of a source, in its order; raises like `column_report`."""
    return list(dict.fromkeys(name for part in (source.parts or (source,))[:_PARTS] for name in _names(part)))


def _names(part: Source) -> Iterator[str]:
    if part.format == "parquet":
        yield from parquet.names(part)
    elif part.format == "arrow":
        yield from arrow.names(part)
    elif part.format == "csv":
        yield from csv_file.names(part)
    elif part.format == "xlsx":
        yield from xlsx_file.names(part)
    else:
        for values in first_rows(part):  # each row of JSON may have other keys
            yield from values
