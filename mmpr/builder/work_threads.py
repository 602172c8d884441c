"""Threads beside an engine's event loop: some wait for files and servers, others compute or tokenize.

Waiting never blocks computing, and one server cannot occupy all waiting threads. While a server is slow, questions
without images, with local files or with images of other servers are opened and judged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from mmpr.errors import ImageError
from mmpr.pool import ClusterOptions
from mmpr.types import Reason

P = ParamSpec("P")
R = TypeVar("R")

_ALL_HOSTS = "*"


class WorkThreads:
    """The threads of one actor, used only from its event loop; a thread starts when it first has work."""

    def __init__(self, options: ClusterOptions = ClusterOptions()) -> None:
        self._io = ThreadPoolExecutor(options.io_threads, "mmpr-io")
        self._cpu = ThreadPoolExecutor(options.cpu_threads, "mmpr-cpu")
        self._tokenizer = ThreadPoolExecutor(options.cpu_threads, "mmpr-tokenizer")
        self._hosts = HostSlots(options.fetches_per_host, in_all=max(1, options.io_threads * 3 // 4))

    async def wait(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run a function that opens files or asks servers."""
        return await _called(self._io, function, *arguments, **named)

    async def compute(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run a function that uses a CPU core."""
        return await _called(self._cpu, function, *arguments, **named)

    async def tokenize(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run a function that uses the engine's tokenizer; an endpoint's tokenizer is a server, which may be slow."""
        return await _called(self._tokenizer, function, *arguments, **named)

    def close(self) -> None:
        """End the threads after their current work; drop work that has not started."""
        for pool in (self._io, self._cpu, self._tokenizer):
            pool.shutdown(wait=False, cancel_futures=True)

    def fetching(self, hosts: Collection[str]) -> AbstractAsyncContextManager[None]:
        """Hold a slot of each of these hosts inside the block; wait until all of them have one."""
        return self._hosts.held(hosts)


class HostSlots:
    """Limits the number of fetches per host and in total; the remaining threads are for files.

    A host that could not be reached has one slot until it answers, so that many unreachable hosts do not fill all
    slots.
    """

    def __init__(self, per_host: int, *, in_all: int) -> None:
        self._per_host, self._in_all = per_host, in_all
        self._busy: Counter[str] = Counter()
        self._silent: set[str] = set()
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def held(self, hosts: Collection[str]) -> AsyncIterator[None]:
        """Hold one slot of each host. All are taken together, so that a waiting task holds none."""
        wanted = {*hosts, _ALL_HOSTS} if hosts else set[str]()
        async with self._room:
            await self._room.wait_for(lambda: all(self._busy[host] < self._most(host) for host in wanted))
            self._busy.update(wanted)
        try:
            yield
        except ImageError as error:
            if error.reason is Reason.IMAGE_UNREACHABLE:
                self._silent.update(hosts)
            raise
        else:
            self._silent.difference_update(hosts)
        finally:
            async with self._room:
                self._busy -= Counter(wanted)
                self._room.notify_all()

    def _most(self, host: str) -> int:
        if host == _ALL_HOSTS:
            return self._in_all
        return 1 if host in self._silent else self._per_host


async def _called(pool: ThreadPoolExecutor, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    context = copy_context()  # the budget of decoded bytes finds the images' owner in the context
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(function, *arguments, **named))
