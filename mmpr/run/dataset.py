"""Cut the final dataset from the committed chunks in source order.

Its bytes depend only on the committed responses and the recipe, so it can be cut again at any time. `manifest.json` is
deleted first and written last; between these two the folder is an unfinished run that can be resumed.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import IO, Protocol, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.run.chunk_reader import read_chunk
from mmpr.run.columns import TEXTS, DatasetRecipe, arrow_schema, named, pair_rows, pairs_of, side_of, weigh
from mmpr.run.commit_records import ChunkCommit, FileRecord, StoredQuestion
from mmpr.run.exclusion import ExcludeList, Exclusion, question_print, read_list
from mmpr.run.folder import DATA, MANIFEST, RunFolder
from mmpr.run.plan import ChunkCensus, ShardPlan, SkippedRow, Totals, plan_shards
from mmpr.run.selection import ChunkSurvey, DatasetOptions, Kind, Selection, Survey, pair_key
from mmpr.run.split import TRAIN, VALIDATION, ties
from mmpr.run.store import HashingFile
from mmpr.run.verdict_counts import VERDICTS, VerdictCounts, write_verdicts
from mmpr.types import Pair, PairKind, Skip, TableRow

SKIPS = "skips.parquet"  # not in data/: people load `data/*.parquet`, and one file of another schema breaks that
# A row group has about 256 rows, more if they are small: a reader keeps the metadata of all groups in memory. A group
# of more than 2 GiB uncompressed can be written but not read again; the Hub's viewer accepts 100 MB.
GROUP_ROWS, LEAST_GROUP_BYTES = 256, 4 * 2**20
GROUP_BYTES = 96_000_000
_SKIP_ROWS = 65_536
# The chunk sizes of `datasets`: an upload then sends only the pages that changed. `datasets` writes the first footer
# key; the Hub's viewer looks for the second one before it guesses from the sizes of pages.
_CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
_CHUNKING_KEYS = ("content_defined_chunking", "use_content_defined_chunking")
# Columns with their minimum and maximum in the footer, for readers that filter. For long texts these statistics would
# take a quarter of the space of the compressed texts.
_SHORT = [field.name for field in arrow_schema() if not pa.types.is_nested(field.type) and field.name not in TEXTS]
_SKIPS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)

Given = TypeVar("Given")
Made = TypeVar("Made")


class MapTasks(Protocol):
    """Apply a function to values, in any process, and yield the results in the order of the values; `map` is one."""

    def __call__(self, function: Callable[[Given], Made], values: Sequence[Given], /) -> Iterable[Made]: ...


def cut_dataset(
    folder: RunFolder,
    recipe: DatasetRecipe,
    *,
    options: DatasetOptions = DatasetOptions(),
    map_tasks: MapTasks = map,
) -> tuple[Totals, list[FileRecord]]:
    """Write `data/` again: survey the chunks if a rule needs the whole run, count every chunk, plan, write each shard.

    Args:
        recipe: how responses become pairs.
        options: the rules that need the whole run, and the size of shards.
        map_tasks: `map`, or a function that spreads tasks over a cluster; a lazy one keeps memory constant.

    Returns:
        The sums, and the written files; pass these to `write_manifest` when the report is written too.

    Raises:
        RunFolderError: a committed file is missing or damaged.
        LawBroken: a question has neither a pair nor a skip.
    """
    folder.store.delete(MANIFEST)
    totals = Totals()
    chunks = sorted(folder.committed_chunks())  # only the numbers: each task reads the one commit that it needs
    recipe = select_run(folder, recipe, chunks, options, map_tasks)
    with SkipsFile(folder) as skips:
        censuses = map_tasks(lambda chunk: take_census(folder, folder.load_commit(chunk), recipe=recipe), chunks)
        shards = plan_shards(_counted(censuses, totals, skips), shard_bytes=options.shard_bytes)
    files = list(map_tasks(lambda shard: write_shard(folder, shard, recipe=recipe), shards))
    write_verdicts(folder, totals.verdicts)
    files += [skips.record, folder.record(VERDICTS)]
    kept = {file.path for file in files}
    for name in folder.store.names(DATA):  # shards of an earlier cut, which had another number of shards
        if name.startswith((f"{DATA}/{TRAIN}-", f"{DATA}/{VALIDATION}-")) and name not in kept:
            folder.store.delete(name)
    return totals, files


def count_dataset(
    folder: RunFolder,
    recipe: DatasetRecipe,
    *,
    options: DatasetOptions = DatasetOptions(),
    map_tasks: MapTasks = map,
) -> Totals:
    """Return the sums that `cut_dataset` would give; write nothing.

    Raises:
        RunFolderError, LawBroken: as for `cut_dataset`.
    """
    totals = Totals()
    chunks = sorted(folder.committed_chunks())
    recipe = select_run(folder, recipe, chunks, options, map_tasks)
    for census in map_tasks(lambda chunk: take_census(folder, folder.load_commit(chunk), recipe=recipe), chunks):
        totals.add(census)
    return totals


def select_run(
    folder: RunFolder, recipe: DatasetRecipe, chunks: Sequence[int], options: DatasetOptions, map_tasks: MapTasks
) -> DatasetRecipe:
    """Return the recipe with the decisions about the whole run; read nothing if no option needs one."""
    if not options.selects:
        return recipe
    survey = Survey(options)

    def look(chunk: int) -> ChunkSurvey:
        return _survey_chunk(folder, folder.load_commit(chunk), recipe=recipe, options=options)

    for found in map_tasks(look, chunks):
        survey.add(found)
    return replace(recipe, selection=survey.decide())


def _survey_chunk(
    folder: RunFolder, commit: ChunkCommit, *, recipe: DatasetRecipe, options: DatasetOptions
) -> ChunkSurvey:
    """Survey one chunk for the selection; read images' bytes only to compare them with an exclude list."""
    keys: defaultdict[Kind, array[int]] = defaultdict(lambda: array("Q"))
    tied, found = array("Q"), Exclusion()
    listed = read_list(folder, texts=options.exclude_texts) if options.exclude else ExcludeList(())
    own = replace(recipe.of_chunk(commit.chunk), selection=Selection(exclusion=found))
    rows = _looked_up(read_chunk(folder, commit, images=listed.has_images), listed, found)
    for committed, pairs in _paired(rows, own) if options.counts_pairs else ((one, []) for one in rows):
        if options.validation_fraction and len(committed.images) > 1:
            tied.extend(ties([image.sha256 for image in committed.images]))
        for pair, name in [] if isinstance(pairs, Skip) else named(committed, pairs):
            keys[committed.question.source, pair.kind].append(pair_key(pair, name))
    return ChunkSurvey(dict(keys), tied, found)


