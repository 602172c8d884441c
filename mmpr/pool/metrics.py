"""Counters and gauges through Ray, which exports them for Prometheus on the metrics port of each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its name in Prometheus is `ray_NAME`, for a counter `ray_NAME_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    tags: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


class Meters:
    """The metrics of one process, all with the same extra tags; needs a connected Ray.

    Args:
        metrics: the metrics to register.
        tags: extra tags with their values, added to every metric.
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
        """Add to a counter. Zero is ignored, so that a counter appears with its first event."""
        if amount > 0:
            self._counters[name].inc(amount, {**self._tags, **tags})

    def set(self, name: str, value: float, **tags: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, {**self._tags, **tags})
