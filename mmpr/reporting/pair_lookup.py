"""Find a pair by its id, or explain why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmpr.errors import RunFolderError
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.sample import Pick
from mmpr.run import FileRecord, RunFolder
from mmpr.run.dataset import SKIPS
from mmpr.run.parquet_reader import batches
from mmpr.types import TableRow

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_NAMED = 4


def find_pair(folder: RunFolder, shards: Sequence[FileRecord], pair_id: str) -> Pick:
    """Find a pair by its id; the beginning of the id is enough if no other id begins the same.

    Raises:
        RunFolderError: no pair or several pairs match; the message has a suggestion.
    """
    import pyarrow.compute as pc

    found: list[Pick] = []
    for path, first, batch in _ids(folder, shards, ["pair_id"]):
        begins = pc.starts_with(batch.column("pair_id"), pattern=pair_id)
        # an empty id would match every pair
        rows = pc.indices_nonzero(begins).to_pylist() if pair_id else []
        found += [Pick(batch.column("pair_id")[row].as_py(), path, first + row) for row in rows]
        # enough for the message; a short beginning may match a million pairs
        if len(found) > _MOST_NAMED:
            break
    if len(found) == 1:
        return found[0]
    named = f"{folder.url} has no pair {visible_line(pair_id)!r}"
    if found:
        names = ", ".join(pick.pair_id for pick in found[:_MOST_NAMED])
        raise RunFolderError(f"{named}, but several that begin so: {names}{' ..' if len(found) > _MOST_NAMED else ''}")
    raise RunFolderError(f"{named}; {_hint(folder, shards, pair_id)}")


def siblings(folder: RunFolder, pick: Pick, source: str, row: int) -> list[TableRow]:
    """Return all pairs of the picked pair's question, by rank; they are all in one file."""
    import pyarrow.compute as pc

    columns = ["pair_id", "pair_kind", "rank", "chosen_index", "rejected_index", "source", "source_row"]
    rows: list[TableRow] = []
    for batch in batches(folder, pick.path, columns):
        here = pc.and_(pc.equal(batch.column("source"), source), pc.equal(batch.column("source_row"), row))
        rows += batch.filter(here).to_pylist()
    return sorted(rows, key=lambda sibling: sibling["rank"])


def _ids(
    folder: RunFolder, shards: Sequence[FileRecord], columns: list[str]
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Yield batches with their file and the number of their first row."""
    for file in shards:
        first = 0
        for batch in batches(folder, file.path, columns):
            yield file.path, first, batch
            first += batch.num_rows


def _hint(folder: RunFolder, shards: Sequence[FileRecord], given: str) -> str:
    """Return a hint: for a question's id its pairs or its skip, otherwise the most similar pair id."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import extractOne

    # (edit distance, pair id)
    nearest: tuple[int, str] | None = None
    for _, _, batch in _ids(folder, shards, ["pair_id", "question_id"]):
        ids, questions = batch.column("pair_id").to_pylist(), batch.column("question_id").to_pylist()
        of_question = [pair_id for pair_id, question in zip(ids, questions, strict=True) if question == given]
        if of_question:
            return f"it is a question's id, the pairs of which are {', '.join(of_question[:_MOST_NAMED])}"
        name, distance, _ = extractOne(given, ids, scorer=Levenshtein.distance)
        nearest = min(nearest or (distance, name), (distance, name))
    if skipped := _skip_of(folder, given):
        return skipped
    return f"did you mean {nearest[1]}?" if nearest else "it has no pair at all"


def _skip_of(folder: RunFolder, given: str) -> str | None:
    import pyarrow.compute as pc

    for batch in batches(folder, SKIPS, ["question_id", "reason", "detail"]):
        for row in batch.filter(pc.equal(batch.column("question_id"), given)).to_pylist():
            return f"it is the id of a question that was skipped: {row['reason']}, {visible_line(row['detail'])}"
    return None
