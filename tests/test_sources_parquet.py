"""Parquet files as sources: the same rows as JSON lines, by 0-based number."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_hashed, read_range, rows_hash, sample
from mmpr.types import Question, Reason


def write(path, rows, group=1000, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return path


def read_all(source, **options):
    return [row for lease in ranges(index(source), **options) for row in read_range(source, lease)]


def numbered(n):
    return [{"id": f"q{i}", "question": f"How many are {i}?"} for i in range(n)]


@pytest.mark.parametrize("group", [1, 3, 7, 100])
@pytest.mark.parametrize("chunk", [1, 4, 7, 128])
def test_every_row_leaves_exactly_once_in_order(tmp_path, group, chunk):
    source = open_source(write(tmp_path / "vqa.parquet", numbered(50), group))
    rows = read_all(source, chunk_questions=chunk)
    assert [(row.id, row.row) for row in rows] == [(f"q{i}", i) for i in range(50)]


@pytest.mark.parametrize("group", [1, 7, 100])
def test_a_sample_is_read_row_by_row(tmp_path, group):
    source = open_source(write(tmp_path / "vqa.parquet", numbered(90), group))
    taken = list(sample(index(source), 30, 5))
    assert [row.row for row in read_all(source, limit=30, seed=5, chunk_questions=8)] == taken


def test_a_row_is_what_it_would_be_in_json_lines(tmp_path):
    rows = [
        {"image": ["a.png"], "question": "<image> How?", "answer": "4", "choices": ["3", "4"], "history": [["a", "b"]]},
        {"image": None, "question": "图中有几个?", "answer": None, "choices": None, "history": None},
    ]
    parquet = open_source(write(tmp_path / "vqa.parquet", rows))
    (tmp_path / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = open_source(tmp_path / "vqa.jsonl")
    ours, theirs = read_all(parquet), read_all(lines)
    assert [row.id for row in ours] == ["vqa:0", "vqa:1"]
    assert [row.id for row in theirs] == ["vqa:1", "vqa:2"]
    for left, right in zip(ours, theirs, strict=True):
        assert isinstance(left, Question)
        assert (left.images, left.text, left.answer, left.choices, left.history, left.language) == (
            *(right.images, right.text, right.answer, right.choices, right.history, right.language),
        )


@pytest.mark.parametrize(
    ("value", "kind", "answer"),
    [
        (4, pa.int64(), ("4",)),
        (0.5, pa.float64(), ("0.5",)),
        (float("nan"), pa.float64(), None),
        (True, pa.bool_(), ("true",)),
        (Decimal("0.50"), pa.decimal128(5, 2), ("0.50",)),
        (["a", "b"], pa.list_(pa.string()), ("a", "b")),
        (None, pa.string(), None),
    ],
)
def test_answers_of_each_type(tmp_path, value, kind, answer):
    schema = pa.schema([("question", pa.string()), ("answer", kind)])
    path = write(tmp_path / "vqa.parquet", [{"question": "How?", "answer": value}], schema=schema)
    [row] = read_all(open_source(path))
    assert row.answer == answer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answer", float("inf")),
        ("answer", float("-inf")),
        ("answer", [1.5, float("nan")]),
        ("choices", [2.0, float("inf")]),
        ("id", float("inf")),
    ],
)
def test_a_number_that_is_none_is_a_skip_that_names_its_column(tmp_path, name, value):
    rows = [
        {"question": "How?", name: value},
        {"question": "How?", name: [1.0, 2.0] if isinstance(value, list) else 1.0},
    ]
    bad, good = read_all(open_source(write(tmp_path / "vqa.parquet", rows)))
    assert bad.reason is Reason.BAD_ROW and f"`{name}`" in bad.detail
    assert isinstance(good, Question)


def test_choices_as_a_struct(tmp_path):
    path = write(tmp_path / "vqa.parquet", [{"question": "How?", "choices": {"A": "x", "B": "y", "C": None}}])
    [row] = read_all(open_source(path))
    assert row.choices == ("x", "y")


def test_a_bad_row_is_a_skip_with_its_place(tmp_path):
    path = write(tmp_path / "vqa.parquet", [{"question": "How?"}, {"question": None}, {"question": "How?"}])
    rows = read_all(open_source(path))
    assert rows[1].reason is Reason.EMPTY_QUESTION
    assert rows[1].question_id == "vqa:1"
    assert rows[1].detail.startswith("vqa.parquet row 1: ")


def test_without_the_question_column(tmp_path):
    path = write(tmp_path / "vqa.parquet", [{"asked": "How?", "label": "4"}])
    with pytest.raises(SourceError, match=r"vqa\.parquet: has no column 'question' but asked, label: map it"):
        open_source(path)
    [row] = read_all(open_source(path, columns={"question": "asked", "answer": "label"}))
    assert (row.text, row.answer) == ("How?", ("4",))


def test_without_a_mapped_column(tmp_path):
    path = write(tmp_path / "vqa.parquet", [{"question": "How?"}])
    with pytest.raises(SourceError, match="no column 'gt'"):
        open_source(path, columns={"answer": "gt"})


def test_columns_that_are_not_ours_are_not_read(tmp_path):
    first = open_source(write(tmp_path / "a.parquet", [{"question": "How?", "fat": "x"}]))
    second = open_source(write(tmp_path / "b.parquet", [{"question": "How?", "fat": "y"}]))
    assert rows_hash(first, next(ranges(index(first)))) == rows_hash(second, next(ranges(index(second))))


def test_a_changed_value_changes_the_hash_of_its_range_alone(tmp_path):
    path = tmp_path / "a.parquet"
    rows = numbered(30)
    source = open_source(write(path, rows, 7))
    leases = list(ranges(index(source), chunk_questions=10))
    before = [rows_hash(source, lease) for lease in leases]
    assert [read_hashed(source, lease)[1] for lease in leases] == before
    rows[15]["question"] = "Another?"
    write(path, rows, 7)
    after = [rows_hash(source, lease) for lease in leases]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_appended_rows_leave_the_earlier_ranges_and_hashes_as_they_were(tmp_path):
    path = tmp_path / "a.parquet"
    source = open_source(write(path, numbered(20), 6))
    before = list(ranges(index(source), chunk_questions=8))
    hashes = [rows_hash(source, lease) for lease in before]
    write(path, numbered(40), 9)  # a writer may cut the row groups anew
    grown = index(source)
    again = [grown.span(lease.start, lease.n_rows) for lease in before]
    assert [rows_hash(source, type(lease)((span,))) for lease, span in zip(before, again, strict=True)] == hashes
    added = list(ranges(grown, chunk_questions=8, first_row=before[-1].stop))
    assert [row.row for lease in added for row in read_range(source, lease)] == list(range(20, 40))


def test_a_file_with_fewer_rows_than_indexed_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    source = open_source(write(path, numbered(30)))
    [lease] = ranges(index(source))
    write(path, numbered(10))
    with pytest.raises(SourceError, match="has fewer rows"):
        list(read_range(source, lease))


def test_an_empty_parquet_file_has_no_rows(tmp_path):
    schema = pa.schema([("question", pa.string())])
    source = open_source(write(tmp_path / "a.parquet", [], schema=schema))
    assert index(source).n_rows == 0
    assert read_all(source) == []


def test_a_text_that_is_not_utf_8_skips_its_row_alone(tmp_path):
    raw = pa.array([b"How?", b"caf\xe9?", b"Why?"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"question": texts}), tmp_path / "a.parquet")
    rows = read_all(open_source(tmp_path / "a.parquet"))
    assert [isinstance(row, Question) for row in rows] == [True, False, True]
    assert rows[1].reason is Reason.BAD_ROW
    assert rows[1].detail.startswith("a.parquet row 1: a text is not UTF-8")


def test_a_damaged_row_group_is_an_error_that_names_the_file(tmp_path):
    path = write(tmp_path / "a.parquet", numbered(500))
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(bytes(raw))
    with pytest.raises(SourceError, match=r"a\.parquet: cannot be read as Parquet"):
        read_all(open_source(path))


def test_a_file_gone_since_it_was_indexed_is_an_error(tmp_path):
    path = write(tmp_path / "a.parquet", numbered(5))
    source = open_source(path)
    [lease] = ranges(index(source))
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(read_range(source, lease))
