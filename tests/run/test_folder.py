from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mmpr.errors import CommitRefused, LawBroken, ResumeError, RunFolderError
from mmpr.run import RunFolder, RunLayout, RunRecord, new_attempt, read_chunk
from mmpr.run.json_records import plain
from mmpr.types import Question
from run import making


def _commit(folder: RunFolder, chunk: int = 0, n_rows: int = 5) -> None:
    rows = making.mixed(n_rows)
    folder.commit_chunk(chunk, new_attempt(), rows, making.account(rows))


def _files(folder: RunFolder) -> list[str]:
    return [*folder.store.names("questions"), *folder.store.names("responses")]


def test_what_was_committed_comes_back_as_it_was(url: str) -> None:
    folder, rows = making.new_run(url), making.mixed(12)
    commit = folder.commit_chunk(3, "0a1b2c3d", rows, making.account(rows))
    assert folder.committed() == {3: commit}
    assert list(read_chunk(folder, commit)) == rows
    assert commit.questions.path == "questions/00003-0a1b2c3d.parquet"
    assert (commit.spans[0].source, commit.spans[0].first, commit.spans[0].last) == ("vqa", 0, 11)


def test_a_slice_of_a_chunk_has_images_that_stand_with_an_earlier_question(url: str) -> None:
    folder, rows = making.new_run(url), making.mixed(12)
    commit = folder.commit_chunk(0, new_attempt(), rows, making.account(rows))
    assert list(read_chunk(folder, commit, first=9, stop=11)) == rows[9:11]


def test_each_distinct_image_is_written_once(tmp_path: Path) -> None:
    shown = making.image(1, side=128)
    rows = [making.sampled(row, [shown]) for row in range(50)]
    commit = making.new_run(str(tmp_path)).commit_chunk(0, new_attempt(), rows, making.account(rows))
    assert commit.questions.n_bytes < 1.3 * shown.n_bytes


def test_texts_are_read_without_images(url: str) -> None:
    folder, rows = making.new_run(url), making.mixed(5)
    commit = folder.commit_chunk(0, new_attempt(), rows, making.account(rows))
    shown = [image for row in read_chunk(folder, commit, images=False) for image in row.images]
    assert all(image.encoded is None and image.n_bytes > 0 for image in shown)


def test_a_data_uri_is_kept_as_its_hash(url: str) -> None:
    folder = making.new_run(url)
    row = making.StoredQuestion(Question("q", "vqa", 0, "?", images=("data:image/png;base64," + "A" * 9999,)))
    row = making.StoredQuestion(row.question, skip=making.skipped(0).skip)
    commit = folder.commit_chunk(0, new_attempt(), [row], making.account([row]))
    (image,) = next(read_chunk(folder, commit)).question.images
    assert image.startswith("sha256:")
    assert len(image) == 71


def test_a_chunk_of_empty_rows_commits_too(url: str) -> None:
    folder = making.new_run(url)
    commit = folder.commit_chunk(0, new_attempt(), [], making.account([]))
    assert list(read_chunk(folder, commit)) == []


def test_a_late_attempt_changes_nothing_and_leaves_nothing(url: str) -> None:
    folder = making.new_run(url)
    _commit(folder)
    before = {name: folder.store.read_bytes(name) for name in [*_files(folder), "chunks/00000.json"]}
    with pytest.raises(CommitRefused, match=r"chunks/00000\.json"):
        _commit(folder, n_rows=7)
    assert {name: folder.store.read_bytes(name) for name in [*_files(folder), "chunks/00000.json"]} == before
    assert folder.sweep() == []


def test_of_many_racing_attempts_one_wins_and_the_others_vanish(tmp_path: Path) -> None:
    folder = making.new_run(str(tmp_path))

    def attempt(_: int) -> bool:
        try:
            _commit(folder)
        except CommitRefused:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(attempt, range(12))).count(True) == 1
    commit = folder.load_commit(0)
    assert _files(folder) == [commit.questions.path, commit.responses.path]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_machine_that_dies_between_the_files_of_a_commit_commits_nothing(writes: int) -> None:
    folder = making.new_run(f"{making.DyingObjects.protocol}://bucket/{writes}")
    making.DyingObjects.writes_left = writes
    try:
        with pytest.raises(RunFolderError, match="the machine is gone"):
            _commit(folder)
    finally:
        making.DyingObjects.writes_left = None
    assert folder.committed() == {}
    orphans = _files(folder)
    assert len(orphans) == writes
    assert folder.sweep() == []  # their writer might live and commit them yet
    _commit(folder)
    assert folder.sweep() == orphans
    assert len(_files(folder)) == 2


