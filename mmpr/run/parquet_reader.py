"""Read Parquet files of a run folder in parts of bounded size; an error is one line that names the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.errors import RunFolderError
from mmpr.run.folder import RunFolder

_BATCH_ROWS = 8192
_IMAGE_ROWS = 64  # one row may hold megabytes


@contextmanager
def named_errors(folder: RunFolder, name: str) -> Iterator[None]:
    """Turn an error while reading a file of the run into one that names the file.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        # the last three: a file can be valid Parquet and still have other columns or values
        # a `KeyError` has only the column's name as its text, and some errors have no text
        words = next((line for line in str(error).splitlines() if line.strip()), "")
        cause = words if words and not isinstance(error, KeyError) else f"{type(error).__name__} {words}".strip()
        cause = "it is missing" if isinstance(error, FileNotFoundError) else cause
        raise RunFolderError(f"{folder.url}/{name} cannot be read: {cause}; `mmpr verify` says what to do") from error


@contextmanager
def opened(folder: RunFolder, path: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; an error inside the block names the file.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with named_errors(folder, path), folder.store.open(path) as file, pq.ParquetFile(file) as parquet:
        yield parquet


def batches(
    folder: RunFolder, path: str, columns: list[str] | None = None, *, n_rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield columns of a file (None: all), `n_rows` rows at a time.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        require_columns(parquet, columns or ())
        yield from parquet.iter_batches(n_rows, columns=columns)


def all_batches(folder: RunFolder, path: str, *, images: bool = True) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a dataset file, whichever mmpr wrote it; without `images` that column is left out.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        columns = [name for name in parquet.schema_arrow.names if images or name != "images"]
        yield from parquet.iter_batches(_IMAGE_ROWS if images else _BATCH_ROWS, columns=columns)


def row_groups(
    folder: RunFolder, path: str, columns: list[str] | None = None, *, only: Collection[int] | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """Yield the row groups of a file with their numbers, in order.

    Args:
        columns: the columns to read; None: all.
        only: numbers of the row groups to read; None: all.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with opened(folder, path) as parquet:
        for group in range(parquet.num_row_groups) if only is None else sorted(only):
            yield group, parquet.read_row_group(group, columns=columns)


def require_columns(parquet: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Refuse a file without these columns: pyarrow silently leaves out columns that it does not find.

    Raises:
        ValueError: a column is missing, for example because a flipped bit in the footer changed its name.
    """
    if missing := [name for name in columns if name not in parquet.schema_arrow.names]:
        raise ValueError(f"it has no column {missing[0]}")
