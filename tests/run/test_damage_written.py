"""The damage matrix of `test_damage.py` for the verbs that write, on a run that was built."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
from conftest import scripted_engine
from PIL import Image

from mmpr.builder.build_flow import build
from mmpr.settings.config import BuildConfig
from run.damage_matrix import READING, WRITING, Runs, finished, imported, kinds, matrix

STEP = int(os.environ.get("MMPR_DAMAGE_STEP", "0"))


@pytest.fixture(scope="module")
def runs(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("damage")
    source, other = _source(root / "a", 0, 24), _source(root / "b", 100, 8)
    (root / "listed.txt").write_text("A question of a benchmark?\n")
    for name, questions in (("sound", source), ("other", other)):
        _build(questions, str(root / name))
    return finished(root / "sound", other=root / "other", build=functools.partial(_build, source))


def _build(source: Path, out: str) -> None:
    build(_settings(source), out, scripted_engine)


def _source(folder: Path, first: int, n: int) -> Path:
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


def test_verbs_that_write_meet_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert matrix(runs, WRITING, tmp_path, step=STEP or 41) == []


def test_verify_finds_damage_of_a_build(runs: Runs, tmp_path: Path) -> None:
    assert matrix(runs, {"verify": READING["verify"]}, tmp_path, step=STEP or 17) == []


def test_a_build_leaves_files_of_the_kinds_that_an_import_leaves(runs: Runs, tmp_path: Path) -> None:
    assert kinds(runs.sound) == kinds(finished(imported(tmp_path)).sound)
