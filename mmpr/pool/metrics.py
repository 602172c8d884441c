"""Counters and gauges through Ray, which exports those of every process on its node's metrics port for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Prometheus knows it as `ray_NAME`, a counter as `ray_NAME_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    tags: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


class Meters:
    """The metrics of one process, all with the same further tags; needs a connected pool.

    Args:
        metrics: what there is to measure.
        tags: further tags with their values, on every one of them.
    """

    def __init__(self, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = dict(tags)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        for metric in metrics:
            names = (*self._tags, *metric.tags)
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(metric.name, metric.description, names)
            else:
                self._gauges[metric.name] = Gauge(metric.name, metric.description, names)

    def add(self, name: str, amount: float, **tags: str) -> None:
        """Add to a counter; nothing is no event."""
        if amount > 0:
            self._counters[name].inc(amount, {**self._tags, **tags})

    def set(self, name: str, value: float, **tags: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, {**self._tags, **tags})
