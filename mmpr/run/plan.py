"""Assign questions to shards. Pure; only counts decide, so that the sizes of chunks do not matter."""

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
    """A question without a pair, with its source and row."""

    source: str
    row: int
    skip: Skip


@dataclass(frozen=True, slots=True)
class ChunkCensus:
    """The result of pairing one committed chunk.

    Args:
        chunk: its number.
        pairs: number of pairs of each question, by place in the chunk.
        n_bytes: bytes of each question's pairs in memory, by place; images count once per pair.
        by_kind: number of pairs by kind.
        skipped: the questions without a pair.
        held_out: places of the questions in the validation split.
        verdicts: counts over all judged responses, those without a pair included.
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
    """Sums over censuses; `questions = paired + skipped` holds, because a census has each question once."""

    questions: int = 0
    paired: int = 0
    skipped: int = 0
    pairs: int = 0
    pairs_by_kind: Counter[str] = field(default_factory=Counter)
    skips_by_reason: Counter[str] = field(default_factory=Counter)
    verdicts: VerdictCounts = field(default_factory=VerdictCounts)

    def add(self, census: ChunkCensus) -> None:
        """Add one census."""
        self.questions += len(census.pairs)
        self.paired += sum(n > 0 for n in census.pairs)
        self.skipped += len(census.skipped)
        self.pairs += sum(census.pairs)
        self.pairs_by_kind.update({kind.value: n for kind, n in census.by_kind.items()})
        self.skips_by_reason.update(row.skip.reason.value for row in census.skipped)
        self.verdicts.add(census.verdicts)


@dataclass(frozen=True, slots=True)
class Slice:
    """The places `first` to `stop` (not included) of one chunk."""

    chunk: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard: slices of chunks in source order.

    The shard has those questions of the slices that are in its split.
    """

    index: int
    n_shards: int
    slices: tuple[Slice, ...]
    split: str = TRAIN

    @property
    def path(self) -> str:
        """The path in the run folder: `data/train-00000-of-00007.parquet`."""
        return f"data/{self.split}-{self.index:05d}-of-{self.n_shards:05d}.parquet"


def plan_shards(censuses: Iterable[ChunkCensus], *, shard_bytes: int = SHARD_BYTES) -> list[ShardPlan]:
    """Fill shards question by question, in source order; a question's pairs stay in one shard.

    Args:
        censuses: in source order; read once, so they may be a generator.
        shard_bytes: limit for a shard's pairs in memory; a single question may exceed it.

    Returns:
        The train shards, then the validation shards, if any. A run without pairs gets one empty train shard.
    """
    filling = {split: _Filling(shard_bytes) for split in (TRAIN, VALIDATION)}
    for census in censuses:
        for place, (pairs, n_bytes) in enumerate(zip(census.pairs, census.n_bytes, strict=True)):
            if pairs:
                filling[VALIDATION if place in census.held_out else TRAIN].add(census.chunk, place, n_bytes)
    filled = {split: one.shards() for split, one in filling.items()}
    # an empty shard still has the schema, so that `load_dataset` opens a run without pairs
    filled[TRAIN] = filled[TRAIN] or [()]
    return [
        ShardPlan(index, len(shards), slices, split)
        for split, shards in filled.items()
        for index, slices in enumerate(shards)
    ]


class _Filling:
    """Collects the shards of one split while its questions are added."""

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
