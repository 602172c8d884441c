"""Which questions go to which shard: pure, decided by counts alone, the same whatever the chunks were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mmpr.run.split import TRAIN, VALIDATION
from mmpr.run.verdict_counts import VerdictCounts
from mmpr.types import PairKind, Skip

SHARD_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A question without a pair, with its place."""

    source: str
    row: int
    skip: Skip


@dataclass(frozen=True, slots=True)
class ChunkCensus:
    """What pairing gives for one committed chunk.

    Args:
        chunk: its number.
        pairs: how many pairs each question has, by place in the chunk.
        n_bytes: what those pairs take in memory, images repeated, by place.
        by_kind: pairs of the chunk.
        skipped: its questions without a pair.
        held_out: places of its questions that belong to the validation split.
        verdicts: of all its judged responses, those without a pair too.
    """

    chunk: int
    pairs: tuple[int, ...]
    n_bytes: tuple[int, ...]
    by_kind: dict[PairKind, int]
    skipped: tuple[SkippedRow, ...]
    held_out: frozenset[int] = frozenset()
    verdicts: VerdictCounts = field(default_factory=VerdictCounts)


@dataclass(slots=True)
class Totals:
    """Sums over the censuses; `questions = paired + skipped` holds by how a census is taken."""

    questions: int = 0
    paired: int = 0
    skipped: int = 0
    pairs: int = 0
    pairs_by_kind: Counter[str] = field(default_factory=Counter)
    skips_by_reason: Counter[str] = field(default_factory=Counter)
    verdicts: VerdictCounts = field(default_factory=VerdictCounts)

    def add(self, census: ChunkCensus) -> None:
        """Count one more chunk."""
        self.questions += len(census.pairs)
        self.paired += sum(n > 0 for n in census.pairs)
        self.skipped += len(census.skipped)
        self.pairs += sum(census.pairs)
        self.pairs_by_kind.update({kind.value: n for kind, n in census.by_kind.items()})
        self.skips_by_reason.update(row.skip.reason.value for row in census.skipped)
        self.verdicts.add(census.verdicts)


@dataclass(frozen=True, slots=True)
class Slice:
    """Places `first` to `stop` (not included) of one chunk."""

    chunk: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard of the dataset: slices of chunks in source order, of which it has the questions of its split."""

    index: int
    n_shards: int
    slices: tuple[Slice, ...]
    split: str = TRAIN

    @property
    def path(self) -> str:
        """`data/train-00000-of-00007.parquet`."""
        return f"data/{self.split}-{self.index:05d}-of-{self.n_shards:05d}.parquet"


def plan_shards(censuses: Iterable[ChunkCensus], *, shard_bytes: int = SHARD_BYTES) -> list[ShardPlan]:
    """Fill shards question by question, in source order; a question's pairs are never divided.

    Args:
        censuses: in source order; read once, so that they may be streamed.
        shard_bytes: most that a shard's pairs take in memory; a question alone may take more.

    Returns:
        The train shards, then those of validation where it has any. A run without a pair has one without a slice.
    """
    filling = {split: _Filling(shard_bytes) for split in (TRAIN, VALIDATION)}
    for census in censuses:
        for place, (pairs, n_bytes) in enumerate(zip(census.pairs, census.n_bytes, strict=True)):
            if pairs:
                filling[VALIDATION if place in census.held_out else TRAIN].add(census.chunk, place, n_bytes)
    filled = {split: one.shards() for split, one in filling.items()}
    filled[TRAIN] = filled[TRAIN] or [()]
    return [
        ShardPlan(index, len(shards), slices, split)
        for split, shards in filled.items()
        for index, slices in enumerate(shards)
    ]


class _Filling:
    """The shards of one split, as its questions come."""

    def __init__(self, shard_bytes: int) -> None:
        self._shard_bytes = shard_bytes
        self._shards: list[tuple[Slice, ...]] = []
        self._current: list[Slice] = []
        self._n_bytes = 0

    def add(self, chunk: int, place: int, n_bytes: int) -> None:
        if self._current and self._n_bytes + n_bytes > self._shard_bytes:
            self._shards.append(tuple(self._current))
            self._current, self._n_bytes = [], 0
        self._n_bytes += n_bytes
        if self._current and self._current[-1].chunk == chunk:
            self._current[-1] = replace(self._current[-1], stop=place + 1)
        else:
            self._current.append(Slice(chunk, place, place + 1))

    def shards(self) -> list[tuple[Slice, ...]]:
        return [*self._shards, tuple(self._current)] if self._current else self._shards
