"""Arrow files as `datasets` stores them: mapped into memory, so that any row is read without the rows before it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmpr.errors import SourceError
from mmpr.sources.column_tables import ImageReading, TableCursor, images_of, values, wanted
from mmpr.sources.column_tables import image_typed as typed_in
from mmpr.sources.source_records import Index, Source, Span

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cursor", "image_typed", "index", "names", "values"]

_FILE = b"ARROW1"  # the file format has a footer; the stream format, which `datasets` writes, has none


def names(source: Source) -> list[str]:
    """Return the columns of the file's schema."""
    with _mapped(source) as table:
        return list(table.schema.names)


def image_typed(source: Source) -> list[str]:
    """Return the columns whose type holds images."""
    with _mapped(source) as table:
        return typed_in(table.schema)


def index(source: Source) -> Index:
    """Return an index with one mark, because every row can be reached directly."""
    with _mapped(source) as table:
        marks = array("q", [0] if table.num_rows else [])
        return Index(table.num_rows, marks, marks, marks)


def cursor(source: Source, span: Span, *, images: bool = True) -> TableCursor:
    """Return a cursor over all rows of the file; skipping rows costs nothing."""
    return TableCursor(_batches(source, images), span.number, source)


def _batches(source: Source, images: bool) -> Iterator[pa.RecordBatch]:
    with _mapped(source) as table:
        found = table.select(wanted(table.schema, source))
        for column, kept in images_of(table.schema, source).items():
            if images or kept is ImageReading.REFERENCES:
                continue
            place = found.schema.get_field_index(column)
            names = _names(found.column(place)) if kept is ImageReading.NAMED else None
            found = found.remove_column(place)
            if names is not None:
                found = found.append_column(column, names)
        yield from found.to_batches()


def _names(images: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the names of each row's images without reading the images' bytes."""
    import pyarrow as pa

    if pa.types.is_struct(images.type):
        return pa.chunked_array([_field(chunk) for chunk in images.chunks], pa.string())
    lists = pa.LargeListArray if pa.types.is_large_list(images.type) else pa.ListArray
    return pa.chunked_array(
        [lists.from_arrays(chunk.offsets, _field(chunk.values), mask=chunk.is_null()) for chunk in images.chunks]
    )


def _field(structs: pa.StructArray) -> pa.Array:
    """Return the paths, null for a null image: the child of a null struct is an empty text."""
    return structs.flatten()[structs.type.get_field_index("path")]


@contextmanager
def _mapped(source: Source) -> Iterator[pa.Table]:
    import pyarrow as pa

    try:
        with pa.memory_map(source.path) as file:
            is_file = file.read(len(_FILE)) == _FILE
            file.seek(0)
            reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            yield reader.read_all()
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source.path}: cannot be read as Arrow ({error}): write it again") from error
