"""Count a finished dataset and its commits in one pass each, by columns; no image and no text is read."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from mmpr.reporting.lengths import SideLengths
from mmpr.reporting.sample import Sampler
from mmpr.reporting.throughput import Spell
from mmpr.run import FileRecord, RunFolder
from mmpr.run.parquet_reader import batches, opened
from mmpr.run.run_reader import shards_of, split_of
from mmpr.types import Finish, Stage

if TYPE_CHECKING:
    import pyarrow as pa

_PAIR_COLUMNS = [
    *("pair_id", "pair_kind", "source", "source_row", "rule", "continued", "chosen_tokens", "rejected_tokens"),
]
_RESPONSE_COLUMNS = ["stage", "finish_reason"]


@dataclass(slots=True)
class PairTally:
    """Sums over the rows of the dataset."""

    pairs: int = 0
    paired: int = 0  # number of questions
    n_bytes: int = 0  # uncompressed, from the files' footers
    by_kind: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[str] = field(default_factory=Counter)
    by_continued: Counter[str] = field(default_factory=Counter)
    by_split: Counter[str] = field(default_factory=Counter)
    bytes_by_split: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, SideLengths] = field(default_factory=lambda: defaultdict(SideLengths))
    columns: list[str] = field(default_factory=list)  # a dataset of an older mmpr has fewer
    _last: tuple[str, int] | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of `_PAIR_COLUMNS`."""
        self.pairs += batch.num_rows
        self.paired += self._new_questions(batch)
        self.by_kind.update(counts(batch, "pair_kind"))
        self.by_source.update(counts(batch, "source"))
        self.by_rule.update({short(rule): n for rule, n in counts(batch, "rule").items()})
        self.by_continued.update(counts(batch, "continued"))
        self._measure(batch)

    def _measure(self, batch: pa.RecordBatch) -> None:
        """Count the lengths of pairs if both sides have one."""
        import pyarrow.compute as pc

        # imported responses may have no token counts
        both = pc.and_(batch.column("chosen_tokens").is_valid(), batch.column("rejected_tokens").is_valid())
        known = batch.filter(both)
        kinds = known.column("pair_kind").to_numpy(zero_copy_only=False)
        sides = [known.column(f"{side}_tokens").to_numpy(zero_copy_only=False) for side in ("chosen", "rejected")]
        for kind in set(kinds):
            self.lengths[kind].add(*(side[kinds == kind].astype("int64") for side in sides))

    def _new_questions(self, batch: pa.RecordBatch) -> int:
        """Count the questions that start in a batch: pairs of one question are adjacent in the file."""
        # numpy cannot share the memory of texts, or of numbers with nulls
        sources, rows = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("source", "source_row"))
        if not len(rows):
            return 0
        changes = int(((rows[1:] != rows[:-1]) | (sources[1:] != sources[:-1])).sum())
        changes += (sources[0], int(rows[0])) != self._last
        # the next batch may continue this question
        self._last = sources[-1], int(rows[-1])
        return changes


@dataclass(slots=True)
class ChunkTally:
    """Sums over the committed chunks: every question and response, those without a pair included."""

    questions: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    id_hashes: array[int] = field(default_factory=lambda: array("Q"))  # 8 bytes per question
    by_stage: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    spells: list[Spell] = field(default_factory=list)

    @property
    def repeated_ids(self) -> int:
        """Questions with the id of an earlier one. Allowed, because the place is the identity, but often a mistake."""
        import numpy as np

        hashes = np.frombuffer(self.id_hashes, dtype=np.uint64)
        hashes.sort()  # in place: a copy would double the memory
        return int((hashes[1:] == hashes[:-1]).sum())


def tally_pairs(folder: RunFolder, files: Sequence[FileRecord], sampler: Sampler) -> PairTally:
    """Count the rows of the dataset and offer each to the sampler.

    Raises:
        RunFolderError: a shard is missing or damaged.
    """
    tally = PairTally()
    for file in shards_of(files):
        first = 0
        with opened(folder, file.path) as parquet:
            groups = range(parquet.num_row_groups)
            n_bytes = sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
            tally.columns = tally.columns or list(parquet.schema_arrow.names)
        tally.n_bytes += n_bytes
        split = split_of(file)
        tally.by_split[split] += file.rows
        tally.bytes_by_split[split] += n_bytes
        for batch in batches(folder, file.path, _PAIR_COLUMNS):
            tally.add(batch)
            sampler.offer(batch, file.path, first)
            first += batch.num_rows
    return tally


def tally_chunks(folder: RunFolder) -> ChunkTally:
    """Count the committed questions and responses.

    Raises:
        RunFolderError: a committed file is missing or damaged.
    """
    tally = ChunkTally()
    for commit in map(folder.load_commit, sorted(folder.committed_chunks())):
        tally.tokens.update(commit.account.tokens)
        tally.seconds += commit.account.seconds
        account = commit.account
        tally.spells.append(Spell(account.began, account.seconds, account.tokens.get("generated", 0)))
        _add_questions(tally, batches(folder, commit.questions.path, ["id", "source", "language"]))
        _add_responses(tally, batches(folder, commit.responses.path, _RESPONSE_COLUMNS))
    return tally


def counts(batch: pa.RecordBatch, column: str) -> dict[str, int]:
    """Count each value of a string column; nulls do not count."""
    found = batch.column(column).drop_null().value_counts()
    return {pair["values"]: pair["counts"] for pair in found.to_pylist()}


def ranked(counts: Mapping[str, int]) -> dict[str, int]:
    """Sort by count, then by name, so that equal runs give equal bytes."""
    return dict(sorted(((str(k), n) for k, n in counts.items() if n), key=lambda entry: (-entry[1], entry[0])))


def short(rule: str) -> str:
    """Return a rule's name without its explanation (`truth: no number in 'x'`), so that there are few names."""
    return rule.partition(":")[0].strip()[:60]


def _add_questions(tally: ChunkTally, found: Iterable[pa.RecordBatch]) -> None:
    for batch in found:
        tally.questions += batch.num_rows
        tally.by_source.update(counts(batch, "source"))
        tally.languages.update(counts(batch, "language"))
        ids = (blake2b(name.encode(), digest_size=8).digest() for name in batch.column("id").to_pylist())
        tally.id_hashes.extend(int.from_bytes(digest, "little") for digest in ids)


def _add_responses(tally: ChunkTally, found: Iterable[pa.RecordBatch]) -> None:
    for batch in found:
        tally.by_stage.update(counts(batch, "stage"))
        # a null finish reason is unknown; `counts` leaves it out
        tally.unfinished += sum(n for finish, n in counts(batch, "finish_reason").items() if finish != Finish.STOP)


def tally_skips(folder: RunFolder, path: str) -> tuple[Counter[str], Counter[str]]:
    """Count skipped questions by source and by reason, from the written file."""
    by_source: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for batch in batches(folder, path, ["source", "reason"]):
        by_source.update(counts(batch, "source"))
        by_reason.update(counts(batch, "reason"))
    return by_source, by_reason


def stages(tally: ChunkTally) -> dict[str, int]:
    """Return the number of responses by stage, in the order of the stages."""
    return {stage.value: tally.by_stage[stage.value] for stage in Stage if tally.by_stage[stage.value]}
