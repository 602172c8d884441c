"""Sources of several files: folders, and MMPR's prompts as they are released, with their `meta.json`."""

from __future__ import annotations

import json
import pickle
from typing import NamedTuple

import pytest
from PIL import Image

from mmpr.errors import ImageError, SourceError
from mmpr.images import load
from mmpr.prompts import ask
from mmpr.sources import index, open_source, ranges, read_hashed, rows_hash
from mmpr.types import Reason
from tests.source_files import lines, read_all, write

CORRECTNESS = [
    {
        "image": "0.png",
        "question": "<image>\nHow many?\nAnswer the question using a single word or phrase.",
        "answer": "2",
    },
    {"image": ["1.png", "0.png"], "question": "Image-1: <image>\nImage-2: <image>\nThe same?", "answer": "No"},
]
DROPOUT = [{"image": "0.png", "question": "Describe the image.", "chosen": "A red square.", "rejected": None}]


def released(tmp_path, folder="MMPR-v1.2-prompts", prefix="", **entry):
    """The layout of OpenGVLab/MMPR-v1.2-prompts: annotations and images in folders, and what ties them together."""
    place = tmp_path / folder
    for name, rows in (("vqav2_en", CORRECTNESS), ("caption_en", DROPOUT)):
        (place / "annotations").mkdir(parents=True, exist_ok=True)
        (place / "annotations" / f"{name}.jsonl").write_bytes(lines(rows))
        (place / "images" / name).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            Image.new("RGB", (4, 3), (i, 0, 0)).save(place / "images" / name / f"{i}.png")
    meta = {
        name: {
            "root": f"{prefix}images/{name}",
            "annotation": f"{prefix}annotations/{name}.jsonl",
            "data_augment": False,
            "repeat_time": 0.15,
            "length": 2,
            **entry,
        }
        for name in ("vqav2_en", "caption_en")
    }
    (place / "meta.json").write_text(json.dumps(meta, indent=2))
    return place / "meta.json"


@pytest.mark.parametrize("prefix", ["", "MMPR-v1.2-prompts/"])
def test_a_release_is_read_with_no_option(tmp_path, prefix):
    source = open_source(released(tmp_path, prefix=prefix))
    rows = read_all(source)
    assert [(row.id, row.source) for row in rows] == [
        *(("vqav2_en:1", "vqav2_en"), ("vqav2_en:2", "vqav2_en"), ("caption_en:1", "caption_en"))
    ]
    assert [row.answer for row in rows] == [("2",), ("No",), None]
    assert rows[2].draft == "A red square."
    for row in rows:
        assert [load(image, root=source_root(source)).width for image in row.images] == [4] * len(row.images)
    assert ask(rows[0])[-1].text.endswith("<image>\nHow many?")


def source_root(source):
    from pathlib import Path

    return Path(source.image_root)


def test_images_of_a_release_do_not_leave_its_roots(tmp_path):
    source = open_source(released(tmp_path))
    assert source.image_root == str(tmp_path / "MMPR-v1.2-prompts" / "images")
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.png")
    with pytest.raises(ImageError) as caught:
        load(str(tmp_path / "secret.png"), root=source_root(source))
    assert caught.value.reason is Reason.IMAGE_OUTSIDE_ROOT


@pytest.mark.parametrize("name", ["vqav2_en", "caption_en"])
def test_a_file_of_a_release_is_read_alone(tmp_path, name):
    path = released(tmp_path).parent / "annotations" / f"{name}.jsonl"
    rows = read_all(open_source(path, image_root=tmp_path / "MMPR-v1.2-prompts" / "images" / name))
    assert [row.id for row in rows] == [f"{name}:{i}" for i in range(1, len(rows) + 1)]


def test_the_image_root_is_where_the_roots_of_a_release_begin(tmp_path):
    path = released(tmp_path)
    (path.parent / "images").rename(tmp_path / "images")
    source = open_source(path, image_root=tmp_path)
    assert source.image_root == str(tmp_path)
    assert read_all(source)[0].images == (str(tmp_path / "images" / "vqav2_en" / "0.png"),)


def test_a_root_that_is_an_address_stays_one(tmp_path):
    source = open_source(released(tmp_path, root="vc-reader:s3://multi-modal/coco/"))
    assert read_all(source)[0].images == ("vc-reader:s3://multi-modal/coco/0.png",)


def test_a_release_without_roots(tmp_path):
    source = open_source(released(tmp_path, root=None))
    assert read_all(source)[0].images == (str(tmp_path / "MMPR-v1.2-prompts" / "0.png"),)


def test_repeat_time_repeats_nothing(tmp_path):
    assert index(open_source(released(tmp_path, repeat_time=4))).n_rows == 3


def test_a_bad_row_of_a_release_names_its_file_and_line(tmp_path):
    path = released(tmp_path)
    with (path.parent / "annotations" / "caption_en.jsonl").open("a") as file:
        file.write('{"question": ""}\n')
    source = open_source(path)
    skip = read_all(source)[-1]
    assert skip.detail.startswith("caption_en.jsonl line 2: no question")
    assert skip.question_id == "caption_en:2"
    [lease] = list(ranges(index(source)))
    question, _ = read_hashed(source, lease)[0][-1]
    assert (question.source, source.place(question.row)) == ("caption_en", "caption_en.jsonl line 2")


def test_an_annotation_that_is_not_there(tmp_path):
    path = released(tmp_path, annotation="annotations/gone.jsonl")
    with pytest.raises(SourceError, match=r"meta\.json: .*its annotation does not exist: neither .*gone\.jsonl"):
        open_source(path)


