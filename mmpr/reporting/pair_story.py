"""Collect everything about a pair or a question: the question, all responses, and why two became a pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmpr.errors import RunFolderError
from mmpr.judging import VERSION
from mmpr.reporting.pair_lookup import find_pair, siblings
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.sample import Pick, read_picks
from mmpr.reporting.verdict_figures import judged_as_paired
from mmpr.run import (
    ChunkCommit,
    RunFolder,
    RunRecord,
    StoredQuestion,
    by_member,
    finished_pairs,
    read_chunk,
    read_verdicts,
)
from mmpr.run.columns import sides_of
from mmpr.run.commit_records import Side
from mmpr.run.run_record import Settings, own_settings, sources_named
from mmpr.run.verdict_counts import VERDICTS
from mmpr.types import TableRow

_MOST_NAMED = 5  # sources


@dataclass(frozen=True, slots=True)
class Story:
    """All data about one pair, or about a question with all its pairs.

    Args:
        row: the pair's row in the dataset, without image bytes; None for a question.
        siblings: all pairs of the question, by rank; may be empty.
        committed: the question and all its responses, with the verdicts that the pairs were made from.
        commit: the commit of its chunk.
        path: the shard that contains the pair; empty for a question.
        selection: the settings of pairing.
    """

    row: TableRow | None
    siblings: list[TableRow]
    committed: StoredQuestion
    commit: ChunkCommit
    path: str
    selection: Settings

    def uses(self) -> Counter[Side]:
        """Return how many of the question's pairs use each response."""
        return Counter(side for pair in self.siblings for side in sides_of(pair))

    def sides(self) -> tuple[Side, ...]:
        """Return the chosen and the rejected side of the pair; empty for a question."""
        return () if self.row is None else sides_of(self.row)


def read_story(url: str, pair_id: str) -> Story:
    """Collect everything about one pair from the run folder alone.

    Args:
        url: local path or fsspec URL of the run folder.
        pair_id: the whole id, or a beginning that no other id has.

    Raises:
        RunFolderError: the folder holds no finished run, is damaged, or has no such pair; the message has a suggestion.
    """
    folder = RunFolder(url)
    run = finished_pairs(folder)
    pick = find_pair(folder, run.shards(), pair_id)
    (row,) = read_picks(folder, [pick], images=False)
    story = _story_of(folder, run.record, row["source"], row["source_row"])
    return replace(story, row=row, siblings=siblings(folder, pick, row["source"], row["source_row"]), path=pick.path)


def read_question_story(url: str, source: str, row: int) -> Story:
    """Collect everything about one question of a finished run, with or without pairs.

    Raises:
        RunFolderError: the folder holds no finished run, is damaged, or has no such question.
    """
    folder = RunFolder(url)
    run = finished_pairs(folder)
    story = _story_of(folder, run.record, source, row)
    pairs = [pair for file in run.shards() for pair in siblings(folder, Pick("", file.path, 0), source, row)]
    return replace(story, siblings=pairs)


def _story_of(folder: RunFolder, run: RunRecord, source: str, row: int) -> Story:
    """Return a question with the verdicts that its pairs were made from, without any pair."""
    commit, committed = _question(folder, source, row)
    selection, version = _selection(run, commit), read_verdicts(folder).judge_version
    (judged,) = judged_as_paired([committed], commit.account.judge, selection, version=version)
    return Story(row=None, siblings=[], committed=judged, commit=commit, path="", selection=selection)


def questions_as_paired(folder: RunFolder) -> Iterator[StoredQuestion]:
    """Yield every committed question without image bytes, with the verdicts that its pairs were made from.

    If the dataset is not cut yet, these are the verdicts that cutting it would use.


    Raises:
        RunFolderError: the folder holds no run, or a committed file is missing or damaged.
    """
    run = folder.load_run()
    version = read_verdicts(folder).judge_version if folder.store.exists(VERDICTS) else VERSION
    for commit in folder.commits():
        rows = read_chunk(folder, commit, images=False)
        yield from judged_as_paired(rows, commit.account.judge, _selection(run, commit), version=version)


def _selection(run: RunRecord, commit: ChunkCommit) -> Settings:
    """Return the run's selection settings, overridden by those of the chunk's source."""
    members = by_member(run.members, [commit])
    identity = next((member.identity for member, _, own in members if own), run.identity)
    # `ChunkAccount.source` is an index into the sources sorted by name
    names = sorted(sources_named(identity))
    own = names[commit.account.source] if names else ""
    return {**run.selection, **own_settings(run.selection).get(own, {})}


def _question(folder: RunFolder, source: str, row: int) -> tuple[ChunkCommit, StoredQuestion]:
    known: set[str] = set()
    for commit in folder.commits():
        known |= {span.source for span in commit.spans}
        # sidecars name the first and last row of a chunk: only chunks that may hold this row are read
        if not any(span.source == source and span.first <= row <= span.last for span in commit.spans):
            continue
        for committed in read_chunk(folder, commit, images=False):
            if (committed.question.source, committed.question.row) == (source, row):
                return commit, committed
    names = visible_line(", ".join(sorted(known)[:_MOST_NAMED]))
    raise RunFolderError(f"{folder.url}: no chunk has row {row} of {visible_line(source)!r}; its sources: {names}")
