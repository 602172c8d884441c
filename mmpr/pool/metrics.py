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

        kinds = {"counter": Counter, "gauge": Gauge}
        self._tags = dict(tags)
        self._metrics = {
            metric.name: kinds[metric.kind](metric.name, metric.description, (*self._tags, *metric.tags))
            for metric in metrics
        }

    def add(self, name: str, amount: float, **tags: str) -> None:
        """Add to a counter; nothing is no event."""
        if amount > 0:
            self._metrics[name].inc(amount, {**self._tags, **tags})

    def set(self, name: str, value: float, **tags: str) -> None:
        """Set a gauge."""
        self._metrics[name].set(value, {**self._tags, **tags})
