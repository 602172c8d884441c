"""The settings that a run folder was made with, under others of selection."""

from __future__ import annotations

from mmpr.run import RunRecord
from mmpr.settings.config import BuildConfig, merge

_NOWHERE = "http://nobody-asks-it"


def stored_settings(run: RunRecord, overrides: list[str]) -> BuildConfig:
    """What `run.json` says, with `key=value` over it.

    Args:
        run: as `RunFolder.load_run` gives it.
        overrides: of any setting; whoever may change only some of them looks at the result.

    Raises:
        ConfigError: names the setting and what it may be.
    """
    values = run.settings
    if values.get("engine") == "endpoint":
        values["endpoint_url"] = _NOWHERE  # where a server was is not stored, and nobody asks it again
    return merge(values, overrides)
