"""Apply the rules that need the whole run: caps and ratios per source, and the split.

Pure. Only counts and content hashes decide, so that the order of chunks does not matter. One pass over the commits
computes a key for every pair (`ChunkSurvey`). If a source has too many pairs, their keys give the threshold below which
a pair is kept (`Selection`). Memory: at most 8 bytes per pair, and a source with a cap keeps about twice its cap.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from mmpr.options import Needs, option
from mmpr.run.exclusion import Exclusion
from mmpr.run.split import Split, moved_images
from mmpr.types import Pair, PairKind, Question, Reason, Skip, Stage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Kind = tuple[str, PairKind]  # source name, kind
# A key has the rank in its upper 12 bits and 52 bits of the pair's hash below: 13 of the id's 20 hex digits.
_HASH_BITS = 52
_MOST_RANK = (1 << 64 - _HASH_BITS) - 1


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """Which pairs of a run become the dataset, and how it is written; see `mmpr.run.split` and `mmpr.run.exclusion`."""

    max_pairs_per_source: int | None = option(
        None,
        "most pairs of one source, best pair of each question first, each kind in its share; None: no limit",
        ge=1,
    )
    max_format_fraction: float | None = option(
        None,
        "largest fraction of format pairs among a source's correctness and format pairs; None: no limit",
        needs=Needs("pairs.format_pairs", "without format_pairs=true"),
        ge=0,
        le=1,
    )
    validation_fraction: float = option(
        0.0, "fraction of images that form the validation split, with all their questions", ge=0, le=1
    )
    exclude: str | None = option(
        None, "list of a benchmark (.jsonl, .parquet, .txt) whose images and questions are skipped"
    )
    exclude_texts: bool = option(
        True,
        "exclude questions with an equal text too, not only with an equal image",
        needs=Needs("dataset.exclude", "without exclude"),
    )
    embed_images: bool = option(
        True, "store the bytes of images in data/; false: store paths of local files where possible"
    )
    license: str | None = option(
        None, "licence of the dataset, for its card: an id of the Hub, such as cc-by-4.0, or a name of your own"
    )
    pretty_name: str | None = option(None, "title of the dataset, for its card; None: made from the source's name")
    shard_bytes: int = option(500_000_000, "uncompressed bytes of a Parquet file", ge=1)

    @property
    def counts_pairs(self) -> bool:
        """Whether a rule needs the pairs of the whole run."""
        return self.max_pairs_per_source is not None or self.max_format_fraction is not None

    @property
    def selects(self) -> bool:
        """Whether a rule needs the questions of the whole run."""
        return self.counts_pairs or self.validation_fraction > 0 or self.exclude is not None


@dataclass(frozen=True, slots=True)
class ChunkSurvey:
    """What one chunk has: keys of its pairs, images that must stay in one split, and what the exclude list names."""

    keys: dict[Kind, array[int]] = field(default_factory=dict)
    tied: array[int] = field(default_factory=lambda: array("Q"))
    exclusion: Exclusion = field(default_factory=Exclusion)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Pairs of one source and kind are kept if their key is below; without a kept pair, a question is skipped."""

    below: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The decisions about a whole run, applied question by question; small and picklable."""

    thresholds: Mapping[Kind, Threshold] = field(default_factory=dict)
    split: Split = field(default_factory=Split)
    exclusion: Exclusion = field(default_factory=Exclusion)

    def keep(self, question: Question, pairs: Sequence[tuple[Pair, str]]) -> list[Pair] | Skip:
        """Return the pairs that are kept, with new ranks, or a skip if none is.

        `pairs` has at least one, each with its id.
        """
        found = [(pair, name, self.thresholds.get((question.source, pair.kind))) for pair, name in pairs]
        kept = [pair for pair, name, limit in found if limit is None or pair_key(pair, name) < limit.below]
        if kept:
            return [replace(pair, rank=rank) for rank, pair in enumerate(kept)]
        # the best pair is dropped last, so its limit explains the skip
        best = found[0][2]
        assert best is not None
        return Skip(question.id, Stage.SELECT, best.reason, best.detail)


def pair_key(pair: Pair, pair_id: str) -> int:
    """Return 64 bits to sort pairs by: the rank first, then the hash of the id.

    So the best pair of every question is kept before the second pair of any question.
    """
    return min(pair.rank, _MOST_RANK) << _HASH_BITS | int(pair_id[: _HASH_BITS // 4], 16)


class Survey:
    """Collects the surveys of the chunks; their order does not matter."""

    def __init__(self, options: DatasetOptions) -> None:
        self._options = options
        self._counts: defaultdict[str, Counter[PairKind]] = defaultdict(Counter)
        self._keys: defaultdict[Kind, array[int]] = defaultdict(lambda: array("Q"))
        self._tied = array("Q")
        self._exclusion = Exclusion()

    def add(self, chunk: ChunkSurvey) -> None:
        """Add the survey of one chunk; keys that cannot decide any more are dropped."""
        self._tied.extend(chunk.tied)
        for sha256, detail in chunk.exclusion.images.items():
            self._exclusion.add_image(sha256, detail)
        self._exclusion.questions.update(chunk.exclusion.questions)
        most = self._options.max_pairs_per_source
        for (source, kind), keys in chunk.keys.items():
            self._counts[source][kind] += len(keys)
            if most is None and kind is not PairKind.FORMAT:
                continue  # without a cap, only format pairs can be too many
            gathered = self._keys[source, kind]
            gathered.extend(keys)
            # Sorting at twice the cap costs less than keeping the keys in order.
            if most is not None and len(gathered) > 2 * (most + 1):
                self._keys[source, kind] = array("Q", _smallest(gathered, most + 1).tobytes())

    def decide(self) -> Selection:
        """Return the decisions for the collected surveys."""
        fraction = self._options.validation_fraction
        split = Split(fraction, moved_images(self._tied, fraction)) if fraction else Split()
        return Selection(self._thresholds(), split, self._exclusion)

    def _thresholds(self) -> dict[Kind, Threshold]:
        options, thresholds = self._options, {}
        for source, counts in self._counts.items():
            for kind, most in quotas(counts, options).items():
                if most < counts[kind]:
                    # Strictly below the first dropped key: pairs with an equal key are all dropped, so that a cap is
                    # never exceeded.
                    below = int(_smallest(self._keys[source, kind], most + 1)[most])
                    thresholds[source, kind] = Threshold(below, *_words(source, kind, most, counts, options))
        return thresholds


def quotas(counts: Mapping[PairKind, int], options: DatasetOptions) -> dict[PairKind, int]:
    """Return how many pairs of each kind a source keeps: the ratio applies first, then the cap in equal proportions."""
    kept = {kind: counts.get(kind, 0) for kind in PairKind}
    kept[PairKind.FORMAT] = _most_format(kept, options)
    total, most = sum(kept.values()), options.max_pairs_per_source
    if most is None or total <= most:
        return kept
    shares = {kind: n * most // total for kind, n in kept.items()}
    for kind in (PairKind.CORRECTNESS, PairKind.DROPOUT_NTP):  # the rest of the division; never to format pairs
        shares[kind] += min(most - sum(shares.values()), kept[kind] - shares[kind])
    return shares


def _most_format(counts: Mapping[PairKind, int], options: DatasetOptions) -> int:
    """Return how many format pairs are kept. Exact fractions, because 0.1 * 9 / 0.9 is not 1 in floats."""
    n_format = counts[PairKind.FORMAT]
    if options.max_format_fraction is None or options.max_format_fraction >= 1:
        return n_format
    share = Fraction(str(options.max_format_fraction))
    return min(n_format, int(share * counts[PairKind.CORRECTNESS] / (1 - share)))


def _words(
    source: str, kind: PairKind, most: int, counts: Mapping[PairKind, int], options: DatasetOptions
) -> tuple[Reason, str]:
    kept = f"{most:,} of the {counts[kind]:,} {kind} pairs of {source} stay"
    if kind is PairKind.FORMAT and _most_format({k: counts.get(k, 0) for k in PairKind}, options) < counts[kind]:
        return Reason.FORMAT_FRACTION, f"{kept} (max_format_fraction {options.max_format_fraction:g})"
    return Reason.SOURCE_CAP, f"{kept} (max_pairs_per_source {options.max_pairs_per_source:,})"


def _smallest(keys: array[int], n: int) -> npt.NDArray[np.uint64]:
    import numpy as np

    return np.sort(np.frombuffer(keys, dtype=np.uint64))[:n]
