"""Lengths of both sides of the pairs, kept as counts of whole tokens: exact, and as small for a million pairs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tokens = npt.NDArray[np.int64]

_QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
N_BINS = 24
N_GAP_BINS = 25


@dataclass(slots=True)
class SideLengths:
    """Token counts of the chosen and rejected sides of one kind of pair."""

    chosen: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    gap: Counter[int] = field(default_factory=Counter)  # chosen minus rejected

    def add(self, chosen: Tokens, rejected: Tokens) -> None:
        """Count a batch; both arrays are of one length."""
        _count(self.chosen, chosen)
        _count(self.rejected, rejected)
        _count(self.gap, chosen - rejected)

    def to_json(self) -> dict[str, Any]:
        """Shares are of the pairs. A share of longer chosen sides far from a half is a shortcut that training finds."""
        n_pairs = self.chosen.total()
        longer = sum(n for gap, n in self.gap.items() if gap > 0) / max(1, n_pairs)
        equal = self.gap[0] / max(1, n_pairs)
        return {
            "pairs": n_pairs,
            "chosen_tokens": _summary(self.chosen),
            "rejected_tokens": _summary(self.rejected),
            "gap_tokens": {
                **{name: quantile(self.gap, share) for name, share in _QUANTILES.items()},
                "mean_absolute": round(sum(abs(gap) * n for gap, n in self.gap.items()) / max(1, n_pairs), 2),
            },
            "chosen_longer_share": round(longer, 4),
            "equal_share": round(equal, 4),
            "rejected_longer_share": round(max(0.0, 1 - longer - equal), 4),
            "histogram": _histogram(self.chosen, self.rejected),
            "gap_histogram": _gap_histogram(self.gap),
        }


def _count(counter: Counter[int], tokens: Tokens) -> None:
    import numpy as np

    values, counts = np.unique(tokens, return_counts=True)
    counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def quantile(counter: Counter[int], share: float) -> int:
    """The smallest value that at least `share` of all values do not pass; 0 where there are none."""
    wanted = math.ceil(share * counter.total())
    seen = 0
    for value in sorted(counter):
        seen += counter[value]
        if seen >= wanted:
            return value
    return 0


def _summary(counter: Counter[int]) -> dict[str, float]:
    mean = sum(value * n for value, n in counter.items()) / max(1, counter.total())
    quantiles = {name: quantile(counter, share) for name, share in _QUANTILES.items()}
    return {"mean": round(mean, 2), **quantiles, "max": max(counter, default=0)}


def _histogram(chosen: Counter[int], rejected: Counter[int]) -> dict[str, Any]:
    """Bins of equal width up to the longer side's 99th percentile; the last one also holds what is beyond."""
    top = max(quantile(chosen, 0.99), quantile(rejected, 0.99), 1)
    width = max(1, math.ceil((top + 1) / N_BINS))
    binned = [[0] * N_BINS, [0] * N_BINS]
    for counts, counter in zip(binned, (chosen, rejected), strict=True):
        for value, n in counter.items():
            counts[min(N_BINS - 1, max(0, value) // width)] += n
    return {"bin_tokens": width, "chosen": binned[0], "rejected": binned[1]}


def _gap_histogram(gap: Counter[int]) -> dict[str, Any]:
    """Bins of equal width around a middle one that is centred on 0; the outermost also hold what is beyond.

    They reach as far as 98 % of the gaps do, to both sides alike: a leaning heap is a leaning heap at first sight.
    """
    top = max(abs(quantile(gap, 0.01)), abs(quantile(gap, 0.99)), 1)
    width = max(1, math.ceil((2 * top + 1) / N_GAP_BINS)) | 1  # odd, so that 0 is in the middle of the middle bin
    side = N_GAP_BINS // 2
    counts = [0] * N_GAP_BINS
    for value, n in gap.items():
        counts[side + max(-side, min(side, round(value / width)))] += n
    return {"bin_tokens": width, "counts": counts}
