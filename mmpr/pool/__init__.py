"""Ray actors, each holding one engine; leases, deaths, restarts; `map_tasks` for plain functions. Alone imports ray.

The pool knows nothing of questions: it leases opaque chunks to engines and says what came of each. When an engine dies,
its leases go out again as they were. One that was there twice goes out "alone", in groups of questions that are each
announced, so that the question that kills is found and no innocent one is blamed (`lease_book`).
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

# What imports ray, which mmpr[data] does without.
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
