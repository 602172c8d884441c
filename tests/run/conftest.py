from __future__ import annotations

import itertools
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory", "objects"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a run, once on each kind of filesystem."""
    if request.param == "local":
        return str(tmp_path / "run")
    return f"{request.param}://runs/{next(_NUMBERS)}"
