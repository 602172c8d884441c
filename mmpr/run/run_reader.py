"""Read a finished run: the one reader for reports, exports, evaluations, merges, the Hub and the Python API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpr.errors import RunFolderError
from mmpr.run.commit_records import FileRecord
from mmpr.run.folder import CHUNKS, DATA, MANIFEST, RunFolder
from mmpr.run.manifest import Manifest, read_manifest
from mmpr.run.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run with a manifest: its dataset or evaluation contains every committed chunk."""

    folder: RunFolder
    record: RunRecord
    manifest: Manifest

    def shards(self, split: str | None = None) -> list[FileRecord]:
        """Return the dataset's files in order, of one split or of all."""
        return [file for name, files in self.by_split().items() if split in (None, name) for file in files]

    def by_split(self) -> dict[str, list[FileRecord]]:
        """Return the dataset's files in order, by split: `train`, `validation`."""
        found: dict[str, list[FileRecord]] = {}
        for file in shards_of(self.manifest.files):
            found.setdefault(split_of(file), []).append(file)
        return found


def finished_run(folder: RunFolder) -> FinishedRun:
    """Open any finished run.

    Raises:
        RunFolderError: the folder holds no run, the run is not finished, or its files are damaged.
    """
    record, manifest = folder.load_run(), read_manifest(folder)
    remedy = "run its build command again, or `mmpr pair` if all is built"
    if manifest is None:
        raise RunFolderError(f"{folder.url} is not finished (it has no {MANIFEST}); {remedy}")
    # chunks that were committed after the dataset was cut, or have been deleted
    if manifest.n_chunks != (now := len(folder.committed_chunks())):
        lost = f"{CHUNKS}/ has {now} chunks, its dataset is of {manifest.n_chunks}"
        raise RunFolderError(f"{folder.url} is not finished: {lost}; {remedy}")
    return FinishedRun(folder, record, manifest)


def finished_pairs(folder: RunFolder) -> FinishedRun:
    """Open a finished run with pairs.

    Raises:
        RunFolderError: the folder holds no run or an evaluation, or the dataset does not contain every committed chunk.
    """
    folder.load_run().refuse_evaluation(folder.url)
    return finished_run(folder)


def shards_of(files: Sequence[FileRecord]) -> list[FileRecord]:
    """Return those of the manifest's files that are shards of the dataset, in order."""
    return sorted((file for file in files if file.path.startswith(f"{DATA}/")), key=lambda file: file.path)


def split_of(file: FileRecord) -> str:
    """Return `train` or `validation` from the shard's file name."""
    return file.path.removeprefix(f"{DATA}/").partition("-")[0]
