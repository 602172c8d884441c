"""The records of the pool: leases, the work and its context, placement, events."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from mmpr.engines.protocol import Engine, Pulse
from mmpr.errors import ConfigError
from mmpr.options import option

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Lease:
    """A chunk given to an engine.

    Args:
        chunk: number of the chunk.
        payload: input of the work; opaque to the pool.
        attempt: 8 hex digits, new for each lease.
        alone: ask in `groups`, one after another, and announce each group.
        suspects: rows that are asked first, one by one.
        quarantined: (row, the engine's last message) of questions that ended engines; they are not asked.
    """

    chunk: int
    payload: Any
    attempt: str = ""
    alone: bool = False
    suspects: tuple[int, ...] = ()
    quarantined: tuple[tuple[int, str], ...] = ()

    def groups(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Return groups of rows to ask: each suspect alone, then the n other rows in groups of about sqrt(n).

        Splitting in halves would cost more engine deaths (seven instead of two for 128 rows), and an engine starts
        slowly.
        """
        left_out = {row for row, _ in self.quarantined}
        suspected = [row for row in rows if row in self.suspects and row not in left_out]
        others = [row for row in rows if row not in self.suspects and row not in left_out]
        size = max(1, math.isqrt(len(others)))
        batches = [tuple(others[first : first + size]) for first in range(0, len(others), size)]
        return [(row,) for row in suspected] + batches


class WorkContext(Protocol):
    """What the work can use besides its engine."""

    async def beside(self, function: Callable[..., R], *arguments: object) -> R:
        """Run a plain function as a CPU task on the engine's node."""

    async def announce(self, rows: Sequence[int]) -> None:
        """Report the questions that are asked next; returns when the pool has stored them."""


Work = Callable[[Engine, Lease, WorkContext], Awaitable[Any]]
MakeEngine = Callable[[], Awaitable[Engine]]
Probe = Callable[[], None]  # raises an MmprError on a node that cannot do the work


@dataclass(frozen=True, slots=True)
class Done:
    """A lease whose work returned `report`."""

    lease: Lease
    report: Any


@dataclass(frozen=True, slots=True)
class Died:
    """The death of an engine, with its last message, its host, and the leases that will be given out again.

    `from_outside`: its node was lost or is unreachable; one `NodeLost` for all engines of the node follows.
    """

    engine: int
    words: str
    leases: tuple[Lease, ...]
    host: str = ""
    from_outside: bool = False


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node that was lost or is unreachable.

    Args:
        host: its name and address.
        heard_at: Unix seconds of the last sign of an engine on it.
        engines: numbers of its engines.
        chunks: chunks that will be given out again.
        log: the end of a line that names the file with Ray's messages.
    """

    host: str
    heard_at: float
    engines: tuple[int, ...]
    chunks: tuple[int, ...]
    log: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A lease whose work failed with an unexpected error and that will be given out again."""

    lease: Lease
    words: str
    host: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The state of the engines; comes about once a second.

    Args:
        pulses: pulses of the engines that are up.
        starting: number of engines that are not up.
        places: number and host of each engine with a pulse, in the same order.
        in_flight: number of leased chunks.
        held_s: GPU seconds since the last `Beat`, starting engines included; without a GPU, an engine counts as one
            GPU.
        phases: what each engine that is not up is doing.
    """

    pulses: tuple[Pulse, ...]
    starting: int
    places: tuple[tuple[int, str], ...] = ()
    in_flight: int = 0
    held_s: float = 0.0
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnfitNode:
    """A node that cannot do the work, and why: a path that it cannot read or write.

    It is probed again from time to time.
    """

    node: str
    words: str


Event = Done | Died | NodeLost | Failed | Beat | UnfitNode


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where a build runs, how much its engines work on at once, and when it stops."""

    engines: int | Literal["auto"] = option("auto", "number of engines; auto: as many as the cluster has room for")
    accelerator: str | None = option(
        None, "type of GPU that engines ask for, in Ray's notation (A100, H100, L4); None: any"
    )
    ray_address: str | None = option(None, "address of the Ray cluster; None: RAY_ADDRESS, else only this machine")
    chunks_in_flight: int = option(4, "chunks that one engine works on at a time", ge=1)
    tokens_in_flight: int = option(400_000, "most prompt and response tokens that one engine holds at a time", ge=1)
    io_threads: int = option(32, "threads of an engine (and of `check`) that open and fetch images", ge=1)
    cpu_threads: int = option(4, "threads of an engine that read rows and judge; as many others tokenize", ge=1)
    fetches_per_host: int = option(
        8, "questions for which one engine (or `check`) fetches images from one server or store at a time", ge=1
    )
    engine_wait_s: float = option(300.0, "seconds to wait while no engine can be placed", gt=0)
    stall_timeout_s: float = option(600.0, "seconds without progress after which a busy engine is replaced", gt=0)
    engine_restarts: int = option(5, "how often a dead engine is replaced", ge=0)
    judge_time_limit_s: float = option(1.0, "seconds for each response that Math-Verify may take", gt=0)
    grace_s: float = option(120.0, "seconds to finish chunks in flight after SIGTERM", gt=0)
    deadline: str | None = option(
        None, "when to stop as on SIGTERM (exit 75): 06:00, +8h (after 8 hours), or 2027-01-31T06:00; None: never"
    )
    max_gpu_hours: float | None = option(
        None, "GPU hours after which this start stops as on SIGTERM (exit 75); None: no limit", gt=0
    )
    max_failure_fraction: float | None = option(
        None,
        "fraction of failed questions, or of requests to a verifier, at which the build ends with exit code 3; None: "
        "half, once 200 were tried",
        ge=0,
        le=1,
    )
    strict: bool = option(False, "end the run at the first bad row or image")

    def __post_init__(self) -> None:
        if self.engines != "auto" and self.engines < 1:
            raise ConfigError(f"engines: Input should be auto, or greater than or equal to 1 (got {self.engines})")


@dataclass(frozen=True, slots=True)
class Placement:
    """How many engines to run, and what each one needs of a node.

    Args:
        engines: number of engines; None: as many as the cluster has room for, counted again during the run.
        gpus: GPUs per engine, all on one node (the tensor parallel size); 0 on machines without GPUs.
        accelerator: Ray's name of the GPU type (`A100`, `H100`); None: any.
        leases_in_flight: chunks that one engine works on at a time.
        wait_s: seconds to wait while no engine is placed, at the start or after all were lost.
        stall_s: seconds without a step while requests run, after which the engine is replaced.
        restarts: how often a dead engine is replaced; the pauses grow from `pause_s` seconds.
        probe_s: seconds until an unfit node is probed again.
    """

    engines: int | None = None
    gpus: int = 0
    accelerator: str | None = None
    leases_in_flight: int = 3
    wait_s: float = 300.0
    stall_s: float = 600.0
    restarts: int = 5
    pause_s: float = 1.0
    probe_s: float = 60.0
