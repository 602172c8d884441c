"""Small files of a table that would take gigabytes as rows: bounded, and named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_range
from mmpr.types import Question, Skip

LONG = 12_000_000  # over the limit of a row, 10 MB


def read(path):
    source = open_source(str(path))
    return [row for lease in ranges(index(source)) for row in read_range(source, lease)]


def table(**columns):
    return pa.table({"question": ["How many?"] * 300, "answer": ["2"] * 300, **columns})


def write_shared(text, n_rows, path):
    """A file with this number of rows of one text, which it stores once."""
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


BLANKS = b"\n" * 3_000_000 + b" \t\r\n" * 500_000
ROW = b'{"question": "How many?", "answer": "2"}\n'


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv.gz", "a.json"])
def test_millions_of_blank_lines_are_no_rows_and_are_counted(tmp_path, name):
    """As lines of a text: a fault behind them names its own line."""
    header, row, bad = b"", ROW, b"{\n"
    if name.startswith(("a.csv", "a.tsv")):
        gap = b"," if name.startswith("a.csv") else b"\t"
        header, row, bad = b"question%sanswer\n" % gap, b"How many?%s2\n" % gap, b"one%stwo%sthree\n" % (gap, gap)
    parts = [BLANKS, header, BLANKS, row, row, BLANKS, bad, BLANKS]
    if name == "a.json":
        parts = [b"[", BLANKS, row, b",", BLANKS, row, b",", b"3", BLANKS, b"]", BLANKS]
    content = b"".join(parts)
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    rows = read(tmp_path / name)
    assert [isinstance(row, Skip) for row in rows] == [False, False, True]
    if name != "a.json":
        assert f"line {content[: content.index(bad)].count(10) + 1}:" in rows[2].detail


@given(lines=st.lists(st.sampled_from([b"", b" ", b"\t\r", b"\v\f", b"{}", b' {"question": "a"}', b"\x01", b"x" * 9])))
def test_blank_lines_are_told_from_rows_however_they_are_mixed(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    expected = [number for number, line in enumerate(lines, 1) if line.strip()]
    counted = index(open_source(str(path)))
    assert counted.n_rows + len(counted.unfinished) == len(expected)
    places = [
        row.row if isinstance(row, Question) else int(row.detail.split("line ")[1].split(":")[0]) for row in read(path)
    ]
    assert places == expected[: counted.n_rows]


@pytest.mark.parametrize(("name", "packer"), [("a.jsonl.bz2", bz2), ("a.jsonl.xz", lzma)])
def test_a_file_that_is_packed_otherwise_is_refused_with_the_fix(tmp_path, name, packer):
    (tmp_path / name).write_bytes(packer.compress(b"\n" * 10_000_000))
    with pytest.raises(SourceError, match=rf"{name}: is packed with \w+: unpack it, or pack it with gzip or zstd"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.json.zst", "a.jsonl.zst"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("gap", [b"\n" * 5_000, b" " * 5_000, b"\v\f\t \r\n" * 5_000, b"\n" * 2_000_001])
def test_rows_behind_blanks_are_read_as_what_they_are(tmp_path, name, mark, gap):
    array = b"[" + gap + ROW.strip() + gap + b"," + ROW + gap + b"]" + gap
    contents = [array, ROW + gap + ROW]
    if ".jsonl" not in name:
        contents += [b'{"info": 1, "questions": ' + array + b"}", b'{"a": ' + ROW + b', "b": ' + ROW + b"}"]
    packed = {".gz": "gzip", ".zst": "zstd"}.get((tmp_path / name).suffix)
    for content in contents:
        with pa.output_stream(str(tmp_path / name), compression=packed) as file:
            file.write(mark + gap + content)
        assert [type(row) for row in read(tmp_path / name)] == [Question] * 2, content[:20]


def test_blanks_behind_an_element_do_not_count_to_its_size_and_join_nothing(tmp_path):
    gap = b" " * 12_000_000  # more than a row may have
    (tmp_path / "a.json").write_bytes(b"[" + ROW + gap + b',{"question": "a' + gap + b'"},3' + gap + b"4]")
    first, second, third = read(tmp_path / "a.json")
    assert isinstance(first, Question)
    assert "bytes long, the limit is" in second.detail and "Extra data" in third.detail


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
@pytest.mark.parametrize("content", [b"", b"   ", b"\n\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_a_file_of_nothing_but_blanks_has_no_rows(tmp_path, name, content):
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(tmp_path / name) == []
