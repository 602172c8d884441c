"""Benchmarks as they are released: hand-made rows in their exact columns and types, read row by row."""

from __future__ import annotations

import base64
import csv
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpr.images import load
from mmpr.judging import judge
from mmpr.prompts import ask
from mmpr.sources import index, open_source, ranges, read_hashed, rows_hash
from mmpr.types import Outcome, Question, Reason
from tests.source_files import read_all

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT = pa.string()
# https://huggingface.co/datasets/AI4Math/MathVista, features of the released Parquet files
MATHVISTA = pa.schema(
    [
        *((name, TEXT) for name in ("pid", "question", "image")),
        ("decoded_image", IMAGE),
        ("choices", pa.list_(TEXT)),
        ("unit", TEXT),
        ("precision", pa.float64()),
        *((name, TEXT) for name in ("answer", "question_type", "answer_type")),
        (
            "metadata",
            pa.struct([*((n, TEXT) for n in ("category", "language", "source", "task")), ("img_width", "i8")]),
        ),
        ("query", TEXT),
    ]
)
# https://huggingface.co/datasets/MMMU/MMMU
MMMU = pa.schema(
    [
        *((name, TEXT) for name in ("id", "question", "options", "explanation")),
        *((f"image_{i}", IMAGE) for i in range(1, 8)),
        *((name, TEXT) for name in ("img_type", "answer", "topic_difficulty", "question_type", "subfield")),
    ]
)
# VLMEvalKit, docs/en/Development.md and vlmeval/dataset/image_base.py
VLMEVAL = ("index", "image", "image_path", "question", "hint", "A", "B", "C", "D", "answer", "category")


def encoded(red):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


def image(red):
    return {"bytes": encoded(red), "path": f"{red}.png"}


def text(red):
    return base64.b64encode(encoded(red)).decode()


def parquet(path, schema, rows):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=2)
    return open_source(path)


def tsv(path, rows, names=VLMEVAL, delimiter="\t"):
    file = io.StringIO()
    writer = csv.DictWriter(file, names, delimiter=delimiter, restval="", extrasaction="raise")
    writer.writeheader()
    writer.writerows(rows)
    content = file.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return open_source(path)


def reds(question, root):
    """The red of each image, as an engine would load it."""
    return [load(reference, root=root).pixels.getpixel((0, 0))[0] for reference in question.images]


def mathvista(pid="1", **values):
    query = "Hint: Please answer the question requiring an integer answer.\nQuestion: How many?"
    row = {"pid": pid, "question": "How many?", "image": f"images/{pid}.jpg", "decoded_image": image(int(pid))}
    about = {
        "category": "math-targeted-vqa",
        "language": "English",
        "source": "IQTest",
        "task": "figure",
        "img_width": 4,
    }
    kinds = {"question_type": "free_form", "answer_type": "integer", "precision": None, "unit": None, "choices": None}
    return {**row, **kinds, "answer": "2", "metadata": about, "query": query, **values}


def test_a_row_of_mathvista_is_asked_by_its_query_and_judged_by_its_type(tmp_path):
    asked = (
        "Hint: Please answer the question requiring a floating-point number with one decimal place and provide the "
        "final value, e.g., 1.2, 1.3, 1.4, at the end.\nQuestion: What is d? (Unit: cm)"
    )
    measured = {"answer": "1.2", "answer_type": "float", "precision": 1.0, "unit": "cm", "query": asked}
    rows = [mathvista(), mathvista("2", **measured)]
    first, second = read_all(parquet(tmp_path / "testmini.parquet", MATHVISTA, rows))
    assert (first.id, first.source, first.answer, first.answer_kind) == ("1", "IQTest", ("2",), "number")
    assert first.text == rows[0]["query"] and reds(first, tmp_path) == [1]
    assert judge(second, "Final Answer: 1.23").outcome is Outcome.CORRECT
    assert judge(second, "Final Answer: 1.3").outcome is Outcome.INCORRECT


def test_a_choice_of_mathvista_has_its_text_as_truth(tmp_path):
    row = mathvista(
        choices=["larger than", "equal to"], answer="equal to", question_type="multi_choice", answer_type="text"
    )
    (question,) = read_all(parquet(tmp_path / "testmini.parquet", MATHVISTA, [row]))
    assert question.answer_kind == "choice" and question.choices == ("larger than", "equal to")
    for answer, outcome in (("B", "correct"), ("equal to", "correct"), ("(A)", "incorrect")):
        assert judge(question, f"Final Answer: {answer}").outcome == outcome


