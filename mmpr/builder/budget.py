"""The limits of a command, `deadline` and `max_gpu_hours`; when one is reached, the command stops as on SIGTERM."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mmpr.errors import ConfigError
from mmpr.pool import Beat, Event

# hours and minutes may each be missing, but `+` alone is no time
_AFTER = re.compile(r"\+(?=\d)(?:(\d+)h)?(?:(\d+)m)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


class Budget:
    """Sums up what a command uses. All builds of a command share one budget, and so do the sources of a job.

    Args:
        deadline: `06:00` (the next 06:00 local time), `+8h`, `+3h50m`, or an ISO 8601 time; None: no deadline.
        max_gpu_hours: engines' GPUs times hours, starting included; without GPUs an engine counts as one.

    Raises:
        ConfigError: the deadline has another form.
    """

    def __init__(self, deadline: str | None = None, max_gpu_hours: float | None = None) -> None:
        self._until = None if deadline is None else moment(deadline, datetime.now().astimezone())
        self._deadline, self._max_gpu_hours = deadline, max_gpu_hours
        self._used_s = 0.0

    def see(self, event: Event) -> None:
        """Count the GPU seconds that a pool reports."""
        if isinstance(event, Beat):
            self._used_s += event.held_s

    def spent(self) -> str | None:
        """Return why no more work may start, or None."""
        if self._until is not None and datetime.now().astimezone() >= self._until:
            return f"deadline {self._deadline} has passed"
        if self._max_gpu_hours is not None and self._used_s >= 3600 * self._max_gpu_hours:
            return f"max_gpu_hours {self._max_gpu_hours:g} are used"
        return None


def moment(text: str, now: datetime) -> datetime:
    """Return the time that a deadline means.

    Args:
        text: see `Budget`; a time without an offset is in the time zone of `now`.
        now: the current time with its time zone.

    Raises:
        ConfigError: the text is no deadline.
    """
    if found := _AFTER.fullmatch(text):
        return now + timedelta(hours=int(found[1] or 0), minutes=int(found[2] or 0))
    try:
        if found := _CLOCK.fullmatch(text):
            at = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
            return at if at > now else at + timedelta(days=1)
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=now.tzinfo)
    except ValueError:
        raise ConfigError(f"deadline: {text!r} is not a time; give 06:00, +8h, +3h50m or 2027-01-31T06:00") from None
