"""Which chunk goes to which engine, and who is to blame for a death. Pure: no Ray, no clock.

An engine's death gives its chunks back as they were: a lost node or a passing fault says nothing of them. A chunk that
was there twice when an engine died of itself is suspected: it goes out alone, to any engine, and its questions are
asked in groups, each announced. A group that ends the engine is split; a question that ends it alone twice is left out.
"""

from __future__ import annotations

import heapq
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from mmpr.pool.pool_records import Lease

# A chunk is suspected when the engines that died with it weigh so much: two that died of themselves, or eight that
# could not be reached any more, for which there are better causes.
_SUSPECTED, _OF_ITSELF, _FROM_OUTSIDE = 8, 4, 1
_DEATHS_ALONE = 2  # and so often of a question that was asked alone before that is left out
_FAILURES = 3  # so often a chunk's work is tried that fails for a cause that nobody foresaw


@dataclass(slots=True)
class LeaseHolder:
    """An engine that may take chunks.

    Args:
        number: the engine's.
        n: chunks that it holds.
        lone: whether one of them is a suspect, beside which it takes no other.
        pace: seconds a chunk; None where that is not known yet.
    """

    number: int
    n: int
    lone: bool = False
    pace: float | None = None


class LeaseBook:
    """Chunks that are not done: those still coming, those that wait, and the suspects among them."""

    def __init__(self) -> None:
        self._coming: Iterator[Lease] = iter(())
        self._waiting: deque[Lease] = deque()
        self._suspects: deque[Lease] = deque()
        self._deaths: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._deaths_alone: Counter[tuple[int, int]] = Counter()

    def open(self, leases: Iterable[Lease]) -> None:
        """More chunks, of new work: what is known of the last work's is forgotten."""
        self._coming = iter(leases)
        self._waiting.clear()
        self._suspects.clear()
        self._deaths.clear()
        self._failures.clear()
        self._deaths_alone.clear()

    def look_ahead(self, n: int) -> None:
        """Let so many chunks wait, to know when the last ones are at hand."""
        self._waiting.extend(islice(self._coming, max(0, n - len(self._waiting))))

    @property
    def is_empty(self) -> bool:
        """Whether no chunk waits; after `look_ahead` none comes either."""
        return not (self._waiting or self._suspects)

    def hand_out(self, holders: Sequence[LeaseHolder], room: int) -> Iterator[tuple[int, Lease]]:
        """The number of an engine and the chunk that it takes now, until every engine has `room` of them."""
        free = sorted((holder for holder in holders if not holder.lone), key=lambda holder: holder.n)
        # The emptiest engines take the suspects, each as soon as it holds nothing else. Half of the engines go on with
        # the other chunks, so that a run is not held up by what may be nobody's fault.
        kept = free[: min(len(self._suspects), max(1, len(holders) // 2))] if self._suspects else []
        for holder in kept:
            if holder.n == 0:
                holder.n, holder.lone = 1, True
                yield holder.number, self._suspects.popleft()
        yield from self._hand_out_plain([holder for holder in free if holder not in kept], room)

    def _hand_out_plain(self, takers: Sequence[LeaseHolder], room: int) -> Iterator[tuple[int, Lease]]:
        left: dict[int, int] | None = None  # of the last chunks, by engine
        while self._waiting:
            if left is None and len(self._waiting) < len(takers) * room:
                left = _last_shares(takers, len(self._waiting))
            due = [holder for holder in takers if holder.n < room and (left is None or left[holder.number])]
            if not due:
                return
            holder = min(due, key=lambda holder: holder.n)
            if left is not None:
                left[holder.number] -= 1
            holder.n += 1
            yield holder.number, self._waiting.popleft()
            self.look_ahead(len(self._waiting) + 1)

    def take_back(
        self, leases: Sequence[Lease], words: str, *, from_outside: bool, announced: Callable[[int], tuple[int, ...]]
    ) -> None:
        """The chunks of an engine that died.

        Args:
            leases: what it held.
            words: what is said of its end.
            from_outside: its node was lost or taken away: no chunk's fault.
            announced: chunk -> the rows that were asked when it died, of a suspect.
        """
        again: list[Lease] = []
        for lease in leases:
            if lease.alone:
                self._suspects.append(lease if from_outside else self._blame(lease, words, announced(lease.chunk)))
                continue
            self._deaths[lease.chunk] += _FROM_OUTSIDE if from_outside else _OF_ITSELF
            if self._deaths[lease.chunk] < _SUSPECTED:
                again.append(lease)
            else:
                self._suspects.append(replace(lease, alone=True))
        self._waiting.extendleft(reversed(again))

    def may_fail_again(self, lease: Lease) -> bool:
        """Put a chunk whose work failed at the end of the queue, unless it has failed too often."""
        self._failures[lease.chunk] += 1
        if self._failures[lease.chunk] >= _FAILURES:
            return False
        (self._suspects if lease.alone else self._waiting).append(lease)
        return True

    def _blame(self, lease: Lease, words: str, rows: tuple[int, ...]) -> Lease:
        if len(rows) != 1:
            return replace(lease, suspects=rows or lease.suspects)
        place = (lease.chunk, rows[0])
        self._deaths_alone[place] += 1
        if self._deaths_alone[place] < _DEATHS_ALONE:
            return replace(lease, suspects=rows)
        return replace(lease, suspects=(), quarantined=(*lease.quarantined, (rows[0], words)))


def _last_shares(takers: Sequence[LeaseHolder], n_waiting: int) -> dict[int, int]:
    """How many of the last chunks each engine gets, by its number, when each goes where it ends first."""
    usual = statistics.median([holder.pace for holder in takers if holder.pace] or [1.0])
    taken = shares(n_waiting, [holder.n for holder in takers], [holder.pace or usual for holder in takers])
    return {holder.number: n for holder, n in zip(takers, taken, strict=True)}


def shares(chunks: int, held: Sequence[int], paces: Sequence[float]) -> list[int]:
    """How many of the last chunks each engine should take, so that no engine works long after the others stopped.

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
