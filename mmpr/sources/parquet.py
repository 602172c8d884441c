"""Parquet files: the same columns as JSON lines; a row's number is its 0-based index in the file.

A row group is read page by page and is never in memory as a whole; a lease that starts inside one skips the batches
before it. Memory is bounded by the largest page of the file, and by smaller batches if one value of a page may appear
in many rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmpr.errors import SourceError
from mmpr.sources.column_tables import ImageReading, TableCursor, images_of, values, wanted
from mmpr.sources.column_tables import image_typed as typed_in
from mmpr.sources.source_records import Index, Source, Span

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["cursor", "image_typed", "index", "names", "values"]

_BATCH_ROWS = 256
_BATCH_IMAGE_ROWS = 16  # images may have some MB each
_BUFFER_BYTES = 1_000_000
# Limits for one column in one row group: bytes unpacked from less than 1 % of them, and values in lists.
_MOST_PACKED_BYTES, _MOST_PACKING, _MOST_LIST_VALUES = 100_000_000, 100, 20_000_000
_MOST_SHARED_BYTES = 500_000_000  # of one batch of rows whose lists repeat one long value
_LONG_NESTED_BYTES = 1_000_000  # of one column; longer values in lists are read in small batches
_MOST_REPEATED_BYTES = 32_000_000  # of a batch in which each row has the longest value of a page
_LONG_DICTIONARY_BYTES = 4_000_000
_I32, _DICTIONARY_PAGE = 0x15, 2  # in a page's header: a 32-bit field, and the type of page that the first one has


def names(source: Source) -> list[str]:
    """Return the columns of the file's schema."""
    with _open(source) as file:
        return list(file.schema_arrow.names)


def image_typed(source: Source) -> list[str]:
    """Return the columns whose type holds images."""
    with _open(source) as file:
        return typed_in(file.schema_arrow)


def index(source: Source) -> Index:
    """Return an index with one mark per row group, from the footer alone."""
    ordinals, offsets, n_rows = array("q"), array("q"), 0
    with _open(source) as file:
        for group in range(file.num_row_groups):
            if size := file.metadata.row_group(group).num_rows:
                ordinals.append(n_rows)
                offsets.append(group)
                n_rows += size
    return Index(n_rows, ordinals, offsets, ordinals)


def cursor(source: Source, span: Span, *, images: bool = True) -> TableCursor:
    """Return a cursor over the rows from the span's row group."""
    return TableCursor(_batches(source, span.offset, images), span.number, source)


def _batches(source: Source, group: int, images: bool) -> Iterator[pa.RecordBatch]:
    with _open(source) as file:
        columns, most = wanted(file.schema_arrow, source), _BATCH_ROWS
        _refuse_bombs(file, columns, source)
        kinds = images_of(file.schema_arrow, source)
        if embedded := [name for name, kind in kinds.items() if kind is not ImageReading.REFERENCES]:
            if images:
                most = _BATCH_IMAGE_ROWS
            else:
                columns = _without_bytes(file, columns, embedded)
        if _has_long_nested(file, columns):
            most = _BATCH_IMAGE_ROWS
        for each in range(group, file.num_row_groups) if columns else ():
            size = min(most, _batch_rows(file, each, columns, source))
            yield from file.iter_batches(size, row_groups=[each], columns=columns)


def _without_bytes(file: pq.ParquetFile, columns: list[str], embedded: list[str]) -> list[str]:
    """Return the other columns, and of images only their names: `image.path`, `image.list.element.path`."""
    leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
    paths = [leaf for leaf in leaves if leaf.partition(".")[0] in embedded and leaf.endswith(".path")]
    return [name for name in columns if name not in embedded] + paths


def _chunks(file: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pq.ColumnChunkMetaData]:
    """Yield the metadata of these columns in a row group; a struct column has one entry per field."""
    footer = file.metadata.row_group(group)
    for chunk in map(footer.column, range(footer.num_columns)):
        path = chunk.path_in_schema
        if any(path == name or path.startswith(f"{name}.") for name in columns):
            yield chunk


