"""Rows of a shard, a few at a time: nothing is read before it is asked for, nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mmpr.types import TableRow

# Rows that are Python objects at once, for each holds its images' bytes anew.
_SLICE_ROWS = 16


def rows_of(table: pa.Table) -> Iterator[TableRow]:
    """Rows as Python values, a few at a time."""
    for first in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(first, _SLICE_ROWS).to_pylist()


def with_images(table: pa.Table, *, wanted: bool) -> pa.Table:
    """The rows that have images, or those that have none."""
    n_images = pc.fill_null(pc.list_value_length(table.column("images")), 0)
    return filtered(table, pc.equal(pc.greater(n_images, 0), wanted))


def filtered(table: pa.Table, mask: pa.Array) -> pa.Table:
    """The rows where the mask says so; the table itself, and no copy of its images, where that is all of them."""
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
