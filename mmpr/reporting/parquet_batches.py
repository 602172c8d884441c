"""Parquet files of a run folder, a bounded batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmpr.run import RunFolder
from mmpr.run.chunk_reader import named_errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 8192
_IMAGE_ROWS = 64  # rows that may hold megabytes each


@contextmanager
def opened(folder: RunFolder, path: str) -> Iterator[Any]:
    """A `ParquetFile`; what goes wrong inside the block is reported with the file's name.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    import pyarrow.parquet as pq

    with named_errors(folder, path), folder.store.open(path) as file, pq.ParquetFile(file) as parquet:
        yield parquet


def batches(folder: RunFolder, path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a file.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        require_columns(parquet, columns)
        yield from parquet.iter_batches(_BATCH_ROWS, columns=columns)


def all_batches(folder: RunFolder, path: str, *, images: bool = True) -> Iterator[pa.RecordBatch]:
    """Every column of a file of the dataset, or every one but the images, whatever mmpr wrote it.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        columns = [name for name in parquet.schema_arrow.names if images or name != "images"]
        yield from parquet.iter_batches(_IMAGE_ROWS if images else _BATCH_ROWS, columns=columns)


def require_columns(parquet: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Refuse a file without these columns: pyarrow leaves out those that it does not find.

    Raises:
        ValueError: a bit of the footer flipped, and a column has another name.
    """
    if missing := [name for name in columns if name not in parquet.schema_arrow.names]:
        raise ValueError(f"it has no column {missing[0]}")


def column_names(folder: RunFolder, path: str) -> list[str]:
    """The columns of a file, in order."""
    with opened(folder, path) as parquet:
        return list(parquet.schema_arrow.names)


def uncompressed_bytes(folder: RunFolder, path: str) -> int:
    """What a file's columns take before compression, as its footer says."""
    with opened(folder, path) as parquet:
        groups = range(parquet.num_row_groups)
        return sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
