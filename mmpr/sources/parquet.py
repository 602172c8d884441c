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
# Of one column in one row group: bytes that are unpacked from fewer than a hundredth, and values in lists.
_MOST_PACKED_BYTES, _MOST_PACKING, _MOST_LIST_VALUES = 100_000_000, 100, 20_000_000
_MOST_SHARED_BYTES = 500_000_000
_LONG_NESTED_BYTES = 1_000_000
_DICTIONARIES = {"RLE_DICTIONARY", "PLAIN_DICTIONARY", "DELTA_BYTE_ARRAY"}


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
        _refuse_bombs(file, columns, source)
        kinds = images_of(file.schema_arrow, source)
        if embedded := [name for name, kind in kinds.items() if kind is not ImageReading.REFERENCES]:
            if images:
                size = _BATCH_IMAGE_ROWS
            else:
                columns = _without_bytes(file, columns, embedded)
        if _has_long_nested(file, columns):
            size = min(size, _BATCH_IMAGE_ROWS)
        groups = range(group, file.num_row_groups)
        if columns and len(groups):
            yield from file.iter_batches(size, row_groups=groups, columns=columns)


def _without_bytes(file: pq.ParquetFile, columns: list[str], embedded: list[str]) -> list[str]:
    """The other columns, and of the images only what names them: `image.path`, `image.list.element.path`."""
    leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
    paths = [leaf for leaf in leaves if leaf.partition(".")[0] in embedded and leaf.endswith(".path")]
    return [name for name in columns if name not in embedded] + paths


def _texts(path: str) -> list[str]:
    """The columns of texts and bytes: kept as a dictionary, a long value that many rows share is held once."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(path)
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    shared = {one.path_in_schema for one in chunks if _DICTIONARIES & set(one.encodings)}
    texts = {one.path_in_schema for one in chunks if one.physical_type == "BYTE_ARRAY"}
    # pyarrow reads none in a list or record so, where these fall into several pieces
    return sorted(name for name in shared & texts if "." not in name)


def _has_long_nested(file: pq.ParquetFile, columns: list[str]) -> bool:
    """Whether values in lists or records may be long: they come one by one, however many are the same."""
    for group in range(file.num_row_groups):
        footer = file.metadata.row_group(group)
        for chunk in map(footer.column, range(footer.num_columns)):
            top, _, inner = chunk.path_in_schema.partition(".")
            if inner and top in columns and chunk.total_uncompressed_size > _LONG_NESTED_BYTES:
                return True
    return False


def _refuse_bombs(file: pq.ParquetFile, columns: list[str], source: Source) -> None:
    """Raises `SourceError` for pages that no data set has: a reader holds a page, and the values of a row's lists."""
    for group in range(file.num_row_groups):
        footer = file.metadata.row_group(group)
        for i in range(footer.num_columns):
            chunk = footer.column(i)
            if chunk.path_in_schema.partition(".")[0] not in columns:
                continue
            large = chunk.total_uncompressed_size > _MOST_PACKED_BYTES
            packed = large and chunk.total_uncompressed_size > _MOST_PACKING * chunk.total_compressed_size
            nested = "." in chunk.path_in_schema
            # one long value that the lists of many rows share
            shared = nested and chunk.total_uncompressed_size > _MOST_PACKING * chunk.total_compressed_size
            each = _BATCH_IMAGE_ROWS * chunk.total_uncompressed_size * chunk.num_values // max(1, footer.num_rows)
            if packed or (nested and chunk.num_values > _MOST_LIST_VALUES) or (shared and each > _MOST_SHARED_BYTES):
                what = f"{chunk.num_values:,} values, {chunk.total_uncompressed_size:,} bytes unpacked"
                raise SourceError(
                    f"{source.path}: column {chunk.path_in_schema} has {what}, in row group {group}: "
                    "more than can be read safely; write it again with smaller row groups"
                )


@contextmanager
def _open(source: Source) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # either default would hold a whole row group's packed bytes
        with pq.ParquetFile(
            source.path, buffer_size=_BUFFER_BYTES, pre_buffer=False, read_dictionary=_texts(source.path)
        ) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source.path}: cannot be read as Parquet ({error}): write it again") from error
