"""Run plain functions over many arguments: as Ray tasks, or in this process if Ray is not installed (`mmpr[data]`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mmpr.extras import is_installed

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def task_room() -> Iterator[None]:
    """Allow `map_tasks` inside the block: on the joined Ray cluster, or on one that is started on this machine.

    Without Ray installed, tasks run in this process.

    Raises:
        MmprError: Ray did not start.
    """
    if not is_installed("ray"):
        yield
        return
    from mmpr.pool.cluster import connected

    with connected(None):
        yield


def map_tasks(function: Callable[[T], R], arguments: Iterable[T], *, in_flight: int = 16) -> Iterator[R]:
    """Apply the function to each argument, at most `in_flight` at once; yield results in the order of the arguments.

    Raises:
        MmprError: the function raised it.
    """
    if not is_installed("ray"):
        return map(function, arguments)
    from mmpr.pool import cluster

    return cluster.map_tasks(function, arguments, in_flight=in_flight)
