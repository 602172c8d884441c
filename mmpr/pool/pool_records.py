"""What a pool is given and what it says: leases, the work and its bench, placement, events."""

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
    """A chunk given to an engine. `suspects` are asked first, `quarantined` rows are not asked at all.

    Args:
        chunk: the chunk's number.
        payload: what the work needs to know of it; opaque to the pool.
        attempt: 8 hex digits, new at every lease.
        alone: ask in `groups`, one after another, and announce each.
        quarantined: (row, the engine's last message) of the questions that ended engines.
    """

    chunk: int
    payload: Any
    attempt: str = ""
    alone: bool = False
    suspects: tuple[int, ...] = ()
    quarantined: tuple[tuple[int, str], ...] = ()

    def groups(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """In which groups rows are asked: suspects one by one, then of n others about the root of n at once.

        Halves would cost more deaths (seven for 128 rows in place of two), and an engine's start is dear.
        """
        left_out = {row for row, _ in self.quarantined}
        suspected = [row for row in rows if row in self.suspects and row not in left_out]
        others = [row for row in rows if row not in self.suspects and row not in left_out]
        size = max(1, math.isqrt(len(others)))
        batches = [tuple(others[first : first + size]) for first in range(0, len(others), size)]
        return [(row,) for row in suspected] + batches


class WorkContext(Protocol):
    """What the work gets beside its engine."""

    async def beside(self, function: Callable[..., R], *arguments: object) -> R:
        """Run a plain function as a CPU task on the engine's node."""

    async def announce(self, rows: Sequence[int]) -> None:
        """Report which questions are asked next; returns when the pool knows."""


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
    """An engine's end: its last message, its host, and the leases that will be given out again.

    `from_outside`: its node was lost or cannot be reached; a `NodeLost` follows that says it of all its engines.
    """

    engine: int
    words: str
    leases: tuple[Lease, ...]
    host: str = ""
    from_outside: bool = False


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node that is gone, or that no connection leads to.

    Args:
        host: its name and address.
        heard_at: when an engine on it was last heard of, Unix s.
        engines: their numbers.
        chunks: that will be given out again.
        log: where Ray's own words are, as the end of a line.
    """

    host: str
    heard_at: float
    engines: tuple[int, ...]
    chunks: tuple[int, ...]
    log: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A lease whose work failed for a cause that nobody foresaw, and that will be given out again."""

    lease: Lease
    words: str
    host: str


@dataclass(frozen=True, slots=True)
class Beat:
    """How the engines do; comes about once a second.

    Args:
        pulses: of the engines that are up.
        starting: engines that are not.
        places: the number and the host of each engine with a pulse, in the same order.
        in_flight: chunks that are leased now.
        held_s: GPU seconds held since the beat before, by starting engines too; without a GPU an engine counts as one.
        phases: what each engine that is not up does, in words.
    """

    pulses: tuple[Pulse, ...]
    starting: int
    places: tuple[tuple[int, str], ...] = ()
    in_flight: int = 0
    held_s: float = 0.0
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnfitNode:
    """A node that cannot do the work gets none: what it cannot read or write. It is asked again now and then."""

    node: str
    words: str


Event = Done | Died | NodeLost | Failed | Beat | UnfitNode


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where a build runs, what its engines' actors hold at once, and when it stops."""

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
        "fraction of failed questions at which the build ends with exit code 3; None: half, once 200 were tried",
        ge=0,
        le=1,
    )
    strict: bool = option(False, "end the run at the first bad row or image")

    def __post_init__(self) -> None:
        if self.engines != "auto" and self.engines < 1:
            raise ConfigError(f"engines: Input should be auto, or greater than or equal to 1 (got {self.engines})")


@dataclass(frozen=True, slots=True)
class Placement:
    """How many engines there shall be and what each takes of a node.

    Args:
        engines: their number; None for what the cluster has, asked again while it runs.
        gpus: GPUs an engine, all on one node (the tensor parallel size); 0 on machines without.
        accelerator: Ray's name of the GPUs' type (`A100`, `H100`); None for any.
        leases_in_flight: chunks that one engine works on at a time.
        wait_s: how long to wait while no engine is placed: for the first, or when all are gone.
        stall_s: requests running and no step for so long: the engine is replaced.
        restarts: how often an engine's place is filled again, with pauses growing from `pause_s`.
        probe_s: how long until a node that cannot do the work is asked again.
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
