"""The shards of a finished run, a row group at a time: nothing is read before it is asked for, nothing is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmpr.errors import RunFolderError
from mmpr.run import RunFolder, read_manifest
from mmpr.run.chunk_reader import named_errors
from mmpr.run.commit_records import FileRecord
from mmpr.run.folder import DATA, MANIFEST

# Rows that are Python objects at once, for each holds its images' bytes anew.
_SLICE_ROWS = 16


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group that can be read."""

    folder: RunFolder
    path: str
    index: int
    parquet: pq.ParquetFile

    def read(self) -> pa.Table:
        """Its rows.

        Raises:
            RunFolderError: they cannot be read.
        """
        with named_errors(self.folder, self.path):
            return self.parquet.read_row_group(self.index)


def shards_by_split(folder: RunFolder) -> dict[str, list[FileRecord]]:
    """The Parquet files of a finished run by split (`train`, `validation`), in source order.

    Raises:
        RunFolderError: the run is not finished, or an evaluation.
    """
    folder.load_run().refuse_evaluation(folder.url)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"{folder.url} is not finished (it has no {MANIFEST}): start its build again, then export")
    found: dict[str, list[FileRecord]] = {}
    for file in manifest.files:
        if file.path.startswith(f"{DATA}/") and file.path.endswith(".parquet"):
            found.setdefault(file.path.removeprefix(f"{DATA}/").split("-")[0], []).append(file)
    return dict(sorted(found.items()))


def row_groups(folder: RunFolder, path: str, only: Collection[int] | None = None) -> Iterator[RowGroup]:
    """The row groups of one shard in order.

    Args:
        folder: the run.
        path: the shard.
        only: the numbers of those that are wanted; None: all.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    with named_errors(folder, path):
        file = folder.store.open(path)
    with file:
        with named_errors(folder, path):
            parquet = pq.ParquetFile(file)
        for index in range(parquet.num_row_groups) if only is None else sorted(only):
            yield RowGroup(folder, path, index, parquet)


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as Python values, a few at a time."""
    for first in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(first, _SLICE_ROWS).to_pylist()


def with_images(table: pa.Table, *, wanted: bool) -> pa.Table:
    """The rows that have images, or those that have none."""
    n_images = pc.fill_null(pc.list_value_length(table.column("images")), 0)
    return filtered(table, pc.equal(pc.greater(n_images, 0), wanted))


def filtered(table: pa.Table, mask: Any) -> pa.Table:  # noqa: ANN401
    """The rows where the mask says so; the table itself, and no copy of its images, where that is all of them."""
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
