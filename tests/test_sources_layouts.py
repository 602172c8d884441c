"""Published data sets, each in its own columns: read right with no option, or refused with one line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.errors import SourceError
from mmpr.judging import judge
from mmpr.judging.reference import compile_reference
from mmpr.option_letters import bare
from mmpr.prompts import ask
from mmpr.sources import index, open_source, ranges, rows_hash, settled
from mmpr.sources.answer_rules import AnswerRule, as_written, chosen
from mmpr.sources.layouts import LAYOUTS
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
    ("mmmu-pro-vision", {"options": "['x1', 'x2']", "image": "a.png", "answer": "B", "subject": "Art"}, ("B",)),
    ("a-okvqa-direct", {**ASKED, "direct_answers": str(["x"] * 8 + ["y"] * 2)}, ("x",)),
    ("vqa-originals", {"question_id": 1, "image_id": 7, "question": "Q?", "answers": [{"answer": "x"}] * 3}, ("x",)),
    ("vizwiz-hub", {**ASKED, "question_id": "1.jpg", "category": "c", "answers": ["x"] * 7 + ["y"] * 3}, ("x", "y")),
    ("geoqa", {"question": "Find x.", "image": "a.png", "choices": ["1", "2"], "label": 1, "target_number": 2}, ("B",)),
    ("tabmwp", {"question": "How much?", "table": "pen | 5", "ans_type": "i", "answer": "5", "unit": "$"}, ("5",)),
    ("aqua", {**ASKED, "options": ["A)21", "B)22"], "rationale": "So.", "correct": "B"}, ("B",)),
    ("olympiadbench", {**ASKED, "solution": ["So."], "final_answer": ["$2$"], "subfield": "s"}, ("$2$",)),
    ("mmvp", {"Index": 1, "Question": "Is it?", "Options": "(a) Yes (b) No", "Correct Answer": "(b)"}, ("B",)),
    ("mmiu", {"question": "Q?", "options": "A: up\nB: down", "output": "B", "input_image_path": ["a.png"]}, ("B",)),
    ("hallusionbench", {**ASKED, "gt_answer": "0", "visual_input": "1"}, ("No",)),
    ("figureqa", {"image_index": 3, "question_string": "Is it?", "answer": 1, "color1_id": 2}, ("Yes",)),
    ("plotqa", {"image_index": 3, "question_string": "How many?", "answer": 0.7}, ("0.7",)),
    ("nlvr2", {"question": "Is it?", "left_image": "a.png", "right_image": "b.png", "answer": "yes"}, ("yes",)),
    (
        "reasoning",
        {"problem": "Find x.", "image": "a.png", "solution": "<answer> 3 </answer>"},
        ("<answer> 3 </answer>",),
    ),
]


ROWS_BY_NAME = {layout: row for layout, row, _ in ROWS}


@pytest.mark.parametrize(("layout", "row", "answer"), ROWS, ids=[layout for layout, _, _ in ROWS])
def test_a_layout_is_recognised_and_its_answer_read(tmp_path, layout, row, answer):
    source = opened(lines(tmp_path, row))
    (question,) = read_all(source)
    assert source.layout == layout
    assert isinstance(question, Question) and question.answer == answer
    assert question.images or layout == "tabmwp"
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


def test_the_first_rows_may_show_that_answers_are_not_those_of_the_layout(tmp_path):
    row = {**ABC, "hint": "", "lecture": "", "topic": "t"}
    rows = [{**row, "answer": answer} for answer in "BAC"]
    assert [one.answer for one in read_all(opened(lines(tmp_path, *rows)))] == [("B",), ("A",), ("C",)]
    *good, stray = read_all(opened(lines(tmp_path, *({**row, "answer": answer} for answer in (1, 1, "C")))))
    assert [one.answer for one in good] == [("B",), ("B",)] and stray.reason is Reason.BAD_ANSWER


def test_ai2d_counts_from_0_unless_a_row_proves_that_it_does_not(tmp_path):
    def answers(*given):
        rows = [{"question": "Q?", "options": ["x1", "x2", "x3"], "answer": one, "image": IMAGE} for one in given]
        source = opened(table(tmp_path, *rows))
        assert source.layout == "ai2d"
        return [row.answer for row in read_all(source)]

    assert answers("2", "1") == [("C",), ("B",)]
    assert answers("3", "1") == [("C",), ("A",)]


def test_a_column_whose_name_says_index_is_one_from_0(tmp_path):
    row = {**ASKED, "options": ["1", "2", "3"], "answer_idx": 1}
    assert [one.answer for one in read_all(opened(lines(tmp_path, row)))] == [("B",)]


def test_the_setting_chooses_the_base_and_not_whether_there_is_an_index(tmp_path):
    source = open_source(lines(tmp_path, *({**ABC, "answer": answer} for answer in ("blue", "red"))))
    assert [row.answer for row in read_all(settled(source, index(source), answer_index=0))] == [("blue",), ("red",)]
    source = open_source(lines(tmp_path, *({**ABC, "answer": answer} for answer in (0, 1, 3))))
    zero, one, three = read_all(settled(source, index(source), answer_index=1))
    assert (zero.reason, one.answer, three.answer) == (Reason.BAD_ANSWER, ("A",), ("C",))


def test_options_that_are_letters_are_read_by_what_the_other_rows_prove(tmp_path):
    corner = {**ASKED, "choices": ["D", "C", "B", "A"], "answer": "A"}
    for other, answer in (("B", "A"), ("blue", "D")):
        first, _ = read_all(opened(lines(tmp_path, corner, {**ABC, "answer": other})))
        assert first.answer == (answer,)
    with pytest.raises(
        SourceError, match="'D' by letter or 'A' by text, and no row decides: give the options' letters"
    ):
        opened(lines(tmp_path, corner))


def test_of_a_source_with_letters_and_texts_a_row_that_is_both_is_a_skip(tmp_path):
    corner = {**ASKED, "choices": ["D", "C", "B", "A"], "answer": "A"}
    rows = [{**ABC, "answer": "B"}, {**ABC, "answer": "blue"}, {**ABC, "answer": "C"}, corner]
    *good, unclear = read_all(opened(lines(tmp_path, *rows)))
    assert [one.answer for one in good] == [("B",), ("blue",), ("C",)] and unclear.reason is Reason.BAD_ANSWER


def test_two_readings_that_tie_are_shown_and_no_third(tmp_path):
    rows = [{**ABC, "choices": ["3", "1", "2"], "answer": answer} for answer in ("3", "1")]
    with pytest.raises(SourceError, match=r"line 1: the answer '3' is '3' by text or '2' counted from 1, and no row"):
        opened(lines(tmp_path, *rows))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. 25; B. 50; C. 75", ("25", "50", "75")),
        ("(a) Open (b) Closed", ("Open", "Closed")),
        ("A: up\nB: down", ("up", "down")),
        ("up\ndown", ("up", "down")),
        ("['up', 'down']", ("up", "down")),
    ],
)
def test_options_in_one_text_are_a_list(tmp_path, text, options):
    (row,) = read_all(opened(lines(tmp_path, {**ASKED, "option": text, "answer": "B"})))
    assert row.choices == options and row.answer == ("B",)


def test_options_in_one_text_that_is_no_list_are_a_skip(tmp_path):
    (row,) = read_all(opened(lines(tmp_path, {**ASKED, "options": "B. 50; A. 25", "answer": "B"})))
    assert row.reason is Reason.BAD_ROW and "`options` is" in row.detail


def test_a_table_is_put_before_the_question_and_an_input_behind(tmp_path):
    (row,) = read_all(opened(lines(tmp_path, ROWS_BY_NAME["tabmwp"])))
    assert row.text == "Table: pen | 5\nHow much? (Unit: $)"
    (row,) = read_all(
        opened(
            lines(
                tmp_path, {"instruction": "<image>Translate.", "input": "Hi", "output": "Salut.", "images": ["a.png"]}
            )
        )
    )
    assert (row.text, row.draft, len(row.images)) == ("<image>Translate.\nHi", "Salut.", 1)


def test_a_query_has_its_response_as_draft_or_as_the_short_answer_that_it_asks_for(tmp_path):
    short = "What?\nAnswer the question using a single word or phrase."
    rows = [{"query": query, "response": "A disc.", "images": ["a.png"]} for query in ("What?", short)]
    source = opened(lines(tmp_path, *rows))
    first, second = read_all(source)
    assert source.layout == "query-response"
    assert (first.draft, first.answer, second.answer) == ("A disc.", None, ("A disc.",))


def test_a_prompt_of_turns_is_read_with_the_answer_beside_it(tmp_path):
    row = {"prompt": [{"role": "user", "content": "<image>What?"}], "images": ["a.png"]}
    verl = {**row, "data_source": "x", "reward_model": {"style": "rule", "ground_truth": "disc"}}
    trl = {
        **row,
        "chosen": [{"role": "assistant", "content": "A disc."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    first, second = read_all(opened(lines(tmp_path, verl, trl)))
    assert (first.text, first.answer, len(first.images)) == ("<image>What?", ("disc",), 1)
    assert (second.draft, len(second.images)) == ("A disc.", 1)


def test_an_answer_that_is_not_read_leaves_no_open_question(tmp_path):
    (row,) = read_all(opened(lines(tmp_path, {**ASKED, "expert_answers": ["x"]})))
    assert row.reason is Reason.BAD_ROW and "columns.answer=expert_answers" in row.detail


def test_a_column_of_image_files_under_any_name_is_never_left_out(tmp_path):
    (row,) = read_all(opened(lines(tmp_path, {"question": "Q?", "answer": "x", "map_id": "map_1.png"})))
    assert row.reason is Reason.BAD_ROW and "columns.image=map_id" in row.detail


def test_parts_of_an_answer_are_no_variants(tmp_path):
    both, either = read_all(opened(lines(tmp_path, *({**ASKED, "answer": one} for one in ("1<AND>2", "11<OR>eleven")))))
    assert both.reason is Reason.BAD_ANSWER and either.answer == ("11", "eleven")


def test_the_annotations_beside_vqa_questions_are_their_answers(tmp_path):
    names = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
    asked = [{"image_id": 7, "question": f"Q{i}?", "question_id": i} for i in range(300)]
    votes = [[{"answer": f"x{i}", "answer_id": j} for j in range(10)] for i in range(300)]
    found = [{"question_id": i, "image_id": 7, "multiple_choice_answer": "x", "answers": votes[i]} for i in range(299)]
    (tmp_path / names[0]).write_text(json.dumps({"info": {}, "questions": asked}))
    (tmp_path / names[1]).write_text(json.dumps({"info": {}, "annotations": found[::-1]}, indent=1))
    for path in (tmp_path / names[0], tmp_path):
        *rows, last = read_all(opened(path), chunk_questions=70)
        assert [row.answer for row in rows] == [(f"x{i}",) for i in range(299)]
        assert rows[0].images == (f"{tmp_path}/COCO_val2014_000000000007.jpg",)
        assert last.reason is Reason.ANSWER_WITHHELD
    with pytest.raises(SourceError, match="answers without questions: give the file of questions"):
        open_source(tmp_path / names[1])


def test_an_annotation_that_changes_changes_the_hash_of_its_row(tmp_path):
    hashes = set()
    for answer in "xy":
        (tmp_path / "questions.json").write_text(
            json.dumps({"questions": [{"question": "Q?", "question_id": 1, "image_id": 2}]})
        )
        (tmp_path / "annotations.json").write_text(
            json.dumps({"annotations": [{"question_id": 1, "answers": [{"answer": answer}]}]})
        )
        source = open_source(tmp_path / "questions.json")
        (lease,) = ranges(index(source))
        hashes.add(rows_hash(source, lease))
    assert len(hashes) == 2


def test_original_a_okvqa_has_its_image_by_number(tmp_path):
    row = {"question": "Q?", "choices": ["x1", "x2"], "correct_choice_idx": 1, "direct_answers": ["x2"] * 10}
    (read,) = read_all(opened(lines(tmp_path, {**row, "split": "val", "image_id": 7})))
    assert read.images and read.images[0].endswith("000000000007.jpg")


def test_iconqa_names_its_options_by_file(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [(name, kind) for name in ("query_image", "choice_image_0", "choice_image_1")]
    schema = pa.schema([*((name, pa.string()) for name in ("question", "choices", "answer", "ques_type")), *images])
    row = {"question": "Which?", "ques_type": "choose_img", **{name: IMAGE for name, _ in images}}
    rows = [{**row, "choices": "choice_0.png,choice_1.png", "answer": f"choice_{i}.png"} for i in (1, 0)]
    text = {
        "question": "Which?",
        "ques_type": "choose_txt",
        "query_image": IMAGE,
        "choices": "cat,dog",
        "answer": "dog",
    }
    second, first, text = read_all(opened(table(tmp_path, *rows, text, schema=schema)))
    assert (second.answer, first.answer, len(first.images)) == (("B",), ("A",), 3)
    assert (text.choices, text.answer, len(text.images)) == (("cat", "dog"), ("dog",), 1)


def test_small_floats_within_lists_have_their_shortest_text(tmp_path):
    small = pa.list_(pa.float32())
    schema = pa.schema([("question", pa.string()), ("choices", small), ("answer", pa.float32())])
    (row,) = read_all(opened(table(tmp_path, {"question": "Q?", "choices": [2.2, 3.1], "answer": 3.1}, schema=schema)))
    assert (row.choices, row.answer) == (("2.2", "3.1"), ("3.1",))


@pytest.mark.parametrize(
    ("kind", "given", "read"), [(pa.float64(), 7.0, "7"), (pa.binary(2), b"\x01\xff", "01ff"), (pa.int64(), 7, "7")]
)
def test_an_id_of_any_type_is_a_text(tmp_path, kind, given, read):
    schema = pa.schema([("id", kind), ("question", pa.string()), ("answer", pa.string())])
    (row,) = read_all(opened(table(tmp_path, {"id": given, "question": "Q?", "answer": "x"}, schema=schema)))
    assert row.id == read


TEXTS = st.text("aXb.c :()12,é", min_size=1, max_size=6).map(str.strip).filter(bool)


@given(
    st.lists(TEXTS, min_size=2, max_size=6, unique_by=lambda text: text.casefold().rstrip(".")),
    st.integers(0, 3),
    st.sampled_from(["choices", "options", "lettered", "columns", "text"]),
    st.data(),
)
def test_a_row_never_loses_an_image_or_an_option_between_reading_and_prompt(tmp_path_factory, options, n, form, data):
    options = list(bare(options))
    place = data.draw(st.integers(0, len(options) - 1))
    letters = "ABCDEF"[: len(options)]
    given = {
        "lettered": {"choices": dict(zip(letters, options, strict=True))},
        "columns": dict(zip(letters, options, strict=True)),
        "text": {"options": json.dumps(options)},
    }.get(form, {form: options})
    row = {"question": "Which one of them?", "image": [f"{i}.png" for i in range(n)], **given, "answer": letters[place]}
    path = lines(tmp_path_factory.mktemp("row"), row, {**ABC, "answer": "B"})
    row, _ = read_all(opened(path))
    assert isinstance(row, Question)
    (message,) = ask(row)
    assert len(row.images) == n and message.text.count("<image>") == n
    assert message.text.endswith("\n".join(f"{one}. {option}" for one, option in zip(letters, options, strict=True)))
    assert compile_reference(row).show() == letters[place]


def test_variants_that_differ_in_case_are_no_votes(tmp_path):
    variants = ["ITC Limited", "itc limited", "ITC", "I.T.C."]
    (row,) = read_all(opened(lines(tmp_path, {**ASKED, "questionId": 1, "docId": 2, "answers": variants})))
    assert row.answer == tuple(variants) and row.minority_answers == ()


def test_a_solution_that_marks_no_final_answer_is_no_answer(tmp_path):
    long = "We add the two numbers, and then we divide by the third one, so it comes to four."
    rows = [{"question": "Find x.", "solution": text} for text in (long, f"{long} \\boxed{{4}}", "4")]
    first, *others = read_all(opened(lines(tmp_path, *rows)))
    assert first.reason is Reason.BAD_ANSWER and [compile_reference(row).plain for row in others] == [("4",), ("4",)]


@pytest.mark.parametrize("names", [("answerA", "answerB", "answerC"), ("opa", "opb", "opc"), ("ans0", "ans1", "ans2")])
def test_options_of_a_column_each_are_found_under_other_names(tmp_path, names):
    row = {"question": "Which?", **dict(zip(names, ("x1", "x2", "x3"), strict=True))}
    rows = read_all(opened(lines(tmp_path, *({**row, "label": label} for label in ("2", "3")))))
    assert [(row.choices, row.answer) for row in rows] == [(("x1", "x2", "x3"), (one,)) for one in "BC"]


def test_sound_is_never_left_out(tmp_path):
    turns = [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "Hello."}]
    (row,) = read_all(opened(lines(tmp_path, {"messages": turns, "audios": ["a.wav"]})))
    assert row.reason is Reason.BAD_ROW and "`audios`" in row.detail


def test_mixed_rows_of_chats_are_read_each_in_its_own_way(tmp_path):
    turns = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A disc."}]
    rows = [
        {"conversation": turns, "images": ["a.png"]},
        {"messages": turns, "images": ["a.png"]},
        {"instruction": "<image>What", "input": "is it?", "output": "A disc.", "images": ["a.png"]},
        {"query": "<image>What?", "response": "A disc.", "images": ["a.png"]},
        {"texts": [{"user": "What?", "assistant": "A disc."}], "images": ["a.png"]},
    ]
    read = read_all(opened(lines(tmp_path, *rows)))
    assert {row.draft for row in read} == {"A disc."} and {len(row.images) for row in read} == {1}
    assert read[2].text == "<image>What\nis it?"


def test_the_manual_has_every_layout():
    manual = (Path(__file__).parents[1] / "docs" / "sources.md").read_text()
    table = manual.split("| layout | recognised by |")[1].split("\n\n")[0]
    assert re.findall(r"^\| ([a-z0-9-]+) \|", table, re.MULTILINE) == [layout.name for layout in LAYOUTS]


CODES = st.sampled_from(["A", "B", "b", "1", "2", "0", "red", "2 m", "A.", "(B)"])
LETTERS_AND_NUMBERS = st.one_of(
    st.permutations(["A", "B", "C", "D"]),
    st.lists(st.integers(0, 5).map(str), min_size=2, max_size=5, unique=True),
    st.lists(CODES, min_size=2, max_size=5, unique_by=lambda text: text.strip("().").casefold()),
)


@given(st.data(), st.sampled_from(["text", "letter", "index0", "index1"]), st.integers(1, 6))
def test_however_a_source_names_its_options_no_row_gets_a_wrong_one(tmp_path_factory, data, way, n):
    rows, places = [], []
    for _ in range(n):
        options = data.draw(LETTERS_AND_NUMBERS)
        places.append(data.draw(st.integers(0, len(options) - 1)))
        names = {"text": options[places[-1]], "letter": "ABCDE"[places[-1]]}
        answer = names.get(way, str(places[-1] + (way == "index1")))
        rows.append({"question": "Which one of them?", "image": "a.png", "choices": options, "answer": answer})
    try:
        read = read_all(opened(lines(tmp_path_factory.mktemp("rows"), *rows)))
    except SourceError as error:
        assert "no row decides" in str(error) or "give answer_index" in str(error)
        return
    for row, place in zip(read, places, strict=True):
        if isinstance(row, Question):
            assert compile_reference(row).show() == "ABCDE"[place]


def as_cell(value):
    return str(value) if isinstance(value, list | dict) else value


def write_as(form, path, rows):
    """The rows as a file of a form, a list in a cell as Python writes it."""
    if form in ("array", "keyed", "wrapped"):
        content = {"array": rows, "keyed": {str(i): row for i, row in enumerate(rows)}, "wrapped": {"data": rows}}[form]
        path = path.with_suffix(".json")
        path.write_text(json.dumps(content))
    elif form == "parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path = path.with_suffix(f".{form}")
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if form == "tsv" else ",")
            writer.writerow(rows[0])
            writer.writerows([as_cell(value) for value in row.values()] for row in rows)
    return path


@pytest.mark.parametrize("form", ["array", "keyed", "wrapped", "parquet", "csv", "tsv"])
def test_a_layouts_rows_are_the_same_in_every_form(tmp_path, form):
    for layout, row, _ in ROWS:
        (first, _), (again, _) = (
            read_all(opened(path))
            for path in (lines(tmp_path, row, row), write_as(form, tmp_path / layout, [row, row]))
        )
        assert isinstance(again, Question), layout
        for name in ("answer", "choices", "images", "text", "draft", "minority_answers"):
            assert getattr(again, name) == getattr(first, name), layout


def test_options_in_columns_of_small_letters_are_options_and_other_single_letters_are_none(tmp_path):
    first, second = {**ASKED, "a": "x1", "b": "x2", "answer": "b"}, {**ASKED, "x": 1, "y": 2, "answer": "3"}
    assert [(row.choices, row.answer) for row in read_all(opened(lines(tmp_path, first)))] == [(("x1", "x2"), ("B",))]
    assert [(row.choices, row.answer) for row in read_all(opened(lines(tmp_path, second)))] == [((), ("3",))]


@pytest.mark.parametrize("form", ["struct", "several"])
def test_a_table_without_a_column_called_like_an_image_has_its_only_one_of_that_type(tmp_path, form):
    row = {"page": IMAGE, "question": "Q?", "answer": "x", **({"scan": IMAGE} if form == "several" else {})}
    if form == "several":
        with pytest.raises(SourceError, match=r"page and scan hold images: columns\.image=page reads one of them"):
            opened(table(tmp_path, row))
    else:
        (read,) = read_all(opened(table(tmp_path, row)))
        assert len(read.images) == 1
