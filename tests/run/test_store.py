from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmpr.errors import RunFolderError
from mmpr.run.store import Store
from run import making


def test_of_many_writers_exactly_one_creates_a_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def write(writer: int) -> bool:
        try:
            store.write_exclusive("chunks/00000.json", b"%d" % writer)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, range(64)))
    assert won.count(True) == 1
    assert store.read_bytes("chunks/00000.json") == b"%d" % won.index(True)
    assert store.names("chunks") == ["chunks/00000.json"]


def test_the_second_writer_is_refused_on_every_filesystem(url: str) -> None:
    store = Store(url)
    store.write_exclusive("run.json", b"first")
    with pytest.raises(FileExistsError):
        store.write_exclusive("run.json", b"second")
    assert store.read_bytes("run.json") == b"first"


def test_a_lost_reply_counts_as_what_lies_there() -> None:
    store = Store(f"{making.VagueObjects.protocol}://bucket/run")
    store.write_exclusive("chunks/00000.json", b"mine")
    with pytest.raises(FileExistsError):
        store.write_exclusive("chunks/00000.json", b"theirs")
    assert store.read_bytes("chunks/00000.json") == b"mine"


def test_a_file_appears_only_when_its_writer_ends_well(url: str) -> None:
    store = Store(url)

    def write_half() -> None:
        with store.writer("data/a.parquet") as file:
            file.write(b"half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        write_half()
    assert store.names("data") == []
    with store.writer("data/a.parquet") as file:
        file.write(b"whole")
    assert (file.n_bytes, file.sha256) == store.sha256("data/a.parquet")


def test_lines_are_added_and_a_broken_one_stays_alone(url: str) -> None:
    store = Store(url)
    store.append_line("starts.jsonl", "one")
    store.append_line("starts.jsonl", "two")
    assert store.read_bytes("starts.jsonl") == b"one\ntwo\n"


def test_reading_many_gives_the_same_as_reading_each(url: str) -> None:
    store = Store(url)
    expected = {f"chunks/{i}.json": b"%d" % i for i in range(5)}
    for name, content in expected.items():
        store.write_bytes(name, content)
    assert store.read_many(store.names("chunks")) == expected
    assert store.names("nowhere") == []


def test_deleting_twice_is_fine_and_writing_over_works(url: str) -> None:
    store = Store(url)
    store.write_bytes("driver.json", b"1")
    store.write_bytes("driver.json", b"22")
    assert store.size("driver.json") == 2
    store.delete("driver.json")
    store.delete("driver.json")
    assert not store.exists("driver.json")


def test_a_relative_path_still_means_the_same_folder_after_pickling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("run")
    store.write_bytes("run.json", b"here")
    pickled = pickle.dumps(store)
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).read_bytes("run.json") == b"here"


@pytest.mark.parametrize("place", ["file", "dangling", "loop", "file/below", "/proc/x"])
def test_a_folder_that_cannot_be_there_is_answered_with_another_place(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    folder = tmp_path / place  # "/proc/x" stays absolute
    with pytest.raises(RunFolderError, match=r"cannot \w+ .*; choose another (folder|path)$"):
        Store(str(folder)).write_bytes("run.json", b"{}")


def test_a_place_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunFolderError, match=r"cannot create .*file/questions: .*Not a directory|cannot create .*file"):
        Store(str(tmp_path / "file")).write_bytes("questions/a.parquet", b"")


@pytest.mark.parametrize("url", ["nothing://bucket/run", "hdfs2://x/y"])
def test_an_address_that_nothing_can_open_is_one_line(url: str) -> None:
    with pytest.raises(RunFolderError, match=f"cannot open {url}: "):
        Store(url)


@pytest.mark.parametrize("url", ["", " "])
def test_an_empty_address_is_not_the_working_directory(url: str) -> None:
    with pytest.raises(RunFolderError, match="name is empty"):
        Store(url)
