"""Generated tokens a second over the course of a run, as the chunks' accounts tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmpr.log import stamp

N_BINS = 60
_PAUSE_S = 60.0  # a shorter hush between chunks is the pool's own, not a stop


@dataclass(frozen=True, slots=True)
class Spell:
    """A chunk's work: when it began (Unix seconds; None where the account does not say), how long it took."""

    began_s: float | None
    seconds: float
    tokens: int


def throughput(spells: Sequence[Spell]) -> dict[str, Any] | None:
    """Rates in up to 60 bins: over time at work where every account says when it began, else chunk by chunk.

    Args:
        spells: of the committed chunks, in source order.

    Returns:
        None where no account has a time. `by` is `clock` or `chunk`; with `clock`, pauses of more than a minute in
        which no chunk was at work (a run that was stopped and went on) are left out of the time and listed.
    """
    timed = [spell for spell in spells if spell.seconds > 0]
    if not timed:
        return None
    if any(spell.began_s is None for spell in timed):
        return _by_chunk(timed)
    return _by_clock([(spell.began_s or 0.0, spell.seconds, spell.tokens) for spell in timed])


def _by_chunk(spells: Sequence[Spell]) -> dict[str, Any]:
    """Neighbouring chunks share a bin where there are more of them than bins."""
    size = -(-len(spells) // N_BINS)
    bins = [spells[first : first + size] for first in range(0, len(spells), size)]
    rates = [sum(s.tokens for s in part) / sum(s.seconds for s in part) for part in bins]
    return {"by": "chunk", "chunks": len(spells), "tokens_per_s": [round(rate, 1) for rate in rates]}


def _by_clock(works: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
    first = min(began for began, _, _ in works)
    pauses = _pauses(works)
    placed = [(_at_work(began, pauses, first), seconds, tokens) for began, seconds, tokens in works]
    total = max(began + seconds for began, seconds, _ in placed)
    width = total / N_BINS
    bins = [0.0] * N_BINS
    for began, seconds, tokens in placed:
        _spread(bins, width, began, seconds, tokens)
    return {
        "by": "clock",
        "began": stamp(first),
        "work_s": round(total, 3),
        "mean_tokens_per_s": round(sum(tokens for _, _, tokens in works) / total, 1),
        "tokens_per_s": [round(n / width, 1) for n in bins],
        "pauses": [
            {"at_s": round(_at_work(end, pauses, first), 1), "pause_s": round(end - start)} for start, end in pauses
        ],
    }


def _pauses(works: Sequence[tuple[float, float, int]]) -> list[tuple[float, float]]:
    """Stretches of the clock in which no chunk was at work."""
    found: list[tuple[float, float]] = []
    until = None
    for began, seconds, _ in sorted(works):
        if until is not None and began - until > _PAUSE_S:
            found.append((until, began))
        until = max(began + seconds, until or 0.0)
    return found


def _at_work(moment: float, pauses: Sequence[tuple[float, float]], first: float) -> float:
    """Seconds of work before a moment."""
    return moment - first - sum(end - start for start, end in pauses if end <= moment)


def _spread(bins: list[float], width: float, began: float, seconds: float, tokens: int) -> None:
    """A chunk's tokens evenly over its time."""
    ended = began + seconds
    for index in range(min(len(bins) - 1, int(began / width)), len(bins)):
        left, right = index * width, (index + 1) * width
        if left >= ended:
            break
        bins[index] += tokens * max(0.0, min(right, ended) - max(left, began)) / seconds
