"""Export the pool's events as metrics; `pipelines/cluster/grafana.json` is a dashboard for them."""

from __future__ import annotations

from mmpr.builder.chunk import ChunkReport
from mmpr.builder.progress import Progress
from mmpr.engines.protocol import Pulse
from mmpr.pool import Beat, Died, Done, Event, Meters, Metric
from mmpr.run.commit_records import kept_as
from mmpr.types import PairKind

# an exported name: dashboards of users contain it
_IMAGES = "mmpr_engine_waiting_for_pictures_seconds"
METRICS = (
    Metric("mmpr_questions", "counter", "questions committed", ("outcome",)),
    Metric("mmpr_pairs", "counter", "pairs made, before rules over the whole run", ("kind",)),
    Metric("mmpr_skips", "counter", "questions that left without a pair", ("reason",)),
    Metric("mmpr_chunks", "counter", "chunks committed", ("host",)),
    Metric("mmpr_tokens", "counter", "tokens of the engines", ("kind",)),
    Metric("mmpr_engine_busy_seconds", "counter", "seconds an engine had requests at work", ("engine", "host")),
    Metric(_IMAGES, "counter", "seconds an engine had none, and images were coming", ("engine", "host")),
    Metric("mmpr_engine_deaths", "counter", "engines that ended while they should not", ("host",)),
    Metric("mmpr_gpu_seconds", "counter", "GPU seconds held by engines; without GPUs an engine counts as one"),
    Metric("mmpr_engines", "gauge", "engines", ("state",)),
    Metric("mmpr_requests", "gauge", "requests in the engines", ("state",)),
    Metric("mmpr_chunks_in_flight", "gauge", "chunks leased to engines now"),
    Metric("mmpr_questions_left", "gauge", "questions of the run that are not committed"),
)
_TOKENS = {"generated": "generated_tokens", "prompt": "prompt_tokens", "cached": "cached_tokens"}


class Metering:
    """Counts the events of one build; every metric is tagged with the run's folder.

    Args:
        run: address of the run folder.
        progress: the sums of the same build; it must see each event before this object.
    """

    def __init__(self, run: str, progress: Progress) -> None:
        self._meters = Meters(METRICS, {"run": run})
        self._progress = progress
        self._reported: dict[tuple[str, ...], float] = {}
        self._left()

    def see(self, event: Event) -> None:
        if isinstance(event, Done):
            self._chunk(event.report)
        elif isinstance(event, Died):
            self._meters.add("mmpr_engine_deaths", 1, host=event.host)
        elif isinstance(event, Beat):
            self._beat(event)

    def _chunk(self, report: ChunkReport) -> None:
        skipped = sum(report.skips_by_reason.values())
        self._meters.add("mmpr_chunks", 1, host=report.host)
        self._meters.add("mmpr_questions", report.questions - skipped, outcome=kept_as(report.counts))
        self._meters.add("mmpr_questions", skipped, outcome="skipped")
        for kind in PairKind:
            self._meters.add("mmpr_pairs", report.counts.get(kind.value, 0), kind=kind.value)
        for reason, n in report.skips_by_reason.items():
            self._meters.add("mmpr_skips", n, reason=reason)
        self._left()

    def _beat(self, beat: Beat) -> None:
        totals = self._progress.totals
        for kind, name in _TOKENS.items():
            self._upto("mmpr_tokens", totals[name], kind=kind)
        for name, by_place in (
            ("mmpr_engine_busy_seconds", self._progress.busy_s),
            (_IMAGES, self._progress.preparing_s),
        ):
            for (number, host), seconds in by_place.items():
                self._upto(name, seconds, engine=str(number), host=host)
        self._meters.add("mmpr_gpu_seconds", beat.held_s)
        self._gauges(beat)

    def _gauges(self, beat: Beat) -> None:
        self._meters.set("mmpr_engines", len(beat.pulses), state="up")
        self._meters.set("mmpr_engines", beat.starting, state="starting")
        for state in ("running", "waiting"):
            self._meters.set("mmpr_requests", _sum(beat.pulses, state), state=state)
        self._meters.set("mmpr_chunks_in_flight", beat.in_flight)

    def _upto(self, name: str, total: float, **tags: str) -> None:
        """Add the increase of a total since the last call."""
        key = (name, *tags.values())
        self._meters.add(name, total - self._reported.get(key, 0.0), **tags)
        self._reported[key] = total

    def close(self) -> None:
        """Set the gauges of engines, requests and chunks to zero, because the build no longer has any."""
        self._gauges(Beat((), 0))

    def _left(self) -> None:
        self._meters.set("mmpr_questions_left", self._progress.total - self._progress.done)


def _sum(pulses: tuple[Pulse, ...], name: str) -> int:
    return sum(getattr(pulse, name) for pulse in pulses)
