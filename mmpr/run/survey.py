"""The pass over the commits that comes before the census where a rule needs the whole run."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import replace

from mmpr.run.chunk_reader import read_chunk
from mmpr.run.columns import DatasetRecipe, named, pairs_of
from mmpr.run.commit_records import ChunkCommit, Committed
from mmpr.run.exclusion import ExcludeList, Exclusion, question_print, read_list
from mmpr.run.folder import RunFolder
from mmpr.run.selection import ChunkSurvey, Kind, Limits, Selection, pair_key
from mmpr.run.split import ties
from mmpr.types import Skip


def survey_chunk(folder: RunFolder, commit: ChunkCommit, *, recipe: DatasetRecipe, limits: Limits) -> ChunkSurvey:
    """What one chunk tells the selection; reads images' bytes only to look for them in a list."""
    keys: defaultdict[Kind, array[int]] = defaultdict(lambda: array("Q"))
    tied, found = array("Q"), Exclusion()
    seen: set[str] = set()
    listed = read_list(folder, texts=limits.exclude_texts) if limits.exclude else ExcludeList(())
    recipe = replace(recipe.of_chunk(commit.chunk), selection=Selection(exclusion=found))
    for committed in read_chunk(folder, commit, images=listed.has_images):
        _look_up(committed, listed, found, seen)
        if limits.validation_fraction and len(committed.images) > 1:
            tied.extend(ties([image.sha256 for image in committed.images]))
        if not limits.counts_pairs:
            continue
        pairs = pairs_of(recipe.view(committed), recipe)
        for pair, name in [] if isinstance(pairs, Skip) else named(committed, pairs):
            keys[committed.question.source, pair.kind].append(pair_key(pair, name))
    return ChunkSurvey(dict(keys), tied, found)


def _look_up(committed: Committed, listed: ExcludeList, found: Exclusion, seen: set[str]) -> None:
    """Remember which of a question's images stand in the list, and its text if it does."""
    for image in committed.images:
        if image.encoded is None or image.original_sha256 in seen:
            continue
        seen.add(image.original_sha256)
        if detail := listed.image(image.original_sha256, image.encoded):
            found.add_image(image.sha256, detail)
    if detail := listed.question(committed.question.text):
        found.questions[question_print(committed.question.text) or ""] = detail
