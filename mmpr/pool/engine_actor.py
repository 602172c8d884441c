"""The actor of one engine: starts the engine, runs the work on it, and gives the work its context."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmpr.engines.protocol import Engine, Pulse, phases_heard
from mmpr.errors import EngineDead, MmprError, TaskFailed
from mmpr.pool.cluster import call, first_line, last_line
from mmpr.pool.pool_records import Lease, MakeEngine, Probe, UnfitNode, Work

R = TypeVar("R")


class ActorContext:
    """Implements `WorkContext` inside the actor."""

    def __init__(self, chunk: int, ledger: Any) -> None:
        self._chunk = chunk
        self._ledger = ledger
        self._here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)

    async def beside(self, function: Callable[..., R], *arguments: object) -> R:
        # ray's type hints do not accept a strategy that names a node
        task = ray.remote(num_cpus=1, scheduling_strategy=self._here)(call)  # type: ignore[call-overload]
        try:
            result: R = await task.remote(function, *arguments)
        except RayTaskError as error:
            if isinstance(error.cause, MmprError):
                raise error.cause from None
            raise TaskFailed(f"a task on the engine's node failed: {last_line(error)}") from None
        except RayError as error:  # Ray lost the task's process several times
            raise TaskFailed(f"a task on the engine's node was lost: {first_line(error)}") from None
        return result

    async def announce(self, rows: Sequence[int]) -> None:
        assert self._ledger is not None, "only a lease that is alone announces"
        await self._ledger.note.remote(self._chunk, tuple(rows))


class Ledger:
    """The questions that each lone lease asks at the moment.

    A separate actor, so that an engine's death does not lose them.
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, ...]] = {}

    def note(self, chunk: int, rows: tuple[int, ...]) -> None:
        self._rows[chunk] = rows

    def rows(self, chunk: int) -> tuple[int, ...]:
        """Return the rows announced last and forget them: rows of one attempt must not be blamed for the next."""
        return self._rows.pop(chunk, ())

    def clear(self) -> None:
        self._rows.clear()


class EngineActor:
    """One engine in its own actor; failures are returned as values, because Ray wraps exceptions."""

    def __init__(self, make_engine: MakeEngine, work: Work, probe: Probe | None) -> None:
        self._make_engine, self._work, self._probe = make_engine, work, probe
        self._engine: Engine | None = None
        self._phase = ""
        self._cause: EngineDead | None = None  # of this engine's death
        self._one = asyncio.Lock()  # `assign` may be called while the engine is still starting

    async def where(self) -> tuple[str, str, str]:
        """Return the node's name, address and Ray id."""
        node_id: str = ray.get_runtime_context().get_node_id()
        return socket.gethostname(), ray.util.get_node_ip_address(), node_id

    async def assign(self, work: Work, probe: Probe | None) -> MmprError | UnfitNode | None:
        """Assign other work to an engine that is up or starting; the probe of the new work runs first."""
        self._work, self._probe = work, probe
        return await self.start()

    async def start(self) -> MmprError | UnfitNode | None:
        try:
            if self._probe is not None:
                await asyncio.to_thread(self._probe)
        except MmprError as error:
            return UnfitNode(socket.gethostname(), str(error))
        try:
            async with self._one:
                with phases_heard(partial(setattr, self, "_phase")):
                    self._engine = self._engine or await self._make_engine()
        except MmprError as error:
            return error
        return None

    async def lease(self, lease: Lease, ledger: Any) -> object:
        assert self._engine is not None, "a chunk was leased before the engine was up"
        try:
            return await self._work(self._engine, lease, ActorContext(lease.chunk, ledger))
        except EngineDead as error:
            # the other leases only see that the engine was closed: the first error is the cause
            self._cause = self._cause or error
            await self._engine.close()
            return self._cause
        except MmprError as error:
            return error
        except Exception as error:  # noqa: BLE001 a bug of mmpr or of a library: the chunk is tried again
            return TaskFailed(f"chunk {lease.chunk}: {type(error).__name__}: {first_line(error)}")

    async def pulse(self) -> Pulse:
        return self._engine.pulse() if self._engine else Pulse(phase=self._phase)

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.close()
