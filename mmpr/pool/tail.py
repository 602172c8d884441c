"""Who takes the last chunks: an engine at half the speed would end them long after the others stand empty."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def shares(chunks: int, held: Sequence[int], paces: Sequence[float]) -> list[int]:
    """How many of so many chunks each engine should take for the last of them to end early.

    Each goes to the engine that would end it first, what it holds counted whole (list scheduling on unlike machines;
    Graham 1969, Ibarra and Kim 1977).

    Args:
        chunks: not leased yet.
        held: chunks that each engine works on.
        paces: seconds a chunk of each engine, positive.
    """
    taken = [0] * len(held)
    ends = [((n + 1) * pace, i) for i, (n, pace) in enumerate(zip(held, paces, strict=True))]
    heapq.heapify(ends)
    for _ in range(chunks if ends else 0):
        end, i = ends[0]
        taken[i] += 1
        heapq.heapreplace(ends, (end + paces[i], i))
    return taken
