"""Every format gives the same rows as JSON lines, for all ranges."""

from __future__ import annotations

import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpr.sources import index, open_source, ranges, read_hashed, read_range, rows_hash
from tests.source_files import FORMS, bare, read_all, write

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
TEXT = st.one_of(
    WORDS, st.sampled_from(['say "so"', 'a,b\tc\nd"', "\\", '\\"', "[{", "}],", "图中?", "<image> a", '"'])
)
FILLED = TEXT.map(lambda text: text or None)
ROW = st.fixed_dictionaries(
    {
        "question": FILLED,
        "answer": FILLED,
        "chosen": FILLED,
        "system": FILLED,
        "image": st.one_of(st.none(), st.lists(st.sampled_from(["a.png", "b c.jpg", "d,e.png"]), max_size=2)),
        "choices": st.one_of(st.none(), st.lists(TEXT, max_size=3)),
        "history": st.one_of(st.none(), st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=2)),
    }
)


@pytest.mark.parametrize("form", FORMS)
@given(
    rows=st.lists(ROW, max_size=25),
    group=st.integers(1, 9),
    chunk=st.integers(1, 12),
    limit=st.integers(1, 30),
    marks=st.integers(1, 9),
    block=st.integers(1, 100),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_ranges_give_the_rows_of_json_lines(
    tmp_path_factory, monkeypatch, form, rows, group, chunk, limit, marks, block, order
):
    for module in ("jsonl", "array_file", "csv_file"):
        monkeypatch.setattr(f"mmpr.sources.{module}._ROWS_A_MARK", marks)
    for module in ("jsonl", "array_file"):
        monkeypatch.setattr(f"mmpr.sources.{module}._BLOCK_BYTES", block)
    rows = [{"id": f"q{i}", **row} for i, row in enumerate(rows)]
    folder = tmp_path_factory.mktemp("rows")
    lines = read_all(open_source(write(folder, "jsonl", rows), name="vqa", image_root=folder))
    source = open_source(write(folder, form, rows, group), name="vqa", image_root=folder)
    counted = index(source)
    assert counted.n_rows == len(rows)
    leases = list(ranges(counted, chunk_questions=chunk))
    assert [lease.n_rows for lease in leases[:-1]] == [chunk] * (len(leases) - 1)
    order.shuffle(leases)  # engines die, and their leases come again
    read = {lease.start: list(read_range(source, lease)) for lease in leases}
    assert [bare(row) for start in sorted(read) for row in read[start]] == [bare(row) for row in lines]
    taken = list(ranges(counted, chunk_questions=chunk, limit=limit))
    sampled = [row for lease in taken for row in read_range(source, lease)]
    assert [bare(row) for row in sampled] == [
        bare(lines[row])
        for lease in taken
        for span in lease.spans
        for row in range(span.first, span.first + span.count)
    ]
    for lease in [*leases, *taken]:
        assert read_hashed(source, lease)[1] == rows_hash(source, lease)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_has_its_place_and_an_id_made_of_it(tmp_path, form):
    rows = [{"question": "How?"}, {"question": None, "answer": "4"}, {"question": "Why?\nSo."}, {"question": "Who?"}]
    read = read_all(open_source(write(tmp_path, form, rows)))
    assert len({row.id if hasattr(row, "id") else row.question_id for row in read}) == 4
    in_lines = "jsonl" in form or "csv" in form or "tsv" in form
    word, number = ("line", 2 + (".csv" in f".{form}" or "tsv" in form)) if in_lines else ("row", 1)
    file = f"part-00000{form.removeprefix('folder')}" if "folder" in form else f"vqa.{form}"
    if not read[1].detail.startswith("vqa: "):
        assert read[1].detail.startswith(f"{file} {word} {number}: no question")


@pytest.mark.parametrize("form", FORMS)
def test_appended_rows_leave_the_earlier_ranges_and_hashes_as_they_were(tmp_path, form):
    rows = [{"id": f"q{i}", "question": f"How many are {i}?"} for i in range(400)]
    old = open_source(write(tmp_path, form, rows[:300], 100))
    before = list(ranges(index(old)))
    hashes = [rows_hash(old, lease) for lease in before]
    source = open_source(write(tmp_path, form, rows, 100))
    counted = index(source)
    again = [type(lease)(counted.spans(lease.start, lease.n_rows)) for lease in before]
    assert [rows_hash(source, lease) for lease in again] == hashes
    added = ranges(counted, first_row=300)
    assert [row.id for lease in added for row in read_range(source, lease)] == [f"q{i}" for i in range(300, 400)]


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_row_changes_the_hash_of_its_range_alone(tmp_path, form):
    rows = [{"id": f"q{i}", "question": f"How many are {i}?"} for i in range(300)]
    source = open_source(write(tmp_path, form, rows, 100))
    leases = list(ranges(index(source), chunk_questions=100))
    before = [rows_hash(source, lease) for lease in leases]
    rows[150]["question"] = "How many are 1_0?"
    write(tmp_path, form, rows, 100)
    after = [rows_hash(open_source(source.path), lease) for lease in ranges(index(source), chunk_questions=100)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize("form", FORMS)
def test_columns_map_foreign_names(tmp_path, form):
    row = {"id": "a", "question": "not this one", "system": "How many?", "chosen": "4", "answer": "not this one either"}
    source = open_source(
        write(tmp_path, form, [row]), columns={"question": "system", "answer": "chosen", "system": "id"}
    )
    [read] = read_all(source)
    assert (read.text, read.answer, read.system) == ("How many?", ("4",), "a")


@pytest.mark.parametrize("form", [form for form in FORMS if "csv" not in form and "tsv" not in form])
def test_a_source_without_rows_has_none(tmp_path, form):
    source = open_source(write(tmp_path, form, []))
    assert index(source).n_rows == 0
    assert read_all(source) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_fewer_rows_than_indexed_is_an_error(tmp_path, form):
    from mmpr.errors import SourceError

    rows = [{"id": f"q{i}", "question": "How?"} for i in range(30)]
    source = open_source(write(tmp_path, form, rows, 10))
    leases = list(ranges(index(source)))
    for file in (tmp_path / f"vqa.{form}").iterdir() if "folder" in form else []:
        file.unlink()
    write(tmp_path, form, rows[:5], 10)
    with pytest.raises(SourceError, match=rf"vqa\.{form}.*: "):
        [list(read_range(source, lease)) for lease in leases]


@pytest.mark.parametrize("form", ["jsonl.gz", "jsonl.zst", "json", "csv", "parquet"])
def test_threads_that_read_at_once_do_not_mix(tmp_path, form):
    from concurrent.futures import ThreadPoolExecutor

    rows = [{"id": f"q{i}", "question": f"How many are {i}?"} for i in range(2000)]
    source = open_source(write(tmp_path, form, rows, 500))
    leases = list(ranges(index(source), chunk_questions=20)) * 2
    random.Random(1).shuffle(leases)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda lease: [row.id for row in read_range(source, lease)], leases)
        for lease, ids in zip(leases, found, strict=True):
            assert ids == [f"q{i}" for i in range(lease.start, lease.stop)]


def test_numbers_in_an_array_stay_as_they_were_written(tmp_path):
    (tmp_path / "a.json").write_text('[{"question": "?!", "answer": 0.50}, {"question": "?!", "answer": [1e5, true]}]')
    assert [row.answer for row in read_all(open_source(tmp_path / "a.json"))] == [("0.50",), ("1e5", "true")]


def test_an_answer_in_a_cell_is_text_as_it_stands(tmp_path):
    (tmp_path / "a.csv").write_text('question,answer\nWhich?,"[2,3]"\nHow many?,0.50\n')
    assert [row.answer for row in read_all(open_source(tmp_path / "a.csv"))] == [("[2,3]",), ("0.50",)]


def test_a_cell_with_a_python_list_is_that_list_and_an_expression_is_named_and_never_run(tmp_path):
    rows = ["Which?,\"['red', 'blue']\"", "Which?,\"[open('ran', 'w')]\""]
    (tmp_path / "a.csv").write_text("\n".join(("question,choices", *rows)))
    question, skip = read_all(open_source(tmp_path / "a.csv"))
    assert question.choices == ("red", "blue")
    assert "`choices` is " in skip.detail and "give a list" in skip.detail


def test_pandas_own_csv_and_tsv_are_read(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"question": ['Say "so"?', "a\tb, c?", "two\nlines"], "answer": [1, 2.5, None]})
    for name, separator in (("a.csv", ","), ("b.tsv", "\t")):
        frame.to_csv(tmp_path / name, sep=separator, index=False)
        rows = read_all(open_source(tmp_path / name))
        assert [(row.text, row.answer) for row in rows] == [
            *(('Say "so"?', ("1.0",)), ("a\tb, c?", ("2.5",)), ("two\nlines", None))
        ]


