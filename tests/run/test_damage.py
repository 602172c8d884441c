"""Every kind of file of a run folder x every kind of damage x every verb: found, named, one line; never a traceback.

A verb may also not need the damaged file, or repair it: then it ends as on the sound run, with the same output. All of
`verify` is run, of the other verbs every so many a cell; MMPR_DAMAGE_STEP=1 runs the whole matrix (20 minutes).
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import scripted_engine
from typer.testing import CliRunner, Result

from mmpr.builder.build_flow import build
from mmpr.cli.verbs import app
from mmpr.errors import MmprError, RunFolderError
from mmpr.run import RunFolder, read_manifest
from mmpr.settings.config import BuildConfig
from mmpr.verification import verify
from run.damage_kinds import damages, field_damages

STEP = int(os.environ.get("MMPR_DAMAGE_STEP", "0"))
# Files that only say what somebody left: nothing of the run depends on them.
ADVICE = {"driver.json", "damage.json"}
LOGS = {"starts.jsonl", "events.jsonl"}  # a line that cannot be read is left out, and `verify` names it
READING = {
    "verify": ("verify", "{run}"),
    "status": ("status", "{run}"),
    "status --json": ("status", "{run}", "--json"),
    "report --json": ("report", "{run}", "--json"),
    "report": ("report", "{run}"),
    "explain": ("explain", "{run}", "{pair}"),
    "peek": ("peek", "{run}", "--n", "50"),
    "export": ("export", "{run}", "--format", "internvl", "--to", "{to}"),
    "eval": ("eval", "{run}"),
}
WRITING = {
    "pair": ("pair", "{run}"),
    "pair --to": ("pair", "{run}", "--to", "{to}"),
    "merge": ("merge", "{run}", "{other}", "--out", "{to}"),
    "build": ("build",),
}


@dataclass(frozen=True)
class Runs:
    """A finished run, another one to merge it with, and what every verb does on the sound one."""

    sound: Path
    other: Path
    source: Path
    pair: str


@pytest.fixture(scope="module")
def runs(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("damage")
    source, other = _source(root / "a", 0, 24), _source(root / "b", 100, 8)
    (root / "listed.txt").write_text("A question of a benchmark?\n")
    for name, questions in (("sound", source), ("other", other)):
        build(_settings(questions), str(root / name), scripted_engine)
    RunFolder(str(root / "sound")).note_damage({0: "00000000"})
    (root / "sound/driver.json").write_text(json.dumps({"token": "x", "host": "gone", "pid": 1, "beat_at": 1.0}))
    pair = json.loads(_first_row(root / "sound"))["pair_id"]
    return Runs(root / "sound", root / "other", source, pair)


def _first_row(run: Path) -> str:
    import pyarrow.parquet as pq

    return json.dumps({"pair_id": pq.read_table(run / "data", columns=["pair_id"]).column("pair_id")[0].as_py()})


def _source(folder: Path, first: int, n: int) -> Path:
    from PIL import Image

    folder.mkdir()
    lines = []
    for i in range(first, first + n):
        Image.new("RGB", (40, 30), (i % 256, 80, 160)).save(folder / f"{i}.png")
        row = {"id": f"q{i}", "image": f"{i}.png", "question": "How many?" if i % 3 else "Describe the image."}
        lines.append(json.dumps({**row, "answer": 2} if i % 3 else row))
    (folder / "vqa.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "vqa.jsonl"


def _settings(source: Path) -> BuildConfig:
    listed = str(source.parent.parent / "listed.txt")
    return BuildConfig(
        source=str(source), n=4, chunk_questions=8, engines=1, validation_fraction=0.3, exclude=listed, model="scripted"
    )


def _call(runs: Runs, words: tuple[str, ...], run: Path, to: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb, paths replaced by the names that they have here."""
    if words == ("build",):
        try:
            build(_settings(runs.source), str(run), scripted_engine)
        except MmprError as error:
            return 1, "", f"mmpr: {error}\n".replace(str(run), "RUN")
        except Exception as error:  # noqa: BLE001  what the command line would let through
            return 1, "", f"Traceback: {error!r}"[:300]
        return 0, "", ""
    places = {"run": str(run), "to": str(to), "other": str(runs.other), "pair": runs.pair}
    result: Result = CliRunner().invoke(app, [word.format(**places) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, "", f"Traceback: {result.exception!r}"[:300]
    out, err = (text.replace(str(run), "RUN").replace(str(to), "TO") for text in (result.stdout, result.stderr))
    return result.exit_code, re.sub(r"\d+(\.\d+)? (s|min|h) ago|\"silent_s\": [\d.]+", "AGO", out), err


def _data(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "data").glob("*.parquet"))}


