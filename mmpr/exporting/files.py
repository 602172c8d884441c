"""Files that are written batch by batch: JSON lines, of which none stays open, and Parquet, one at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.run.dataset import GROUP_BYTES


class LineFiles:
    """JSONL files of one export. Each batch opens its file again, so that 1,000 sources do not need 1,000 open files.

    Args:
        root: the folder of the export.
        ascii_only: escape all other characters, for readers that open files in the locale's encoding.
    """

    def __init__(self, root: Path, *, ascii_only: bool = False) -> None:
        self._root = root
        self._ascii_only = ascii_only
        self.n_rows: Counter[str] = Counter()

    def add(self, name: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Append rows; the first batch replaces a file that an unfinished export left."""
        lines = [json.dumps(row, ensure_ascii=self._ascii_only).encode() + b"\n" for row in rows]
        if not lines:
            return
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if self.n_rows[name] else "wb") as file:
            file.writelines(lines)
        self.n_rows[name] += len(lines)


class ParquetFiles:
    """Parquet files of one export, written one after the other; the rows of a file must be added together."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._name: str | None = None
        self._writer: pq.ParquetWriter | None = None
        self.n_rows: Counter[str] = Counter()

    def add(self, name: str, rows: pa.Table) -> None:
        """Write rows as one row group."""
        if not rows.num_rows:
            return
        if name != self._name or self._writer is None:
            self._begin(name, rows.schema)
        assert self._writer is not None
        self._writer.write_table(rows, row_group_size=rows.num_rows)
        self.n_rows[name] += rows.num_rows

    def close(self) -> None:
        """Close the current file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _begin(self, name: str, schema: pa.Schema) -> None:
        self.close()
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # As in the run: one dictionary holds all images of a row group, so that repeated images are stored once.
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", dictionary_pagesize_limit=2 * GROUP_BYTES, write_page_index=True
        )
        self._name = name