@pytest.mark.parametrize("entry", [{"annotation": ["a.jsonl"]}, {"root": 7}])
def test_an_entry_that_is_written_otherwise(tmp_path, entry):
    with pytest.raises(SourceError, match="vqav2_en: `annotation` and `root` must each be one path"):
        open_source(released(tmp_path, **entry))


def test_the_folder_of_a_release_says_to_name_its_meta_json(tmp_path):
    with pytest.raises(SourceError, match=r"name its meta\.json"):
        open_source(released(tmp_path).parent)


def test_one_row_in_a_json_file_is_no_recipe(tmp_path):
    (tmp_path / "a.json").write_text('{"question": "How?", "answer": "4"}\n')
    assert [row.text for row in read_all(open_source(tmp_path / "a.json"))] == ["How?"]


def test_the_files_of_a_folder_are_read_by_name_and_every_row_has_its_own_place(tmp_path):
    rows = [{"question": f"How many are {i}?"} for i in range(7)]
    source = open_source(write(tmp_path, "folder.jsonl", rows, 3))
    read = read_all(source)
    assert [row.text for row in read] == [row["question"] for row in rows]
    assert [row.row for row in read] == [1, 2, 3, 1_000_000_001, 1_000_000_002, 1_000_000_003, 2_000_000_001]
    assert [row.id for row in read][2:4] == ["vqa.folder.jsonl/part-00000:3", "vqa.folder.jsonl/part-00003:1"]
    assert {row.source for row in read} == {"vqa.folder.jsonl"}
    assert source.place(1_000_000_002) == "part-00003.jsonl line 2"


def test_a_folder_of_one_file_has_the_rows_of_the_file(tmp_path):
    (tmp_path / "vqa").mkdir()
    (tmp_path / "vqa" / "a.jsonl").write_text('{"question": "How?"}\n')
    [row] = read_all(open_source(tmp_path / "vqa"))
    assert (row.id, row.source, row.row) == ("vqa/a:1", "vqa", 1)


def test_what_tells_of_a_folder_is_no_file_of_questions(tmp_path):
    folder = write(tmp_path, "folder.jsonl", [{"question": "How?"}])
    for name in ("README.md", "meta.json", "dataset_info.json", "_SUCCESS.jsonl", ".part.jsonl", "a.png"):
        (folder / name).write_text("{}")
    assert len(read_all(open_source(folder))) == 1


def test_images_beside_the_files_of_a_folder(tmp_path):
    folder = write(tmp_path, "folder.jsonl", [{"question": "How?", "image": ["a.png"]}])
    assert read_all(open_source(folder))[0].images == (str(folder / "a.png"),)
    assert read_all(open_source(folder, image_root=tmp_path))[0].images == (str(tmp_path / "a.png"),)


def test_a_file_put_behind_the_others_leaves_their_hashes(tmp_path):
    rows = [{"question": f"How many are {i}?"} for i in range(6)]
    folder = write(tmp_path, "folder.jsonl", rows, 3)
    leases = list(ranges(index(open_source(folder)), chunk_questions=4))
    before = [rows_hash(open_source(folder), lease) for lease in leases]
    (folder / "part-00009.jsonl").write_text('{"question": "Why?"}\n')
    assert [rows_hash(open_source(folder), lease) for lease in leases] == before
    assert index(open_source(folder)).n_rows == 7


def test_a_file_put_before_the_others_changes_their_hashes(tmp_path):
    folder = write(tmp_path, "folder.jsonl", [{"question": "How many?"}])
    before = rows_hash(open_source(folder), next(ranges(index(open_source(folder)))))
    (folder / "a.jsonl").write_text("")
    assert rows_hash(open_source(folder), next(ranges(index(open_source(folder))))) != before


def test_a_source_of_several_files_is_a_plain_value(tmp_path):
    source = open_source(released(tmp_path))
    counted = index(source)
    for value in (source, counted, *ranges(counted, chunk_questions=1)):
        assert pickle.loads(pickle.dumps(value)) == value
    for lease in ranges(counted, chunk_questions=3):
        assert type(lease).from_json(json.loads(json.dumps(lease.to_json()))) == lease
        assert len(lease.spans) == 2


class Opened(NamedTuple):
    """Of a run, what a chunk's settings are made of."""

    folder: object
    sources: object


class Beside:
    """A bench that does at once what an engine's node would do beside it."""

    async def beside(self, work, *arguments):
        return work(*arguments)


@pytest.mark.parametrize("prefix", ["", "MMPR-v1.2-prompts/"])
async def test_a_release_builds_with_no_option_but_source(tmp_path, prefix):
    """The chunk's own work on a scripted engine, up to the commit; what surrounds it does not know the source."""
    from mmpr.builder.build_flow import _settings
    from mmpr.builder.chunk import ChunkWork
    from mmpr.builder.layout import source_of
    from mmpr.engines.scripted import ScriptedEngine
    from mmpr.pool import Lease
    from mmpr.run import RunFolder, read_chunk
    from mmpr.settings.config import load as load_config
    from tests.conftest import script

    config = load_config(None, [f"source={released(tmp_path, prefix=prefix)}"], pocket=True)
    source, folder = source_of(config), RunFolder(str(tmp_path / "run"))
    [lease] = ranges(index(source))
    work = ChunkWork(_settings(config, Opened(folder, (source,))))
    done = await work(ScriptedEngine(script), Lease(0, lease.to_json(), attempt="0123abcd"), Beside())
    assert done.questions == 3
    stored = list(read_chunk(folder, folder.committed()[0]))
    assert [one.question.source for one in stored] == ["vqav2_en", "vqav2_en", "caption_en"]
    assert [len(one.images) for one in stored] == [1, 2, 1]
    assert [one.skip for one in stored][:2] == [None, None] and all(one.responses for one in stored)
