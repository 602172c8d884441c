"""Take committed chunks of other runs into a folder, and find the rows that two runs share."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from mmpr.run.commit_records import ChunkCommit, FileRecord
from mmpr.run.folder import QUESTIONS, RESPONSES, RunFolder
from mmpr.run.parquet_reader import opened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ASKED = ["source", "row", "text", "choices", "answer", "pictures.list.element.sha256"]
_BATCH_ROWS = 8192


def take_chunk(
    folder: RunFolder, other: RunFolder, commit: ChunkCommit, *, chunk: int, renamed: Mapping[str, str]
) -> ChunkCommit:
    """Commit another run's chunk under a number of this run.

    The files become hard links if the disk supports them. If a source has another name here, they are written again,
    one row group at a time.

    Args:
        folder: receives the chunk.
        other: has the chunk; it is not changed.
        commit: the chunk in `other`.
        chunk: its number in `folder`.
        renamed: source names of `other`, with their names here.

    Raises:
        RunFolderError: a file cannot be read or written.
        CommitRefused: this chunk number is committed already.
    """
    renamed = renamed if any(span.source in renamed for span in commit.spans) else {}
    name = f"{chunk:05d}-{commit.attempt}.parquet"
    taken = replace(
        commit,
        chunk=chunk,
        spans=tuple(replace(span, source=renamed.get(span.source, span.source)) for span in commit.spans),
        questions=_take_file(folder, other, commit.questions, f"{QUESTIONS}/{name}", renamed),
        responses=_take_file(folder, other, commit.responses, f"{RESPONSES}/{name}", renamed),
    )
    folder.publish(taken)
    return taken


def _take_file(
    folder: RunFolder, other: RunFolder, file: FileRecord, name: str, renamed: Mapping[str, str]
) -> FileRecord:
    if not renamed:
        folder.store.copy_from(other.store, file.path, to=name)
        return replace(file, path=name)
    with opened(other, file.path) as parquet:
        groups = (parquet.read_row_group(group) for group in range(parquet.num_row_groups))
        return folder.write_table(name, parquet.schema_arrow, (_with_names(group, renamed) for group in groups))


def _with_names(rows: pa.Table, renamed: Mapping[str, str]) -> pa.Table:
    at = rows.schema.get_field_index("source")
    names = [renamed.get(name, name) for name in rows.column(at).to_pylist()]
    return rows.set_column(at, rows.schema.field(at), pa.array(names, pa.string()))


@dataclass(frozen=True, slots=True)
class HeldRows:
    """The rows of one source in a run, ascending, each with a hash of its question: 16 bytes per row."""

    rows: npt.NDArray[np.int64]
    prints: npt.NDArray[np.uint64]

    def shared(self, other: HeldRows) -> tuple[int, int | None]:
        """Return the number of rows in both, and the first of them with the same question in both, or None."""
        import numpy as np

        shared, mine, theirs = np.intersect1d(self.rows, other.rows, assume_unique=True, return_indices=True)
        equal = shared[self.prints[mine] == other.prints[theirs]]
        return len(shared), int(equal[0]) if len(equal) else None


def held_rows(folder: RunFolder, commits: Iterable[ChunkCommit], sources: Collection[str]) -> dict[str, HeldRows]:
    """Collect the rows of some sources; images are compared by their hashes and are not read.

    Raises:
        RunFolderError: a file is missing or damaged.
    """
    import numpy as np

    found = {source: (array("q"), array("Q")) for source in sources}
    for commit in commits:
        if found.keys().isdisjoint(span.source for span in commit.spans):
            continue
        for source, row, asked in _questions(folder, commit):
            if source in found:
                found[source][0].append(row)
                found[source][1].append(asked)
    held = {}
    for source, (numbers, prints) in found.items():
        rows, first = np.unique(np.frombuffer(numbers, np.int64), return_index=True)
        held[source] = HeldRows(rows, np.frombuffer(prints, np.uint64)[first])
    return held


def _questions(folder: RunFolder, commit: ChunkCommit) -> Iterator[tuple[str, int, int]]:
    """Yield (source, row, print) of each question; an unreadable row gets a print that no other row has."""
    with opened(folder, commit.questions.path) as parquet:
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=_ASKED):
            for asked in batch.to_pylist():
                source, row = asked.pop("source"), asked.pop("row")
                # without a text the row could not be read: its own place, which no other row has, is hashed
                what = json.dumps(asked if asked["text"] else [folder.url, source, row], ensure_ascii=True)
                digest = hashlib.blake2b(what.encode(), digest_size=8).digest()
                yield source, row, int.from_bytes(digest, "big")
