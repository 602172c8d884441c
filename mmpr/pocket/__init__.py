"""The pocket model: a tiny real InternVL that ships in the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

POCKET = "pocket"  # its name in the setting `model`


def checkpoint_path() -> Path:
    """Return the folder of the pocket model's checkpoint, for an engine's `model` setting."""
    return Path(str(files("mmpr.pocket") / "checkpoint"))