def test_a_file_packed_in_pieces_is_one_file(tmp_path):
    from tests.source_files import lines, packed

    for codec in ("gz", "zst"):
        pieces = [packed(lines([{"id": f"q{i}", "question": "How?"}]), codec) for i in range(3)]
        (tmp_path / f"a.jsonl.{codec}").write_bytes(b"".join(pieces))
        assert [row.id for row in read_all(open_source(tmp_path / f"a.jsonl.{codec}"))] == ["q0", "q1", "q2"]


def test_leases_of_a_packed_file_unpack_it_once(tmp_path, monkeypatch):
    from mmpr.sources import streams

    opened = []
    real = streams._Unpacked._open
    monkeypatch.setattr(streams._Unpacked, "_open", lambda self: (opened.append(1), real(self))[1])
    rows = [{"id": f"q{i}", "question": "How?"} for i in range(1000)]
    source = open_source(write(tmp_path, "jsonl.gz", rows))
    leases = list(ranges(index(source), chunk_questions=30))
    opened.clear()
    assert [row.id for lease in leases for row in read_range(source, lease)] == [f"q{i}" for i in range(1000)]
    assert len(opened) == 1


def test_an_array_of_one_huge_element_is_skipped_without_holding_it(tmp_path):
    import tracemalloc

    with (tmp_path / "a.json").open("wb") as file:
        file.write(b'[{"question": "How?"}, {"question": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"},\n{"question": "How?"}]\n')
    source = open_source(tmp_path / "a.json")
    tracemalloc.start()
    rows = read_all(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "100,000,016 bytes long" in rows[1].detail
    assert [getattr(row, "row", None) for row in rows] == [0, None, 2]
    assert peak < 45_000_000


def arrow_peak(path):
    """MiB that reading a file by leases takes of Arrow's memory, in a process of its own."""
    program = (
        "import sys, pyarrow as pa\n"
        "from mmpr.sources import index, open_source, ranges, read_range\n"
        "source = open_source(sys.argv[1])\n"
        "for lease in ranges(index(source)):\n"
        "    for _ in read_range(source, lease): pass\n"
        "print(pa.default_memory_pool().max_memory())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def test_leases_of_one_huge_row_group_do_not_hold_it(tmp_path):
    texts = [f"How many are {i}?" + "?" * 200_000 for i in range(600)]
    pq.write_table(pa.table({"question": texts}), tmp_path / "a.parquet", write_batch_size=8)
    assert arrow_peak(tmp_path / "a.parquet") < 70  # of 120 MB: a page of some rows and a batch


def test_a_long_text_of_a_dictionary_is_not_copied_into_every_row_of_a_batch(tmp_path):
    texts = ["How many?" + "?" * 4_000_000] * 40
    encoded = {"use_dictionary": False, "column_encoding": {"question": "DELTA_BYTE_ARRAY"}}
    for encoding in ({}, encoded):
        pq.write_table(pa.table({"question": texts}), tmp_path / "a.parquet", **encoding)
        assert arrow_peak(tmp_path / "a.parquet") < 90  # of 160 MB: a batch's pieces, and these as one