def _looked_up(rows: Iterable[StoredQuestion], listed: ExcludeList, found: Exclusion) -> Iterator[StoredQuestion]:
    """Yield the questions; add each one's listed images and text to `found` before it is yielded."""
    seen: set[str] = set()
    for committed in rows:
        for image in committed.images:
            # a chunk stores an image's bytes once, with the first question that shows it
            if image.encoded is None or image.original_sha256 in seen:
                continue
            seen.add(image.original_sha256)
            if detail := listed.image(image.original_sha256, image.encoded):
                found.add_image(image.sha256, detail)
        if detail := listed.question(committed.question.text):
            found.questions[question_print(committed.question.text) or ""] = detail
        yield committed


def _paired(
    rows: Iterable[StoredQuestion], recipe: DatasetRecipe
) -> Iterator[tuple[StoredQuestion, list[Pair] | Skip]]:
    """Yield each question under the current judge, with its final pairs or its skip."""
    for committed in map(recipe.view, rows):
        yield committed, pairs_of(committed, recipe)


def take_census(folder: RunFolder, commit: ChunkCommit, *, recipe: DatasetRecipe) -> ChunkCensus:
    """Pair one chunk and count; read no image's bytes."""
    recipe = recipe.of_chunk(commit.chunk)
    n_pairs: list[int] = []
    n_bytes: list[int] = []
    by_kind: Counter[PairKind] = Counter()
    skipped: list[SkippedRow] = []
    held_out: set[int] = set()
    verdicts = VerdictCounts()
    for committed, pairs in _paired(read_chunk(folder, commit, images=False), recipe):
        found = [] if isinstance(pairs, Skip) else pairs
        verdicts.count(committed, found, recipe.kind(committed), recipe.columns.policy, recipe.min_margin)
        if isinstance(pairs, Skip):
            skipped.append(SkippedRow(committed.question.source, committed.question.row, pairs))
            pairs = []
        elif side_of(committed, recipe) == VALIDATION:
            held_out.add(len(n_pairs))
        n_pairs.append(len(pairs))
        # the plan needs sizes before any shard is written, without reading images
        n_bytes.append(sum(weigh(committed, pairs, recipe)))
        by_kind.update(pair.kind for pair in pairs)
    return ChunkCensus(
        chunk=commit.chunk,
        pairs=tuple(n_pairs),
        n_bytes=tuple(n_bytes),
        by_kind=dict(by_kind),
        skipped=tuple(skipped),
        held_out=frozenset(held_out),
        verdicts=verdicts,
    )


