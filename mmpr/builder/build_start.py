"""One start of a build: the objects that all its steps need."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from mmpr.builder.budget import Budget
from mmpr.builder.chronicle import Chronicle
from mmpr.builder.progress_views import waiting
from mmpr.builder.shared_engines import Shared
from mmpr.builder.stopping import StopSignal
from mmpr.log import LogFormat
from mmpr.pool import MakeEngine
from mmpr.run import RunFolder
from mmpr.run.heartbeat import Heartbeat
from mmpr.settings.config import BuildConfig


@dataclass(frozen=True, slots=True)
class BuildStart:
    """The parts that one start of a build works with.

    Args:
        make_engine: starts an engine that answers questions.
        make_verifier: starts an engine of the verifier; None: as the settings say.
    """

    config: BuildConfig
    folder: RunFolder
    make_engine: MakeEngine
    make_verifier: MakeEngine | None
    shared: Shared
    budget: Budget
    stopping: StopSignal
    heartbeat: Heartbeat
    chronicle: Chronicle
    log_format: LogFormat

    @property
    def as_json(self) -> bool:
        """Whether progress is printed as JSON lines."""
        return self.log_format is LogFormat.JSON

    def waiting(self, words: str) -> AbstractContextManager[None]:
        """Show inside the block what the build is waiting for."""
        return waiting(words, as_json=self.as_json)
