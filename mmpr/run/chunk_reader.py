"""Committed chunks back as records, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.errors import RunFolderError
from mmpr.run import chunk_tables
from mmpr.run.commit_records import ChunkCommit, Committed, StoredImage, StoredResponse
from mmpr.run.folder import RunFolder


def read_chunk(
    folder: RunFolder, commit: ChunkCommit, *, first: int = 0, stop: int | None = None, images: bool = True
) -> Iterator[Committed]:
    """The questions of a chunk in source order, with responses, verdicts and skip.

    Args:
        first, stop: only these places of the chunk, from 0, `stop` not included.
        images: whether to read the images' bytes; without them a chunk costs its texts only.

    Raises:
        RunFolderError: a file is missing or damaged; names it.
    """
    stop = commit.questions.rows if stop is None else stop
    with named_errors(folder, commit.responses.path):
        answered = _responses(folder, commit, first, stop)
    with named_errors(folder, commit.questions.path):
        texts = _questions(folder, commit, chunk_tables.WITHOUT_BYTES)
        rows = [row for place, row in enumerate(texts) if first <= place < stop]
        wanted = {image.sha256 for _, shown, _ in rows for image in shown}
        encoded = read_encoded(folder, commit, wanted) if images else {}
    for place, (question, shown, skip) in enumerate(rows, start=first):
        yield Committed(question, tuple(_with_bytes(p, encoded) for p in shown), answered.get(place, ()), skip)


def _with_bytes(image: StoredImage, encoded: dict[str, bytes]) -> StoredImage:
    found = encoded.get(image.sha256)
    if found is None:
        return image
    p = image
    return StoredImage(p.sha256, p.original_sha256, p.width, p.height, p.format, p.n_bytes, found)


def _responses(folder: RunFolder, commit: ChunkCommit, first: int, stop: int) -> dict[int, tuple[StoredResponse, ...]]:
    found: dict[int, list[StoredResponse]] = {}
    for group in _groups(folder, commit.responses.path, None):
        places = group.column("place").to_pylist()
        wanted = group.filter(pa.array([first <= place < stop for place in places], pa.bool_()))
        for place, stored in chunk_tables.read_responses(wanted):
            found.setdefault(place, []).append(stored)
    return {place: tuple(responses) for place, responses in found.items()}


def _questions(folder: RunFolder, commit: ChunkCommit, columns: list[str]) -> Iterator[chunk_tables.QuestionRow]:
    return chunk_tables.read_questions(_groups(folder, commit.questions.path, columns))


def read_encoded(folder: RunFolder, commit: ChunkCommit, wanted: Set[str]) -> dict[str, bytes]:
    """The bytes of images by sha256; they may stand with an earlier question of the chunk.

    Raises:
        RunFolderError: a file is missing or damaged, or the chunk does not have one of the images.
    """
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    for group in _groups(folder, commit.questions.path, chunk_tables.BYTES_ONLY):
        for shown in group.column("pictures"):
            for child in shown:
                sha256 = child["sha256"].as_py()
                if sha256 in wanted and child["encoded"].is_valid:
                    found[sha256] = child["encoded"].as_py()
    if missing := wanted - found.keys():
        raise _damaged(folder, commit.questions.path, f"it lacks image {min(missing)}")
    return found


def _groups(folder: RunFolder, name: str, columns: list[str] | None) -> Iterator[pa.Table]:
    try:
        with folder.store.open(name) as file, pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, columns=columns)
    except FileNotFoundError:
        raise _damaged(folder, name, "it is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(folder, name, _cause(error)) from error


@contextmanager
def named_errors(folder: RunFolder, name: str) -> Iterator[None]:
    """What goes wrong while a file of the run is read, with its name.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # whole, and yet of other rows
        cause = "it is missing" if isinstance(error, FileNotFoundError) else _cause(error)
        raise RunFolderError(f"{folder.url}/{name} cannot be read: {cause}; `mmpr verify` says what to do") from error


def _cause(error: Exception) -> str:
    """The first line of an error's words; a `KeyError` has just the name of a column, others none at all."""
    words = next((line for line in str(error).splitlines() if line.strip()), "")
    return words if words and not isinstance(error, KeyError) else f"{type(error).__name__} {words}".strip()


def _damaged(folder: RunFolder, name: str, cause: str) -> RunFolderError:
    return RunFolderError(f"{folder.url}/{name} is damaged: {cause}; `mmpr verify` names what to build again")
