"""Compute the generated tokens per second over a run from the chunks' accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmpr.log import stamp

N_BINS = 60
_PAUSE_S = 60.0  # a shorter time without a chunk at work is normal for the pool


@dataclass(frozen=True, slots=True)
class Spell:
    """The work on a chunk: its start (Unix seconds; None if the account has none), its seconds and its tokens."""

    began_s: float | None
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which no chunk was at work: its place in the working time, and its length."""

    at_s: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class ClockThroughput:
    """Tokens per second in bins of equal working time, without pauses; `began` is in UTC."""

    by: Literal["clock"]
    began: str
    work_s: float
    mean_tokens_per_s: float
    tokens_per_s: tuple[float, ...]
    pauses: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class ChunkThroughput:
    """Tokens per second of consecutive chunks."""

    by: Literal["chunk"]
    chunks: int
    tokens_per_s: tuple[float, ...]


Throughput = ClockThroughput | ChunkThroughput


def throughput(spells: Sequence[Spell]) -> Throughput | None:
    """Compute rates in up to 60 bins: over working time if every account has its start, otherwise by chunk.

    Args:
        spells: of the committed chunks, in source order.

    Returns:
        None if no account has a time. Over working time, pauses of more than a minute without a chunk at work (a
        stopped and resumed run) are left out and listed.
    """
    timed = [spell for spell in spells if spell.seconds > 0]
    if not timed:
        return None
    if any(spell.began_s is None for spell in timed):
        return _by_chunk(timed)
    return _by_clock([(spell.began_s or 0.0, spell.seconds, spell.tokens) for spell in timed])


def _by_chunk(spells: Sequence[Spell]) -> ChunkThroughput:
    """Compute rates by chunk; consecutive chunks share a bin if there are more chunks than bins."""
    size = -(-len(spells) // N_BINS)
    bins = [spells[first : first + size] for first in range(0, len(spells), size)]
    rates = [sum(s.tokens for s in part) / sum(s.seconds for s in part) for part in bins]
    return ChunkThroughput("chunk", len(spells), tuple(round(rate, 1) for rate in rates))


def _by_clock(works: Sequence[tuple[float, float, int]]) -> ClockThroughput:
    first = min(began for began, _, _ in works)
    pauses = _pauses(works)
    placed = [(_at_work(began, pauses, first), seconds, tokens) for began, seconds, tokens in works]
    total = max(began + seconds for began, seconds, _ in placed)
    # Chunks overlap in time, so each one's tokens are spread over the bins that it covers.
    width = total / N_BINS
    bins = [0.0] * N_BINS
    for began, seconds, tokens in placed:
        _spread(bins, width, began, seconds, tokens)
    return ClockThroughput(
        by="clock",
        began=stamp(first),
        work_s=round(total, 3),
        mean_tokens_per_s=round(sum(tokens for _, _, tokens in works) / total, 1),
        tokens_per_s=tuple(round(n / width, 1) for n in bins),
        pauses=tuple(Pause(round(_at_work(end, pauses, first), 1), round(end - start)) for start, end in pauses),
    )


def _pauses(works: Sequence[tuple[float, float, int]]) -> list[tuple[float, float]]:
    """Return the times in which no chunk was at work, as (start, end)."""
    found: list[tuple[float, float]] = []
    until = None
    for began, seconds, _ in sorted(works):
        if until is not None and began - until > _PAUSE_S:
            found.append((until, began))
        # chunks overlap: a long one may end after those that began later
        until = max(began + seconds, until or 0.0)
    return found


def _at_work(moment: float, pauses: Sequence[tuple[float, float]], first: float) -> float:
    """Return the seconds of work before a moment."""
    return moment - first - sum(end - start for start, end in pauses if end <= moment)


def _spread(bins: list[float], width: float, began: float, seconds: float, tokens: int) -> None:
    """Distribute a chunk's tokens evenly over its time."""
    ended = began + seconds
    # by rounding, a chunk that begins at the very end may get the number behind the last bin
    for index in range(min(len(bins) - 1, int(began / width)), len(bins)):
        left, right = index * width, (index + 1) * width
        if left >= ended:
            break
        bins[index] += tokens * max(0.0, min(right, ended) - max(left, began)) / seconds
