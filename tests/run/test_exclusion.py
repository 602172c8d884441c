"""What a benchmark's list finds: the same file, the same image made smaller, the same words; and nothing else."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from mmpr.run import DatasetOptions, RunFolder, StoredImage, StoredQuestion, cut_dataset
from mmpr.run.exclusion import (
    MOST_DIFFERENT_BITS,
    ExcludeList,
    Listed,
    image_print,
    list_name,
    question_print,
    write_list,
)

from . import making


def scene(seed: int) -> Image.Image:
    """Some shapes on a plain ground."""
    rng = random.Random(seed)
    image = Image.new("RGB", (160, 120), tuple(rng.randrange(160, 256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = rng.randrange(130), rng.randrange(90), rng.randrange(15, 40)
        colour = tuple(rng.randrange(0, 200) for _ in range(3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + size, y + size), fill=colour)
    return image


def encode(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def stored(encoded: bytes) -> StoredImage:
    sha256 = hashlib.sha256(encoded).hexdigest()
    return StoredImage(sha256, sha256, 160, 120, "PNG", len(encoded), encoded)


def listed(seed: int) -> Listed:
    image = scene(seed)
    return Listed(f"bench.jsonl line {seed}", hashlib.sha256(encode(image)).hexdigest(), image_print(image))


def bits_apart(one: Image.Image, other: Image.Image) -> int:
    prints = [np.frombuffer(image_print(image) or b"", np.uint8) for image in (one, other)]
    return int(np.bitwise_count(prints[0] ^ prints[1]).sum())


AGAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": lambda image: Image.open(io.BytesIO(encode(image, "JPEG", quality=30))),
    "smaller": lambda image: image.resize((80, 60)),
    "larger": lambda image: image.resize((400, 300)),
}


@pytest.mark.parametrize("name", AGAIN)
def test_an_image_made_again_is_within_the_threshold(name: str) -> None:
    assert max(bits_apart(scene(seed), AGAIN[name](scene(seed))) for seed in range(40)) <= MOST_DIFFERENT_BITS


def test_different_images_are_far_beyond_the_threshold() -> None:
    prints = np.frombuffer(b"".join(image_print(scene(seed)) or b"" for seed in range(120)), np.uint64).reshape(-1, 4)
    apart = np.bitwise_count(prints[:, None] ^ prints[None]).sum(axis=2)
    assert apart[~np.eye(len(prints), dtype=bool)].min() > MOST_DIFFERENT_BITS + 8


def test_an_image_of_one_colour_is_only_found_by_its_file() -> None:
    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    assert image_print(red) is None
    asked = ExcludeList([Listed("a", hashlib.sha256(encode(red)).hexdigest(), None), listed(1)])
    assert asked.image(hashlib.sha256(encode(red)).hexdigest(), encode(red)) == "its image is a, byte for byte"
    assert asked.image(hashlib.sha256(encode(blue)).hexdigest(), encode(blue)) is None


def test_the_words_say_which_entry_matched_and_how() -> None:
    asked = ExcludeList(map(listed, range(5)))
    same = stored(encode(scene(3)))
    assert asked.image(same.sha256, same.encoded or b"") == "its image is bench.jsonl line 3, byte for byte"
    smaller = stored(encode(AGAIN["smaller"](scene(3))))
    found = asked.image(smaller.sha256, smaller.encoded or b"") or ""
    assert found.startswith("its image looks like bench.jsonl line 3 (") and found.endswith(" of 256 bits differ)")
    other = stored(encode(scene(9)))
    assert asked.image(other.sha256, other.encoded or b"") is None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("how many  RED cubes are there", True),
        ("<image>\nHow many red cubes are there? Please answer Yes or No.", True),
        ("Ｈow many red cubes are there？", True),
        ("How many red cubes are here?", False),
        ("How many red cubes are there or not?", False),
    ],
)
def test_a_question_is_the_same_whatever_its_case_punctuation_and_instruction(text: str, same: bool) -> None:
    asked = ExcludeList([Listed("b line 1", question=question_print("How many red cubes are there?"))])
    assert asked.question(text) == ("its text is b line 1" if same else None)


def test_a_question_of_signs_alone_is_like_no_other() -> None:
    assert question_print("?!") is None
    assert ExcludeList([Listed("b", question=question_print("..."))]).question("?!") is None


# -- on a run folder ----------------------------------------------------------------------------------------------


def rows() -> list[StoredQuestion]:
    """Scenes 0 to 9 in turn, twice each; scene 2 smaller the second time; one question without an image."""
    made = []
    for row in range(20):
        image = scene(row % 10) if row != 12 else AGAIN["smaller"](scene(2))
        made.append(making.sampled(row, [stored(encode(image))]))
    alone = making.sampled(20)
    return [*made, replace(alone, question=replace(alone.question, text="Which day is it?"))]


BENCH = [listed(2), listed(7), Listed("bench.jsonl line 8", question=question_print("which day is it"))]


def cut(url: str, limits: DatasetOptions, bench: list[Listed] | None = None, **how: Any) -> tuple[RunFolder, Any]:
    folder = making.new_run(url)
    making.commit_all(folder, rows(), **how)
    if bench is not None:
        write_list(folder, bench, name="bench.jsonl")
    return folder, cut_dataset(folder, making.recipe(), options=limits)[0]


def skips(folder: RunFolder) -> dict[int, dict[str, Any]]:
    return {row["row"]: row for row in pq.read_table(folder.store.open("skips.parquet")).to_pylist()}


def test_questions_of_the_list_are_named_skips_and_no_others(url: str) -> None:
    folder, totals = cut(url, DatasetOptions(exclude=True), BENCH)
    found = skips(folder)
    assert sorted(found) == [2, 7, 12, 17, 20]
    assert {(skip["stage"], skip["reason"]) for skip in found.values()} == {("select", "excluded")}
    assert found[2]["detail"] == "its image is bench.jsonl line 2, byte for byte"
    assert found[12]["detail"].startswith("its image looks like bench.jsonl line 2 (")
    assert found[20]["detail"] == "its text is bench.jsonl line 8"
    assert totals.questions == totals.paired + totals.skipped == 21
    assert list_name(folder) == "bench.jsonl"


def test_texts_can_be_left_out_of_it(tmp_path: Path) -> None:
    folder, _ = cut(str(tmp_path), DatasetOptions(exclude=True, exclude_texts=False), BENCH)
    assert sorted(skips(folder)) == [2, 7, 12, 17]


def test_what_is_excluded_does_not_depend_on_chunks_or_order_and_does_not_count_for_caps(tmp_path: Path) -> None:
    limits = DatasetOptions(exclude=True, max_pairs_per_source=40)
    one, totals = cut(str(tmp_path / "one"), limits, BENCH)
    other, _ = cut(str(tmp_path / "other"), limits, list(BENCH), size=7, backwards=True)
    assert totals.pairs == 40
    assert making.data_bytes(one) == making.data_bytes(other)
    assert one.store.read_bytes("skips.parquet") == other.store.read_bytes("skips.parquet")


def test_a_list_that_nothing_stands_in_changes_no_byte(tmp_path: Path) -> None:
    one, _ = cut(str(tmp_path / "one"), DatasetOptions())
    other, _ = cut(str(tmp_path / "other"), DatasetOptions(exclude=True), [listed(99)])
    assert making.data_bytes(one) == making.data_bytes(other)
