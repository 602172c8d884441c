"""Rows of JSON lines: what a good one becomes, and each bad one's reason, with its place in the detail."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from mmpr.sources import index, open_source, ranges, read_hashed, read_range, rows_hash
from mmpr.types import Question, Reason, Skip, Stage

GOOD = b'{"question": "How many?"}\n'


def read_bytes(tmp_path, content, **options):
    path = tmp_path / "vqa.jsonl"
    path.write_bytes(content)
    source = open_source(path, **options)
    return [row for lease in ranges(index(source)) for row in read_range(source, lease)]


def read_row(tmp_path, row, **options):
    [result] = read_bytes(tmp_path, json.dumps(row).encode() + b"\n", **options)
    return result


def question(tmp_path, row, **options):
    result = read_row(tmp_path, row, **options)
    assert isinstance(result, Question), result
    return result


def skipped(tmp_path, line, reason, *says, **options):
    """Line 7 of a file, between good ones, is skipped for the reason; its detail names the place and the mend."""
    rows = read_bytes(tmp_path, GOOD * 6 + line + GOOD, **options)
    assert [row.row for row in rows[:6]] == [1, 2, 3, 4, 5, 6]
    assert isinstance(rows[-1], Question)
    assert rows[-1].row == 8
    assert len(rows) == 8
    skip = rows[6]
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.stage) == (reason, Stage.READ)
    assert skip.detail.startswith("vqa.jsonl line 7: ")
    assert "\n" not in skip.detail
    assert len(skip.detail) < 300
    for said in says:
        assert said in skip.detail
    return skip


def skipped_row(tmp_path, row, reason, *says):
    return skipped(tmp_path, json.dumps(row).encode() + b"\n", reason, *says)


def test_a_full_row(tmp_path):
    row = {
        "id": "q1",
        "image": ["a.png", "/abs/b.png"],
        "question": "<image>\n<image> Which?",
        "answer": "A",
        "choices": ["red", "blue"],
        "chosen": "It is red.",
        "source": "shapes",
        "answer_kind": "choice",
        "language": "zh",
        "history": [["Hi?", "Hello."]],
        "system": "Be brief.",
        "rejected": None,
        "anything": {"else": 1},
    }
    assert question(tmp_path, row) == Question(
        id="q1",
        source="shapes",
        row=1,
        text="<image>\n<image> Which?",
        system="Be brief.",
        history=(("Hi?", "Hello."),),
        images=(str(tmp_path / "a.png"), "/abs/b.png"),
        choices=("red", "blue"),
        answer=("A",),
        answer_kind="choice",
        draft="It is red.",
        language="zh",
    )


def test_the_least_row(tmp_path):
    assert question(tmp_path, {"question": "How?"}) == Question(id="vqa:1", source="vqa", row=1, text="How?")


def test_null_is_the_same_as_absent(tmp_path):
    names = ("id", "image", "answer", "choices", "chosen", "source", "answer_kind", "language", "history", "system")
    assert question(tmp_path, {"question": "How?", **dict.fromkeys(names)}) == question(tmp_path, {"question": "How?"})


def test_the_file_of_the_original_pipeline_is_read_as_it_is(tmp_path):
    row = {"image": "a.jpg", "question": "Describe the image.", "chosen": "A cat.", "rejected": None}
    read = question(tmp_path, row)
    assert (read.answer, read.draft) == (None, "A cat.")


def test_images_begin_at_the_image_root(tmp_path):
    images = ["sub/a.png", "../b.png", "/c.png", "data:image/png;base64,AA==", "s3://bucket/d.png"]
    read = question(tmp_path, {"image": images, "question": "?!"}, image_root=tmp_path / "images")
    root = f"{tmp_path}/images"
    assert read.images == (f"{root}/sub/a.png", f"{root}/../b.png", *images[2:])


def test_numbers_and_truth_values_stay_as_they_were_written(tmp_path):
    lines = [b'{"question": "?!", "answer": %s}\n' % a for a in (b"0.50", b"1.0", b"1e5", b"-3", b"true", b"[1, 2.0]")]
    rows = read_bytes(tmp_path, b"".join(lines))
    assert [row.answer for row in rows] == [("0.50",), ("1.0",), ("1e5",), ("-3",), ("true",), ("1", "2.0")]


def test_a_number_of_ten_thousand_digits_is_an_answer(tmp_path):
    [row] = read_bytes(tmp_path, b'{"question": "?!", "answer": ' + b"7" * 10_000 + b"}\n")
    assert len(row.answer[0]) == 10_000


def test_a_number_is_an_id(tmp_path):
    assert question(tmp_path, {"id": 17, "question": "How?"}).id == "17"


def test_blank_entries_among_several_answers_are_dropped(tmp_path):
    assert question(tmp_path, {"question": "How?", "answer": ["", "net", " "]}).answer == ("net",)


def test_choices_by_letter_come_in_the_letters_order(tmp_path):
    row = {"question": "Which?", "choices": {"B": "blue", "a": "red", "C": 3, "D": None}}
    assert question(tmp_path, row).choices == ("red", "blue", "3")


def test_the_language_is_the_rows_then_the_sources_then_the_scripts(tmp_path):
    chinese = {"question": "图中有几个红色方块?"}
    assert question(tmp_path, chinese).language == "zh"
    assert question(tmp_path, chinese, language="en").language == "en"
    assert question(tmp_path, {**chinese, "language": "zh"}, language="en").language == "zh"
    assert question(tmp_path, {**chinese, "language": "auto"}).language == "zh"


def test_the_answer_kind_is_the_rows_then_the_sources(tmp_path):
    assert question(tmp_path, {"question": "How?"}, answer_kind="integer").answer_kind == "integer"
    assert question(tmp_path, {"question": "How?", "answer_kind": "text"}, answer_kind="integer").answer_kind == "text"


def test_columns_map_foreign_names(tmp_path):
    row = {"query": "How?", "gt": "4", "question": "not this one"}
    read = question(tmp_path, row, columns={"question": "query", "answer": "gt"})
    assert (read.text, read.answer) == ("How?", ("4",))


def test_tags_in_earlier_turns_count(tmp_path):
    row = {"image": "a.png", "question": "And now?", "history": [["<image>\nWhat?", "A cat."]]}
    assert question(tmp_path, row).images


def test_code_in_a_row_stays_text(tmp_path):
    text = "__import__('os').abort()"
    assert question(tmp_path, {"question": text, "answer": text, "choices": [text]}).answer == (text,)


def test_chat_template_tokens_and_control_characters_are_text_here(tmp_path):
    text = "<|im_end|>\x00\x07\u2028 what?"
    assert question(tmp_path, {"question": text}).text == text


def test_repeated_ids_are_two_questions(tmp_path):
    rows = read_bytes(tmp_path, b'{"id": "a", "question": "How?"}\n' * 2)
    assert [(row.id, row.source, row.row) for row in rows] == [("a", "vqa", 1), ("a", "vqa", 2)]


def test_a_byte_order_mark_crlf_and_blank_lines_are_tolerated(tmp_path):
    content = b"\xef\xbb\xbf" + b'{"question": "one"}\r\n\r\n  \t\n' + b'{"question": "two"}\r\n' + b"\n\n"
    rows = read_bytes(tmp_path, content)
    assert [(row.text, row.row) for row in rows] == [("one", 1), ("two", 4)]


def test_a_last_line_without_line_feed_is_a_row(tmp_path):
    assert [row.row for row in read_bytes(tmp_path, GOOD + GOOD.rstrip())] == [1, 2]


def test_invalid_json(tmp_path):
    skip = skipped(
        tmp_path, b'{"question": "a" "b"}\n', Reason.BAD_ROW, "invalid JSON", "column 18", "one object per line"
    )
    assert skip.question_id == "vqa:7"


def test_python_is_no_json(tmp_path):
    skipped(tmp_path, b"{'question': 'How?'}\n", Reason.BAD_ROW, "invalid JSON")


def test_two_objects_on_a_line(tmp_path):
    skipped(tmp_path, GOOD.strip() + GOOD, Reason.BAD_ROW, "invalid JSON", "Extra data")


def test_nan_is_no_json(tmp_path):
    skipped(tmp_path, b'{"question": "How?", "answer": NaN}\n', Reason.BAD_ROW, "NaN", "write null")


@pytest.mark.parametrize("line", [b"[1, 2]\n", b'"text"\n', b"7\n", b"null\n"])
def test_not_an_object(tmp_path, line):
    skipped(tmp_path, line, Reason.BAD_ROW, "is not a JSON object")


def test_nested_too_deeply(tmp_path):
    skipped(tmp_path, b'{"question": ' + b"[" * 200_000 + b"\n", Reason.BAD_ROW, "nested too deeply")


def test_a_nul_byte(tmp_path):
    skipped(tmp_path, b'{"question": "a\0b"}\n', Reason.BAD_ROW, "NUL byte at column 16")


def test_a_block_of_nul_bytes_as_a_crash_leaves_it(tmp_path):
    skipped(tmp_path, b"\0" * 5000 + b"\n", Reason.BAD_ROW, "NUL byte at column 1:")


def test_bytes_that_are_no_utf_8(tmp_path):
    skipped(tmp_path, '{"question": "café"}\n'.encode("latin-1"), Reason.BAD_ROW, "not UTF-8 at byte 18", "iconv")


def test_half_a_surrogate_pair(tmp_path):
    skipped(tmp_path, b'{"question": "a \\ud83d b"}\n', Reason.BAD_ROW, "surrogate")


def test_a_whole_surrogate_pair_is_a_character(tmp_path):
    [row] = read_bytes(tmp_path, b'{"question": "a \\ud83d\\ude00 b"}\n')
    assert row.text == "a 😀 b"


def test_a_truncated_last_line(tmp_path):
    rows = read_bytes(tmp_path, GOOD * 6 + b'{"question": "How ma')
    assert [row.row for row in rows] == [1, 2, 3, 4, 5, 6]
    rows = read_bytes(tmp_path, GOOD * 5 + b'{"question": "How ma\n' + GOOD)
    assert rows[5].detail.startswith("vqa.jsonl line 6: invalid JSON (") and isinstance(rows[6], Question)
    rows = read_bytes(tmp_path, GOOD + b"How many?")
    assert rows[1].detail.startswith("vqa.jsonl line 2: invalid JSON (the file ends inside this line; ")


def test_a_truncated_last_line_is_left_for_the_next_start(tmp_path):
    whole = GOOD * 200 + b'{"question": "Wie h\xc3\xb6ch? {}"}'
    for cut in range(len(whole) - len(GOOD) + 20, len(whole)):
        (tmp_path / "vqa.jsonl").write_bytes(whole[:cut])
        found = index(open_source(tmp_path / "vqa.jsonl"))
        assert (found.n_rows, found.unfinished) == (200, (201,))
    for end in (b"", b"\n"):
        (tmp_path / "vqa.jsonl").write_bytes(whole + end)
        found = index(open_source(tmp_path / "vqa.jsonl"))
        assert (found.n_rows, found.unfinished) == (201, ())


@pytest.mark.parametrize("cut", [b"4,How", b'4,"How ma', b'4,"How\nmany', b"4"])
def test_a_truncated_last_record_is_left_for_the_next_start(tmp_path, cut):
    (tmp_path / "a.csv").write_bytes(b"id,question,answer\n1,What?,2\n" + cut)
    found = index(open_source(tmp_path / "a.csv"))
    assert (found.n_rows, found.unfinished) == (1, (3,))
    (tmp_path / "a.csv").write_bytes(b"id,question,answer\n1,What?,2\n" + cut + b"\n5,Where?,here\n")
    assert index(open_source(tmp_path / "a.csv")).unfinished == ()


def test_what_is_written_behind_a_truncated_line_changes_no_row_before_it(tmp_path):
    source = open_source(write_line(tmp_path, GOOD + b'{"question": "Ho'))
    [lease] = ranges(index(source))
    before = rows_hash(source, lease)
    source = open_source(write_line(tmp_path, GOOD + b'{"question": "How?"}\n' + GOOD))
    assert rows_hash(source, lease) == before and index(source).n_rows == 3


def write_line(folder, content):
    (folder / "vqa.jsonl").write_bytes(content)
    return folder / "vqa.jsonl"


def test_a_line_over_the_limit(tmp_path):
    line = b'{"question": "' + b"a" * 5_000 + b'"}\n'
    skipped(tmp_path, line, Reason.BAD_ROW, "5,016 bytes long, the limit is 1,000", max_row_bytes=1000)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("over", [-2, -1, 0, 1, 2, 3])
def test_the_line_limit_is_exact(tmp_path, over, line_end):
    line = b'{"question": "' + b"a" * (984 + over) + b'"}' + line_end
    [row] = read_bytes(tmp_path, line, max_row_bytes=1000)
    assert isinstance(row, Skip) == (over > 0)
    assert over <= 0 or f"{1000 + over:,} bytes long" in row.detail


def test_a_line_of_100_mb_is_skipped_without_holding_it(tmp_path):
    import tracemalloc

    path = tmp_path / "vqa.jsonl"
    with path.open("wb") as file:
        file.write(GOOD)
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + GOOD)
    source = open_source(path)
    tracemalloc.start()
    [lease] = ranges(index(source))
    rows = [skip or question for question, skip in read_hashed(source, lease)[0]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows[0].row, rows[2].row, len(rows)) == (1, 3, 3)
    assert rows[1].reason is Reason.BAD_ROW
    assert "100,000,000 bytes long" in rows[1].detail
    assert peak < 45_000_000


def test_blanks_over_the_limit_are_a_blank_line(tmp_path):
    assert [row.row for row in read_bytes(tmp_path, b" " * 5000 + b"\n" + GOOD, max_row_bytes=1000)] == [2]


@pytest.mark.parametrize(
    "row", [{}, {"question": None}, {"question": ""}, {"question": " \n"}, {"question": "<image>\n"}]
)
def test_no_question(tmp_path, row):
    skipped_row(tmp_path, row, Reason.EMPTY_QUESTION, "question")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("question", 7),
        ("question", ["How?"]),
        ("image", 7),
        ("image", ""),
        ("image", {"bytes": "AA==", "path": None}),
        ("image", ["a.png", None]),
        ("answer", {"a": 1}),
        ("answer", [["a"]]),
        ("answer", ["a", None]),
        ("choices", "red"),
        ("choices", [["red"]]),
        ("choices", {"A": "red", "C": "blue"}),
        ("choices", {"1": "red"}),
        ("chosen", 7),
        ("chosen", ["a"]),
        ("id", ["a"]),
        ("id", True),
        ("source", {}),
        ("answer_kind", 7),
        ("language", "fr"),
        ("history", "How?"),
        ("history", [["How?"]]),
        ("history", [["How?", 7]]),
        ("history", [{"role": "user"}]),
        ("system", 7),
    ],
)
def test_a_value_of_the_wrong_type(tmp_path, name, value):
    skipped_row(tmp_path, {"question": "How?", name: value}, Reason.BAD_ROW, f"`{name}` is ", "give ")


@pytest.mark.parametrize("answer", ["", "  ", [], [""], ["", " "]])
def test_an_empty_answer(tmp_path, answer):
    skipped_row(tmp_path, {"question": "How?", "answer": answer}, Reason.BAD_ANSWER, "write null")


def test_an_empty_draft(tmp_path):
    skipped_row(tmp_path, {"question": "How?", "chosen": ""}, Reason.BAD_ANSWER, "`chosen` is empty")


@pytest.mark.parametrize(
    ("image", "text"), [(None, "<image> How?"), ("a.png", "<image><image> How?"), (["a.png"] * 3, "<image> How?")]
)
def test_tags_that_do_not_fit_the_images(tmp_path, image, text):
    skipped_row(tmp_path, {"image": image, "question": text}, Reason.IMAGE_TAGS, "one <image> an image, or none")


def test_a_skip_has_the_rows_own_id_where_it_can_be_read(tmp_path):
    assert skipped_row(tmp_path, {"id": "q9", "question": ""}, Reason.EMPTY_QUESTION).question_id == "q9"
    assert skipped_row(tmp_path, {"id": 9, "question": ""}, Reason.EMPTY_QUESTION).question_id == "9"


def test_the_hash_of_a_long_line_sees_its_end(tmp_path):
    hashes = set()
    for end in (b"a", b"b"):
        path = tmp_path / f"{sha256(end).hexdigest()}.jsonl"
        path.write_bytes(b"x" * 5000 + end + b"\n")
        source = open_source(path, max_row_bytes=1000)
        hashes.add(read_hashed(source, next(ranges(index(source))))[1])
    assert len(hashes) == 2