def _problem(runs: Runs, verb: str, name: str, kind: str, root: Path) -> str | None:
    """What is wrong with how a verb meets one damaged file; None where nothing is."""
    run, to = root / "run", root / "to"
    shutil.copytree(runs.sound, run)
    _DAMAGES[name.rpartition("/")[2].rpartition(".")[2], kind](run / name)
    return _judged(runs, verb, name, run, to)


_DAMAGES = {
    (ending, kind): damage
    for ending in ("json", "jsonl", "parquet", "md", "html")
    for kind, damage in damages(f"x.{ending}")
}


@functools.cache
def _expected(runs: Runs, verb: str) -> tuple[int, str, str, dict[str, bytes]]:
    root = runs.sound.parent / f"expected-{verb.replace(' ', '-')}"
    shutil.copytree(runs.sound, root / "run")
    words = {**READING, **WRITING}[verb]
    called = _call(runs, words, root / "run", root / "to")
    return *called, _data(root / "to" if "{to}" in words else root / "run")


def _judged(runs: Runs, verb: str, name: str, run: Path, to: Path) -> str | None:
    words = {**READING, **WRITING}[verb]
    code, out, err = _call(runs, words, run, to)
    _, sound_out, _, sound_data = _expected(runs, verb)
    lines = [line for line in (out if verb == "verify" else err).splitlines() if line.strip()]
    if "Traceback" in out + err:
        return f"a traceback: {err}"
    if code != 0:
        if len(lines) != 1 and verb != "verify":
            return f"{len(lines)} lines: {lines}"
        folder = name.partition("/")[0]
        if not any(name in line or f"{folder}/" in line for line in lines):
            return f"does not name it: {lines}"
        return None if max(map(len, lines)) < 400 else f"a long line: {lines}"
    if verb == "verify":
        return None if name in ADVICE else "not found"
    if verb == "report" and name not in {"README.md", "report.html", "report.json"} and verify(str(run)) == []:
        return None  # what it wrote agrees with what is there
    if verb == "report --json" and name == "report.json":
        return None  # made anew from the run; only what the engines did stood there alone
    if out != sound_out and name not in ADVICE | LOGS:
        return f"other words: {out[:300]!r}"
    if verb == "build" and name.startswith("data/"):
        return None  # a build that finds nothing to do looks at their lengths: `verify` reads them
    if verb in WRITING and _data(to if "{to}" in words else run) != sound_data:
        return "other data"
    return None


def _names(run: Path) -> list[str]:
    """One file of each kind: of a chunk's the second."""
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return [name for name in names if not re.search(r"(questions|responses|chunks)/0000[02]", name)]


def _matrix(runs: Runs, verbs: dict[str, tuple[str, ...]], root: Path, *, step: int = 1) -> list[str]:
    cells = [(name, kind, verb) for name in _names(runs.sound) for kind, _ in damages(name) for verb in verbs]
    found = []
    for number, (name, kind, verb) in enumerate(cells[::step]):
        problem = _problem(runs, verb, name, kind, root / str(number))
        shutil.rmtree(root / str(number))
        if problem:
            found.append(f"{name}, {kind}: {verb}: {problem}")
    assert len(cells) > 100
    return found


def test_verify_finds_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert _matrix(runs, {"verify": READING["verify"]}, tmp_path, step=STEP or 1) == []


def test_verbs_that_read_meet_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert _matrix(runs, READING, tmp_path, step=STEP or 17) == []


def test_verbs_that_write_meet_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert _matrix(runs, WRITING, tmp_path, step=STEP or 41) == []


@pytest.mark.parametrize("name", ["run.json", "chunks/00001.json", "manifest.json"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_field_of_another_type_or_value_is_found(runs: Runs, tmp_path: Path, name: str, sealed: bool) -> None:
    """Without its hash, as an older mmpr wrote it, a file is still read, and no damage to it is a traceback."""
    run = shutil.copytree(runs.sound, tmp_path / "run")
    content = json.loads((run / name).read_bytes())
    if not sealed:
        del content["sha256"]
        (run / name).write_text(json.dumps(content))
        assert not any(name in problem for problem in verify(str(run)))
    for place, changed in list(field_damages(content))[:: 1 if sealed else 3]:
        (run / name).write_text(json.dumps(changed))
        folder = RunFolder(str(run))
        try:
            folder.load_run(), list(folder.commits()), read_manifest(folder)
        except RunFolderError as error:
            assert name in str(error) and "\n" not in str(error)
        else:
            assert not sealed or place == "sha256 gone", place
