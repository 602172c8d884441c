"""Sum up from the pool's events what a running build has done; views, metrics and the heartbeat read it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from typing import Protocol

from mmpr.engines.protocol import Pulse
from mmpr.pool import Beat, Done, Event
from mmpr.types import PairKind

_WINDOW_S = 30.0  # rates cover the last 30 s, so that the slow start does not lower them
_RATED = ("generated_tokens", "busy_s", "alive_s")
_TOTALS = ("generated_tokens", "prompt_tokens", "cached_tokens", "busy_s", "preparing_s", "alive_s")


class Watcher(Protocol):
    """Receives every event of the pool, one after another, in the driver."""

    def see(self, event: Event) -> None:
        """Process one event; must not block."""


class Progress:
    """The sums of one build: `done` of `total` questions, `first` of which earlier starts committed.

    Args:
        evaluates: the build is an evaluation, so it has responses and no pairs.
    """

    def __init__(self, total: int, first: int, *, evaluates: bool = False) -> None:
        self.total, self.done, self.first, self.evaluates = total, first, first, evaluates
        self.kinds: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()  # of an evaluation: `responses` and `right` responses
        self.skips: Counter[str] = Counter()
        self.totals: defaultdict[str, float] = defaultdict(float)  # of all engines, in this build
        self.busy_s: defaultdict[tuple[int, str], float] = defaultdict(float)  # by engine and host
        self.preparing_s: defaultdict[tuple[int, str], float] = defaultdict(float)  # the same
        self.held_s = 0.0
        self.beat = Beat((), 0)
        self._warnings: dict[str, bool] = {}  # what engines had to assume, and whether it was printed
        self._known: dict[int, Pulse] = {}
        self._window: deque[tuple[float, ...]] = deque()
        self._began = time.monotonic()

    def see(self, event: Event) -> None:
        if isinstance(event, Done):
            self.done += event.report.questions
            self.kinds.update({kind.value: event.report.counts.get(kind.value, 0) for kind in PairKind})
            self.judged.update({name: event.report.counts.get(name, 0) for name in ("responses", "right")})
            self.skips.update(event.report.skips_by_reason)
        elif isinstance(event, Beat):
            self._add(event)

    def _add(self, beat: Beat) -> None:
        now = time.monotonic()
        for place, pulse in zip(beat.places, beat.pulses, strict=True):
            known = self._known.get(place[0]) or self._baseline(pulse)
            for name in _TOTALS:
                self.totals[name] += _since(known, pulse, name)
            self.busy_s[place] += _since(known, pulse, "busy_s")
            self.preparing_s[place] += _since(known, pulse, "preparing_s")
            self._known[place[0]] = pulse
            if pulse.warning:
                self._warnings.setdefault(pulse.warning, False)
        self.beat = beat
        self.held_s += beat.held_s
        self._window.append((now, *(self.totals[name] for name in _RATED)))
        while self._window[0][0] < now - _WINDOW_S:
            self._window.popleft()

    def _baseline(self, pulse: Pulse) -> Pulse:
        """Return what an engine had done before this build, which does not count: engines of a job outlive a build."""
        return pulse if pulse.alive_s > time.monotonic() - self._began + 1.0 else Pulse()

    def new_warnings(self) -> list[str]:
        """What engines had to assume, each line once."""
        new = [warning for warning, printed in self._warnings.items() if not printed]
        self._warnings.update(dict.fromkeys(new, True))
        return new

    @property
    def engines(self) -> int:
        """The number of engines that are up."""
        return len(self.beat.pulses)

    @property
    def phases(self) -> str:
        """What the other engines are doing: `loading weights`, or for several `3 loading weights, 1 compiling`."""
        found = Counter(self.beat.phases)
        if len(self.beat.phases) == 1 or not found:
            return "".join(found)
        return ", ".join(f"{n} {words}" for words, n in found.most_common())

    @property
    def running(self) -> int:
        """The number of requests at work in the engines."""
        return sum(pulse.running for pulse in self.beat.pulses)

    @property
    def rates(self) -> tuple[float, float]:
        """Generated tokens per second, and the fraction of time in which engines were busy, over the last 30 s."""
        if not self._window:
            return 0.0, 0.0
        (t0, n0, b0, a0), (t1, n1, b1, a1) = self._window[0], self._window[-1]
        return (n1 - n0) / max(t1 - t0, 1e-9), min(1.0, (b1 - b0) / max(a1 - a0, 1e-9))

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds until the end, from this start's mean; None before its first chunk."""
        done = self.done - self.first
        return (time.monotonic() - self._began) / done * (self.total - self.done) if done else None

    def usage(self) -> dict[str, float]:
        """Return what all engines together did in this build, and the seconds since its start."""
        return {**{name: float(self.totals[name]) for name in _TOTALS}, "wall_s": time.monotonic() - self._began}

    def figures(self) -> dict[str, object]:
        """Return the figures as plain JSON, for the heartbeat and for logs."""
        rate, busy = self.rates
        return {
            "phase": "building" if self.engines else f"starting engines: {self.phases}".removesuffix(": "),
            "done": self.done,
            "total": self.total,
            "engines": self.engines,
            "starting": self.beat.starting,
            "chunks_in_flight": self.beat.in_flight,
            "running": self.running,
            "waiting": sum(pulse.waiting for pulse in self.beat.pulses),
            "tokens_per_s": round(rate, 1),
            "busy_share": round(busy, 3),
            "gpu_hours": round(self.held_s / 3600, 3),
        }


def _since(known: Pulse, pulse: Pulse, name: str) -> float:
    """Return what an engine did since it was last seen; after a restart, its counters begin at zero again."""
    before = getattr(known, name) if pulse.alive_s >= known.alive_s else 0.0
    return max(0.0, float(getattr(pulse, name) - before))
