"""Structured logs: one JSON object per line on stderr, without secrets and without control characters."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum

from mmpr.redact import redacted


class LogFormat(StrEnum):
    """The format of a build's output on stderr: lines for people, or JSON for log collectors."""

    TEXT = "text"
    JSON = "json"


def stamp(moment: float | None = None) -> str:
    """Format a time in Unix seconds (None: now) as in all files and messages of mmpr: `2026-11-23T07:40:16Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def log(event: str, level: str = "info", **fields: object) -> None:
    """Write one line.

    Args:
        event: what happened, in snake_case; equal events have equal names.
        level: `info`, `warning` or `error`.
        fields: plain JSON; `run`, `chunk` and `attempt` if they are known.
    """
    line = {"at": stamp(), "level": level, "event": event, **{name: _clean(value) for name, value in fields.items()}}
    text = json.dumps(line).replace("\x7f", "\\u007f")  # in ASCII; all other control characters are escaped already
    print(text, file=sys.stderr, flush=True)


def _clean(value: object) -> object:
    return redacted(value) if isinstance(value, str) else value
