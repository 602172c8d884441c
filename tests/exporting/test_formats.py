"""What each trainer reads from its export, by the rules of its own code."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from run import making

from exporting import runs
from mmpr.exporting import export_run
from mmpr.prompts import SYSTEM_MESSAGES
from mmpr.run.json_records import unsealed

SYSTEM, EARLIER = "You are terse.", (("What is this?", "An image."), ("Of what?", "Of noise."))


def texts(rows):
    return Counter((row["chosen_text"], row["rejected_text"]) for row in rows)


def conversation(tmp_path):
    rows = [making.sampled(0, [making.image(0), making.image(1)]), making.sampled(1, [making.image(0)])]
    return runs.make(tmp_path / "run", [runs.changed(rows[0], system=SYSTEM, history=EARLIER), rows[1]])


# -- InternVL: internvl_chat_mpo.py, LazySupervisedDataset -------------------------------------------------------------


def read_as_internvl(meta_path):
    """Every row as the trainer takes it, or what it would stumble over."""
    for name, entry in json.loads(Path(meta_path).read_text(encoding="ascii")).items():
        assert entry["annotation"].endswith("jsonl") and entry["repeat_time"] == 1 and entry["data_augment"] is False
        content = Path(entry["annotation"]).read_text(encoding="ascii")  # opened in the locale's encoding
        assert content.count("\n") == entry["length"] > 0
        for line in content.split("\n")[:-1]:
            row = json.loads(line)
            assert row.keys() - {"image", "system_prompt"} == {"question", "chosen", "rejected"}
            question, image = row["question"], row.get("image", ())
            assert image is not None and "video" not in row
            if isinstance(image, str) and "<image>" not in question:
                question = "<image>\n" + question
            paths = [image] if isinstance(image, str) else image
            assert isinstance(image, str) or len(image) != 1, "a list of one gets no tag of its own"
            assert question.count("<image>") == len(paths)
            assert not any("<image>" in row[side] for side in ("chosen", "rejected"))
            assert row["chosen"].strip() != row["rejected"].strip()
            yield name, question, row, [runs.sees(Path(entry["root"], path)) for path in paths]


def test_internvl_reads_every_pair_with_its_images(sound, tmp_path):
    export_run(sound.url, "internvl", tmp_path / "to")
    read = list(read_as_internvl(tmp_path / "to/meta.json"))
    expected = runs.rows_of(sound)
    assert Counter((row["chosen"], row["rejected"]) for _, _, row, _ in read) == texts(expected)
    assert Counter(question for _, question, _, _ in read) == Counter(row["question"] for row in expected)
    assert Counter(len(sizes) for *_, sizes in read) == Counter(len(row["images"]) for row in expected)
    assert {0, 1, 3} == {len(sizes) for *_, sizes in read}


def test_internvl_has_an_annotation_for_each_source_and_kind_and_number_of_several_images(sound, tmp_path):
    export_run(sound.url, "internvl", tmp_path)
    names = {path.stem for path in (tmp_path / "annotations").iterdir()}
    assert names == set(json.loads((tmp_path / "meta.json").read_text()))
    hostile = next(name for name in names if name.startswith("docs"))
    several = {"vqa_correctness_3images"}
    assert names == {"vqa_correctness", "vqa_dropout_ntp", hostile} | several and hostile.endswith("_correctness")


def test_internvl_gets_the_tiles_of_the_run_where_they_are_known(tmp_path):
    run = making.new_run(str(tmp_path / "a"))
    making.commit_all(run, runs.two_sources())
    making.finish(run)
    export_run(run.url, "internvl", tmp_path / "to-a")
    assert not any("max_dynamic_patch" in entry for entry in meta(tmp_path / "to-a"))
    settings = unsealed((tmp_path / "a/run.json").read_bytes())
    settings["identity"]["max_tiles"] = 12
    (tmp_path / "a/run.json").write_text(json.dumps(settings))
    export_run(run.url, "internvl", tmp_path / "to-b")
    for name, entry in json.loads((tmp_path / "to-b/meta.json").read_text()).items():
        for row in runs.lines(entry["annotation"]):  # the trainer divides by the number of a row's images
            n_images = len(row["image"]) if isinstance(row.get("image"), list) else 1
            assert entry["max_dynamic_patch"] // n_images == 12, name


def meta(folder):
    return list(json.loads((folder / "meta.json").read_text()).values())


def test_internvl_is_told_the_system_message_and_earlier_turns_in_the_question(tmp_path):
    export_run(conversation(tmp_path).url, "internvl", tmp_path / "to")
    asked = {question for _, question, *_ in read_as_internvl(tmp_path / "to/meta.json")}
    longest = max(asked, key=len)
    assert longest.startswith(SYSTEM) and "Of noise." in longest and longest.endswith("in 0?")


def test_internvl_is_not_told_its_own_system_message_which_the_trainer_knows(tmp_path):
    row = runs.changed(making.sampled(0, [making.image(0)]), system=SYSTEM_MESSAGES["internvl2_5"])
    export_run(runs.make(tmp_path / "run", [row]).url, "internvl", tmp_path / "to")
    asked = {question for _, question, *_ in read_as_internvl(tmp_path / "to/meta.json")}
    assert asked and not any(SYSTEM_MESSAGES["internvl2_5"] in question for question in asked)


def test_internvl_keeps_the_thinking_instruction_where_its_trainer_reads_it(tmp_path):
    row = runs.changed(making.sampled(0, [making.image(0)]), system=SYSTEM_MESSAGES["internvl_think"])
    run = runs.make(tmp_path / "run", [row])
    for model, apart in (("OpenGVLab/InternVL3-8B", False), ("OpenGVLab/InternVL3_5-8B", True)):
        runs.forge(run, [{**one, "model": model} for one in runs.rows_of(run)])
        export_run(run.url, "internvl", tmp_path / str(apart))
        read = list(read_as_internvl(tmp_path / str(apart) / "meta.json"))
        assert len(read) == 4
        for _, question, found, _ in read:
            assert found.get("system_prompt") == (SYSTEM_MESSAGES["internvl_think"] if apart else None)
            assert (SYSTEM_MESSAGES["internvl_think"] in question) is not apart


# -- LLaMA-Factory: parser.py, converter.py ----------------------------------------------------------------------------


def test_llamafactory_finds_alpaca_columns_with_images_first(sound, tmp_path):
    export_run(sound.url, "llamafactory", tmp_path)
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["mmpr"]
    assert entry["ranking"] is True and entry["formatting"] == "alpaca" and entry["file_name"] == "train.parquet"
    rows = datasets.load_dataset("parquet", data_files=str(tmp_path / entry["file_name"]), split="train")
    assert set(rows.column_names) == set(entry["columns"].values())
    assert Counter(zip(rows["chosen"], rows["rejected"], strict=True)) == texts(runs.rows_of(sound))
    n_images = [len(images) for images in rows["images"]]
    assert n_images == sorted(n_images, key=bool, reverse=True) and 0 in n_images
    for row in rows:
        assert row["prompt"].count("<image>") == len(row["images"])
        assert all(runs.sees(tmp_path / path) for path in row["images"])  # media_dir is dataset_dir by default


def test_llamafactory_gets_earlier_turns_and_the_system_message_in_their_columns(tmp_path):
    export_run(conversation(tmp_path).url, "llamafactory", tmp_path / "to")
    rows = pq.read_table(tmp_path / "to/train.parquet").to_pylist()
    found = next(row for row in rows if row["history"])
    assert found["system"] == SYSTEM and found["prompt"].endswith("in 0?") and "<image>" not in found["prompt"]
    opening = "Image-1: <image>\nImage-2: <image>\nWhat is this?"
    assert found["history"] == [[opening, "An image."], ["Of what?", "Of noise."]]
    assert [(row["system"], row["history"]) for row in rows if row != found][-1] == ("", [])


# -- ms-swift: RowPreprocessor -----------------------------------------------------------------------------------------


def test_swift_finds_messages_a_rejected_response_and_images(sound, tmp_path):
    export_run(sound.url, "swift", tmp_path)
    rows = runs.lines(tmp_path / "train.jsonl")
    assert Counter((row["messages"][-1]["content"], row["rejected_response"]) for row in rows) == texts(
        runs.rows_of(sound)
    )
    for row in rows:
        assert row.keys() == {"messages", "rejected_response", "images"}
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["messages"][0]["content"].count("<image>") == len(row["images"])
        assert all(runs.sees(tmp_path / path) for path in row["images"])


def test_swift_gets_a_whole_conversation(tmp_path):
    export_run(conversation(tmp_path).url, "swift", tmp_path / "to")
    found = max(runs.lines(tmp_path / "to/train.jsonl"), key=lambda row: len(row["messages"]))
    roles = ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert [message["role"] for message in found["messages"]] == roles
    assert found["messages"][0]["content"] == SYSTEM and found["messages"][4]["content"] == "Of noise."


# -- TRL ---------------------------------------------------------------------------------------------------------------


def test_trl_loads_the_folder_with_images_and_only_its_four_columns(sound, tmp_path):
    counts = export_run(sound.url, "trl", tmp_path / "to")
    pairs = datasets.load_dataset(str(tmp_path / "to"), split="train", cache_dir=str(tmp_path / "cache"))
    expected = runs.rows_of(sound)
    assert pairs.column_names == ["images", "prompt", "chosen", "rejected"]
    assert counts.rows == len(pairs) == len(expected) and counts.images == 0
    for row, before in zip(pairs, expected, strict=True):  # in order: types stand in the file
        assert [image.size for image in row["images"]] == [(24, 24)] * len(before["images"])
        assert row["chosen"][0]["content"] == [{"type": "text", "text": before["chosen_text"]}]
        parts = [part["type"] for turn in row["prompt"] for part in turn["content"]]
        assert parts.count("image") == len(row["images"])


def test_trl_stores_a_repeated_image_once(tmp_path):
    run = runs.make(tmp_path / "run", [making.sampled(0, [making.image(0, side=200)])])
    export_run(run.url, "trl", tmp_path / "to")
    n_bytes = (tmp_path / "to" / runs.SHARD).stat().st_size
    assert len(runs.rows_of(run)) == 4 and n_bytes < 1.2 * making.image(0, side=200).n_bytes


# -- plain JSON lines --------------------------------------------------------------------------------------------------


def test_jsonl_has_every_column_with_paths_for_images(sound, tmp_path):
    export_run(sound.url, "jsonl", tmp_path)
    rows = {row["pair_id"]: row for row in runs.lines(tmp_path / "train.jsonl")}
    for before in runs.rows_of(sound):
        row = rows[before["pair_id"]]
        assert {**row, "images": None} == {**before, "images": None}
        assert [Path(path).stem for path in row["images"]] == before["image_sha256"]
        assert [(tmp_path / path).read_bytes() for path in row["images"]] == [p["bytes"] for p in before["images"]]


def test_jsonl_writes_an_endless_score_as_null(run, tmp_path):
    rows = runs.rows_of(run)
    rows[0]["chosen_score"] = float("-inf")
    runs.forge(run, rows)
    export_run(run.url, "jsonl", tmp_path / "to")
    assert "Infinity" not in (tmp_path / "to/train.jsonl").read_text()


# -- all ---------------------------------------------------------------------------------------------------------------


def test_types_that_are_guessed_from_the_first_block_survive_rows_without_an_image(sound, tmp_path):
    export_run(sound.url, "swift", tmp_path)
    file = str(tmp_path / "train.jsonl")
    rows = datasets.load_dataset("json", data_files=file, split="train", chunksize=2000, cache_dir=str(tmp_path / "c"))
    assert Counter(len(row["images"]) for row in rows) == Counter(len(r["images"]) for r in runs.rows_of(sound))


@pytest.mark.parametrize("format", ["internvl", "llamafactory", "swift", "jsonl"])
def test_each_image_is_written_once_under_its_hash(sound, tmp_path, format):
    counts = export_run(sound.url, format, tmp_path)
    hashes = {sha256 for row in runs.rows_of(sound) for sha256 in row["image_sha256"]}
    assert runs.images_in(tmp_path) == sorted(f"images/{sha256[:2]}/{sha256}.png" for sha256 in hashes)
    assert counts.images == len(hashes) == 4


@pytest.mark.parametrize("format", runs.FORMATS)
def test_the_validation_split_never_mixes_with_the_training_pairs(run, tmp_path, format):
    rows = runs.rows_of(run)
    runs.forge(run, {runs.SHARD: rows[:-6], "data/validation-00000-of-00001.parquet": rows[-6:]})
    assert export_run(run.url, format, tmp_path / "to").rows == len(rows)
    files = runs.files_in(tmp_path / "to")
    held_out = [name for name in files if "validation" in name]
    assert held_out
    if format == "internvl":
        assert not any("/validation/" in entry["annotation"] for entry in meta(tmp_path / "to"))
        assert sum(entry["length"] for entry in meta(tmp_path / "to")) == len(rows) - 6
        assert len(list(read_as_internvl(tmp_path / "to/meta_validation.json"))) == 6
    if format == "llamafactory":
        assert json.loads(files["dataset_info.json"])["mmpr_validation"]["file_name"] == "validation.parquet"


@pytest.mark.parametrize("format", runs.FORMATS)
def test_a_run_of_texts_alone_has_no_images(tmp_path, format):
    run = runs.make(tmp_path / "run", [making.sampled(row) for row in range(3)])
    counts = export_run(run.url, format, tmp_path / "to")
    assert counts.rows == 12 and counts.images == 0 and not (tmp_path / "to/images").exists()


@pytest.mark.parametrize("format", runs.FORMATS)
def test_a_run_without_a_pair_is_an_empty_export(tmp_path, format):
    run = runs.make(tmp_path / "run", [making.skipped(0)])
    counts = export_run(run.url, format, tmp_path / "to")
    assert counts.rows == 0 and counts.load == ""  # there is no file to load
    assert (tmp_path / "to/export.json").exists()
