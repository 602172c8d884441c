"""The damage matrix: every kind of file of a run folder x every kind of damage x verbs; what is wrong with a cell."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image
from test_extras import HIDE
from typer.testing import CliRunner, Result

from mmpr.cli.verbs import app
from mmpr.errors import MmprError
from mmpr.run import RunFolder
from mmpr.verification import verify
from run.damage_kinds import damages

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


def _no_build(run: str) -> None:
    raise AssertionError("only a run that was built is built again")


@dataclass(frozen=True)
class Runs:
    """A finished run, another one to merge it with, the id of a pair, and its build, which continues in a folder."""

    sound: Path
    other: Path
    pair: str
    build: Callable[[str], None] = _no_build


def finished(sound: Path, *, other: Path | None = None, build: Callable[[str], None] = _no_build) -> Runs:
    """Leave in a run what a driver that was lost and a damaged chunk leave, and return it with one of its pairs."""
    RunFolder(str(sound)).note_damage({0: "00000000"})
    (sound / "driver.json").write_text(json.dumps({"token": "x", "host": "gone", "pid": 1, "beat_at": 1.0}))
    pair: str = pq.read_table(sound / "data", columns=["pair_id"]).column("pair_id")[0].as_py()
    return Runs(sound, other or sound, pair, build)


def imported(root: Path) -> Path:
    """A run of responses made elsewhere, written by a process without Ray."""
    (root / "listed.txt").write_text("A question of a benchmark?\n")
    rows = []
    for i in range(24):
        Image.new("RGB", (40, 30), (i * 10, 80, 160)).save(root / f"{i}.png")
        responses = [f"Look {j} at it.\n\nFinal Answer: {2 + j % 2}" for j in range(4)]
        rows.append({"id": f"q{i}", "image": f"{i}.png", "question": "How many?", "answer": 2, "responses": responses})
    (root / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = HIDE.format(hidden=("ray",)) + "from mmpr.cli import main; main()"
    words = ["import", "rollouts.jsonl", "--out", "run", "chunk_questions=8", "validation_fraction=0.3"]
    command = [sys.executable, "-c", program, *words, "exclude=listed.txt"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root / "run"


def _call(runs: Runs, words: tuple[str, ...], run: Path, to: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb, paths replaced by the names that they have here."""
    if words == ("build",):
        try:
            runs.build(str(run))
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
        return None  # rebuilt from the run; only what the engines did was in no other file
    if out != sound_out and name not in ADVICE | LOGS:
        return f"other words: {out[:300]!r}"
    if verb == "build" and name.startswith("data/"):
        return None  # a build that finds nothing to do looks at their lengths: `verify` reads them
    if verb in WRITING and _data(to if "{to}" in words else run) != sound_data:
        return "other data"
    return None


def file_names(run: Path) -> list[str]:
    """One file of each kind: of a chunk's the second."""
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return [name for name in names if not re.search(r"(questions|responses|chunks)/0000[02]", name)]


def matrix(runs: Runs, verbs: dict[str, tuple[str, ...]], root: Path, *, step: int = 1) -> list[str]:
    cells = [(name, kind, verb) for name in file_names(runs.sound) for kind, _ in damages(name) for verb in verbs]
    found = []
    for number, (name, kind, verb) in enumerate(cells[::step]):
        problem = _problem(runs, verb, name, kind, root / str(number))
        shutil.rmtree(root / str(number))
        if problem:
            found.append(f"{name}, {kind}: {verb}: {problem}")
    assert len(cells) > 100
    return found


def kinds(run: Path) -> set[str]:
    """The kinds of a run's files: their names, without numbers and attempts."""
    return {re.sub(r"[0-9]+(-[0-9a-f]{8})?", "N", name) for name in file_names(run)}
