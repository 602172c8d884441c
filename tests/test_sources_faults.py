"""Files that are cut off, damaged or mixed up: one clear line each, and no row lost in silence."""

from __future__ import annotations

import gzip
import json

import pytest

from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_range
from mmpr.types import Question, Reason
from tests.source_files import lines, packed, read_all, write

ROWS = [{"id": f"q{i}", "question": f"How many are {i}? " + "?" * 50} for i in range(3000)]


def refused(path, says):
    with pytest.raises(SourceError, match=says) as caught:
        index(open_source(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_gzip_file(tmp_path, keep):
    content = packed(lines(ROWS), "gz")
    (tmp_path / "a.jsonl.gz").write_bytes(content[: int(len(content) * keep)])
    refused(tmp_path / "a.jsonl.gz", r"a\.jsonl\.gz: its gzip is cut off or damaged \(.*\): copy or pack it again")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_zstd_file(tmp_path, keep):
    content = packed(lines(ROWS), "zst")
    (tmp_path / "a.jsonl.zst").write_bytes(content[: int(len(content) * keep)])
    refused(tmp_path / "a.jsonl.zst", r"its zstd is cut off or damaged")


def test_a_broken_zstd_frame_behind_a_sound_one(tmp_path):
    (tmp_path / "a.jsonl.zst").write_bytes(packed(lines(ROWS), "zst") + b"\x28\xb5\x2f\xfdnot a frame at all")
    refused(tmp_path / "a.jsonl.zst", r"its zstd is cut off or damaged")


def test_a_gzip_file_with_another_checksum(tmp_path):
    content = bytearray(gzip.compress(lines(ROWS)))
    content[-6] ^= 255
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    refused(tmp_path / "a.jsonl.gz", r"its gzip is cut off or damaged \(.*check")


def test_a_packed_file_damaged_since_it_was_indexed(tmp_path):
    source = open_source(write(tmp_path, "jsonl.gz", ROWS))
    leases = list(ranges(index(source)))
    content = (tmp_path / "vqa.jsonl.gz").read_bytes()
    (tmp_path / "vqa.jsonl.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="its gzip is cut off or damaged"):
        [list(read_range(source, lease)) for lease in leases]


def test_parquet_within_gzip_says_how_it_is_packed_instead(tmp_path):
    content = write(tmp_path, "parquet", ROWS).read_bytes()
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(content))
    refused(tmp_path / "a.parquet.gz", "is parquet within gzip: unpack it")


@pytest.mark.parametrize("keep", [1, 2, 40, 5000, -1, -2, -30])
def test_an_array_cut_off(tmp_path, keep):
    content = json.dumps(ROWS).encode()
    (tmp_path / "a.json").write_bytes(content[:keep])
    refused(tmp_path / "a.json", "ends inside its JSON array: copy or write it again")


def test_two_arrays_in_a_file(tmp_path):
    (tmp_path / "a.json").write_text('[{"question": "How?"}]\n[{"question": "Why?"}]\n')
    refused(tmp_path / "a.json", "has more text after the end of its JSON array, at byte 24")


def test_a_bad_element_is_a_skip_with_its_place(tmp_path):
    (tmp_path / "a.json").write_text('[{"question": "How?"}, {"question": nope}, 7, ["x"], {"question": "Why?"}, ]')
    rows = read_all(open_source(tmp_path / "a.json"))
    assert [isinstance(row, Question) for row in rows] == [True, False, False, False, True]
    assert rows[1].detail.startswith("a.json row 1: invalid JSON")
    assert rows[2].detail.startswith("a.json row 2: is not a JSON object")
    assert rows[4].row == 4


def test_records_with_the_wrong_number_of_cells(tmp_path):
    (tmp_path / "a.csv").write_text('question,answer\nHow?,4\nWhich, then?,5\nWhy?\n"a\nb",6\n')
    rows = read_all(open_source(tmp_path / "a.csv"))
    assert [row.row for row in rows if isinstance(row, Question)] == [2, 5]
    assert [row.detail.split(":")[0] for row in rows[1:3]] == ["a.csv line 3", "a.csv line 4"]
    assert "3 cells, the header has 2: quote a text that holds the delimiter" in rows[1].detail
    assert rows[1].reason is Reason.BAD_ROW


def test_a_stray_quote_costs_its_record_alone(tmp_path):
    (tmp_path / "a.csv").write_text('question,answer\n"say" so?,4\nHow?,5\n')
    rows = read_all(open_source(tmp_path / "a.csv"))
    assert rows[0].detail.startswith("a.csv line 2: is not a CSV record (")
    assert rows[1].text == "How?"


def test_a_quote_that_is_never_closed(tmp_path):
    (tmp_path / "a.csv").write_text('question,answer\nHow?,4\n"Which?,5\nWhy?,6\n')
    rows = read_all(open_source(tmp_path / "a.csv"))
    assert [isinstance(row, Question) for row in rows] == [True, False]
    assert rows[1].detail.startswith("a.csv line 3: is not a CSV record (unexpected end of data)")


def test_a_quote_that_is_never_closed_costs_no_more_than_the_limit(tmp_path):
    (tmp_path / "a.csv").write_text('question\n"Which?\n' + "How many?\n" * 1000)
    rows = read_all(open_source(tmp_path / "a.csv", max_row_bytes=1000))
    assert "is a quote never closed?" in rows[0].detail
    assert 880 < len(rows) < 900


def test_a_record_that_is_no_utf_8(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"question\ncaf\xe9?\nHow?\n")
    rows = read_all(open_source(tmp_path / "a.csv"))
    assert rows[0].detail.startswith("a.csv line 2: not UTF-8")
    assert rows[1].text == "How?"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no header"),
        ("asked,label\nHow?,4\n", "has no column 'question' but asked, label: map it"),
        ("question;answer\nHow?;4\n", "has no column 'question' but question;answer"),
        ("question,question\nHow?,4\n", "its header names 'question' twice"),
    ],
)
def test_a_header_that_will_not_do(tmp_path, content, says):
    (tmp_path / "a.csv").write_text(content)
    refused(tmp_path / "a.csv", says)


def test_a_folder_without_files_of_questions(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "sub.jsonl").mkdir()
    refused(tmp_path, r"is a folder without files of questions \(\.jsonl, ")


def test_a_folder_with_files_of_several_kinds(tmp_path):
    write(tmp_path, "jsonl", ROWS[:3])
    write(tmp_path, "parquet", ROWS[:3])
    refused(tmp_path, r"holds \.jsonl and \.parquet files: keep one kind, or name one file")


def test_a_folder_with_a_file_and_the_same_one_packed(tmp_path):
    write(tmp_path, "jsonl", ROWS[:3])
    write(tmp_path, "jsonl.gz", ROWS[:3])
    refused(tmp_path, r"holds \.jsonl and \.jsonl\.gz files")


def test_a_bad_file_in_a_folder_is_named(tmp_path):
    write(tmp_path, "folder.parquet", ROWS[:9])
    (tmp_path / "vqa.folder.parquet" / "part-00003.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match=r"part-00003\.parquet: cannot be read as Parquet"):
        open_source(tmp_path / "vqa.folder.parquet")


def test_a_cut_arrow_file(tmp_path):
    content = write(tmp_path, "arrow", ROWS).read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "a.arrow", "cannot be read as Arrow")
