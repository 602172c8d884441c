"""The pass over the commits that comes before the census where a rule needs the whole run."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import replace

from mmpr.run.chunk_reader import read_chunk
from mmpr.run.columns import Recipe, named, pairs_of
from mmpr.run.commit_records import ChunkCommit, Committed
from mmpr.run.exclusion import ExcludeList, Exclusion, question_print, read_list
from mmpr.run.folder import RunFolder
from mmpr.run.selection import ChunkSurvey, Kind, Limits, Selection, pair_key
from mmpr.run.split import ties
from mmpr.types import Skip


def survey_chunk(folder: RunFolder, commit: ChunkCommit, *, recipe: Recipe, limits: Limits) -> ChunkSurvey:
    """What one chunk tells the selection; reads pictures' bytes only to look for them in a list."""
    keys: defaultdict[Kind, array[int]] = defaultdict(lambda: array("Q"))
    tied, found = array("Q"), Exclusion()
    seen: set[str] = set()
    listed = read_list(folder, texts=limits.exclude_texts) if limits.exclude else ExcludeList(())
    recipe = replace(recipe.of_chunk(commit.chunk), selection=Selection(exclusion=found))
    for committed in read_chunk(folder, commit, pictures=listed.has_pictures):
        _look_up(committed, listed, found, seen)
        if limits.validation_fraction and len(committed.pictures) > 1:
            tied.extend(ties([picture.sha256 for picture in committed.pictures]))
        if not limits.counts_pairs:
            continue
        pairs = pairs_of(recipe.view(committed), recipe)
        for pair, name in [] if isinstance(pairs, Skip) else named(committed, pairs):
            keys[committed.question.source, pair.kind].append(pair_key(pair, name))
    return ChunkSurvey(dict(keys), tied, found)


def _look_up(committed: Committed, listed: ExcludeList, found: Exclusion, seen: set[str]) -> None:
    """Remember which of a question's pictures stand in the list, and its text if it does."""
    for picture in committed.pictures:
        if picture.encoded is None or picture.original_sha256 in seen:
            continue
        seen.add(picture.original_sha256)
        if detail := listed.picture(picture.original_sha256, picture.encoded):
            found.add_picture(picture.sha256, detail)
    if detail := listed.question(committed.question.text):
        found.questions[question_print(committed.question.text) or ""] = detail
