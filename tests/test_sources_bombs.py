"""Small files of a table that would take gigabytes as rows: bounded, and named."""

from __future__ import annotations

import bz2
import gzip
import json
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
from mmpr.sources.column_tables import value_sizes
from mmpr.types import Question, Reason, Skip

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


def python_size(value):
    """What `value_sizes` promises: 8 bytes a value, and the bytes of texts."""
    if isinstance(value, str | bytes):
        return 8 + len(value.encode() if isinstance(value, str) else value)
    if isinstance(value, dict):
        return 8 + sum(map(python_size, value.values()))
    return 8 + sum(map(python_size, value)) if isinstance(value, list | tuple) else 8


TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)]
LEAVES = st.sampled_from([*TEXTS, *BYTES, pa.int8(), pa.float64(), pa.bool_(), pa.null()])


def holders(kind):
    lists = [pa.list_(kind), pa.large_list(kind), pa.list_view(kind), pa.large_list_view(kind), pa.list_(kind, 2)]
    return st.sampled_from([*lists, pa.map_(pa.string(), kind), pa.struct({"a": kind, "b": pa.string()})])


def of_type(kind):
    """Values of an Arrow type."""
    if pa.types.is_dictionary(kind):
        return of_type(kind.value_type)
    if pa.types.is_struct(kind):
        found = st.fixed_dictionaries({field.name: of_type(field.type) for field in kind})
    elif pa.types.is_map(kind):
        found = st.dictionaries(st.sampled_from("abc"), of_type(kind.item_type)).map(lambda pairs: list(pairs.items()))
    elif pa.types.is_fixed_size_list(kind):
        found = st.lists(of_type(kind.value_type), min_size=2, max_size=2)
    elif kind.num_fields:
        found = st.lists(of_type(kind.value_type), max_size=4)
    else:
        texts = st.sampled_from(["", "a", "é" * 5, "x" * 30])
        plain = {pa.int8(): st.just(5), pa.float64(): st.just(0.5), pa.bool_(): st.booleans(), pa.null(): st.none()}
        plain |= dict.fromkeys(TEXTS, texts) | dict.fromkeys(BYTES[:3], texts.map(str.encode))
        found = {**plain, pa.binary(2): st.just(b"ab")}[kind]
    return st.none() | found


@given(data=st.data(), kind=st.recursive(LEAVES, lambda inner: inner.flatmap(holders), max_leaves=3))
def test_sizes_of_values_of_any_type_are_those_of_their_python_objects(data, kind):
    values = data.draw(st.lists(of_type(kind), max_size=6))
    whole = pa.array(values, kind)
    for some in (whole, whole[1:], whole[1:3], whole[len(whole) :]):
        assert value_sizes(some).tolist() == [python_size(value) for value in some.to_pylist()]


def test_sizes_of_values_that_are_stored_once_count_wherever_they_are():
    text = "x" * 1000
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([3, 5], pa.int32()), pa.array([text, "y"]))
    assert value_sizes(runs[1:4]).tolist() == [1008, 1008, 9]
    several = pa.DictionaryArray.from_arrays(pa.array([0] * 6, pa.int8()), pa.array([text]))
    assert value_sizes(pa.ListArray.from_arrays([0, 4, 6], several)).tolist() == [8 + 4 * 1008, 8 + 2 * 1008]
    views = pa.ListViewArray.from_arrays(pa.array([0, 0, 1], pa.int32()), pa.array([2, 2, 1], pa.int32()), [text, "y"])
    assert value_sizes(views).tolist() == [8 + 1008 + 9, 8 + 1008 + 9, 8 + 9]


def test_sizes_of_billions_of_values_without_bytes_are_found_without_as_many_numbers():
    offsets = pa.array([0, 3, 4_000_000_000, 4_000_000_001], pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, pa.nulls(4_000_000_001))
    assert value_sizes(lists).tolist() == [32, 8 + 8 * (4_000_000_000 - 3), 16]


SHARED = [
    pa.list_(pa.string()),
    pa.large_list(pa.string()),
    pa.list_(pa.string(), 12),
    pa.list_(pa.list_(pa.string())),
    pa.struct({"A": pa.list_(pa.string()), "B": pa.string()}),
    pa.map_(pa.string(), pa.string()),
    pa.list_(pa.struct({"text": pa.string()})),
]


@pytest.mark.parametrize("kind", SHARED, ids=str)
@pytest.mark.parametrize("column", ["choices", "answer", "history"])
def test_texts_that_the_values_of_one_row_share_count_to_its_size(tmp_path, kind, column):
    """Twelve times 1 MB, which the file stores once."""
    text = "x" * 1_000_000
    several = [text] * 12
    value = {"A": several, "B": "b"} if pa.types.is_struct(kind) else several
    if pa.types.is_map(kind):
        value = [(str(i), text) for i in range(12)]
    elif pa.types.is_list(kind) and kind.value_type.num_fields:
        value = [several] if pa.types.is_list(kind.value_type) else [{"text": text}] * 12
    rows = pa.table({"question": ["How many?"] * 3, column: pa.array([value] * 3, kind)})
    pq.write_table(rows, tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=2**30)
    found = read(tmp_path / "a.parquet")
    assert [type(row) for row in found] == [Skip] * 3
    assert all("12,000," in row.detail and "the limit is 10,000,000" in row.detail for row in found)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"])
def test_a_question_that_no_model_can_read_is_a_named_skip_before_it_is_kept(tmp_path, name):
    """A chunk of questions below the limit of a row, 10 MB, would have a gigabyte."""
    rows = [{"question": "x" * length, "answer": "2"} for length in (900_000, 1_000_001, 9)]
    path = tmp_path / name
    if name == "a.csv":
        path.write_text("question,answer\n" + "".join(f"{row['question']},2\n" for row in rows))
    elif name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "a.arrow":
        with pa.ipc.new_stream(path, pa.Table.from_pylist(rows).schema) as file:
            file.write_table(pa.Table.from_pylist(rows))
    else:
        path.write_text(json.dumps(rows) if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows))
    first, second, third = read(path)
    assert isinstance(first, Question) and isinstance(third, Question)
    assert second.reason is Reason.PROMPT_TOO_LONG and "the limit is 1,000,000" in second.detail


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "history": [["a", "b"]] * 20_000},
        {"question": "q", "image": ["a.png"] * 20_000},
        {"question": "q", "answer": ["b"] * 30_000},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 600_000}] * 2}]},
        {"question": "q", "system": "x" * 600_000, "chosen": "y" * 600_000},
        {"question": "\U0001f600" + "x" * 300_000},  # four bytes a character
    ],
)
def test_all_texts_of_a_question_count_to_its_size(tmp_path, row):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"question": "q"}))
    long, short = read(tmp_path / "a.jsonl")
    assert long.reason is Reason.PROMPT_TOO_LONG and isinstance(short, Question)


def test_embedded_images_do_not_count_to_the_texts_of_a_question(tmp_path):
    address = "data:image/png;base64," + "A" * 2_000_000
    rows = [{"question": "q", "image": address}, {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": "q"}]}]}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [len(row.images) for row in read(tmp_path / "a.jsonl")] == [1, 1]
