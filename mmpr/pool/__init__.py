"""A pool of engines in Ray actors: leases, deaths and restarts; and `map_tasks` for plain functions.

This is the only package that imports ray. The pool knows nothing about questions: it leases opaque chunks to engines
and reports the results. When an engine dies, its leases are given out again unchanged. A chunk that has seen two deaths
is leased alone and asks its questions in announced groups, so that the question that kills the engine is found and no
other one is blamed (`lease_book`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mmpr.pool.metrics import Meters, Metric
from mmpr.pool.pool_records import (
    Beat,
    ClusterOptions,
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
    WorkContext,
)
from mmpr.pool.tasks import map_tasks, task_room

if TYPE_CHECKING:
    from mmpr.pool.cluster import connected, n_engines
    from mmpr.pool.engine_pool import Pool

# These modules import ray, which `mmpr[data]` does not install: they are loaded on first use.
_HOMES = {"connected": "mmpr.pool.cluster", "n_engines": "mmpr.pool.cluster", "Pool": "mmpr.pool.engine_pool"}

__all__ = [
    "Beat",
    "ClusterOptions",
    "Died",
    "Done",
    "Event",
    "Failed",
    "Lease",
    "MakeEngine",
    "Meters",
    "Metric",
    "NodeLost",
    "Placement",
    "Pool",
    "Probe",
    "UnfitNode",
    "Work",
    "WorkContext",
    "connected",
    "map_tasks",
    "n_engines",
    "task_room",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmpr.pool' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
