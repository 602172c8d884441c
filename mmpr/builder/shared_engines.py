"""The cluster and the engines of one command; builds that follow one another share them if they can."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from mmpr import pool
from mmpr.pool import MakeEngine, Placement, Probe, Work

if TYPE_CHECKING:
    from mmpr.pool import Pool


class Shared:
    """Connects to the cluster when it is first needed, and keeps a pool while builds need equal engines.

    Args:
        keep: whether engines outlive a build, for the next build of a job.
        debug: show the engines' own logs.
    """

    def __init__(self, *, keep: bool = False, debug: bool = False) -> None:
        self.keep = keep
        self._debug = debug
        self._cluster = ExitStack()
        # `(None,)`: connected on this machine; None: not connected
        self._address: tuple[str | None] | None = None
        self._pool: Pool | None = None
        self._ending: list[Pool] = []
        self._wanted: object = None

    def is_connected(self, address: str | None) -> bool:
        """Whether the cluster at `address` (None: on this machine) is connected."""
        return self._address == (address,)

    def connect(self, address: str | None) -> None:
        """Connect to the cluster at `address`, or start one on this machine; do nothing if that is done already.

        Raises:
            MmprError: no cluster answers at the address.
        """
        if self.is_connected(address):
            return
        self.close()
        self._cluster.enter_context(pool.connected(address, debug=self._debug))
        self._address = (address,)

    def engines(self, make: MakeEngine, work: Work, placement: Placement, probe: Probe) -> Pool:
        """Return a pool for this work: the last one, if it has equal engines and all its leases have returned."""
        wanted = (_settings_of(make), placement)
        if self._pool is not None and self._pool.is_idle and self._wanted == wanted:
            self._pool.assign(work, probe)
            return self._pool
        self.end_engines()
        self._pool, self._wanted = pool.Pool(make, work, placement, probe=probe), wanted
        return self._pool

    def give_back(self) -> None:
        """End a build's use of its engines: they end, or wait for the next build.

        Engines without a lease end in the background while the build continues: vLLM takes seconds to end.
        """
        if self._pool is None or (self.keep and self._pool.is_idle):
            return
        if not self._pool.is_idle:
            self.end_engines()
            return
        self._pool.end()
        self._ending.append(self._pool)
        self._pool = None

    def end_engines(self) -> None:
        """End every engine, and wait for those that are ending."""
        ended = [*self._ending, *([self._pool] if self._pool else [])]
        self._ending, self._pool = [], None
        for one in ended:
            one.close()

    def close(self) -> None:
        """End the engines, and leave or end the cluster."""
        try:
            self.end_engines()
        finally:
            self._address = None
            self._cluster.close()

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _settings_of(make: MakeEngine) -> object:
    """Return the settings of a function that makes engines; partials of one function with equal arguments are equal."""
    return (make.func, make.args, make.keywords) if isinstance(make, partial) else make
