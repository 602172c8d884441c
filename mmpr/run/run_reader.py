"""A finished run as everybody reads it: reports, exports, evaluations, merges, the Hub and Python programs."""

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
    """A run whose dataset, or evaluation, was made from all that is committed."""

    folder: RunFolder
    record: RunRecord
    manifest: Manifest

    def shards(self, split: str | None = None) -> list[FileRecord]:
        """The files of the dataset in order, of one split or of both."""
        return [file for name, files in self.by_split().items() if split in (None, name) for file in files]

    def by_split(self) -> dict[str, list[FileRecord]]:
        """The files of the dataset in order, by split: `train`, `validation`."""
        found: dict[str, list[FileRecord]] = {}
        for file in shards_of(self.manifest.files):
            found.setdefault(split_of(file), []).append(file)
        return found


def finished_run(folder: RunFolder) -> FinishedRun:
    """Any finished run.

    Raises:
        RunFolderError: the folder holds no run, or one that is not finished; what it holds is damaged.
    """
    record, manifest = folder.load_run(), read_manifest(folder)
    remedy = "its build's command again finishes it, or `mmpr pair` if all is built"
    if manifest is None:
        raise RunFolderError(f"{folder.url} is not finished (it has no {MANIFEST}); {remedy}")
    if manifest.n_chunks != (now := len(folder.committed_chunks())):
        lost = f"{CHUNKS}/ has {now} chunks, its dataset is of {manifest.n_chunks}"
        raise RunFolderError(f"{folder.url} is not finished: {lost}; {remedy}")
    return FinishedRun(folder, record, manifest)


def finished_pairs(folder: RunFolder) -> FinishedRun:
    """A finished run with pairs.

    Raises:
        RunFolderError: the folder holds no run or an evaluation, or its dataset is not cut from all that was built.
    """
    folder.load_run().refuse_evaluation(folder.url)
    return finished_run(folder)


def shards_of(files: Sequence[FileRecord]) -> list[FileRecord]:
    """The dataset's shards, in order, of the files that were cut."""
    return sorted((file for file in files if file.path.startswith(f"{DATA}/")), key=lambda file: file.path)


def split_of(file: FileRecord) -> str:
    """`train` or `validation`, as a shard's name says."""
    return file.path.removeprefix(f"{DATA}/").partition("-")[0]
