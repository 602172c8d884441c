"""Sample pairs for a page: those with the smallest ids of each kind.

An id is a hash, so the sample is fair and does not depend on the order of writing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING

from mmpr.run import RunFolder
from mmpr.run.parquet_reader import opened, require_columns
from mmpr.types import TableRow

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PAIRS_A_READ = 16
_COLUMNS = [
    *("images", "image_sha256", "pair_id", "pair_kind", "question_id", "source", "source_row", "question"),
    *("chosen_text", "rejected_text", "answer", "chosen_answer", "rejected_answer", "rule", "rejected_rule"),
    *("accuracy", "n_responses", "prefix_chars", "continued", "chosen_tokens", "rejected_tokens"),
    *("chosen_finish_reason", "rejected_finish_reason", "chosen_score", "rejected_score"),
    *("chosen_index", "rejected_index", "rank", "keep_fraction"),
]
# A dataset of an older mmpr may not have these columns.
_LATER = ["accuracy_n", "n_correct", "n_undecided", "rejected_view", "chosen_model", "rejected_model"]


@dataclass(frozen=True, slots=True, order=True)
class Pick:
    """A sampled pair with its file and its row number in that file."""

    pair_id: str
    path: str
    row: int


class Sampler:
    """Keeps the first `limit` pairs of each kind, or of one kind, in the order of their ids or of a seed."""

    def __init__(self, limit: int, *, kind: str | None = None, seed: int = 0) -> None:
        self._limit, self._only, self._seed = limit, kind, seed
        self._kept: dict[str, list[Pick]] = defaultdict(list)

    def offer(self, batch: pa.RecordBatch, path: str, first: int) -> None:
        """Add a batch with `pair_id` and `pair_kind`; its first row is row `first` of the file."""
        named = zip(batch.column("pair_id").to_pylist(), batch.column("pair_kind").to_pylist(), strict=True)
        for row, (pair_id, kind) in enumerate(named, start=first):
            if self._only in (None, kind):
                self._kept[kind].append(Pick(pair_id, path, row))
        # cut after each batch: memory holds `limit` picks of each kind
        for kind, picks in self._kept.items():
            self._kept[kind] = sorted(picks, key=self._place)[: self._limit]

    def picks(self) -> list[Pick]:
        """Return at most `limit` pairs, the kinds in turn, so that a rare kind is shown too."""
        turns = [(turn, kind, pick) for kind, picks in self._kept.items() for turn, pick in enumerate(picks)]
        return [pick for _, _, pick in sorted(turns)[: self._limit]]

    def _place(self, pick: Pick) -> bytes:
        # seed 0 is the order of ids, as on the page
        if self._seed == 0:
            return pick.pair_id.encode()
        return blake2b(f"{self._seed}\n{pick.pair_id}".encode(), digest_size=8).digest()


def read_picks(folder: RunFolder, picks: list[Pick], *, images: bool = True) -> Iterator[TableRow]:
    """Yield the rows of the picks in the order of the files; only a few rows are in memory at a time.

    Args:
        images: whether to read the images' bytes.

    Raises:
        RunFolderError: a shard is missing or damaged.
    """
    columns = _COLUMNS if images else [name for name in _COLUMNS if name != "images"]
    by_place = sorted(picks, key=lambda pick: (pick.path, pick.row))
    for path, group in groupby(by_place, key=lambda pick: pick.path):
        with opened(folder, path) as parquet:
            require_columns(parquet, columns)
            yield from _rows(parquet, [pick.row for pick in group], [*columns, *_LATER])


def _rows(parquet: pq.ParquetFile, wanted: list[int], columns: list[str]) -> Iterator[TableRow]:
    """Yield the wanted rows; read only the row groups that contain one."""
    first = 0
    # a row group has about 256 rows with images: one with no wanted row is not read
    for group in range(parquet.num_row_groups):
        stop = first + parquet.metadata.row_group(group).num_rows
        inside = [row for row in wanted if first <= row < stop]
        if inside:
            yield from _rows_of_group(parquet, group, [row - first for row in inside], columns)
        first = stop


def _rows_of_group(
    parquet: pq.ParquetFile,
    group: int,
    wanted: list[int],
    columns: list[str],
) -> Iterator[TableRow]:
    first = 0
    for batch in parquet.iter_batches(_PAIRS_A_READ, row_groups=[group], columns=columns):
        for row in wanted:
            if first <= row < first + batch.num_rows:
                yield batch.slice(row - first, 1).to_pylist()[0]
        first += batch.num_rows
        if first > wanted[-1]:
            return
