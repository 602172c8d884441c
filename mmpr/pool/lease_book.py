"""Decide which engine gets which chunk, and which question is to blame for an engine's death. Pure: no Ray, no clock.

When an engine dies, its chunks are leased again unchanged: a lost node or a temporary fault proves nothing about them.
A chunk that was there at two deaths of the engine's own is suspected. It is leased alone, to any engine, and asks its
questions in announced groups. A group that ends the engine is split; a question that, asked alone, ends it twice is
left out.
"""

from __future__ import annotations

import heapq
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from mmpr.pool.pool_records import Lease

# A chunk is suspected when its deaths reach this weight: two engines that died by themselves, or eight that became
# unreachable, which usually has other causes.
_SUSPECTED, _OF_ITSELF, _FROM_OUTSIDE = 8, 4, 1
_DEATHS_ALONE = 2  # a question asked alone is left out after this many deaths
_FAILURES = 3  # a chunk's work is tried this often if it fails with an unexpected error


@dataclass(slots=True)
class LeaseHolder:
    """An engine that may take chunks.

    Args:
        number: number of the engine.
        n: chunks that it holds.
        lone: whether it holds a suspected chunk; then it gets no other.
        pace: seconds per chunk; None if not known yet.
    """

    number: int
    n: int
    lone: bool = False
    pace: float | None = None


class LeaseBook:
    """Chunks that are not done: those not read yet, those that wait, and the suspected ones."""

    def __init__(self) -> None:
        self._coming: Iterator[Lease] = iter(())
        self._waiting: deque[Lease] = deque()
        self._suspects: deque[Lease] = deque()
        self._deaths: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._deaths_alone: Counter[tuple[int, int]] = Counter()

    def open(self, leases: Iterable[Lease]) -> None:
        """Start new work with these chunks; forget everything about the last work."""
        self._coming = iter(leases)
        self._waiting.clear()
        self._suspects.clear()
        self._deaths.clear()
        self._failures.clear()
        self._deaths_alone.clear()

    def look_ahead(self, n: int) -> None:
        """Read ahead until `n` chunks wait, so that the book knows when the last ones are near."""
        self._waiting.extend(islice(self._coming, max(0, n - len(self._waiting))))

    @property
    def is_empty(self) -> bool:
        """Whether no chunk waits. After `look_ahead`, no further chunk exists either."""
        return not (self._waiting or self._suspects)

    def hand_out(self, holders: Sequence[LeaseHolder], room: int) -> Iterator[tuple[int, Lease]]:
        """Yield (engine number, chunk) until every engine holds `room` chunks or none is left."""
        free = sorted((holder for holder in holders if not holder.lone), key=lambda holder: holder.n)
        # The emptiest engines get the suspected chunks, each as soon as it holds nothing else. Half of the engines go
        # on with the other chunks: a suspicion may be wrong, and the run should not wait for it.
        kept = free[: min(len(self._suspects), max(1, len(holders) // 2))] if self._suspects else []
        for holder in kept:
            if holder.n == 0:
                holder.n, holder.lone = 1, True
                yield holder.number, self._suspects.popleft()
        yield from self._hand_out_plain([holder for holder in free if holder not in kept], room)

    def _hand_out_plain(self, takers: Sequence[LeaseHolder], room: int) -> Iterator[tuple[int, Lease]]:
        left: dict[int, int] | None = None  # how many of the last chunks each engine gets
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
        """Take back the chunks of an engine that died.

        Args:
            leases: what it held.
            words: the engine's last message.
            from_outside: its node was lost or preempted, so no chunk caused it.
            announced: returns the rows that a suspected chunk had announced last.
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
        """Put a chunk whose work failed at the end of the queue, and return False if it has failed too often."""
        self._failures[lease.chunk] += 1
        if self._failures[lease.chunk] >= _FAILURES:
            return False
        (self._suspects if lease.alone else self._waiting).append(lease)
        return True

    def _blame(self, lease: Lease, words: str, rows: tuple[int, ...]) -> Lease:
        if len(rows) != 1:
            # no announced row, or a group: ask its rows again in smaller groups (`Lease.groups`)
            return replace(lease, suspects=rows or lease.suspects)
        place = (lease.chunk, rows[0])
        self._deaths_alone[place] += 1
        if self._deaths_alone[place] < _DEATHS_ALONE:
            return replace(lease, suspects=rows)
        return replace(lease, suspects=(), quarantined=(*lease.quarantined, (rows[0], words)))


def _last_shares(takers: Sequence[LeaseHolder], n_waiting: int) -> dict[int, int]:
    """Return by engine number how many of the last chunks it gets, if each goes where it is done first."""
    usual = statistics.median([holder.pace for holder in takers if holder.pace] or [1.0])
    taken = shares(n_waiting, [holder.n for holder in takers], [holder.pace or usual for holder in takers])
    return {holder.number: n for holder, n in zip(takers, taken, strict=True)}


def shares(chunks: int, held: Sequence[int], paces: Sequence[float]) -> list[int]:
    """Divide the last chunks among the engines, so that no engine works long after the others have stopped.

    Each chunk goes to the engine that would finish it first; a held chunk counts as not started (list scheduling on
    unrelated machines; Graham 1969, Ibarra and Kim 1977).

    Args:
        chunks: number of chunks that are not leased yet.
        held: number of chunks that each engine holds.
        paces: seconds per chunk of each engine, positive.
    """
    taken = [0] * len(held)
    ends = [((n + 1) * pace, i) for i, (n, pace) in enumerate(zip(held, paces, strict=True))]
    heapq.heapify(ends)
    for _ in range(chunks if ends else 0):
        end, i = ends[0]
        taken[i] += 1
        heapq.heapreplace(ends, (end + paces[i], i))
    return taken
