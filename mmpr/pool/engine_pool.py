"""The engines of a run: their places, their leases, their deaths."""

from __future__ import annotations

import math
import secrets
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmpr.engines.protocol import Pulse
from mmpr.errors import EngineDead, EngineStartError, MmprError
from mmpr.pool.cluster import first_line, last_line, n_engines
from mmpr.pool.engine_actor import EngineActor, Ledger
from mmpr.pool.pool_records import Beat, Died, Done, Event, Lease, MakeEngine, Placement, Probe, Unfit, Work
from mmpr.pool.tail import shares

_POLL_S = 0.2  # how long the driver sleeps when nothing has come back
_PULSE_S = 1.0  # how often each engine is asked how it does
_DEATHS_ALONE = 2  # so often a question must end an engine alone; with the first, shared death: at most three


@dataclass(slots=True)
class _Seat:
    """An engine's place: its actor, what it holds, and how often it has been filled."""

    number: int
    actor: Any = None
    starting: Any = None
    placed: Any = None
    host: str = ""
    leases: dict[Any, Lease] = field(default_factory=dict)
    done: int = 0
    worked_since: float = 0.0
    asked: Any = None
    asked_at: float = 0.0
    pulse: Pulse = field(default_factory=Pulse)
    fills: int = 0
    not_before: float = 0.0
    unfit: Unfit | None = None

    @property
    def up(self) -> bool:
        return self.actor is not None and self.starting is None and self.unfit is None

    def pace(self, now: float) -> float | None:
        """Seconds a chunk, those it holds counted half; None for an engine that has ended none yet."""
        return (now - self.worked_since) / (self.done + len(self.leases) / 2) if self.done else None