def write_shard(folder: RunFolder, shard: ShardPlan, *, recipe: DatasetRecipe) -> FileRecord:
    """Write one shard question by question; memory holds one row group and one chunk's slice."""
    with folder.store.writer(shard.path) as file, _parquet(file) as parquet:
        groups = _RowGroups(parquet)
        for part in shard.slices:
            commit, own = folder.load_commit(part.chunk), recipe.of_chunk(part.chunk)
            rows = read_chunk(folder, commit, first=part.first, stop=part.stop)
            of_split = (committed for committed in rows if side_of(committed, own) == shard.split)
            for committed, pairs in _paired(of_split, own):
                if not isinstance(pairs, Skip):
                    groups.add(committed, pairs, own)
        groups.end()
    return FileRecord(shard.path, file.n_bytes, file.sha256, groups.n_rows)


class SkipsFile:
    """`skips.parquet`, written while the censuses are counted."""

    def __init__(self, folder: RunFolder) -> None:
        self._writer = folder.store.writer(SKIPS)
        self._rows: list[TableRow] = []
        self.n_rows = 0

    def __enter__(self) -> SkipsFile:
        self._file = self._writer.__enter__()
        self._parquet = pq.ParquetWriter(self._file, _SKIPS_SCHEMA, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._parquet.close()
        self._writer.__exit__(kind, error, trace)

    def add(self, skipped: SkippedRow) -> None:
        skip = skipped.skip
        values = (skip.question_id, skipped.source, skipped.row, skip.stage.value, skip.reason.value, skip.detail)
        self._rows.append(dict(zip(_SKIPS_SCHEMA.names, values, strict=True)))
        self.n_rows += 1
        if len(self._rows) >= _SKIP_ROWS:
            self._flush()

    @property
    def record(self) -> FileRecord:
        """The record of the file; valid after the file is closed."""
        return FileRecord(SKIPS, self._file.n_bytes, self._file.sha256, self.n_rows)

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=_SKIPS_SCHEMA))
            self._rows = []


class _RowGroups:
    """Gathers rows into row groups that keep a question's pairs together; the limits are at `GROUP_ROWS`."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self._rows: list[TableRow] = []
        self._n_bytes = 0
        self.n_rows = 0

    def add(self, committed: StoredQuestion, pairs: Sequence[Pair], recipe: DatasetRecipe) -> None:
        weights = weigh(committed, pairs, recipe)
        in_all = self._n_bytes + sum(weights)
        enough = len(self._rows) + len(pairs) > GROUP_ROWS and in_all > LEAST_GROUP_BYTES
        if enough or in_all > GROUP_BYTES:
            self.end()
        for row, n_bytes in zip(pair_rows(committed, pairs, recipe), weights, strict=True):
            # a single question over the limit: the only case in which its pairs are divided
            if self._n_bytes + n_bytes > GROUP_BYTES:
                self.end()
            self._rows.append(row)
            self._n_bytes += n_bytes

    def end(self) -> None:
        """Write the gathered rows as one group."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._parquet.schema)
            self._parquet.write_table(table, row_group_size=len(self._rows))
        self.n_rows += len(self._rows)
        self._rows, self._n_bytes = [], 0


def _parquet(file: HashingFile) -> pq.ParquetWriter:
    """Set everything that shapes bytes explicitly, so that another default of a new pyarrow does not change them."""
    writer = pq.ParquetWriter(
        cast("IO[bytes]", file),
        arrow_schema(),
        # the bytes of `data/` must not change with pyarrow's version
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        dictionary_pagesize_limit=2 * GROUP_BYTES,  # larger than a group: repeated images are always stored once
        write_statistics=_SHORT,
        write_page_index=True,
        use_content_defined_chunking=_CHUNKING,
    )
    writer.add_key_value_metadata(dict.fromkeys(_CHUNKING_KEYS, json.dumps(_CHUNKING)))
    return writer


def _counted(censuses: Iterable[ChunkCensus], totals: Totals, skips: SkipsFile) -> Iterator[ChunkCensus]:
    for census in censuses:
        totals.add(census)
        for skipped in census.skipped:
            skips.add(skipped)
        yield census
