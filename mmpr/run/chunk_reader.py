"""Reads committed chunks back as records, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace

import pyarrow as pa

from mmpr.run import chunk_tables
from mmpr.run.commit_records import ChunkCommit, StoredQuestion, StoredResponse
from mmpr.run.folder import RunFolder
from mmpr.run.parquet_reader import named_errors, row_groups
from mmpr.run.verifier_files import read_answers, with_answers


def read_chunk(
    folder: RunFolder,
    commit: ChunkCommit,
    *,
    first: int = 0,
    stop: int | None = None,
    images: bool = True,
    answers: bool = True,
) -> Iterator[StoredQuestion]:
    """Yield the questions of a chunk in source order, with responses, verdicts, verifier answers and skip.

    Args:
        first, stop: the range of places to read, counted from 0; `stop` is not included.
        answers: whether to read what a verifier answered, if one was asked.
        images: whether to read the images' bytes. False reads the texts only.

    Raises:
        RunFolderError: a file is missing or damaged; the message names it.
    """
    stop = commit.questions.rows if stop is None else stop
    answered: dict[int, list[StoredResponse]] = {}
    with named_errors(folder, commit.responses.path):
        for _, group in row_groups(folder, commit.responses.path):
            places = group.column("place").to_pylist()
            wanted = group.filter(pa.array([first <= place < stop for place in places], pa.bool_()))
            for place, stored in chunk_tables.read_responses(wanted):
                answered.setdefault(place, []).append(stored)
    with named_errors(folder, commit.questions.path):
        groups = row_groups(folder, commit.questions.path, chunk_tables.WITHOUT_BYTES)
        texts = chunk_tables.read_questions(group for _, group in groups)
        rows = [row for place, row in enumerate(texts) if first <= place < stop]
        shown = {image.sha256 for _, images_of_row, _ in rows for image in images_of_row}
        encoded = read_encoded(folder, commit, shown) if images else {}
    opinions = read_answers(folder, commit) if answers else {}
    # Outside `named_errors`: an exception of the code that consumes this generator is no read error of the file.
    for place, (question, found, skip) in enumerate(rows, start=first):
        whole = tuple(replace(image, encoded=encoded.get(image.sha256)) for image in found)
        committed = StoredQuestion(question, whole, tuple(answered.get(place, ())), skip)
        yield with_answers(committed, place, opinions) if opinions else committed


def read_encoded(folder: RunFolder, commit: ChunkCommit, wanted: Set[str]) -> dict[str, bytes]:
    """Return the bytes of images by sha256. A chunk stores them with the first question that shows the image.

    Raises:
        RunFolderError: a file is missing or damaged, or the chunk does not have one of the images.
    """
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    with named_errors(folder, commit.questions.path):
        for _, group in row_groups(folder, commit.questions.path, chunk_tables.BYTES_ONLY):
            for shown in group.column("pictures"):
                for child in shown:
                    sha256 = child["sha256"].as_py()
                    if sha256 in wanted and child["encoded"].is_valid:
                        found[sha256] = child["encoded"].as_py()
        if missing := wanted - found.keys():
            raise ValueError(f"image {min(missing)} is missing")
    return found
