"""End early what mostly fails: a build with a wrong image root, or a verifier whose server refuses every request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_ENOUGH_BY_DEFAULT, _ENOUGH = 200, 50  # fewest to judge by: without `max_failure_fraction`, and with it
_EVERYWHERE = ""


class FailureWatch:
    """Counts what failed in this start, in total and per host, because a broken mount affects one host.

    Args:
        fraction: fraction that may fail (`max_failure_fraction`); None: half of them.
        what: what is counted, in the plural.
    """

    def __init__(self, fraction: float | None, what: str = "questions") -> None:
        self._fraction = 0.5 if fraction is None else fraction
        self._enough = _ENOUGH_BY_DEFAULT if fraction is None else _ENOUGH
        self._what = what
        self._seen: Counter[str] = Counter()
        self._failures: dict[str, Counter[str]] = {}

    def count(self, n: int, failed: Mapping[str, int], host: str = _EVERYWHERE) -> None:
        """Count the n of a chunk that was worked on at a host; `failed`: how many of them failed, by reason."""
        # a node without the image share fails all its questions, a tenth of the run's
        for place in {_EVERYWHERE, host}:
            self._seen[place] += n
            self._failures.setdefault(place, Counter()).update(failed)

    def failing(self, *, at_the_end: bool = False) -> str | None:
        """Return one line if too many have failed: how many, on which host, and the most frequent reason.

        Args:
            at_the_end: nothing more will be counted, so that few are enough to judge by.
        """
        for host, n in self._seen.items():
            failed = self._failures[host].total()
            least = 0 if at_the_end and host == _EVERYWHERE else self._enough
            if n < least or failed <= self._fraction * n:
                continue
            reason, most = self._failures[host].most_common(1)[0]
            where = f" on {host}" if host else ""
            return f"{failed} of {n} {self._what}{where} failed, {most} of them with {reason} (max_failure_fraction)"
        return None