def test_a_list_of_mathvista_is_compared_in_order(tmp_path):
    row = mathvista(answer="[0, 2, 1]", answer_type="list")
    (question,) = read_all(parquet(tmp_path / "testmini.parquet", MATHVISTA, [row]))
    assert judge(question, "Final Answer: [0, 2, 1]").outcome is Outcome.CORRECT
    assert judge(question, "Final Answer: [1, 2, 0]").outcome is Outcome.INCORRECT


def test_mathvista_without_a_query_is_asked_with_its_unit(tmp_path):
    row = mathvista(unit="cm", query=None)
    (question,) = read_all(parquet(tmp_path / "testmini.parquet", MATHVISTA, [row]))
    assert question.text == "How many? (Unit: cm)"


def test_a_mapped_column_goes_before_the_benchmarks_own(tmp_path):
    path = tmp_path / "testmini.parquet"
    parquet(path, MATHVISTA, [mathvista()])
    (question,) = read_all(open_source(path, columns={"question": "question", "id": "image"}))
    assert (question.id, question.text) == ("images/1.jpg", "How many?")


def mmmu(question="What is <image 1>?", options="['one', 'two']", answer="B", images=(7,), **values):
    given = {f"image_{i}": None if red is None else image(red) for i, red in enumerate(images, 1)}
    kind = "multiple-choice" if options != "[]" else "open"
    return {"id": "validation_Art_1", "question": question, "options": options, **given, "answer": answer} | {
        "question_type": kind,
        **values,
    }


def test_the_numbered_tags_of_mmmu_are_where_its_images_go(tmp_path):
    row = mmmu("See <image 2> and <image 1>; again <image 2>.", images=(7, 8, 9))
    (question,) = read_all(parquet(tmp_path / "validation.parquet", MMMU, [row]))
    assert question.text == "See <image> and <image>; again <image>." and reds(question, tmp_path) == [8, 7, 8]
    assert (question.id, question.choices, question.answer) == ("validation_Art_1", ("one", "two"), ("B",))
    assert judge(question, "Final Answer: (B) two").outcome is Outcome.CORRECT


def test_options_of_mmmu_that_are_images_stand_in_the_text(tmp_path):
    row = mmmu("Which one?", "['<image 1>', '<image 2>', 'None of them']", images=(7, 8))
    (question,) = read_all(parquet(tmp_path / "validation.parquet", MMMU, [row]))
    assert question.text == "Which one?\nA. <image>\nB. <image>\nC. None of them"
    assert reds(question, tmp_path) == [7, 8]
    assert ask(question)[-1].text.count("<image>") == 2
    for answer, outcome in (("B", "correct"), ("A", "incorrect"), ("None of them", "incorrect")):
        assert judge(question, f"Final Answer: {answer}").outcome == outcome


def test_images_of_mmmu_that_no_tag_names_go_in_front_all_of_them(tmp_path):
    (question,) = read_all(parquet(tmp_path / "v.parquet", MMMU, [mmmu("What?", images=(7, 8))]))
    assert reds(question, tmp_path) == [7, 8] and "<image" not in question.text


@pytest.mark.parametrize(
    ("given", "read"),
    [("1.06", ("1.06",)), ("['5', 'five']", ("5", "five")), ("[2, 3]", ("[2, 3]",))],
)
def test_an_open_answer_of_mmmu_is_one_or_several(tmp_path, given, read):
    row = mmmu(options="[]", answer=given, question_type="open")
    (question,) = read_all(parquet(tmp_path / "v.parquet", MMMU, [row]))
    assert question.answer == read and question.choices == ()


def test_a_tag_of_mmmu_without_its_image_is_a_named_skip(tmp_path):
    rows = [mmmu("What is <image 3>?"), mmmu(options="['one', "), mmmu()]
    bare, broken, good = read_all(parquet(tmp_path / "v.parquet", MMMU, rows))
    assert bare.reason is Reason.IMAGE_TAGS and "v.parquet row 0: <image 3> without" in bare.detail
    assert broken.reason is Reason.BAD_ROW and "v.parquet row 1: `options` is" in broken.detail
    assert isinstance(good, Question)


@pytest.mark.parametrize(("schema", "row"), [(MATHVISTA, mathvista()), (MMMU, mmmu(images=(1, None, 3)))])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_benchmarks_rows_are_hashed_by_their_images_names(tmp_path, schema, row, form):
    path = tmp_path / f"v.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([row] * 5, schema=schema), path, row_group_size=2)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(pa.Table.from_pylist([row] * 5, schema=schema), max_chunksize=2)
    source = open_source(path)
    for lease in ranges(index(source), chunk_questions=2):
        rows, sha256 = read_hashed(source, lease)
        assert rows_hash(source, lease) == sha256
        assert all(reds(question, tmp_path) == [1] for question, _ in rows)


