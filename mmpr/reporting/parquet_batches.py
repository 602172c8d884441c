"""Parquet files of a run folder, a bounded batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmpr.run import RunFolder
from mmpr.run.chunk_reader import named_errors

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 8192


@contextmanager
def opened(folder: RunFolder, path: str) -> Iterator[Any]:
    """A `ParquetFile`; what goes wrong inside the block is told with the file's name.

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
        yield from parquet.iter_batches(_BATCH_ROWS, columns=columns)


def column_names(folder: RunFolder, path: str) -> list[str]:
    """The columns of a file, in order."""
    with opened(folder, path) as parquet:
        return list(parquet.schema_arrow.names)


def uncompressed_bytes(folder: RunFolder, path: str) -> int:
    """What a file's columns take before compression, as its footer says."""
    with opened(folder, path) as parquet:
        groups = range(parquet.num_row_groups)
        return sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
