"""`manifest.json`: the list of a finished run's files. It is written last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpr.errors import RunFolderError
from mmpr.run.commit_records import FileRecord
from mmpr.run.folder import EVENTS, MANIFEST, STARTS, RunFolder
from mmpr.run.json_records import Count, plain, record_of, sealed
from mmpr.run.verifier_files import AnswersRecord


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`; files of an older mmpr have no `logs` and no `run`.

    Args:
        n_chunks: number of chunks that the dataset was cut from.
        files: files of the dataset and its reports, by path.
        logs: files that later starts append to, as they were then: their first `n_bytes` never change.
        run: `RunFolder.fingerprint` at that time.
        own_judges: name and version of each custom judge that gave verdicts.
        answers: the verifier's answers that the dataset was cut with; None if an older mmpr cut it.
    """

    n_chunks: Count
    files: tuple[FileRecord, ...]
    logs: tuple[FileRecord, ...] = ()
    run: str | None = None
    own_judges: tuple[str, ...] = ()
    answers: AnswersRecord | None = None


def write_manifest(
    folder: RunFolder,
    files: Sequence[FileRecord],
    others: Sequence[str] = (),
    *,
    own_judges: tuple[str, ...] = (),
    answers: AnswersRecord | None = None,
) -> None:
    """Write `manifest.json`, the last file of a finished run.

    Args:
        files: what `cut_dataset` wrote.
        others: names of further finished files (card, report); they are hashed here.
        own_judges, answers: as in `Manifest`.
    """
    records = sorted([*files, *(folder.record(name) for name in others)], key=lambda record: record.path)
    logs = [folder.record(name) for name in (STARTS, EVENTS) if folder.store.exists(name)]
    n_chunks, run = len(folder.committed_chunks()), folder.fingerprint()
    manifest = Manifest(n_chunks, tuple(records), tuple(logs), run, own_judges, answers)
    folder.store.write_bytes(MANIFEST, sealed(plain(manifest)))


def read_manifest(folder: RunFolder) -> Manifest | None:
    """Read `manifest.json`; None if the run is not finished.

    Raises:
        RunFolderError: the file cannot be read.
    """
    try:
        manifest = record_of(Manifest, folder.store.read_bytes(MANIFEST))
    except FileNotFoundError:
        return None
    except ValueError as error:
        remedy = f"delete {MANIFEST} and start the run again, it only finishes it"
        raise RunFolderError(f"{folder.url}/{MANIFEST} is damaged ({error}); {remedy}") from error
    # `push` uploads what the manifest names
    if outside := [file.path for file in manifest.files if file.path.startswith("/") or ".." in file.path.split("/")]:
        raise RunFolderError(f"{folder.url}/{MANIFEST} names {outside[0]!r}, outside the run; restore it from a copy")
    return manifest
