"""A finished run, as the verbs that look at it take it."""

from __future__ import annotations

from mmpr.errors import RunFolderError
from mmpr.reporting.tally import shards_of
from mmpr.run import FileRecord, RunFolder, read_manifest
from mmpr.run.folder import CHUNKS, MANIFEST

_MEND = "its build's command again finishes it, or `mmpr pair` if all is built"


def finished_files(folder: RunFolder) -> list[FileRecord]:
    """Every file that the manifest of a run with pairs names.

    Raises:
        RunFolderError: the folder holds no run or an evaluation, or its dataset is not cut from all that was built.
    """
    folder.load_run().refuse_evaluation(folder.url)
    return _files(folder)


def whole_files(folder: RunFolder) -> list[FileRecord]:
    """The same of any run.

    Raises:
        RunFolderError: the folder holds no run, or one that is not finished.
    """
    folder.load_run()
    return _files(folder)


def _files(folder: RunFolder) -> list[FileRecord]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"{folder.url} is not finished (it has no {MANIFEST}); {_MEND}")
    if manifest.n_chunks != (now := len(folder.committed_chunks())):
        lost = f"{CHUNKS}/ has {now} chunks, its dataset is of {manifest.n_chunks}"
        raise RunFolderError(f"{folder.url}: {lost}; {_MEND}")
    return list(manifest.files)


def finished_shards(folder: RunFolder) -> list[FileRecord]:
    """The files of `data/`.

    Raises:
        RunFolderError: as for `finished_files`.
    """
    return shards_of(finished_files(folder))
