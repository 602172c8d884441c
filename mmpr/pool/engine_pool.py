"""The engines of a run: where they are placed, what they have leased, and what happens when they die."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, ActorUnschedulableError, GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmpr.engines.protocol import Pulse
from mmpr.errors import EngineDead, EngineStartError, MmprError, TaskFailed
from mmpr.pool.cluster import emptiest_node, first_line, last_line, n_engines
from mmpr.pool.engine_actor import EngineActor, Ledger
from mmpr.pool.lease_book import LeaseBook, LeaseHolder
from mmpr.pool.pool_records import (
    Beat,
    Died,
    Done,
    Event,
    Failed,
    Lease,
    MakeEngine,
    NodeLost,
    Placement,
    Probe,
    UnfitNode,
    Work,
)
from mmpr.pool.ray_log import ray_log

_POLL_S = 0.2  # the driver sleeps this long if no lease has returned
_PULSE_S = 1.0  # interval between two pulse requests to an engine
_LAST_PULSE_S = 2.0  # the time that engines have for the last one
_NODE_S = 1.0  # between two attempts to place an engine on a node that its cluster does not know
_LOST_TOGETHER_S = 10.0  # connections to the engines of a lost node break one after another


@dataclass(slots=True)
class _EngineSlot:
    """The place of one engine: its actor, its leases, and how often the place was filled."""

    number: int
    actor: Any = None
    starting: Any = None
    placed: Any = None
    host: str = ""
    address: str = ""
    node: str = ""  # the node that was asked for, then the node where the engine is
    heard_at: float = 0.0
    leases: dict[Any, Lease] = field(default_factory=dict)
    done: int = 0
    worked_since: float = 0.0
    asked: Any = None
    asked_at: float = 0.0
    pulse: Pulse = field(default_factory=Pulse)
    fills: int = 0
    not_before: float = 0.0
    unfit: UnfitNode | None = None

    @property
    def up(self) -> bool:
        return self.actor is not None and self.starting is None and self.unfit is None

    def ask_pulse(self) -> None:
        self.asked, self.asked_at = self.actor.pulse.remote(), time.monotonic()

    def pace(self, now: float) -> float | None:
        """Return seconds per chunk, with a held chunk counted as half done; None before the first one is done."""
        return (now - self.worked_since) / (self.done + len(self.leases) / 2) if self.done else None


@dataclass(slots=True)
class _LostNode:
    """A lost node, collected until all its engines are reported lost."""

    since: float  # monotonic clock
    host: str
    heard_at: float = 0.0
    engines: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)


class Pool:
    """Engines in Ray actors. `run` leases chunks until all are done; `close` ends every engine."""

    def __init__(
        self, make_engine: MakeEngine, work: Work, placement: Placement, *, probe: Probe | None = None
    ) -> None:
        self._make_engine, self._work, self._placement, self._probe = make_engine, work, placement, probe
        self._ledger: Any = None  # a process of its own, which only suspected chunks need
        self._slots: list[_EngineSlot] = []
        self._book = LeaseBook()
        self._counted = self._placed_at = time.monotonic()
        self._ever_up = False
        self._last_words = ""  # of the last engine that died or did not start
        self._stopping = False
        self._ending: list[Any] = []
        self._deadline = math.inf
        self._beaten = 0.0
        self._lost: dict[str, _LostNode] = {}
        self._held_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether no lease is in flight or waiting, so that other work may be assigned."""
        return self._book.is_empty and not (self._holding() or self._stopping)

    def assign(self, work: Work, probe: Probe | None) -> None:
        """Assign other work to the same engines between two `run`s; each engine runs the new probe first."""
        assert self.is_idle, "work was assigned while chunks are leased"
        self._work, self._probe = work, probe
        if self._ledger is not None:
            ray.get(self._ledger.clear.remote())
        for slot in self._slots:
            slot.done = 0
            if slot.actor is not None:
                slot.starting = slot.actor.assign.remote(work, probe)

    def stop(self, grace_s: float) -> None:
        """Give out no more leases; `run` ends when those in flight have returned, or after `grace_s` seconds."""
        self._stopping = True
        self._deadline = min(self._deadline, time.monotonic() + grace_s)

    def run(self, leases: Iterable[Lease]) -> Iterator[Event]:
        """Lease every chunk until each has returned as `Done`.

        The last event is a `Beat` with what each engine did up to the end.

        Raises:
            EngineStartError: no engine was placed within `wait_s`, the first engine failed to start, or no node can do
                the work.
            MmprError: the work raised it, for example because the disk is full.
        """
        self._book.open(leases)
        while True:
            yield from self._fill_slots()
            self._hand_out()
            over = not self._holding() and (self._stopping or self._book.is_empty)
            if over or time.monotonic() > self._deadline:
                yield from self._last_pulses()
                yield self._beat()
                return
            yield from self._collect()
            if (now := time.monotonic()) - self._beaten > _PULSE_S:
                self._beaten = now
                yield from self._check_pulses()
                yield from self._report_lost(now)
                yield self._beat()

    def end(self) -> None:
        """Tell every engine to end, and wait for none; `close` waits. Nothing may be leased afterwards."""
        assert not self._holding(), "the engines were ended while chunks are leased"
        self._ending = [slot.actor.stop.remote() for slot in self._slots if slot.up]

    def close(self) -> None:
        """End every engine and its processes."""
        stops = self._ending or [slot.actor.stop.remote() for slot in self._slots if slot.up]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=10)
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        if self._ledger is not None:
            ray.kill(self._ledger)
        self._slots.clear()

    # -- engines ------------------------------------------------------------------------------------------------

    def _fill_slots(self) -> Iterator[Event]:
        now = time.monotonic()
        if not self._slots or now - self._counted > 5:
            self._counted = now
            for number in range(len(self._slots), n_engines(self._placement)):
                self._slots.append(_EngineSlot(number))
        for slot in self._slots:
            if now < slot.not_before:
                continue
            if slot.actor is None and slot.fills <= self._placement.restarts:
                self._fill(slot)
            elif slot.unfit is not None and slot.starting is None:
                # It keeps its place, so that no other engine is put on this node. The fault (a missing mount) may be
                # repaired by now.
                slot.starting = slot.actor.start.remote()
        yield from self._take_started()
        self._give_up_if_hopeless(now)

    def _fill(self, slot: _EngineSlot) -> None:
        wanted: dict[str, Any] = {"num_cpus": 0, "num_gpus": self._placement.gpus}
        if self._placement.accelerator:
            wanted["accelerator_type"] = self._placement.accelerator
        if self._placement.gpus:
            wanted["scheduling_strategy"] = "SPREAD"
        elif slot_node := emptiest_node(self._placement, [one.node for one in self._slots if one.actor is not None]):
            # All engines that request no resource would be placed on the driver's node. A soft affinity would do that
            # too if the wanted node joined a moment ago and is not known everywhere yet.
            wanted["scheduling_strategy"] = NodeAffinitySchedulingStrategy(slot_node, soft=False)
            slot.node = slot_node
        actor = ray.remote(**wanted, max_restarts=0, max_task_retries=0)(EngineActor)
        slot.actor = actor.remote(self._make_engine, self._work, self._probe)
        slot.placed, slot.starting = slot.actor.where.remote(), slot.actor.start.remote()
        slot.fills += 1

    def _take_started(self) -> Iterator[Event]:
        for slot in self._slots:
            if slot.starting is None or not ray.wait([slot.starting], timeout=0)[0]:
                continue
            try:
                result: MmprError | UnfitNode | None = ray.get(slot.starting)
            except ActorUnschedulableError:
                slot.fills -= 1  # its node was not known yet, or is gone: another choice, and no attempt of the engine
                self._vacate(slot)
                slot.not_before = time.monotonic() + _NODE_S
                continue
            except RayError as lost:
                result = EngineStartError(f"the engine's process was lost while it started: {last_line(lost)}")
            slot.starting = None
            known, slot.unfit = slot.unfit, None
            if isinstance(result, UnfitNode):
                slot.unfit, slot.not_before = result, time.monotonic() + self._placement.probe_s
                if known != result:
                    yield result
            elif result is None:
                self._ever_up = True
                slot.pulse, slot.asked, slot.heard_at = Pulse(), None, time.time()
                slot.host, slot.address, slot.node = ray.get(slot.placed)
            elif not self._ever_up:
                raise result  # a second start would fail the same way: a wrong path, too little memory
            else:
                self._last_words = str(result)
                self._vacate(slot)

    def _give_up_if_hopeless(self, now: float) -> None:
        if self._slots and all(s.actor is None and s.fills > self._placement.restarts for s in self._slots):
            times = f"every engine was started {self._placement.restarts + 1} times and died each time"
            raise EngineStartError(f"{times}, the last one so: {self._last_words}")
        if self._slots and all(s.unfit is not None and s.starting is None for s in self._slots):
            raise EngineStartError(f"no node can do the work; {'; '.join(sorted(_refusals(self._slots)))}")
        placed = [s.placed for s in self._slots if s.placed is not None]
        if any(s.up for s in self._slots) or (placed and ray.wait(placed, timeout=0)[0]):
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

    def _vacate(self, slot: _EngineSlot) -> None:
        if slot.actor is not None:
            ray.kill(slot.actor)
        slot.actor = slot.starting = slot.placed = slot.asked = slot.unfit = None
        slot.pulse, slot.done = Pulse(), 0
        slot.not_before = time.monotonic() + min(60.0, self._placement.pause_s * 2**slot.fills)

    # -- leases -------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        room = self._placement.leases_in_flight
        self._book.look_ahead(max(1, len(self._slots) * room))
        if self._stopping:
            return
        now = time.monotonic()
        up = {slot.number: slot for slot in self._slots if slot.up}
        holders = [
            LeaseHolder(number, len(slot.leases), any(lease.alone for lease in slot.leases.values()), slot.pace(now))
            for number, slot in up.items()
        ]
        for number, lease in self._book.hand_out(holders, room):
            self._lease(up[number], lease)

    def _lease(self, slot: _EngineSlot, lease: Lease) -> None:
        if not (slot.done or slot.leases):
            slot.worked_since = time.monotonic()
        lease = replace(lease, attempt=secrets.token_hex(4))
        slot.leases[slot.actor.lease.remote(lease, self._started_ledger() if lease.alone else None)] = lease

    def _started_ledger(self) -> Any:
        if self._ledger is None:
            beside_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            beside = {"num_cpus": 0, "scheduling_strategy": beside_driver}
            self._ledger = ray.remote(**beside)(Ledger).remote()  # type: ignore[call-overload]
        return self._ledger

    def _holding(self) -> bool:
        return any(slot.leases for slot in self._slots)

    def _collect(self) -> Iterator[Event]:
        held = {ref: slot for slot in self._slots for ref in slot.leases}
        if not held:
            time.sleep(_POLL_S)
            return
        ready, _ = ray.wait(list(held), num_returns=1, timeout=_POLL_S)
        for ref in ready:
            if ref in held[ref].leases:  # false if `_bury` was called for its engine in this round
                yield from self._take(held[ref], ref)

    def _take(self, slot: _EngineSlot, ref: Any) -> Iterator[Event]:
        try:
            result = ray.get(ref)
        except RayActorError as error:
            yield self._bury(slot, first_line(error), from_outside=_is_from_outside(error))
            return
        if isinstance(result, EngineDead):
            yield self._bury(slot, str(result))
        elif isinstance(result, TaskFailed) and (lease := slot.leases.pop(ref)) and self._book.may_fail_again(lease):
            yield Failed(lease, str(result), slot.host)
        elif isinstance(result, MmprError):
            raise result
        else:
            slot.fills = 1  # the engine has done work: its earlier deaths no longer count
            slot.done += 1
            yield Done(slot.leases.pop(ref), result)

    def _bury(self, slot: _EngineSlot, words: str, *, from_outside: bool = False) -> Died:
        """Take back the leases of a dead engine, so that they are leased again."""
        leases = list(slot.leases.values())
        slot.leases.clear()
        self._last_words = words
        self._vacate(slot)
        self._book.take_back(leases, words, from_outside=from_outside, announced=self._announced)
        if from_outside:
            self._note_lost(slot, leases)
        return Died(slot.number, words, tuple(leases), slot.host, from_outside)

    def _note_lost(self, slot: _EngineSlot, leases: Iterable[Lease]) -> None:
        name = f"{slot.host} ({slot.address})" if slot.address else slot.host
        lost = self._lost.setdefault(slot.node, _LostNode(time.monotonic(), name))
        lost.heard_at = max(lost.heard_at, slot.heard_at)
        lost.engines.append(slot.number)
        lost.chunks += (lease.chunk for lease in leases)

    def _report_lost(self, now: float) -> Iterator[NodeLost]:
        """Report each lost node once: when none of its engines is up any more, or after a few seconds."""
        up = {slot.node for slot in self._slots if slot.up}
        for node, lost in list(self._lost.items()):
            if node not in up or now - lost.since > _LOST_TOGETHER_S:
                del self._lost[node]
                chunks = tuple(sorted(lost.chunks))
                yield NodeLost(lost.host, lost.heard_at, tuple(sorted(lost.engines)), chunks, ray_log())

    def _announced(self, chunk: int) -> tuple[int, ...]:
        rows: tuple[int, ...] = ray.get(self._ledger.rows.remote(chunk))
        return rows

    def _beat(self) -> Beat:
        since, self._held_at = self._held_at, time.monotonic()
        held = sum(map(self._is_placed, self._slots)) * max(1, self._placement.gpus)
        up = [slot for slot in self._slots if slot.up]
        return Beat(
            tuple(slot.pulse for slot in up),
            len(self._slots) - len(up),
            tuple((slot.number, slot.host) for slot in up),
            sum(len(slot.leases) for slot in self._slots),
            held * (self._held_at - since),
            tuple(map(self._phase, (slot for slot in self._slots if not slot.up))),
        )

    def _phase(self, slot: _EngineSlot) -> str:
        """Describe what an engine that is not up is doing."""
        if slot.actor is None:
            return "waiting to be started again" if slot.fills <= self._placement.restarts else "not started again"
        if slot.unfit is not None:
            return "on a node that cannot do the work"
        return (slot.pulse.phase or "starting") if self._is_placed(slot) else "waiting for room"

    def _is_placed(self, slot: _EngineSlot) -> bool:
        return slot.placed is not None and bool(ray.wait([slot.placed], timeout=0)[0])

    # -- pulses -------------------------------------------------------------------------------------------------

    def _check_pulses(self) -> Iterator[Event]:
        for slot in self._slots:
            if slot.up:
                yield from self._read_pulse(slot)
            elif slot.asked is not None and ray.wait([slot.asked], timeout=0)[0]:
                with suppress(RayError):  # the result of its start reports the loss
                    slot.pulse = ray.get(slot.asked)
                slot.asked = None
            if slot.asked is None and (slot.up or self._is_placed(slot)):
                slot.ask_pulse()

    def _last_pulses(self) -> Iterator[Event]:
        """Ask every engine that is up once more; an engine that is silent or lost keeps the last pulse it sent."""
        up = [slot for slot in self._slots if slot.up]
        for slot in up:
            slot.ask_pulse()
        if up:
            ray.wait([slot.asked for slot in up], num_returns=len(up), timeout=_LAST_PULSE_S)
        for slot in up:
            yield from self._read_pulse(slot)

    def _read_pulse(self, slot: _EngineSlot) -> Iterator[Event]:
        if slot.asked is None:
            return
        try:
            slot.pulse = ray.get(slot.asked, timeout=0)
            slot.asked, slot.heard_at = None, time.time()
        except GetTimeoutError:
            if time.monotonic() - slot.asked_at > self._placement.stall_s:
                yield self._bury(slot, f"did not answer for {self._placement.stall_s:.0f} s")
            return
        except RayActorError as error:
            yield self._bury(slot, first_line(error), from_outside=_is_from_outside(error))
            return
        if slot.pulse.running and slot.pulse.step_age_s > self._placement.stall_s:
            yield self._bury(slot, f"{slot.pulse.running} requests and no step for {slot.pulse.step_age_s:.0f} s")


def _is_from_outside(error: RayActorError) -> bool:
    """Whether the node was lost, preempted or unreachable. A process that ended by itself may have died of its work."""
    unreachable = isinstance(error, ActorUnavailableError)
    return unreachable or bool(getattr(error, "preempted", False)) or "node has died" in str(error)


def _refusals(slots: Iterable[_EngineSlot]) -> set[str]:
    return {f"{slot.unfit.node}: {slot.unfit.words}" for slot in slots if slot.unfit is not None}
