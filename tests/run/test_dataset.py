from __future__ import annotations

import functools
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpr.errors import LawBroken
from mmpr.run import (
    DatasetOptions,
    DatasetRecipe,
    RunFolder,
    StoredQuestion,
    arrow_schema,
    cut_dataset,
    dataset_features,
    read_manifest,
    write_manifest,
)
from mmpr.run import dataset as dataset_module
from mmpr.types import Message, PairKind
from run import making

# Names that a trainer takes for its own: see the facts on consumers.
INTERPRETED = {
    *("image", "messages", "conversations", "completion", "response", "solution", "label", "instruction", "tools"),
    *("system", "objects", "margin", "channel", "input", "query", "history", "videos", "audios"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return making.finished_run(str(tmp_path_factory.mktemp("runs") / "run"), making.mixed(40))


@pytest.fixture
def rows(run: RunFolder) -> list[dict[str, Any]]:
    return _table(run).to_pylist()


def _table(folder: RunFolder) -> pa.Table:
    names = [name for name in folder.store.names("data") if "train-" in name]
    return pa.concat_tables(pq.read_table(folder.store.open(name)) for name in names)


def _load(folder: RunFolder, cache: Path, **how: Any) -> Any:
    files = folder.store.path("data/*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache), **how)


# -- schema -------------------------------------------------------------------------------------------------------


def test_images_are_exactly_a_nullable_list_of_bytes_and_path(run: RunFolder) -> None:
    field = pq.read_schema(run.store.open("data/train-00000-of-00001.parquet")).field("images")
    expected = pa.list_(pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
    assert field.type.equals(expected, check_metadata=False)
    assert field.nullable
    assert field.type.value_field.nullable
    assert [(child.name, child.type) for child in field.type.value_type] == [
        ("bytes", pa.binary()),
        ("path", pa.string()),
    ]


def test_turns_are_the_conversations_that_trl_reads_without_an_image_field() -> None:
    parts = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", parts)]))
    assert [arrow_schema().field(name).type for name in ("prompt", "chosen", "rejected")] == [turns] * 3


def test_the_features_are_written_in_the_literal_form_that_every_version_reads(run: RunFolder) -> None:
    footer = pq.read_metadata(run.store.open("data/train-00000-of-00001.parquet")).metadata
    features = json.loads(footer[b"huggingface"])["info"]["features"]
    assert features["images"] == [{"_type": "Image"}]
    assert '"_type": "List"' not in footer[b"huggingface"].decode()
    for key in (b"content_defined_chunking", b"use_content_defined_chunking"):
        assert json.loads(footer[key])["min_chunk_size"] == 256 * 1024
    assert set(features) == set(arrow_schema().names)


def test_no_column_has_a_name_that_a_trainer_interprets() -> None:
    assert not INTERPRETED & set(arrow_schema().names)


@pytest.mark.parametrize("decode", [True, False])
def test_the_card_declares_the_features_that_the_files_have(run: RunFolder, tmp_path: Path, decode: bool) -> None:
    loaded = _load(run, tmp_path).cast_column("images", [datasets.Image(decode=decode)])
    assert dataset_features(decode=decode) == loaded.features._to_yaml_list()


# -- what is loaded -----------------------------------------------------------------------------------------------


def test_datasets_decodes_the_images_of_everything_in_data(run: RunFolder, tmp_path: Path) -> None:
    loaded = _load(run, tmp_path)
    assert set(loaded["pair_kind"]) == {"correctness", "dropout_ntp"}
    assert len(set(loaded["pair_id"])) == len(loaded)
    first = loaded[0]["images"][0]
    assert isinstance(first, Image.Image)
    assert first.tobytes() == Image.open(io.BytesIO(making.image(0).encoded or b"")).tobytes()


def test_streaming_gives_the_same_rows(run: RunFolder, tmp_path: Path) -> None:
    streamed = [row["pair_id"] for row in _load(run, tmp_path, streaming=True)]
    assert streamed == _load(run, tmp_path)["pair_id"]


def test_the_images_bytes_are_untouched(rows: list[dict[str, Any]]) -> None:
    known = {decoded.sha256: decoded.encoded for decoded in map(making.image, range(3))}
    for row in rows:
        assert [image["bytes"] for image in row["images"]] == [known[sha256] for sha256 in row["image_sha256"]]


def test_a_row_without_images_has_an_empty_list_and_never_null(rows: list[dict[str, Any]]) -> None:
    assert any(row["images"] == [] for row in rows)
    assert all(row["images"] is not None for row in rows)


def test_tags_and_image_parts_are_as_many_as_the_images(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        parts = [part for turn in row["prompt"] for part in turn["content"]]
        assert row["question"].count("<image>") == len(row["images"])
        assert [part["type"] for part in parts].count("image") == len(row["images"])
        assert not any("<image>" in (part["text"] or "") for part in parts)


def test_an_instruction_is_in_the_prompt_only_where_the_answer_is_known(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        instructed = "Final Answer" in row["prompt"][-1]["content"][-1]["text"]
        assert instructed == (row["pair_kind"] == PairKind.CORRECTNESS)


def test_a_correctness_pair_describes_itself(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["pair_kind"] == "correctness")
    assert (row["answer"], row["chosen_answer"], row["rule"], row["rejected_rule"]) == ("3", "3", "integer", "integer")
    assert row["rejected_answer"] != "3"
    assert (row["accuracy"], row["n_responses"], row["source"], row["source_row"]) == (0.5, 4, "vqa", 0)
    assert (row["model"], row["prompt_version"], row["keep_fraction"], row["seed"]) == ("pocket", "final", None, None)
    assert row["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": row["chosen_text"]}]}]


def test_a_dropout_pair_shares_the_kept_part_of_its_draft(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["pair_kind"] == "dropout_ntp")
    kept = row["prefix_chars"]
    assert row["chosen_text"] == making.DRAFT
    assert row["rejected_text"] == making.DRAFT[:kept] + " blue cat on a sofa."
    assert (row["chosen_tokens"], row["rejected_tokens"]) == (11, 4 + 4)
    assert (row["chosen_score"], row["rejected_score"]) == (-0.5, -1.25)
    assert (row["keep_fraction"], row["continued"], row["accuracy"]) == (0.5, "exact", None)


def test_a_run_without_pairs_still_has_a_shard_that_opens(tmp_path: Path) -> None:
    folder = making.finished_run(str(tmp_path / "run"), [making.skipped(row) for row in range(5)])
    # map-style, `datasets` refuses any split of no rows, its own included
    assert list(_load(folder, tmp_path, streaming=True)) == []
    assert _table(folder).schema.equals(arrow_schema())
    assert pq.read_table(folder.store.open("skips.parquet")).num_rows == 5


# -- the law, order, bytes ----------------------------------------------------------------------------------------


def test_every_question_leaves_as_pairs_or_as_one_named_skip(url: str) -> None:
    folder = making.new_run(url)
    making.commit_all(folder, making.mixed(40))
    totals, files = cut_dataset(folder, making.recipe())
    skips = pq.read_table(folder.store.open("skips.parquet")).to_pylist()
    assert (totals.questions, totals.paired, totals.skipped) == (40, 24, 16)
    assert totals.skips_by_reason == {"bad_row": 8, "all_correct": 8}
    assert [skip["row"] for skip in skips] == [row for row in range(40) if row % 5 in (2, 4)]
    assert sum(file.rows for file in files if "train" in file.path) == totals.pairs == totals.pairs_by_kind.total()


def test_a_question_with_neither_pair_nor_skip_breaks_the_law(url: str) -> None:
    folder = making.new_run(url)
    making.commit_all(folder, [making.sampled(0)])
    with pytest.raises(LawBroken, match="vqa:0 has neither a pair nor a skip"):
        cut_dataset(folder, DatasetRecipe(lambda _: [], making.messages, making.recipe().columns))
    assert read_manifest(folder) is None


def test_a_prompt_whose_tags_are_not_its_images_becomes_a_skip(url: str) -> None:
    folder = making.new_run(url)
    making.commit_all(folder, [making.sampled(0, [making.image(0)])])
    recipe = DatasetRecipe(making.recipe().pair, lambda _: (Message("user", "no tag"),), making.recipe().columns)
    totals, _ = cut_dataset(folder, recipe)
    assert totals.skips_by_reason == {"image_tags": 1}
    (skip,) = pq.read_table(folder.store.open("skips.parquet")).to_pylist()
    assert skip["detail"] == "1 images, but the prompt has 0 image tags"


@pytest.mark.parametrize("size", [1, 4, 7, 40])
def test_bytes_do_not_depend_on_attempts_order_or_chunks(tmp_path: Path, run: RunFolder, size: int) -> None:
    other = making.finished_run(str(tmp_path / "other"), making.mixed(40), size=size, backwards=True)
    assert making.data_bytes(other) == making.data_bytes(run)
    assert other.store.read_bytes("skips.parquet") == run.store.read_bytes("skips.parquet")


def test_bytes_are_the_same_on_an_object_store(run: RunFolder, url: str) -> None:
    assert making.data_bytes(making.finished_run(url, making.mixed(40))) == making.data_bytes(run)


def test_several_shards_hold_the_same_pairs_in_the_same_order(url: str, rows: list[dict[str, Any]]) -> None:
    folder = making.new_run(url)
    making.commit_all(folder, making.mixed(40))
    _, files = cut_dataset(folder, making.recipe(), options=DatasetOptions(shard_bytes=40_000))
    paths = [file.path for file in files if "train" in file.path]
    assert len(paths) > 3
    assert paths[-1] == f"data/train-{len(paths) - 1:05d}-of-{len(paths):05d}.parquet"
    assert _table(folder).to_pylist() == rows


def test_tasks_may_run_anywhere_and_in_any_order(tmp_path: Path, run: RunFolder) -> None:
    def backwards(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterable[Any]:
        return reversed([function(value) for value in reversed(values)])

    folder = making.new_run(str(tmp_path))
    making.commit_all(folder, making.mixed(40))
    cut_dataset(folder, making.recipe(), map_tasks=backwards)
    assert making.data_bytes(folder) == making.data_bytes(run)


def test_a_cut_that_stops_half_way_is_unfinished_and_can_be_made_again(tmp_path: Path, run: RunFolder) -> None:
    folder = making.new_run(str(tmp_path))
    making.commit_all(folder, making.mixed(40))
    write_manifest(folder, cut_dataset(folder, making.recipe(), options=DatasetOptions(shard_bytes=40_000))[1])

    def stops(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
        for done, value in enumerate(values):
            if done == 2:
                raise KeyboardInterrupt
            yield function(value)

    with pytest.raises(KeyboardInterrupt):
        cut_dataset(folder, making.recipe(), map_tasks=stops)
    assert read_manifest(folder) is None
    making.finish(folder)
    assert making.data_bytes(folder) == making.data_bytes(run)
    assert read_manifest(folder) is not None


def test_the_manifest_names_every_finished_file_with_its_hash(run: RunFolder) -> None:
    manifest = read_manifest(run)
    assert manifest is not None
    names = ["data/train-00000-of-00001.parquet", "skips.parquet", "verdicts.json"]
    assert [file.path for file in manifest.files] == names
    for file in manifest.files:
        assert hashlib.sha256(run.store.read_bytes(file.path)).hexdigest() == file.sha256
    assert manifest.n_chunks == 10


# -- size ---------------------------------------------------------------------------------------------------------


def test_eight_pairs_a_question_take_hardly_more_than_each_image_and_each_text_once(tmp_path: Path) -> None:
    shown = [making.image(seed, side=190) for seed in range(60)]  # 109 kB each, as photographs have
    rows = [_wordy(making.sampled(row, [shown[row]], right=8, wrong=8)) for row in range(60)]
    folder = making.new_run(str(tmp_path))
    making.commit_all(folder, rows, size=16)
    totals, files = cut_dataset(folder, making.recipe(pairs=8))
    assert totals.pairs == 8 * 60
    columns = _table(folder).select(["question", "chosen_text", "rejected_text"]).columns
    texts = "\n".join(dict.fromkeys(text for column in columns for text in column.to_pylist())).encode()
    compressed = len(pa.Codec("zstd", compression_level=3).compress(texts, asbytes=True))
    assert len(texts) > 60 * 16 * 1000
    assert files[0].n_bytes < 1.1 * (sum(decoded.n_bytes for decoded in shown) + compressed)


def _wordy(committed: StoredQuestion) -> StoredQuestion:
    """Responses of 1,300 characters that zstd makes three and a half times smaller."""
    rng = random.Random(committed.question.row)
    said = [" ".join(rng.choices(*_vocabulary(), k=220)) for _ in committed.responses]
    responses = (
        replace(stored, response=replace(stored.response, text=f"{text} {stored.response.text}"))
        for stored, text in zip(committed.responses, said, strict=True)
    )
    return replace(committed, responses=tuple(responses))


@functools.cache
def _vocabulary() -> tuple[list[str], list[float]]:
    """2,000 words, and how often each comes, as words do in any language."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(2000)]
    return words, [1 / (1 + n) for n in range(2000)]


def test_row_groups_are_bounded_and_keep_a_questions_pairs_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "GROUP_BYTES", 100_000)
    shown = [making.image(seed, side=60) for seed in range(30)]
    folder = making.finished_run(str(tmp_path), [making.sampled(row, [shown[row]]) for row in range(30)])
    groups = _groups(folder)
    assert all(sum(len(row["images"][0]["bytes"]) for row in group) <= 100_000 for group in groups)
    ids = [{row["question_id"] for row in group} for group in groups]
    assert sum(map(len, ids)) == 30
    assert len(groups) > 10


def test_row_groups_have_about_256_rows(tmp_path: Path) -> None:
    shown = [making.image(seed, side=100) for seed in range(4)]
    questions = [making.sampled(row, [shown[row % 4]]) for row in range(200)]
    folder = making.finished_run(str(tmp_path), questions, size=50)
    assert [len(group) for group in _groups(folder)] == [256, 256, 256, 32]


def test_row_groups_of_small_rows_have_more_for_a_footer_tells_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = making.finished_run(str(tmp_path / "all"), [making.sampled(row) for row in range(200)], size=50)
    assert [len(group) for group in _groups(folder)] == [800]
    monkeypatch.setattr(dataset_module, "LEAST_GROUP_BYTES", 400_000)
    folder = making.finished_run(str(tmp_path / "parts"), [making.sampled(row) for row in range(200)], size=50)
    assert all(256 < len(group) < 800 for group in _groups(folder)[:-1])


def test_one_question_past_the_bound_is_divided_rather_than_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "GROUP_BYTES", 20_000)
    folder = making.finished_run(str(tmp_path), [making.sampled(0, [making.image(0, side=60)])])
    assert [len(group) for group in _groups(folder)] == [1, 1, 1, 1]


def test_pages_are_indexed(run: RunFolder) -> None:
    footer = pq.read_metadata(run.store.open("data/train-00000-of-00001.parquet"))
    group = footer.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    images = columns["images.list.element.bytes"]
    assert all(column.has_offset_index for column in columns.values())
    assert (images.compression, images.has_dictionary_page) == ("ZSTD", True)
    with_bounds = {name for name, column in columns.items() if column.has_column_index}
    assert {"pair_id", "pair_kind", "source", "source_row", "accuracy"} <= with_bounds
    assert not with_bounds & {"question", "chosen_text", "chosen.list.element.content.list.element.text"}


def _groups(folder: RunFolder) -> list[list[dict[str, Any]]]:
    parquet = pq.ParquetFile(folder.store.open("data/train-00000-of-00001.parquet"))
    return [parquet.read_row_group(group).to_pylist() for group in range(parquet.num_row_groups)]