class Pool:
    """Engines in Ray actors. `run` leases chunks until none is left; `close` ends every engine."""

    def __init__(
        self, make_engine: MakeEngine, work: Work, placement: Placement, *, probe: Probe | None = None
    ) -> None:
        self._make_engine, self._work, self._placement, self._probe = make_engine, work, placement, probe
        beside_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._ledger = ray.remote(num_cpus=0, scheduling_strategy=beside_driver)(Ledger).remote()
        self._seats: list[_Seat] = []
        self._suspects: deque[Lease] = deque()
        self._deaths: dict[tuple[int, int], int] = {}
        self._counted = self._placed_at = time.monotonic()
        self._ever_up = False
        self._stopping = False
        self._deadline = math.inf
        self._beaten = 0.0
        self._held_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether no lease is out and none is due again, so that other work may be assigned."""
        return not (self._holding() or self._suspects or self._stopping)

    def assign(self, work: Work, probe: Probe | None) -> None:
        """Other work for the same engines, between two `run`s; each tries the new probe before its first lease."""
        assert self.is_idle, "assigned while leases are out"
        self._work, self._probe = work, probe
        self._deaths.clear()
        ray.get(self._ledger.clear.remote())
        for seat in self._seats:
            seat.done = 0
            if seat.actor is not None:
                seat.starting = seat.actor.assign.remote(work, probe)

    def stop(self, grace_s: float) -> None:
        """No new leases from now on; `run` ends when those in flight have come back, or after `grace_s`."""
        self._stopping = True
        self._deadline = min(self._deadline, time.monotonic() + grace_s)

    def run(self, leases: Iterable[Lease]) -> Iterator[Event]:
        """Lease every chunk until each has come back as `Done`.

        Raises:
            EngineStartError: no engine came within `wait_s`, the first one failed for a cause of its own, or no node
                can do the work.
            MmprError: what the work raised, for example a full disk.
        """
        coming, waiting = iter(leases), deque[Lease]()
        while True:
            yield from self._fill_seats()
            self._hand_out(coming, waiting)
            if not self._holding() and (self._stopping or not (waiting or self._suspects)):
                return
            if time.monotonic() > self._deadline:
                return
            yield from self._collect()
            if (now := time.monotonic()) - self._beaten > _PULSE_S:
                self._beaten = now
                yield from self._check_pulses()
                yield self._beat()

    def close(self) -> None:
        """End every engine and its processes."""
        stops = [seat.actor.stop.remote() for seat in self._seats if seat.up]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=10)
        for seat in self._seats:
            if seat.actor is not None:
                ray.kill(seat.actor)
        ray.kill(self._ledger)
        self._seats.clear()

    # -- engines ------------------------------------------------------------------------------------------------

    def _fill_seats(self) -> Iterator[Event]:
        now = time.monotonic()
        if not self._seats or now - self._counted > 5:
            self._counted = now
            for number in range(len(self._seats), n_engines(self._placement)):
                self._seats.append(_Seat(number))
        for seat in self._seats:
            if now < seat.not_before:
                continue
            if seat.actor is None and seat.fills <= self._placement.restarts:
                self._fill(seat)
            elif seat.unfit is not None and seat.starting is None:
                # it keeps its place, so that no other engine is put there, and may have been mended
                seat.starting = seat.actor.start.remote()
        yield from self._take_started()
        self._give_up_if_hopeless(now)

    def _fill(self, seat: _Seat) -> None:
        wanted: dict[str, Any] = {"num_cpus": 0, "num_gpus": self._placement.gpus}
        if self._placement.accelerator:
            wanted["accelerator_type"] = self._placement.accelerator
        actor = ray.remote(**wanted, max_restarts=0, max_task_retries=0)(EngineActor)
        seat.actor = actor.remote(self._make_engine, self._work, self._probe, self._ledger)
        seat.placed, seat.starting = seat.actor.where.remote(), seat.actor.start.remote()
        seat.fills += 1

    def _take_started(self) -> Iterator[Event]:
        for seat in self._seats:
            if seat.starting is None or not ray.wait([seat.starting], timeout=0)[0]:
                continue
            try:
                result: MmprError | Unfit | None = ray.get(seat.starting)
            except RayError as lost:
                result = EngineStartError(f"the engine's process was lost while it started: {last_line(lost)}")
            seat.starting = None
            known, seat.unfit = seat.unfit, None
            if isinstance(result, Unfit):
                seat.unfit, seat.not_before = result, time.monotonic() + self._placement.probe_s
                if known != result:
                    yield result
            elif result is None:
                self._ever_up = True
                seat.pulse, seat.asked, seat.host = Pulse(), None, ray.get(seat.placed)
            elif not self._ever_up:
                raise result  # a wrong path or too little memory is the same the second time
            else:
                self._vacate(seat)

    def _give_up_if_hopeless(self, now: float) -> None:
        if self._seats and all(s.actor is None and s.fills > self._placement.restarts for s in self._seats):
            raise EngineStartError(f"every engine was started {self._placement.restarts + 1} times and died each time")
        if self._seats and all(s.unfit is not None and s.starting is None for s in self._seats):
            raise EngineStartError(f"no node can do the work; {'; '.join(sorted(_told(self._seats)))}")
        placed = [s.placed for s in self._seats if s.placed is not None]
        if any(s.up for s in self._seats) or (placed and ray.wait(placed, timeout=0)[0]):
            self._placed_at = now
        if now - self._placed_at < self._placement.wait_s:
            return
        kind = f"{self._placement.accelerator} " if self._placement.accelerator else ""
        gpus = self._placement.gpus
        need = f"{gpus} {kind}GPU(s) on one node" if gpus else f"a {kind}node with a CPU"
        raise EngineStartError(
            f"no engine could be placed within {self._placement.wait_s:.0f} s: each needs {need}; "
            "check `ray status`, or set engine_wait_s"
        )

    def _vacate(self, seat: _Seat) -> None:
        if seat.actor is not None:
            ray.kill(seat.actor)
        seat.actor = seat.starting = seat.placed = seat.asked = seat.unfit = None
        seat.pulse, seat.done = Pulse(), 0
        seat.not_before = time.monotonic() + min(60.0, self._placement.pause_s * 2**seat.fills)

    # -- leases -------------------------------------------------------------------------------------------------

    def _hand_out(self, coming: Iterator[Lease], waiting: deque[Lease]) -> None:
        enough = max(1, len(self._seats) * self._placement.leases_in_flight)  # to know when the last ones are at hand
        waiting.extend(islice(coming, max(0, enough - len(waiting))))
        if self._stopping:
            return
        lone = next((seat for seat in self._seats if seat.up), None) if self._suspects else None
        if lone is not None and not lone.leases:
            self._lease(lone, self._suspects.popleft())
        takers = [
            seat
            for seat in self._seats
            if seat.up and seat is not lone and not any(lease.alone for lease in seat.leases.values())
        ]
        room = self._placement.leases_in_flight
        shares_left: dict[int, int] | None = None  # of the last chunks, by engine
        while waiting:
            if shares_left is None and len(waiting) < len(takers) * room:
                shares_left = _last_shares(takers, len(waiting))
            seat = _hungriest([s for s in takers if len(s.leases) < room], shares_left)
            if seat is None:
                return
            if shares_left is not None:
                shares_left[seat.number] -= 1
            self._lease(seat, waiting.popleft())
            waiting.extend(islice(coming, 1))

    def _lease(self, seat: _Seat, lease: Lease) -> None:
        if not (seat.done or seat.leases):
            seat.worked_since = time.monotonic()
        lease = replace(lease, attempt=secrets.token_hex(4))
        seat.leases[seat.actor.lease.remote(lease)] = lease

    def _holding(self) -> bool:
        return any(seat.leases for seat in self._seats)

    def _collect(self) -> Iterator[Event]:
        held = {ref: seat for seat in self._seats for ref in seat.leases}
        if not held:
            time.sleep(_POLL_S)
            return
        ready, _ = ray.wait(list(held), num_returns=1, timeout=_POLL_S)
        for ref in ready:
            if ref in held[ref].leases:  # else its engine was found dead in this very round
                yield from self._take(held[ref], ref)

    def _take(self, seat: _Seat, ref: Any) -> Iterator[Event]:
        try:
            result = ray.get(ref)
        except RayActorError as error:
            yield self._bury(seat, first_line(error))
            return
        if isinstance(result, EngineDead):
            yield self._bury(seat, str(result))
        elif isinstance(result, MmprError):
            raise result
        else:
            seat.fills = 1  # it has done work: its earlier deaths are forgiven
            seat.done += 1
            yield Done(seat.leases.pop(ref), result)

    def _bury(self, seat: _Seat, words: str) -> Died:
        """Take the dead engine's leases back, to be leased again alone; blame only a question that was asked alone."""
        leases = list(seat.leases.values())
        seat.leases.clear()
        self._vacate(seat)
        for lease in leases:
            self._suspects.append(self._blame(lease, words) if lease.alone else replace(lease, alone=True))
        return Died(seat.number, words, tuple(leases), seat.host)

    def _blame(self, lease: Lease, words: str) -> Lease:
        row = ray.get(self._ledger.row.remote(lease.chunk))
        if row is None:
            return lease
        place = (lease.chunk, row)
        self._deaths[place] = self._deaths.get(place, 0) + 1
        if self._deaths[place] < _DEATHS_ALONE:
            return replace(lease, suspect=row)
        return replace(lease, suspect=None, quarantined=(*lease.quarantined, (row, words)))

    def _beat(self) -> Beat:
        since, self._held_at = self._held_at, time.monotonic()
        held = sum(map(self._is_placed, self._seats)) * max(1, self._placement.gpus)
        up = [seat for seat in self._seats if seat.up]
        return Beat(
            tuple(seat.pulse for seat in up),
            len(self._seats) - len(up),
            tuple((seat.number, seat.host) for seat in up),
            sum(len(seat.leases) for seat in self._seats),
            held * (self._held_at - since),
        )

    def _is_placed(self, seat: _Seat) -> bool:
        return seat.placed is not None and bool(ray.wait([seat.placed], timeout=0)[0])

    # -- pulses -------------------------------------------------------------------------------------------------

    def _check_pulses(self) -> Iterator[Event]:
        for seat in self._seats:
            if not seat.up:
                continue
            yield from self._read_pulse(seat)
            if seat.up and seat.asked is None:
                seat.asked, seat.asked_at = seat.actor.pulse.remote(), time.monotonic()

    def _read_pulse(self, seat: _Seat) -> Iterator[Event]:
        if seat.asked is None:
            return
        try:
            seat.pulse = ray.get(seat.asked, timeout=0)
            seat.asked = None
        except GetTimeoutError:
            if time.monotonic() - seat.asked_at > self._placement.stall_s:
                yield self._bury(seat, f"did not answer for {self._placement.stall_s:.0f} s")
            return
        except RayActorError as error:
            yield self._bury(seat, first_line(error))
            return
        if seat.pulse.running and seat.pulse.step_age_s > self._placement.stall_s:
            yield self._bury(seat, f"{seat.pulse.running} requests and no step for {seat.pulse.step_age_s:.0f} s")


def _hungriest(free: Sequence[_Seat], shares_left: dict[int, int] | None) -> _Seat | None:
    """The engine with the fewest leases; of the last chunks, one whose share is not handed out yet."""
    due = [seat for seat in free if shares_left is None or shares_left[seat.number]]
    return min(due, key=lambda seat: len(seat.leases), default=None)


def _last_shares(takers: Sequence[_Seat], n_waiting: int) -> dict[int, int]:
    """How many of the last chunks each engine gets, by its number, when each goes where it ends first."""
    now = time.monotonic()
    paces = [seat.pace(now) for seat in takers]
    usual = statistics.median([pace for pace in paces if pace] or [1.0])
    taken = shares(n_waiting, [len(seat.leases) for seat in takers], [pace or usual for pace in paces])
    return {seat.number: n for seat, n in zip(takers, taken, strict=True)}


def _told(seats: Iterable[_Seat]) -> set[str]:
    return {f"{seat.unfit.node}: {seat.unfit.words}" for seat in seats if seat.unfit is not None}
