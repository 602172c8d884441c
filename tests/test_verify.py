from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run import making

from mmpr.run import FileRecord, RunFolder, new_attempt, write_manifest
from mmpr.run.dataset import _parquet
from mmpr.run.merged_chunks import take_chunk
from mmpr.verification import damaged_chunks, verify

SHARD = "data/train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "sound"
    making.finished_run(str(path), making.mixed(40))
    return path


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    """A copy in another place: nothing may depend on where a run was built."""
    return shutil.copytree(sound, tmp_path / "copy")


def _chunk_file(run: Path, folder: str, chunk: int) -> Path:
    (path,) = (run / folder).glob(f"{chunk:05d}-*.parquet")
    return path


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _one_problem(run: Path, *parts: str) -> None:
    (problem,) = verify(str(run))
    assert "\n" not in problem
    for part in parts:
        assert part in problem


def _forge(run: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite the shard with changed rows and a manifest that agrees: only comparing pair by pair can notice."""
    folder = RunFolder(str(run))
    rows = change(pq.read_table(run / SHARD).to_pylist())
    with folder.store.writer(SHARD) as file, _parquet(file) as parquet:
        parquet.write_table(pa.Table.from_pylist(rows, schema=parquet.schema))
    write_manifest(folder, [FileRecord(SHARD, file.n_bytes, file.sha256, len(rows)), folder.record("skips.parquet")])


def test_a_sound_run_has_no_problems(run: Path) -> None:
    assert verify(str(run)) == []


def test_a_sound_run_in_an_object_store_has_none() -> None:
    folder = making.finished_run(f"{making.StrictObjects.protocol}://verify/sound", making.mixed(15))
    assert verify(folder.url) == []


def test_an_unfinished_run_is_not_a_damaged_one(tmp_path: Path) -> None:
    folder = making.new_run(str(tmp_path))
    assert verify(folder.url) == []
    making.commit_all(folder, making.mixed(12))
    assert verify(folder.url) == []


def test_a_run_whose_source_has_grown_is_sound_while_the_new_chunks_are_built(run: Path) -> None:
    folder, row = RunFolder(str(run)), making.sampled(40)
    folder.commit_chunk(10, new_attempt(), [row], making.account([row]))
    assert verify(str(run)) == []


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    _one_problem(tmp_path, "is no run folder")


@pytest.mark.parametrize("kind", ["questions", "responses"])
def test_a_flipped_byte_in_a_chunk_is_found(run: Path, kind: str) -> None:
    _flip(_chunk_file(run, kind, 3))
    _one_problem(run, f"{kind}/00003-", "has changed since", "start the build again")


@pytest.mark.parametrize("kind", ["questions", "responses"])
def test_a_missing_file_of_a_chunk_is_found(run: Path, kind: str) -> None:
    _chunk_file(run, kind, 2).unlink()
    _one_problem(run, f"{kind}/00002-", "is missing", "start the build again")


def test_a_truncated_file_is_found(run: Path) -> None:
    path = _chunk_file(run, "responses", 5)
    path.write_bytes(path.read_bytes()[:-100])
    _one_problem(run, "responses/00005-", "bytes", "were written", "start the build again")


def test_a_sidecar_that_was_cut_off_is_found(run: Path) -> None:
    path = run / "chunks/00004.json"
    path.write_bytes(path.read_bytes()[:50])
    _one_problem(run, "chunks/00004.json is damaged", "it is no JSON", "delete it and build again")


def test_a_lost_sidecar_is_found(run: Path) -> None:
    (run / "chunks/00009.json").unlink()
    _one_problem(run, "chunks/ has 9 commits, the dataset was cut from 10")


def test_a_doubled_chunk_is_found(run: Path) -> None:
    folder = RunFolder(str(run))
    take_chunk(folder, folder, folder.load_commit(1), chunk=10, renamed={})
    _one_problem(run, "chunks/00010.json repeats row vqa:4 of chunks/00001.json", "delete chunks/00010.json")


def test_overlapping_chunks_are_found_by_the_rows_themselves(tmp_path: Path) -> None:
    folder, rows = making.new_run(str(tmp_path)), making.mixed(10)
    for chunk, places in enumerate([(0, 2, 4), (1, 3, 5), (5, 7)]):
        part = [rows[place] for place in places]
        folder.commit_chunk(chunk, new_attempt(), part, making.account(part))
    _one_problem(tmp_path, "chunks/00002.json repeats row vqa:5 of chunks/00001.json")


@pytest.mark.parametrize("thorough", [True, False])
def test_damaged_chunks_are_numbered_and_building_them_again_mends_the_run(run: Path, thorough: bool) -> None:
    folder, rows = RunFolder(str(run)), making.mixed(40)
    _chunk_file(run, "questions", 2).unlink()
    (run / "chunks/00005.json").write_text("{")
    damaged = damaged_chunks(folder, thorough=thorough)
    assert list(damaged) == [2, 5]
    for chunk in damaged:
        folder.drop_commit(chunk)
        part = rows[4 * chunk : 4 * chunk + 4]
        folder.commit_chunk(chunk, new_attempt(), part, making.account(part))
    assert len(folder.sweep()) == 3
    assert verify(str(run)) == []


def test_a_question_without_response_and_skip_breaks_the_law(tmp_path: Path) -> None:
    folder, row = making.new_run(str(tmp_path)), making.sampled(0, right=0, wrong=0)
    folder.commit_chunk(0, new_attempt(), [row], making.account([row]))
    _one_problem(tmp_path, "vqa:0 has neither a response nor a skip")


def test_an_image_under_a_wrong_name_is_found(tmp_path: Path) -> None:
    other = dataclasses.replace(making.image(0), encoded=making.image(1).encoded)
    folder, row = making.new_run(str(tmp_path)), making.sampled(0, [other])
    folder.commit_chunk(0, new_attempt(), [row], making.account([row]))
    _one_problem(tmp_path, "the bytes of image", "have changed")


@pytest.mark.parametrize("name", [SHARD, "skips.parquet"])
def test_a_flipped_byte_in_the_dataset_is_found(run: Path, name: str) -> None:
    _flip(run / name)
    _one_problem(run, name, "has changed since", "delete manifest.json")


def test_a_missing_shard_is_found(run: Path) -> None:
    (run / SHARD).unlink()
    _one_problem(run, SHARD, "is missing")


def test_a_shard_that_nobody_wrote_is_found(run: Path) -> None:
    shutil.copy(run / SHARD, run / "data/train-00001-of-00002.parquet")
    _one_problem(run, "data/train-00001-of-00002.parquet is not in manifest.json; delete it")


def test_a_lost_or_broken_manifest_is_found(run: Path) -> None:
    (run / "manifest.json").write_text("{")
    _one_problem(run, "manifest.json is damaged")
    (run / "manifest.json").unlink()
    _one_problem(run, "manifest.json is missing although data/ has files")


def test_a_card_that_was_listed_is_held_to_its_hash(run: Path) -> None:
    (run / "README.md").write_text("# Card")
    manifest = json.loads((run / "manifest.json").read_text())
    folder = RunFolder(str(run))
    write_manifest(folder, [FileRecord(**file) for file in manifest["files"]], ["README.md"])
    assert verify(str(run)) == []
    (run / "README.md").write_text("# Cart")
    _one_problem(run, "README.md has changed since it was written")


def test_a_changed_answer_in_the_dataset_is_found(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[3]["rejected_text"] += "!"
        return rows

    _forge(run, change)
    _one_problem(run, SHARD, "has another text than its responses")


def test_a_changed_turn_in_the_dataset_is_found(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[3]["chosen"][0]["content"][0]["text"] = "hello"
        return rows

    _forge(run, change)
    _one_problem(run, SHARD, "has another text in its turns")


def test_an_exchanged_image_in_the_dataset_is_found(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0]["images"] = [{"bytes": making.image(2).encoded, "path": None}]
        return rows

    _forge(run, change)
    _one_problem(run, SHARD, "has other images than its question")


def test_a_doubled_pair_is_found(run: Path) -> None:
    _forge(run, lambda rows: [rows[0], *rows])
    _one_problem(run, SHARD, "is there twice")


def test_a_lost_question_is_found(run: Path) -> None:
    _forge(run, lambda rows: [row for row in rows if row["source_row"] != 6])
    _one_problem(run, "data/ has no pair of vqa:6, and skips.parquet has no skip of it")


def test_a_pair_of_an_unknown_response_is_found(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0]["rejected_index"] = 77
        return rows

    _forge(run, change)
    _one_problem(run, SHARD, "names a response that was not committed")


def test_an_invented_question_is_found(run: Path) -> None:
    _forge(run, lambda rows: [*rows, {**rows[-1], "source_row": 999}])
    _one_problem(run, SHARD, "has vqa:999 out of order, or not committed")


def test_many_faults_of_one_sort_are_few_lines(run: Path) -> None:
    _forge(run, lambda rows: [{**row, "question_id": "x"} for row in rows])
    problems = verify(str(run))
    assert len(problems) == 21
    assert problems[-1].startswith("... and ")
