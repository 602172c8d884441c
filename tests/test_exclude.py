"""Reading a benchmark's list into a run folder: JSONL, Parquet, plain text; faults are named."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpr.builder.exclude import keep_list
from mmpr.errors import ConfigError
from mmpr.run import RunFolder
from mmpr.run.exclusion import list_name, question_print


@pytest.fixture
def images(tmp_path):
    for k in range(3):
        Image.radial_gradient("L").rotate(40 * k).resize((40 + k, 30)).save(tmp_path / f"{k}.png")
    return [(tmp_path / f"{k}.png").read_bytes() for k in range(3)]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(str(tmp_path / "run"))


def kept(folder):
    rows = pq.read_table(folder.store.open("exclude.parquet")).to_pylist()
    return [(row["place"], row["original_sha256"], row["question"]) for row in rows]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_jsonl_names_images_and_questions(tmp_path, images, folder):
    rows = [{"image": "0.png", "question": "How many?"}, {"images": ["1.png", "2.png"]}, {"text": "Why?"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    keep_list(folder, str(tmp_path / "b.jsonl"))
    assert kept(folder) == [
        ("b.jsonl line 1, 0.png", sha256(images[0]), None),
        ("b.jsonl line 1", None, question_print("How many?")),
        ("b.jsonl line 2, 1.png", sha256(images[1]), None),
        ("b.jsonl line 2, 2.png", sha256(images[2]), None),
        ("b.jsonl line 3", None, question_print("Why?")),
    ]


def test_a_text_file_has_a_question_or_an_image_a_line(tmp_path, images, folder):
    (tmp_path / "b.txt").write_text("0.png\n\nWhat is that?\n")
    keep_list(folder, str(tmp_path / "b.txt"))
    assert kept(folder) == [
        ("b.txt line 1, 0.png", sha256(images[0]), None),
        ("b.txt line 3", None, question_print("What is that?")),
    ]


def test_a_parquet_file_may_hold_its_images(tmp_path, images, folder):
    rows = [{"image": {"bytes": content, "path": None}, "question": f"Row {k}?"} for k, content in enumerate(images)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    keep_list(folder, str(tmp_path / "b.parquet"))
    assert [entry for entry in kept(folder) if entry[1]] == [
        (f"b.parquet row {k}", sha256(content), None) for k, content in enumerate(images, start=1)
    ]


def test_a_list_that_is_gone_stands_as_it_was_kept(tmp_path, folder):
    path = tmp_path / "b.txt"
    path.write_text("Why?\n")
    keep_list(folder, str(path))
    path.unlink()
    keep_list(folder, str(path))
    assert list_name(folder) == str(path) and len(kept(folder)) == 1
    with pytest.raises(ConfigError, match=r"c\.txt: no such file; correct the path, or give exclude=null"):
        keep_list(folder, str(tmp_path / "c.txt"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.jsonl", '{"image": "none.png"}', r"b\.jsonl line 1, none\.png: none\.png: no such file"),
        ("b.jsonl", '{"question": "a"}\n{', r"b\.jsonl line 2: is not JSON"),
        ("b.jsonl", "[1]", r"b\.jsonl line 1: is not a JSON object"),
        ("b.jsonl", '{"picture": "a.png"}', r"b\.jsonl line 1: has neither of image, images, question, text"),
        ("b.jsonl", '{"image": 3}', r"b\.jsonl line 1: an image is a path, or bytes"),
        ("b.parquet", "PAR1", r"b\.parquet: cannot be read"),
        ("b.csv", "a", r"b\.csv: give a \.jsonl, \.parquet or \.txt file"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path, folder, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=says):
        keep_list(folder, str(tmp_path / name))
    assert list_name(folder) is None
