"""Excel workbooks as sources: the same questions as from a CSV file, and one line for a file that is none."""

import csv

import pytest
from importing.shapes import workbook

from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_range, xlsx_file
from mmpr.types import Question

HEADER = ("id", "question", "answer", "A", "B")
ROWS = [
    ("q1", "Which one?", "B", "one", "two"),
    ("q2", "How many\nare there?", 0.1, None, None),
    (None, None, None, None, None),
    ("q3", "Is it <i>so</i> & so?", True, None, None),
    (4, "How many?", 12, None, None),
]


def read(path, *, size=2):
    source = open_source(path)
    return [row for lease in ranges(index(source), chunk_questions=size) for row in read_range(source, lease)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_workbook_is_read_as_the_same_rows_of_csv(tmp_path, shared, size):
    book = workbook(tmp_path / "same.xlsx", [HEADER, *ROWS], shared=shared)
    with (tmp_path / "same.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [HEADER, *[[{True: "true"}.get(c, c) if c != 12 else c for c in row] for row in ROWS]]
        )
    one, other = (read(path, size=size) for path in (book, tmp_path / "same.csv"))
    assert all(isinstance(row, Question) for row in (*one, *other))
    assert [(q.id, q.text, q.answer, q.choices) for q in one] == [(q.id, q.text, q.answer, q.choices) for q in other]
    assert [q.row for q in one] == [2, 3, 5, 6]


def test_a_merged_cell_is_that_of_all_its_rows_and_columns(tmp_path):
    rows = [("question", "answer", "note"), ("a?", 1, None), (None, 2, "n"), ("b?", 3, None), (None, None, None)]
    found = read(workbook(tmp_path / "m.xlsx", rows, merged=["A2:A3", "A4:A5", "C3"]))
    assert [(q.text, q.answer, q.row) for q in found] == [("a?", ("1",), 2), ("a?", ("2",), 3), ("b?", ("3",), 4)]


def test_texts_of_a_workbook_are_unescaped(tmp_path):
    (found,) = read(workbook(tmp_path / "e.xlsx", [("question", "answer"), ("one_x000D_\ntwo _x0041_", "b")]))
    assert found.text == "one\r\ntwo A"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-100], "damaged Excel workbook"),
        (
            lambda content: content.replace(b"xl/worksheets/sheet1.xml", b"xl/worksheets/sheet9.xml"),
            "cannot be read as an",
        ),
        (lambda content: content[:120] + b"\0\xff\0\xff" + content[124:], "workbook"),
    ],
)
def test_a_damaged_workbook_is_one_line(tmp_path, change, says):
    path = workbook(tmp_path / "d.xlsx", [("question", "answer"), *[(f"How many in {q}?", q) for q in range(50)]])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SourceError, match=says) as raised:
        read(path)
    assert "\n" not in str(raised.value) and "d.xlsx" in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([], {}, "has no header"),
        ([("question", "question"), ("a", "b")], {}, "names 'question' twice"),
        ([("question", "answer"), ("a?", 1)], {"sheets": 2}, "several sheets"),
        ([("question", "answer"), ("a?", 1)], {"merged": ["A2:ZZ1000000"]}, "merges more than"),
    ],
)
def test_a_workbook_that_cannot_be_meant_so_is_one_line(tmp_path, rows, options, says):
    with pytest.raises(SourceError, match=says):
        read(workbook(tmp_path / "w.xlsx", rows, **options))


def test_a_workbook_that_unpacks_to_more_than_can_be_held_is_refused(tmp_path, monkeypatch):
    path = workbook(tmp_path / "bomb.xlsx", [("question", "answer"), ("x" * 100_000, 1)])
    for limit in ("_MOST_TEXT_BYTES", "_MOST_SHEET_BYTES"):
        with monkeypatch.context() as patch, pytest.raises(SourceError, match="save it as TSV"):
            patch.setattr(xlsx_file, limit, 100)
            read(path)
