"""Small files of a table that would take gigabytes as rows: bounded, and named."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_range
from mmpr.types import Skip

LONG = 12_000_000  # over the limit of a row, 10 MB


def read(path):
    source = open_source(str(path))
    return [row for lease in ranges(index(source)) for row in read_range(source, lease)]


def table(**columns):
    return pa.table({"question": ["How many?"] * 300, "answer": ["2"] * 300, **columns})


def write_shared(text, n_rows, path):
    """A file of so many rows of one text, which it holds once."""
    questions = pa.DictionaryArray.from_arrays(np.zeros(n_rows, np.int32), [text])
    pq.write_table(pa.table({"question": questions}), path, dictionary_pagesize_limit=2**30, store_schema=False)


def test_a_long_text_that_all_rows_share_is_a_named_skip_of_each(tmp_path):
    write_shared("x" * LONG, 300, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    assert len(rows) == 300 and all(isinstance(row, Skip) and "12,0" in row.detail for row in rows)


def test_a_row_that_is_too_long_takes_no_other_with_it(tmp_path):
    pq.write_table(table(question=["How many?"] * 150 + ["x" * LONG] + ["How many?"] * 149), tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    assert [isinstance(row, Skip) for row in rows] == [False] * 150 + [True] + [False] * 149


def test_lists_that_would_fill_the_memory_are_refused(tmp_path):
    values, offsets = pa.array(np.zeros(24_000_000, np.int8)), pa.array(range(0, 24_080_000, 80_000), pa.int32())
    choices = pa.ListArray.from_arrays(offsets, values)
    pq.write_table(table(choices=choices), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(SourceError, match=r"a\.parquet: column choices.* has 24,000,000 values"):
        read(tmp_path / "a.parquet")


CODE = """
import resource, sys
from mmpr.sources import index, open_source, ranges, read_range
source = open_source(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = sum(1 for lease in ranges(index(source)) for _ in read_range(source, lease))
print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_file_of_few_bytes_does_not_take_gigabytes(tmp_path):
    write_shared("x" * LONG, 300, tmp_path / "a.parquet")
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "a.parquet"], capture_output=True, text=True, check=True
    )
    n, mib = map(int, done.stdout.split())
    assert n == 300 and mib < 500
