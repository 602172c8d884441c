"""Token lengths of both sides of the pairs. Counts per length keep a million pairs exact and small."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tokens = npt.NDArray[np.int64]

_QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
N_BINS = 24
N_GAP_BINS = 25  # odd, so that the middle bin is around 0


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """Token counts of one side; quantiles are values that occur."""

    mean: float
    p10: int
    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class GapSummary:
    """Chosen minus rejected tokens of the pairs."""

    p10: int
    p50: int
    p90: int
    p99: int
    mean_absolute: float


@dataclass(frozen=True, slots=True)
class LengthHistogram:
    """Pairs by tokens of each side, in bins of equal width from 0; the last bin includes longer ones."""

    bin_tokens: int
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GapHistogram:
    """Pairs by chosen minus rejected tokens; the middle bin is centred on 0, the outer bins include larger gaps."""

    bin_tokens: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """Lengths of one kind of pair. If the longer side is mostly chosen, or rejected, a model may learn only length."""

    pairs: int
    chosen_tokens: TokenSummary
    rejected_tokens: TokenSummary
    gap_tokens: GapSummary
    chosen_longer_share: float
    equal_share: float
    rejected_longer_share: float
    histogram: LengthHistogram
    gap_histogram: GapHistogram


@dataclass(slots=True)
class SideLengths:
    """Token counts of the chosen and rejected sides of one kind of pair."""

    chosen: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    gap: Counter[int] = field(default_factory=Counter)  # chosen minus rejected

    def add(self, chosen: Tokens, rejected: Tokens) -> None:
        """Count a batch; both arrays have the same length."""
        _count(self.chosen, chosen)
        _count(self.rejected, rejected)
        _count(self.gap, chosen - rejected)

    def figures(self) -> LengthFigures:
        """Return the report's figures; shares are fractions of the pairs."""
        n_pairs = max(1, self.chosen.total())
        longer = sum(n for gap, n in self.gap.items() if gap > 0) / n_pairs
        equal = self.gap[0] / n_pairs
        mean_absolute = sum(abs(gap) * n for gap, n in self.gap.items()) / n_pairs
        return LengthFigures(
            pairs=self.chosen.total(),
            chosen_tokens=_summary(self.chosen),
            rejected_tokens=_summary(self.rejected),
            gap_tokens=GapSummary(**_quantiles(self.gap), mean_absolute=round(mean_absolute, 2)),
            chosen_longer_share=round(longer, 4),
            equal_share=round(equal, 4),
            rejected_longer_share=round(max(0.0, 1 - longer - equal), 4),
            histogram=_histogram(self.chosen, self.rejected),
            gap_histogram=_gap_histogram(self.gap),
        )


def _count(counter: Counter[int], tokens: Tokens) -> None:
    import numpy as np

    values, counts = np.unique(tokens, return_counts=True)
    counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def quantile(counter: Counter[int], share: float) -> int:
    """Return the smallest value that at least a fraction `share` of all values does not exceed; 0 without values."""
    wanted = math.ceil(share * counter.total())
    seen = 0
    for value in sorted(counter):
        seen += counter[value]
        if seen >= wanted:
            return value
    return 0


def _quantiles(counter: Counter[int]) -> dict[str, int]:
    return {name: quantile(counter, share) for name, share in _QUANTILES.items()}


def _summary(counter: Counter[int]) -> TokenSummary:
    mean = sum(value * n for value, n in counter.items()) / max(1, counter.total())
    return TokenSummary(mean=round(mean, 2), **_quantiles(counter), max=max(counter, default=0))


def _histogram(chosen: Counter[int], rejected: Counter[int]) -> LengthHistogram:
    """Build the histogram up to the larger 99th percentile of the two sides."""
    # One response that repeats itself up to the limit would press all others into the first bins.
    top = max(quantile(chosen, 0.99), quantile(rejected, 0.99), 1)
    width = max(1, math.ceil((top + 1) / N_BINS))
    binned = [[0] * N_BINS, [0] * N_BINS]
    for counts, counter in zip(binned, (chosen, rejected), strict=True):
        for value, n in counter.items():
            counts[min(N_BINS - 1, max(0, value) // width)] += n
    return LengthHistogram(width, *map(tuple, binned))


def _gap_histogram(gap: Counter[int]) -> GapHistogram:
    """Build the histogram with room for 98 % of the gaps, symmetric around 0, so that a tendency is visible."""
    top = max(abs(quantile(gap, 0.01)), abs(quantile(gap, 0.99)), 1)
    width = max(1, math.ceil((2 * top + 1) / N_GAP_BINS)) | 1  # odd, so that 0 is in the middle of the middle bin
    side = N_GAP_BINS // 2
    counts = [0] * N_GAP_BINS
    for value, n in gap.items():
        # gaps beyond the last bin count in it
        counts[side + max(-side, min(side, round(value / width)))] += n
    return GapHistogram(width, tuple(counts))
