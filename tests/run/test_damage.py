"""Every kind of file of a run folder x every kind of damage x every verb: found, named, one line; never a traceback.

A verb may also not need the damaged file, or repair it: then it ends as on the sound run, with the same output. All of
`verify` is run, of the other verbs every so many a cell; MMPR_DAMAGE_STEP=1 runs the whole matrix (20 minutes).
`test_damage_written.py` has the verbs that write, and checks that a build leaves files of the kinds that are here.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mmpr.errors import RunFolderError
from mmpr.run import RunFolder, read_manifest
from mmpr.verification import verify
from run.damage_kinds import field_damages
from run.damage_matrix import READING, Runs, finished, imported, matrix

STEP = int(os.environ.get("MMPR_DAMAGE_STEP", "0"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return finished(imported(tmp_path_factory.mktemp("damage")))


def test_verify_finds_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert matrix(runs, {"verify": READING["verify"]}, tmp_path, step=STEP or 1) == []


def test_verbs_that_read_meet_every_damage(runs: Runs, tmp_path: Path) -> None:
    assert matrix(runs, READING, tmp_path, step=STEP or 17) == []


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
