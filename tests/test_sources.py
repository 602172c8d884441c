"""Sources as files: opening, counting, ranges, samples, hashes, growth."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpr.errors import SourceError
from mmpr.sources import LeaseRange, index, open_source, ranges, read_hashed, read_range, rows_hash, sample
from mmpr.types import Question


def write(path, n, first=0):
    with path.open("a") as file:
        file.writelines(json.dumps({"id": f"q{i}", "question": f"How many are {i}?"}) + "\n" for i in range(first, n))
    return open_source(path)


def read_all(source, leases):
    return [row for lease in leases for row in read_range(source, lease)]


LINES = st.one_of(
    st.sampled_from(
        [b"", b" ", b"\t \r", b"\x0b", b"{", b"\0", b"\r", b'{"question": "How?"}', b' {"question": "How?"}']
    ),
    st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")),
    st.text(max_size=20).map(lambda text: json.dumps({"question": text}).encode()),
    st.integers(50, 400).map(lambda n: b"x" * n),
)


@given(
    lines=st.lists(LINES, max_size=60),
    chunk=st.integers(1, 20),
    ended=st.booleans(),
    bom=st.booleans(),
    marks=st.integers(1, 9),
    block=st.integers(1, 200),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_leaves_exactly_once_in_order(tmp_path, monkeypatch, lines, chunk, ended, bom, marks, block):
    monkeypatch.setattr("mmpr.sources.jsonl._ROWS_A_MARK", marks)
    monkeypatch.setattr("mmpr.sources.jsonl._BLOCK_BYTES", block)
    path = tmp_path / "a.jsonl"
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    path.write_bytes(b'{"question": "first"}\n' + body)  # a first line that looks like JSON lines
    if bom:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    numbers = [1, *(i for i, line in enumerate(lines, 2) if line.strip())]
    source = open_source(path, max_row_bytes=100)
    rows = index(source)
    assert not rows.unfinished or (not ended and rows.unfinished == (numbers[-1],))
    numbers = numbers[: len(numbers) - len(rows.unfinished)]
    assert rows.n_rows == len(numbers)
    leases = list(ranges(rows, chunk_questions=chunk))
    assert [lease.n_rows for lease in leases[:-1]] == [chunk] * (len(leases) - 1)
    read = read_all(source, leases)
    places = [int(row.id.split(":")[1]) if isinstance(row, Question) else int(row.question_id[2:]) for row in read]
    assert places == numbers
    one_by_one = list(ranges(rows, chunk_questions=1))
    assert read_all(source, one_by_one) == read


@given(n=st.integers(1, 400), limit=st.integers(1, 450), seed=st.integers(0, 5), chunk=st.integers(1, 50))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sample_is_read_row_by_row(tmp_path, n, limit, seed, chunk):
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    source = write(path, n)
    rows = index(source)
    taken = list(sample(rows, limit, seed))
    assert taken == sorted(set(taken))
    assert len(taken) == min(n, limit)
    leases = list(ranges(rows, chunk_questions=chunk, limit=limit, seed=seed))
    assert [row.id for row in read_all(source, leases)] == [f"q{i}" for i in taken]
    assert sum(lease.n_rows for lease in leases) == len(taken)


def test_a_sample_is_the_same_every_time_and_another_for_another_seed(tmp_path):
    rows = index(write(tmp_path / "a.jsonl", 1000))
    assert list(sample(rows, 50, 1)) == list(sample(rows, 50, 1))
    assert list(sample(rows, 50, 1)) != list(sample(rows, 50, 2))
    assert list(sample(rows, 5, 1)) == [60, 283, 483, 771, 993]  # for ever: a resumed run must find its rows again


def test_a_sample_is_spread_over_the_whole_source(tmp_path):
    rows = index(write(tmp_path / "a.jsonl", 1000))
    assert Counter(row // 100 for row in sample(rows, 50, 1)) == dict.fromkeys(range(10), 5)
    picked = Counter(row for seed in range(400) for row in sample(rows, 100, seed))
    assert len(picked) == 1000  # every row can be drawn


def test_a_limit_over_the_number_of_rows_takes_all_in_whole_ranges(tmp_path):
    rows = index(write(tmp_path / "a.jsonl", 300))
    assert list(ranges(rows, limit=300)) == list(ranges(rows))


def test_appended_rows_leave_the_earlier_ranges_and_hashes_as_they_were(tmp_path):
    path = tmp_path / "a.jsonl"
    source = write(path, 300)
    before = list(ranges(index(source)))
    hashes = [rows_hash(source, lease) for lease in before]
    source = write(path, 700, first=300)
    added = list(ranges(index(source), first_row=before[-1].stop))
    assert [rows_hash(source, lease) for lease in before] == hashes
    assert (before[-1].stop, added[0].start, added[-1].stop) == (300, 300, 700)
    assert [row.id for row in read_all(source, [*before, *added])] == [f"q{i}" for i in range(700)]


def test_a_row_appended_behind_a_missing_line_feed_leaves_the_hash(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "one"}')
    source = open_source(path)
    [lease] = ranges(index(source))
    before = rows_hash(source, lease)
    with path.open("a") as file:
        file.write('\n{"question": "two"}\n')
    assert rows_hash(source, lease) == before


def test_a_changed_row_changes_the_hash_of_its_range_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    source = write(path, 300)
    leases = list(ranges(index(source), chunk_questions=100))
    before = [rows_hash(source, lease) for lease in leases]
    path.write_text(path.read_text().replace("are 150?", "are 151?"))
    after = [rows_hash(source, lease) for lease in leases]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_a_line_put_in_above_changes_the_hash_because_ids_move(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "one"}\n')
    source = open_source(path)
    before = rows_hash(source, next(ranges(index(source))))
    path.write_text('\n{"question": "one"}\n')
    assert rows_hash(source, next(ranges(index(source)))) != before


def test_reading_and_hashing_at_once_is_the_same_as_each(tmp_path):
    source = write(tmp_path / "a.jsonl", 20)
    [lease] = ranges(index(source))
    rows, sha256 = read_hashed(source, lease)
    assert [skip or question for question, skip in rows] == list(read_range(source, lease))
    assert sha256 == rows_hash(source, lease)


def test_a_file_cut_since_it_was_indexed_is_an_error(tmp_path):
    source = write(tmp_path / "a.jsonl", 20)
    [lease] = ranges(index(source))
    (tmp_path / "a.jsonl").write_text('{"question": "How?"}\n')
    with pytest.raises(SourceError, match="ends before row 20"):
        list(read_range(source, lease))


def test_a_file_gone_since_it_was_indexed_is_an_error(tmp_path):
    source = write(tmp_path / "a.jsonl", 20)
    [lease] = ranges(index(source))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        list(read_range(source, lease))


def test_source_index_and_lease_are_plain_values(tmp_path):
    source = write(tmp_path / "a.jsonl", 1000)
    rows = index(source)
    for value in (source, rows, *ranges(rows, limit=100)):
        assert pickle.loads(pickle.dumps(value)) == value
    for lease in (*ranges(rows), *ranges(rows, limit=100)):
        assert LeaseRange.from_json(json.loads(json.dumps(lease.to_json()))) == lease
    assert len(pickle.dumps(next(ranges(rows)))) < 500


def test_an_empty_file_has_no_rows(tmp_path):
    for content in ("", "\n\n \n", "\ufeff"):
        (tmp_path / "a.jsonl").write_text(content)
        rows = index(open_source(tmp_path / "a.jsonl"))
        assert rows.n_rows == 0
        assert list(ranges(rows)) == []
        assert list(ranges(rows, limit=5)) == []


def test_names_and_roots_have_defaults(tmp_path):
    source = write(tmp_path / "vqa.v2.jsonl", 1)
    assert (source.name, source.image_root, source.path) == ("vqa.v2", str(tmp_path), str(tmp_path / "vqa.v2.jsonl"))
    [row] = read_all(open_source(tmp_path / "vqa.v2.jsonl", name="mine"), ranges(index(source)))
    assert row.source == "mine"


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    write(tmp_path / "a.jsonl", 1)
    monkeypatch.chdir(tmp_path)
    source = open_source("a.jsonl", image_root="pictures")
    assert (source.path, source.image_root) == (str(tmp_path / "a.jsonl"), str(tmp_path / "pictures"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"\x1f\x8b\x08\0", "its gzip is cut off or damaged"),
        ("a.jsonl", b"\x28\xb5\x2f\xfd", "its zstd is cut off or damaged"),
        ("a.jsonl", b"PK\x03\x04", "zip"),
        ("a.jsonl", '{"question": "How?"}'.encode("utf-16"), "iconv"),
        ("a.json", b'{\n  "question": "How?"\n}', "one JSON object"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n", "is an image"),
        ("a.txt", b"question,answer\nHow?,4\n", "none of JSONL, JSON, CSV"),
        ("a.parquet", b'{"question": "How?"}\n', "not a Parquet"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_mend(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=says) as caught:
        open_source(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no\.jsonl: cannot be read \(No such file or directory\)"):
        open_source(tmp_path / "no.jsonl")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is a folder"):
        open_source(tmp_path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(SourceError, match="not a regular file"):
        open_source(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"language": "fr"}, "choose auto, en or zh"),
        ({"columns": {"query": "question"}}, "'query' is not a column of mmpr"),
        ({"name": " "}, "printable"),
        ({"name": "a\nb"}, "printable"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, options, says):
    write(tmp_path / "a.jsonl", 1)
    with pytest.raises(SourceError, match=says):
        open_source(tmp_path / "a.jsonl", **options)