def vlmeval(i, **values):
    options = {"A": "one", "B": "two", "C": "three"}
    return {"index": i, "image": text(i), "question": "Which?", **options, "answer": "B", "category": "count", **values}


def test_a_row_of_vlmevalkit_has_its_image_its_options_and_its_hint(tmp_path):
    rows = [vlmeval(1), vlmeval(2, hint="Count them.")]
    first, second = read_all(tsv(tmp_path / "MMBench_DEV_EN.tsv", rows))
    assert (first.id, first.choices, first.answer, first.answer_kind) == (
        "1",
        ("one", "two", "three"),
        ("B",),
        "choice",
    )
    assert reds(first, tmp_path) == [1] and first.text == "Which?"
    assert second.text == "Hint: Count them.\nWhich?"
    assert judge(first, "Final Answer: B").outcome is Outcome.CORRECT


@pytest.mark.parametrize("name", ["bench.tsv", "bench.tsv.gz"])
def test_an_image_may_stand_with_another_row_before_or_behind(tmp_path, name):
    rows = [vlmeval(11, image="1000012"), vlmeval(1000012), vlmeval(13, image="1000012"), vlmeval(14)]
    rows[1]["image"] = text(12)
    source = tsv(tmp_path / name, rows)
    for chunk in (1, 2, 4):
        found = read_all(source, chunk_questions=chunk)
        assert [reds(question, tmp_path) for question in found] == [[12], [12], [12], [14]]


def test_an_index_that_no_row_has_is_taken_for_a_path(tmp_path):
    (question,) = read_all(tsv(tmp_path / "bench.tsv", [vlmeval(1, image="77")]))
    assert question.images == (str(tmp_path / "77"),)


def test_several_images_of_a_row_are_a_list_in_its_cell(tmp_path):
    rows = [
        vlmeval(1, image=str([text(3), text(4)]), image_path="['3.png', '4.png']", question="<image 2> or <image 1>?"),
        vlmeval(2, image="1"),
        vlmeval(3, image="", image_path="['3.png', '4.png']"),
    ]
    several, shared, paths = read_all(tsv(tmp_path / "MMMU_DEV_VAL.tsv", rows))
    assert reds(several, tmp_path) == [4, 3] and several.text == "<image> or <image>?"
    assert reds(shared, tmp_path) == [3, 4]
    assert paths.images == (str(tmp_path / "3.png"), str(tmp_path / "4.png"))


def test_questions_of_vlmevalkit_without_options_have_free_answers(tmp_path):
    bare = {"A": "", "B": "", "C": ""}
    rows = [vlmeval(1, **bare, answer="yes"), vlmeval(2, **bare, answer="['5', 'five']"), vlmeval(3, answer="")]
    one, several, none = read_all(tsv(tmp_path / "OCRBench.tsv", rows))
    assert (one.answer, one.choices, one.answer_kind) == (("yes",), (), None)
    assert several.answer == ("5", "five") and none.reason is Reason.ANSWER_WITHHELD


def test_options_with_a_gap_and_a_cell_that_is_no_list_are_named_skips(tmp_path):
    gap, cell = read_all(tsv(tmp_path / "bench.tsv", [vlmeval(1, B=""), vlmeval(2, image="['a")]))
    assert gap.reason is Reason.BAD_ROW and "bench.tsv line 2: options A, C: letter them" in gap.detail
    assert cell.reason is Reason.BAD_ROW and "line 3: `image` is" in cell.detail


def test_figures_by_category_come_by_mapping_the_source(tmp_path):
    path = tmp_path / "bench.tsv"
    tsv(path, [vlmeval(1)])
    (question,) = read_all(open_source(path, columns={"source": "category"}))
    assert question.source == "count"


def test_a_table_of_ones_own_with_an_index_and_paths_reads_as_before(tmp_path):
    rows = [{"index": 0, "image": "a.png", "question": "How many?", "answer": "2"}]
    (question,) = read_all(tsv(tmp_path / "mine.csv", rows, ("index", "image", "question", "answer"), ","))
    assert question.images == (str(tmp_path / "a.png"),) and question.answer == ("2",)


@pytest.mark.parametrize("given", ["?", ""])
def test_a_withheld_answer_is_a_named_skip_and_no_open_question(tmp_path, given):
    (skip,) = read_all(parquet(tmp_path / "v.parquet", MMMU, [mmmu(options="[]", answer=given, question_type="open")]))
    assert skip.reason is Reason.ANSWER_WITHHELD
