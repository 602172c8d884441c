"""The split by images: nothing is on both sides, whatever ties images together."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmpr.reporting.report_files import write_reports
from mmpr.run import DatasetOptions, RunFolder, Selection, StoredQuestion, cut_dataset, write_manifest
from mmpr.run.split import VALIDATION, Split, image_number, moved_images, ties
from mmpr.types import Question
from mmpr.verification import verify

from . import making

SHA = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(40)]
questions = st.lists(st.lists(st.sampled_from(SHA), min_size=1, max_size=4), max_size=40)
fractions = st.sampled_from([0.05, 0.2, 0.5, 0.9])


def split_of(shown: list[list[str]], fraction: float) -> Split:
    tied = array("Q", [number for images in shown for number in ties(images)])
    return Split(fraction, moved_images(tied, fraction))


def sides(shown: list[list[str]], split: Split) -> list[str]:
    return [split.side(Question("q", "s", row, "?"), images) for row, images in enumerate(shown)]


@given(questions, fractions, st.randoms())
def test_no_image_is_on_both_sides_and_order_does_not_matter(
    shown: list[list[str]], fraction: float, random: Any
) -> None:
    split = split_of(shown, fraction)
    by_side: dict[str, set[str]] = {"train": set(), VALIDATION: set()}
    for side, images in zip(sides(shown, split), shown, strict=True):
        by_side[side].update(images)
    assert not by_side["train"] & by_side[VALIDATION]
    shuffled = [random.sample(images, len(images)) for images in random.sample(shown, len(shown))]
    assert split_of(shuffled, fraction) == split


@given(questions, fractions)
def test_a_group_is_what_questions_connect_and_no_more(shown: list[list[str]], fraction: float) -> None:
    """Against a union of sets: an image that nothing ties keeps its own side, a group has one."""
    groups = {sha256: {sha256} for sha256 in SHA}
    for images in shown:
        for one, other in pairwise(images):
            if groups[one] is not groups[other]:
                groups[one] |= groups[other]
                for member in groups[other]:
                    groups[member] = groups[one]
    split, alone = split_of(shown, fraction), Split(fraction)
    for sha256, group in groups.items():
        smallest = min(group, key=image_number)
        assert sides([[sha256]], split) == sides([[smallest]], alone)


def test_a_long_chain_of_images_is_one_group() -> None:
    chain = [hashlib.sha256(f"frame {k}".encode()).hexdigest() for k in range(3000)]
    split = split_of([list(pair) for pair in pairwise(chain)], 0.5)
    assert len(set(sides([[sha256] for sha256 in chain], split))) == 1


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_fraction_is_about_the_share_of_images(fraction: float) -> None:
    many = [[hashlib.sha256(f"p{k}".encode()).hexdigest()] for k in range(4000)]
    held_out = Counter(sides(many, Split(fraction)))[VALIDATION] / len(many)
    assert abs(held_out - fraction) < 0.03


def test_a_question_without_images_goes_by_its_words() -> None:
    split = Split(0.5)
    asked = [Question("q", "s", row, f"How many in {row % 50}?") for row in range(100)]
    found = [split.side(question, []) for question in asked]
    assert found[:50] == found[50:] and len(set(found)) == 2
    assert split.side(replace(asked[7], text=" how many  in 7?"), []) == found[7]


# -- on a run folder ----------------------------------------------------------------------------------------------


def rows() -> list[StoredQuestion]:
    """Images shown once, twice, and in chains over several questions; questions without; skips."""
    shown = [making.image(seed) for seed in range(30)]
    return [
        *(making.sampled(row, [shown[row % 20]]) for row in range(40)),
        *(making.sampled(40 + k, [shown[20 + k], shown[21 + k]]) for k in range(5)),
        *(making.drafted(45 + k, [shown[26], shown[k]]) for k in range(3)),
        *(making.sampled(48 + k) for k in range(10)),
        making.skipped(58),
    ]


def cut(url: str, fraction: float, **how: Any) -> RunFolder:
    folder = making.new_run(url)
    making.commit_all(folder, rows(), **{"size": 4, **how})
    totals, files = cut_dataset(
        folder, making.recipe(), options=DatasetOptions(validation_fraction=fraction, shard_bytes=60_000)
    )
    write_reports(folder, totals, files)
    write_manifest(folder, files, ("README.md", "report.html", "report.json"))
    return folder


def table(folder: RunFolder, split: str) -> list[dict[str, Any]]:
    names = [name for name in folder.store.names("data") if f"/{split}-" in name]
    return [row for name in names for row in pq.read_table(folder.store.open(name)).to_pylist()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return cut(str(tmp_path_factory.mktemp("split") / "run"), 0.4)


def test_both_splits_together_are_the_whole_dataset(run: RunFolder, tmp_path: Path) -> None:
    whole = {row["pair_id"] for row in table(cut(str(tmp_path / "whole"), 0.0), "train")}
    train, held_out = table(run, "train"), table(run, VALIDATION)
    assert train and held_out
    assert {row["pair_id"] for row in train} | {row["pair_id"] for row in held_out} == whole
    assert len(train) + len(held_out) == len(whole)
    order = [row["source_row"] for row in held_out]
    assert order == sorted(order)


def test_no_image_of_a_run_is_on_both_sides(run: RunFolder) -> None:
    seen = [{sha256 for row in table(run, split) for sha256 in row["image_sha256"]} for split in ("train", VALIDATION)]
    assert not seen[0] & seen[1]
    names = [name for name in run.store.names("data") if VALIDATION in name]
    assert names[0] == f"data/validation-00000-of-{len(names):05d}.parquet"
    assert verify(run.url) == []


def test_a_split_does_not_depend_on_chunks_order_or_pairing(run: RunFolder, tmp_path: Path) -> None:
    other = cut(str(tmp_path / "other"), 0.4, size=9, backwards=True)
    assert making.data_bytes(other) == making.data_bytes(run)
    limits = DatasetOptions(validation_fraction=0.4, max_pairs_per_source=60)
    cut_dataset(other, making.recipe(), options=limits)
    for split in ("train", VALIDATION):
        fewer, all_of_them = ({row["pair_id"] for row in table(folder, split)} for folder in (other, run))
        assert fewer <= all_of_them
    assert len(table(other, "train")) + len(table(other, VALIDATION)) == 60


def test_a_split_that_is_taken_back_leaves_the_bytes_of_none(run: RunFolder, tmp_path: Path) -> None:
    folder = cut(str(tmp_path / "again"), 0.4)
    cut_dataset(folder, making.recipe(), options=DatasetOptions(shard_bytes=60_000))
    assert making.data_bytes(folder) == making.data_bytes(cut(str(tmp_path / "never"), 0.0))


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_both_splits_of_both_configs(run: RunFolder, tmp_path: Path, streaming: bool) -> None:
    for name in ("default", "raw"):
        for split in ("train", VALIDATION):
            loaded = datasets.load_dataset(run.url, name, split=split, streaming=streaming, cache_dir=str(tmp_path))
            assert [row["pair_id"] for row in loaded] == [row["pair_id"] for row in table(run, split)]


def test_the_card_tells_both_splits(run: RunFolder) -> None:
    _, front, body = run.store.read_bytes("README.md").decode().split("---\n", 2)
    described = yaml.safe_load(front)["dataset_info"][0]["splits"]
    assert [(split["name"], split["num_examples"]) for split in described] == [
        (split, len(table(run, split))) for split in ("train", VALIDATION)
    ]
    assert "pairs in `validation`, no image of which is in the other" in body


def test_verify_names_an_image_on_both_sides(tmp_path: Path) -> None:
    folder = making.new_run(str(tmp_path / "run"))
    making.commit_all(folder, rows())
    without_ties = replace(making.recipe(), selection=Selection(split=Split(0.4)))
    _, files = cut_dataset(folder, without_ties)
    write_manifest(folder, files)
    problems = verify(folder.url)
    seen = [
        {sha256 for row in table(folder, split) for sha256 in row["image_sha256"]} for split in ("train", VALIDATION)
    ]
    assert len(problems) == len(seen[0] & seen[1]) > 0
    assert all(" in train and in validation; " in problem for problem in problems)
