"""Ends a run that is mostly broken: a wrong image root fails every question, and each costs time."""

from __future__ import annotations

from collections import Counter

from mmpr.builder.chunk import FAILURES, ChunkReport

_ENOUGH_BY_DEFAULT, _ENOUGH = 200, 50  # questions to judge by: unasked for, and where a fraction was named
_EVERYWHERE = ""


class FailureWatch:
    """Counts the questions of this start that failed, over all and host by host: one broken mount is one host's.

    Args:
        fraction: of questions that may fail; None for half of them.
    """

    def __init__(self, fraction: float | None) -> None:
        self._fraction = 0.5 if fraction is None else fraction
        self._enough = _ENOUGH_BY_DEFAULT if fraction is None else _ENOUGH
        self._questions: Counter[str] = Counter()
        self._failures: dict[str, Counter[str]] = {}

    def count(self, report: ChunkReport) -> None:
        """Take a committed chunk into account."""
        failed = {r.value: report.skips_by_reason.get(r.value, 0) for r in FAILURES}
        for host in (_EVERYWHERE, report.host):
            self._questions[host] += report.questions
            self._failures.setdefault(host, Counter()).update(failed)

    def failing(self) -> str | None:
        """One line, where too many questions have failed: which, how many, on which host, and why most of them."""
        for host, n in self._questions.items():
            failed = self._failures[host].total()
            if n < self._enough or failed <= self._fraction * n:
                continue
            reason, most = self._failures[host].most_common(1)[0]
            where = f" on {host}" if host else ""
            return f"{failed} of {n} questions{where} failed, {most} of them with {reason} (max_failure_fraction)"
        return None
