"""An export as a whole: its folder, its end, its memory, and its words on the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run import making
from typer.testing import CliRunner

from exporting import runs
from mmpr.cli.verbs import app
from mmpr.errors import ConfigError, RunFolderError
from mmpr.exporting import Format, export_run


def mmpr(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("format", runs.FORMATS)
def test_the_same_again_changes_nothing(sound, tmp_path, format):
    first = export_run(sound.url, format, tmp_path / "to")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")}
    assert export_run(sound.url, format, tmp_path / "to") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")} == before


@pytest.mark.parametrize("format", runs.FORMATS)
def test_an_export_that_was_interrupted_anywhere_is_completed(run, tmp_path, format):
    rows = runs.rows_of(run)
    runs.forge(run, [*rows, {**rows[0], "chosen_text": None}], group_rows=4)
    whole = runs.make(tmp_path / "other")
    runs.forge(whole, [*rows, {**rows[0], "chosen_text": None}], group_rows=4)
    counts = export_run(whole.url, format, tmp_path / "to")
    expected = runs.files_in(tmp_path / "to")
    (tmp_path / "to/export.json").unlink()
    for name in [name for name in expected if name.endswith((".png", ".jsonl", ".parquet"))][::2]:
        path = tmp_path / "to" / name
        path.write_bytes(path.read_bytes()[:100])  # what a full disk leaves
    (tmp_path / "to/unfinished.json").write_text(
        json.dumps({"request": json.loads(expected["export.json"])["request"]})
    )
    assert export_run(run.url, format, tmp_path / "to") == counts  # a copy of the run is the same run
    assert runs.files_in(tmp_path / "to") == expected


def test_a_strict_export_leaves_an_unfinished_folder_and_no_other_may_have_it(run, tmp_path):
    rows = runs.rows_of(run)
    runs.forge(run, [*rows, {**rows[0], "rejected_text": ""}])
    with pytest.raises(RunFolderError):
        export_run(run.url, "swift", tmp_path / "to", strict=True)
    for changed in ({"format": "jsonl"}, {"format": "swift", "max_chars": 900}):
        with pytest.raises(ConfigError, match="another export"):
            export_run(run.url, to=tmp_path / "to", **changed)
    assert export_run(run.url, "swift", tmp_path / "to").rows == len(rows)


def test_a_run_that_was_paired_again_is_another_export(run, tmp_path):
    export_run(run.url, "jsonl", tmp_path / "to")
    runs.forge(run, runs.rows_of(run)[:5])
    with pytest.raises(ConfigError, match="paired again"):
        export_run(run.url, "jsonl", tmp_path / "to")


def test_a_folder_with_other_files_is_refused_and_left_alone(sound, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="has files already"):
        export_run(sound.url, "trl", tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        export_run(sound.url, "trl", tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="has files already"):
        export_run(sound.url, "trl", sound.url)
    assert runs.files_in(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"request": 3}', b"\xff"])
@pytest.mark.parametrize("name", ["export.json", "unfinished.json"])
def test_a_foreign_or_damaged_mark_is_refused_in_one_line(sound, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as found:
        export_run(sound.url, "trl", tmp_path)
    assert "\n" not in str(found.value)


def test_an_address_is_no_folder_of_this_machine(sound):
    with pytest.raises(ConfigError, match="this machine"):
        export_run(sound.url, "trl", "s3://bucket/pairs")


def test_a_place_that_cannot_be_written_is_one_line(sound, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        export_run(sound.url, "trl", tmp_path / "file/to")


def test_a_run_in_an_object_store_is_exported(tmp_path):
    run = making.finished_run(f"{making.StrictObjects.protocol}://export/run", runs.two_sources())
    assert export_run(run.url, Format.JSONL, tmp_path).rows == len(runs.lines(tmp_path / "train.jsonl")) > 0


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    run = making.new_run(str(tmp_path / "run"))
    making.commit_all(run, runs.two_sources())
    with pytest.raises(RunFolderError, match="not finished"):
        export_run(run.url, "trl", tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_damaged_shard_is_one_line_that_names_it(run, tmp_path, damage):
    shard = Path(run.url) / runs.SHARD
    content = bytearray(shard.read_bytes())
    if damage == "gone":
        shard.unlink()
    else:
        content[len(content) // 3] ^= 255
        shard.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    try:
        export_run(run.url, "jsonl", tmp_path / "to")
    except RunFolderError as error:
        assert runs.SHARD in str(error) and "mmpr verify" in str(error) and "\n" not in str(error)
    else:
        assert damage == "flipped"  # a bit of an image is no damage that Parquet notices; `mmpr verify` does


def test_no_row_group_is_held_while_the_next_is_read(tmp_path):
    """Eight times the data, and the same peaks of Arrow's and of Python's memory."""
    few, many = runs.make(tmp_path / "few"), runs.make(tmp_path / "many")
    shown = [making.image(seed, side=160) for seed in range(16)]
    source = runs.make(tmp_path / "source", [making.sampled(row, [shown[row]]) for row in range(16)])
    rows = runs.rows_of(source)
    runs.forge(few, rows[:32], group_rows=16)
    runs.forge(many, rows * 8, group_rows=16)
    for format in ("trl", "jsonl"):  # embedded, and as files
        (arrow_few, python_few), (arrow_many, python_many) = (
            peaks(run.url, format, tmp_path / f"{format}-{n}") for n, run in enumerate((few, many))
        )
        assert arrow_many < 1.25 * arrow_few, format
        assert python_many < 1.25 * python_few, format


def peaks(run, format, to):
    program = (
        "import sys, tracemalloc, pyarrow as pa\n"
        "from mmpr.exporting import export_run\n"
        "run, format, to = sys.argv[1:]\n"
        "pa.set_cpu_count(1)\n"  # which columns are decoded at once is chance otherwise
        "export_run(run, format, to + '-first')\n"  # what it imports stays
        "tracemalloc.start()\n"
        "export_run(run, format, to)\n"
        "print(pa.default_memory_pool().max_memory(), tracemalloc.get_traced_memory()[1])"
    )
    command = [sys.executable, "-c", program, run, format, str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(int, done.stdout.split()))


def test_the_command_line_tells_what_was_written_left_out_and_how_to_load_it(run, tmp_path):
    rows = runs.rows_of(run)
    runs.forge(run, [*rows, {**rows[0], "chosen_text": None, "pair_id": "bad-1"}, {**rows[0], "chosen_text": ""}])
    done = mmpr("export", run.url, "--format", "swift", "--to", tmp_path / "to")
    assert done.exit_code == 0 and done.stderr == ""
    written, left_out, load, train = done.stdout.splitlines()
    assert train == f"train: sh {tmp_path}/to/mpo.sh"
    assert written == f"{len(rows)} pairs and 4 images in {tmp_path / 'to'}"
    assert left_out.startswith("left out: 2 empty_text") and "bad-1" in left_out
    assert load.startswith("load: ROOT_IMAGE_DIR=")
    done = mmpr("export", run.url, "--format", "swift", "--to", tmp_path / "strict", "--strict")
    assert done.exit_code == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mmpr: ") and "bad-1" in line


def test_the_command_line_offers_every_format(sound, tmp_path):
    printed = mmpr("export", "--help").stdout
    assert all(format.value in printed for format in Format)
    assert [format.value for format in Format if format.unit == "pairs"] == runs.FORMATS
    assert mmpr("export", sound.url, "--format", "csv", "--to", tmp_path / "to").exit_code == 2
    with pytest.raises(ConfigError, match="no format 'csv'"):
        export_run(sound.url, "csv", tmp_path / "to")


def test_an_export_may_be_moved(sound, tmp_path):
    """All but InternVL's meta.json, which has to name absolute paths."""
    for format in runs.FORMATS:
        export_run(sound.url, format, tmp_path / format)
        moved = shutil.move(tmp_path / format, tmp_path / f"{format}-moved")
        content = {name: text for name, text in runs.files_in(moved).items() if name != "meta.json"}
        assert not [name for name, text in content.items() if str(tmp_path).encode() in text]
        assert export_run(sound.url, format, moved).rows > 0
