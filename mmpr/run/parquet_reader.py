"""Parquet files of a run folder, a bounded part at a time; what goes wrong is one line with the file's name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.errors import RunFolderError
from mmpr.run.folder import RunFolder

_BATCH_ROWS = 8192
_IMAGE_ROWS = 64  # rows that may hold megabytes each


@contextmanager
def named_errors(folder: RunFolder, name: str) -> Iterator[None]:
    """What goes wrong while a file of the run is read, with its name.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # whole, and yet of other rows
        # a `KeyError` has just the name of a column, other errors no text at all
        words = next((line for line in str(error).splitlines() if line.strip()), "")
        cause = words if words and not isinstance(error, KeyError) else f"{type(error).__name__} {words}".strip()
        cause = "it is missing" if isinstance(error, FileNotFoundError) else cause
        raise RunFolderError(f"{folder.url}/{name} cannot be read: {cause}; `mmpr verify` says what to do") from error


@contextmanager
def opened(folder: RunFolder, path: str) -> Iterator[pq.ParquetFile]:
    """A file; what goes wrong inside the block is reported with the file's name.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with named_errors(folder, path), folder.store.open(path) as file, pq.ParquetFile(file) as parquet:
        yield parquet


def batches(
    folder: RunFolder, path: str, columns: list[str] | None = None, *, n_rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Some columns of a file, or all of them, so many rows at a time.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        require_columns(parquet, columns or ())
        yield from parquet.iter_batches(n_rows, columns=columns)


def all_batches(folder: RunFolder, path: str, *, images: bool = True) -> Iterator[pa.RecordBatch]:
    """Every column of a file of the dataset, or every one but the images, whatever mmpr wrote it.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        columns = [name for name in parquet.schema_arrow.names if images or name != "images"]
        yield from parquet.iter_batches(_IMAGE_ROWS if images else _BATCH_ROWS, columns=columns)


def row_groups(
    folder: RunFolder, path: str, columns: list[str] | None = None, *, only: Collection[int] | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a file with their numbers, in order.

    Args:
        columns: some, or all of them.
        only: the numbers of those that are wanted; None: all.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        for group in range(parquet.num_row_groups) if only is None else sorted(only):
            yield group, parquet.read_row_group(group, columns=columns)


def require_columns(parquet: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Refuse a file without these columns: pyarrow leaves out those that it does not find.

    Raises:
        ValueError: a bit of the footer flipped, and a column has another name.
    """
    if missing := [name for name in columns if name not in parquet.schema_arrow.names]:
        raise ValueError(f"it has no column {missing[0]}")