def _batch_rows(file: pq.ParquetFile, group: int, columns: list[str], source: Source) -> int:
    """Return the number of rows to read at once: few if each of them may contain the same long value.

    That is possible with a dictionary, and with values that share their beginning. Both are bounded by their stored
    bytes.
    """
    import pyarrow.types as kinds

    shared = {field.name for field in file.schema_arrow if kinds.is_dictionary(field.type)}
    repeated, n_rows = 0, file.metadata.row_group(group).num_rows
    for chunk in _chunks(file, group, columns):
        if "DELTA_BYTE_ARRAY" in chunk.encodings:
            repeated += chunk.total_uncompressed_size
        elif chunk.path_in_schema not in shared:
            values_a_row = -(-chunk.num_values // max(1, n_rows))
            repeated += values_a_row * _dictionary_bytes(source.path, chunk)
    return max(1, min(_BATCH_ROWS, _MOST_REPEATED_BYTES // max(1, repeated)))


def _shared_texts(path: str) -> list[str]:
    """Return the columns that pyarrow should keep as dictionaries, so that long values of many rows are stored once.

    A column is not one of them if its dictionary was full and plain values follow: all of these would stay in memory
    until the row group ends.
    """
    import pyarrow.parquet as pq

    footer, found = pq.read_metadata(path), dict[str, bool]()
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            # pyarrow cannot do this for values in lists or structs that are split into several chunks
            if chunk.physical_type == "BYTE_ARRAY" and "." not in chunk.path_in_schema:
                unpacked = chunk.total_uncompressed_size
                long = unpacked > _LONG_DICTIONARY_BYTES and 2 * _dictionary_bytes(path, chunk) > unpacked
                found[chunk.path_in_schema] = found.get(chunk.path_in_schema, True) and long
    return [name for name, long in found.items() if long]


def _dictionary_bytes(path: str, chunk: pq.ColumnChunkMetaData) -> int:
    """Return the unpacked size of a chunk's dictionary; 0 if it has none."""
    # some writers store no offset of the dictionary, which is then the first page
    first = min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset)
    with Path(path).open("rb", buffering=0) as pages:
        pages.seek(first)
        return _unpacked_dictionary(pages.read(32))


def _unpacked_dictionary(header: bytes) -> int:
    """Return the unpacked size of a dictionary page from the start of its header (Thrift compact); 0: another page."""
    numbers, at = [], 0
    for _ in range(2):
        if header[at : at + 1] != bytes((_I32,)):
            return 0
        number, shift, at = 0, 0, at + 1
        while at < len(header):
            number |= (header[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if header[at - 1] < 0x80:
                break
        numbers.append(number >> 1)  # zigzag encoding: sizes and types are not negative
    return numbers[1] if numbers[0] == _DICTIONARY_PAGE else 0


def _has_long_nested(file: pq.ParquetFile, columns: list[str]) -> bool:
    """Whether values in lists or structs may be long: pyarrow repeats equal ones."""
    for group in range(file.num_row_groups):
        for chunk in _chunks(file, group, columns):
            if "." in chunk.path_in_schema and chunk.total_uncompressed_size > _LONG_NESTED_BYTES:
                return True
    return False


def _refuse_bombs(file: pq.ParquetFile, columns: list[str], source: Source) -> None:
    """Refuse pages that no real data set has, because a page, and the values of a row's lists, must fit in memory."""
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        for chunk in _chunks(file, group, columns):
            large = chunk.total_uncompressed_size > _MOST_PACKED_BYTES
            packed = large and chunk.total_uncompressed_size > _MOST_PACKING * chunk.total_compressed_size
            nested = "." in chunk.path_in_schema
            # one long value that the lists of many rows contain
            shared = nested and chunk.total_uncompressed_size > _MOST_PACKING * chunk.total_compressed_size
            each = _BATCH_IMAGE_ROWS * chunk.total_uncompressed_size * chunk.num_values // max(1, n_rows)
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
        # with either default, pyarrow would hold the packed bytes of a whole row group
        with pq.ParquetFile(
            source.path, buffer_size=_BUFFER_BYTES, pre_buffer=False, read_dictionary=_shared_texts(source.path)
        ) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source.path}: cannot be read as Parquet ({error}): write it again") from error
