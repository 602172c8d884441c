"""Parquet files: the same columns as JSON lines; a row's number is its 0-based place in the file.

A row group is read page by page and never held: a lease that begins within one passes the batches before it. Memory
is bounded by the largest page that the file's writer made.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmpr.errors import SourceError
from mmpr.sources.column_tables import ImageReading, TableCursor, images_of, values, wanted
from mmpr.sources.source_records import Index, Source, Span

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["cursor", "index", "names", "values"]

_BATCH_ROWS = 256
_BATCH_IMAGE_ROWS = 16  # of some MB each
_BUFFER_BYTES = 1_000_000


def names(source: Source) -> list[str]:
    """The columns of the file's schema."""
    with _open(source) as file:
        return list(file.schema_arrow.names)


def index(source: Source) -> Index:
    """One mark a row group, from the footer alone."""
    ordinals, offsets, n_rows = array("q"), array("q"), 0
    with _open(source) as file:
        for group in range(file.num_row_groups):
            if size := file.metadata.row_group(group).num_rows:
                ordinals.append(n_rows)
                offsets.append(group)
                n_rows += size
    return Index(n_rows, ordinals, offsets, ordinals)


def cursor(source: Source, span: Span, *, images: bool = True) -> TableCursor:
    """The rows from the span's row group on."""
    return TableCursor(_batches(source, span.offset, images), span.number, source)


def _batches(source: Source, group: int, images: bool) -> Iterator[pa.RecordBatch]:
    with _open(source) as file:
        columns, size = wanted(file.schema_arrow, source), _BATCH_ROWS
        kinds = images_of(file.schema_arrow, source)
        if embedded := [name for name, kind in kinds.items() if kind is not ImageReading.REFERENCES]:
            if images:
                size = _BATCH_IMAGE_ROWS
            else:
                columns = _without_bytes(file, columns, embedded)
        groups = range(group, file.num_row_groups)
        if columns and len(groups):
            yield from file.iter_batches(size, row_groups=groups, columns=columns)


def _without_bytes(file: pq.ParquetFile, columns: list[str], embedded: list[str]) -> list[str]:
    """The other columns, and of the images only what names them: `image.path`, `image.list.element.path`."""
    leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
    paths = [leaf for leaf in leaves if leaf.partition(".")[0] in embedded and leaf.endswith(".path")]
    return [name for name in columns if name not in embedded] + paths


@contextmanager
def _open(source: Source) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # either default would hold a whole row group's packed bytes
        with pq.ParquetFile(source.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source.path}: cannot be read as Parquet ({error}): write it again") from error
