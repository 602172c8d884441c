"""Published data sets, each in its own columns: read right with no option, or refused with one line."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.errors import SourceError
from mmpr.judging import judge
from mmpr.judging.reference import compile_reference
from mmpr.sources import index, open_source, settled
from mmpr.sources.answer_rules import AnswerRule, as_written, chosen
from mmpr.types import Outcome, Question, Reason
from tests.source_files import read_all

IMAGE = {"bytes": b"\x89PNG....", "path": "a.png"}


def opened(path, **options):
    source = open_source(path, **options)
    return settled(source, index(source))


def lines(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(tmp_path, *rows, schema=None):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


ABC = {"question": "Which?", "choices": ["red", "blue", "green"], "image": "a.png"}
ASKED = {"question": "What is it?", "image": "a.png"}
# layout, a row of it, the accepted answers
ROWS = [
    ("scienceqa", {**ABC, "answer": 1, "hint": "Look.", "lecture": "", "task": "closed"}, ("B",)),
    ("a-okvqa", {**ABC, "correct_choice_idx": 2, "direct_answers": "['x', 'y']"}, ("C",)),
    ("m3cot", {**ABC, "answer": "B", "context": "It rains.", "rationale": "So."}, ("B",)),
    ("seed-bench", {**ASKED, "choice_a": "x1", "choice_b": "x2", "answer": "B"}, ("B",)),
    ("mmbench", {**ASKED, "A": "x1", "B": "x2", "C": "nan", "hint": "nan", "answer": "B"}, ("B",)),
    ("mmstar", {**ASKED, "index": 1, "answer": "B", "l2_category": "c"}, ("B",)),
    ("mathvision", {**ASKED, "options": [], "answer": "3", "level": 1, "subject": "s"}, ("3",)),
    ("mathverse", {**ASKED, "problem_version": "v", "answer": "3"}, ("3",)),
    ("blink", {**ABC, "image_1": "a.png", "image_2": "b.png", "sub_task": "s", "answer": "(B)"}, ("B",)),
    ("docvqa", {**ASKED, "questionId": 1, "docId": 2, "answers": ["1/8/93", "Jan 8"]}, ("1/8/93", "Jan 8")),
    ("st-vqa", {"question": "What?", "file_path": "a.png", "answers": ["x", "y"]}, ("x", "y")),
    ("textvqa", {**ASKED, "image_classes": [], "answers": ["x"] * 7 + ["y"] * 3}, ("x", "y")),
    ("ok-vqa", {**ASKED, "question_id": 1, "answer_type": "o", "answers": ["x"] * 8 + ["y"] * 2}, ("x",)),
    ("vizwiz", {**ASKED, "answerable": 1, "answers": [{"answer": "x", "answer_confidence": "yes"}] * 3}, ("x",)),
    ("vqav2", {**ASKED, "multiple_choice_answer": "x", "answers": [{"answer": "x", "answer_id": 1}]}, ("x",)),
    ("gqa", {"question": "Is it?", "imageId": "7", "answer": "yes", "fullAnswer": "Yes."}, ("yes",)),
    ("clevr", {"question": "How many?", "image_filename": "a.png", "answer": 3, "question_index": 0}, ("3",)),
    ("chartqa-originals", {"imgname": "a.png", "query": "How many?", "label": "14"}, ("14",)),
    ("chartqa", {"image": "a.png", "query": "How many?", "label": ["14", "fourteen"]}, ("14", "fourteen")),
    ("pope", {"image": "a.png", "text": "Is it?", "label": "yes", "question_id": 1}, ("yes",)),
    ("ocrbench", {**ASKED, "dataset": "d", "question_type": "t", "answer": ["x", "X"]}, ("x", "X")),
    ("clevr-math", {**ASKED, "template": "t", "label": 3}, ("3",)),
    (
        "reasoning",
        {"problem": "Find x.", "image": "a.png", "solution": "<answer> 3 </answer>"},
        ("<answer> 3 </answer>",),
    ),
]


@pytest.mark.parametrize(("layout", "row", "answer"), ROWS, ids=[layout for layout, _, _ in ROWS])
def test_a_layout_is_recognised_and_its_answer_read(tmp_path, layout, row, answer):
    source = opened(lines(tmp_path, row))
    (question,) = read_all(source)
    assert source.layout == layout
    assert isinstance(question, Question) and question.answer == answer and question.images
    assert compile_reference(question)


@pytest.mark.parametrize(("first", "second"), [("hint", "Hint: It rains.\n"), ("context", "Context: It rains.\n")])
def test_a_hint_or_context_joins_the_question_unless_it_says_nothing(tmp_path, first, second):
    row = {**ASKED, "A": "x1", "B": "x2", "answer": "B"}
    said, none = read_all(opened(lines(tmp_path, {**row, first: "It rains."}, {**row, first: "nan"})))
    assert said.text == second + "What is it?" and none.text == "What is it?"


def test_an_index_as_text_is_one_where_a_zero_proves_it(tmp_path):
    rows = [{**ABC, "answer": answer} for answer in ("2", "0", "1")]
    assert [row.answer for row in read_all(opened(lines(tmp_path, *rows)))] == [("C",), ("A",), ("B",)]


def test_the_number_of_options_proves_that_they_are_counted_from_1(tmp_path):
    rows = [{**ABC, "answer": answer} for answer in (2, 3, 1)]
    assert [row.answer for row in read_all(opened(lines(tmp_path, *rows)))] == [("B",), ("C",), ("A",)]


def test_an_index_that_no_row_decides_is_refused_with_both_readings(tmp_path):
    with pytest.raises(SourceError, match=r"line 1: the answer '1' is 'blue' counted from 0 or 'red' counted from 1"):
        opened(lines(tmp_path, {**ABC, "answer": 1}))


def test_the_setting_decides_where_no_row_does(tmp_path):
    source = open_source(lines(tmp_path, {**ABC, "answer": 1}))
    for base, answer in ((0, "B"), (1, "A")):
        (row,) = read_all(settled(source, index(source), answer_index=base))
        assert row.answer == (answer,)


@pytest.mark.parametrize("answer", ["E", "sphere", 9])
def test_an_answer_that_is_none_of_the_options_is_a_skip(tmp_path, answer):
    good, bad = read_all(opened(lines(tmp_path, {**ABC, "answer": "blue"}, {**ABC, "answer": answer})))
    assert isinstance(good, Question) and bad.reason is Reason.BAD_ANSWER


OPTIONS = st.lists(st.text("abcxyz 0123456789", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=2, max_size=8, unique_by=str.casefold)  # fmt: skip  # noqa: E501


@given(OPTIONS, st.data())
def test_text_letter_and_index_give_one_reference(options, data):
    place = data.draw(st.integers(0, len(options) - 1))
    ways = [
        (options[place], AnswerRule.TEXT),
        ("ABCDEFGH"[place], AnswerRule.LETTER),
        (str(place), AnswerRule.INDEX0),
        (str(place + 1), AnswerRule.INDEX1),
    ]
    shown = set()
    for answer, rule in ways:
        meant = chosen(answer, options, rule)
        assert meant == {place}
        written = as_written(answer, options, meant)
        question = Question("q", "s", 1, "Which?", choices=tuple(options), answer=(written,), answer_kind="choice")
        shown.add(compile_reference(question).show())
    assert shown == {"ABCDEFGH"[place]}


def test_what_few_annotators_say_is_neither_right_nor_wrong(tmp_path):
    (row,) = read_all(opened(lines(tmp_path, {"question": "How many?", "answer": ["3"] * 9 + ["5"]})))
    assert (row.answer, row.minority_answers) == (("3",), ("5",))
    outcomes = [judge(row, f"Final Answer: {n}").outcome for n in (3, 5, 7)]
    assert outcomes == [Outcome.CORRECT, Outcome.AMBIGUOUS, Outcome.INCORRECT]


def test_annotators_who_agree_on_nothing_are_a_named_skip(tmp_path):
    row = {**ASKED, "question_id": 1, "answer_type": "o", "answers": list("abcdefghij")}
    (skip,) = read_all(opened(lines(tmp_path, row)))
    assert skip.reason is Reason.NO_AGREEMENT


@pytest.mark.parametrize("answer", [None, "", "?", -1])
def test_a_withheld_answer_is_a_named_skip(tmp_path, answer):
    good = {**ABC, "answer": 1, "hint": "", "lecture": "", "task": ""}
    _, skip = read_all(opened(lines(tmp_path, good, {**good, "answer": answer})))
    assert skip.reason is Reason.ANSWER_WITHHELD


@pytest.mark.parametrize(
    "content",
    [
        {"info": {"v": 1}, "questions": [{**ASKED, "answer": "x"}]},
        {"7": {**ASKED, "answer": "x"}, "8": {**ASKED, "answer": "y"}},
        {"data": [{**ASKED, "answer": "x"}], "more": 1},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_inside_one_json_object_are_read(tmp_path, content, indent):
    path = tmp_path / "original.json"
    path.write_text(json.dumps(content, indent=indent))
    first, *others = read_all(opened(path))
    assert first.answer == ("x",) and len(others) == ("8" in content)
    assert first.id == ("7" if others else "original:0")


def test_a_mapped_column_that_no_row_has_is_refused_with_those_that_exist(tmp_path):
    path = lines(tmp_path, {"pic": "a.png", "question": "How many?"})
    with pytest.raises(SourceError, match=r"has no column 'pics' \(columns.image\) but pic, question"):
        open_source(path, columns={"image": "pics"})


def test_a_row_whose_images_are_not_understood_is_never_asked_without_them(tmp_path):
    (skip,) = read_all(opened(lines(tmp_path, {"scan_picture": "a.png", "question": "How many?"})))
    assert skip.reason is Reason.BAD_ROW and "columns.image=scan_picture" in skip.detail


def test_an_image_without_bytes_and_path_is_a_skip(tmp_path):
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("question", pa.string())])
    (skip,) = read_all(opened(table(tmp_path, {"image": {"bytes": None, "path": None}, "question": "Q?"}, schema=kind)))
    assert skip.reason is Reason.IMAGE_MISSING


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16(), pa.float64()])
def test_a_float_has_its_shortest_text(tmp_path, kind):
    schema = pa.schema([("question", pa.string()), ("answer", kind)])
    value = pa.array([3.1], pa.float64()).cast(kind)[0].as_py()
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"question": ["Q?"], "answer": pa.array([value]).cast(kind)}, schema=schema), path)
    (row,) = read_all(opened(path))
    assert row.answer == ("3.1",)


def test_options_that_are_image_files_are_shown(tmp_path):
    row = {"question": "Which?", "choices": ["c0.png", "c1.png"], "answer": 0, "image": "a.png", "ques_type": "choose"}
    (question,) = read_all(opened(lines(tmp_path, row)))
    assert [image.rpartition("/")[2] for image in question.images] == ["a.png", "c0.png", "c1.png"]
    assert compile_reference(question).show() == "A"


def test_chat_rows_keep_their_images(tmp_path):
    turns = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A disc."}]
    (row,) = read_all(opened(lines(tmp_path, {"messages": turns, "images": ["a.png"]})))
    assert len(row.images) == 1


def test_the_cauldron_has_its_turns_in_texts(tmp_path):
    turns = [{"user": "Which?", "assistant": "A disc.", "source": "x"}]
    source = opened(lines(tmp_path, {"images": ["a.png"], "texts": turns}))
    (row,) = read_all(source)
    assert source.layout == "the-cauldron" and (row.text, row.draft, len(row.images)) == ("Which?", "A disc.", 1)
