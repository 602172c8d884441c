"""Plain functions over many arguments: as Ray tasks, or in this process where Ray is not installed (`mmpr[data]`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mmpr.extras import is_installed

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def task_room() -> Iterator[None]:
    """Within, `map_tasks` can be called: in the Ray that is joined already, or one on this machine; without Ray, here.

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
    """`function(argument)` for each argument, results in the arguments' order, at most so many at once.

    Raises:
        MmprError: what the function raised.
    """
    if not is_installed("ray"):
        return map(function, arguments)
    from mmpr.pool import cluster

    return cluster.map_tasks(function, arguments, in_flight=in_flight)