def test_a_writer_killed_for_good_leaves_a_temporary_file_that_the_sweep_takes(tmp_path: Path) -> None:
    folder = making.new_run(str(tmp_path))
    program = (
        "import os, sys; from mmpr.run.store import Store\n"
        "with Store(sys.argv[1]).writer('questions/00000-00000000.parquet') as file:\n"
        "    file.write(b'x' * 100); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    (left,) = folder.store.names("questions")
    assert left.endswith(".tmp")
    assert folder.sweep() == [left]
    assert folder.store.names("questions") == []


def test_a_full_disk_commits_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    making.new_run(str(tmp_path))
    program = (
        "import resource, sys\n"
        "from mmpr.errors import RunFolderError; from mmpr.run import RunFolder; from run import making\n"
        "rows = [making.sampled(0, [making.image(0, side=300)])]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: RunFolder(sys.argv[1]).commit_chunk(0, '00000000', rows, making.account(rows))\n"
        "except RunFolderError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.startswith(
        f"cannot write {tmp_path}/questions/00000-00000000.parquet: File too large; check its disk space"
    )
    assert ran.stdout.count("\n") == 1
    folder = RunFolder(str(tmp_path))
    assert _files(folder) == folder.store.names("chunks") == []


def test_the_sweep_keeps_what_is_committed_and_what_is_not_its_own(url: str) -> None:
    folder = making.new_run(url)
    _commit(folder)
    folder.store.write_bytes("questions/00000-deadbeef.parquet", b"late")
    folder.store.write_bytes("questions/notes.txt", b"somebody's")
    assert folder.sweep() == ["questions/00000-deadbeef.parquet"]
    assert folder.store.exists("questions/notes.txt")
    assert list(read_chunk(folder, folder.load_commit(0)))


def test_a_broken_law_is_not_committed(url: str) -> None:
    folder, rows = making.new_run(url), making.mixed(5)
    with pytest.raises(LawBroken, match="5 questions are not 4 paired \\+ 2 skipped"):
        folder.commit_chunk(0, new_attempt(), rows, making.account(rows, counts={"paired": 4}))
    assert _files(folder) == []


def test_a_commit_that_is_taken_back_can_be_made_again(url: str) -> None:
    folder = making.new_run(url)
    _commit(folder)
    folder.drop_commit(0)
    assert folder.committed_chunks() == set()
    _commit(folder)
    assert len(folder.sweep()) == 2


def test_commits_come_in_source_order_however_many_digits_and_reads_they_take(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpr.run.folder._SIDECARS_A_READ", 2)
    folder, chunks = making.new_run(url), [100_001, 7, 99_999, 100_000, 8]
    for chunk in chunks:
        _commit(folder, chunk)
    assert [commit.chunk for commit in folder.commits()] == sorted(chunks)


def test_a_damaged_sidecar_is_named(url: str) -> None:
    folder = making.new_run(url)
    _commit(folder)
    folder.store.write_bytes("chunks/00000.json", b'{"chunk": 0, "att')
    with pytest.raises(RunFolderError, match=r"chunks/00000\.json is damaged \(.*\); delete it and build again"):
        folder.committed()


def test_a_copied_sidecar_is_not_another_chunk(url: str) -> None:
    folder = making.new_run(url)
    _commit(folder)
    folder.store.write_bytes("chunks/00001.json", folder.store.read_bytes("chunks/00000.json"))
    with pytest.raises(RunFolderError, match=r"chunks/00001\.json is the commit of chunk 0"):
        folder.committed()


def test_a_second_first_start_is_refused(url: str) -> None:
    making.new_run(url)
    with pytest.raises(RunFolderError, match="holds a run already"):
        making.new_run(url)


def test_a_folder_without_a_run_says_so(url: str) -> None:
    folder = RunFolder(url)
    assert not folder.has_run()
    with pytest.raises(RunFolderError, match="is no run folder"):
        folder.load_run()


def test_run_json_from_a_newer_mmpr_is_not_guessed_at(url: str) -> None:
    folder = making.new_run(url)
    folder.store.write_bytes("run.json", json.dumps({**plain(folder.load_run()), "format": 99}).encode())
    with pytest.raises(RunFolderError, match="update mmpr"):
        folder.load_run()


def test_a_changed_identity_is_named_with_both_values(url: str) -> None:
    folder = making.new_run(url)
    folder.require_identity({"model": "pocket", "sampling": {"n": 4}})
    with pytest.raises(ResumeError, match=r"sampling\.n was 4 when .* was started, now 8"):
        folder.require_identity({"model": "pocket", "sampling": {"n": 8}})


def test_a_tuple_in_the_identity_equals_the_list_it_was_stored_as(url: str) -> None:
    folder = RunFolder(url)
    tiles = {"tiles": (1, 4)}
    folder.create_run(RunRecord(format=1, source="s", layout=RunLayout(), identity=tiles, selection={}, versions={}))
    folder.require_identity({"tiles": (1, 4)})


def test_selection_and_layout_may_change_and_nothing_else_does(url: str) -> None:
    folder = making.new_run(url)
    before = folder.load_run()
    folder.change_selection({"pairs_per_question": 8})
    folder.change_layout(RunLayout(4, (10, 20)))
    changed = replace(before, selection={"pairs_per_question": 8}, layout=RunLayout(4, (10, 20)))
    assert folder.load_run() == changed


def test_every_start_is_kept_and_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = making.new_run(str(tmp_path))
    folder.add_start({"engines": 1})
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"engines": 2, "hos')
    folder.add_start({"engines": 3})
    assert folder.starts() == [{"engines": 1}, {"engines": 3}]


def test_a_run_folder_travels_to_other_processes(url: str) -> None:
    folder = pickle.loads(pickle.dumps(making.new_run(url)))
    _commit(folder)
    assert len(pickle.dumps(folder)) < 500
    assert len(folder.load_commit(0).to_json()) < 2000
