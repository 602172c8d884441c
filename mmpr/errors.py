"""Every error that mmpr raises on purpose. Each message is one line that names the place and the remedy.

MmprError
├── ConfigError          a setting is wrong: names the field and what it may be
├── SourceError          a source cannot be read at all (a bad row is a `Skip`, not an error)
├── ImageError           an image cannot be used; carries the `Reason` of the skip it becomes
├── EngineError          something about a model's engine
│   ├── EngineStartError the engine did not start: wrong path, no memory, no GPU
│   ├── EngineDead       the engine ended while it held requests; its chunks are leased again
│   └── RequestRefused   the engine refused one request; carries the `Reason` of its skip
├── JudgeError           a reference answer or a response could not be judged for a technical cause
├── RunFolderError       a run folder is damaged, foreign, or in use
│   ├── ResumeError      a start whose identity differs from the folder's; names the changed field
│   ├── DriverReplaced   another driver has taken the run over
│   └── CommitRefused    another attempt has committed this chunk: this one's files do not count
├── RunFailing           so many questions failed that the build was ended; what was done is kept
├── MissingExtra         a package that an extra of mmpr installs is not there; names the extra
├── TaskFailed           a chunk's work failed for a cause that nobody foresaw; it is tried again
├── HubError             the Hugging Face Hub refuses a push, or does not answer
└── LawBroken            questions != paired + skipped: a fault of mmpr itself

KeyboardInterrupt
└── RunStopped           SIGTERM while no engine was at work: exit 75, to be run again
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmpr.types import Reason


class MmprError(Exception):
    """Root of the tree; what the command line turns into one sentence and exit code 1."""


class ConfigError(MmprError):
    """A setting is wrong."""


class SourceError(MmprError):
    """A source cannot be read at all."""


class _Reasoned(MmprError):
    """An error that becomes a `Skip`: it knows the reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both in args, so that pickle rebuilds it
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class ImageError(_Reasoned):
    """An image cannot be used."""


class EngineError(MmprError):
    """Something about a model's engine."""


class EngineStartError(EngineError):
    """The engine did not start."""


class EngineDead(EngineError):
    """The engine ended while it held requests."""


class RequestRefused(_Reasoned, EngineError):
    """The engine refused one request and lives on."""


class JudgeError(MmprError):
    """A response could not be judged for a technical cause; never the same as a wrong answer."""


class RunFolderError(MmprError):
    """A run folder is damaged, foreign, or in use."""


class ResumeError(RunFolderError):
    """A start whose identity differs from the run folder's."""


class DriverReplaced(RunFolderError):
    """Another driver has taken the run over."""


class CommitRefused(RunFolderError):
    """Another attempt has committed this chunk."""


class RunFailing(MmprError):
    """So many questions failed that the build was ended (`max_failure_fraction`)."""


class MissingExtra(MmprError, ImportError):
    """A package is missing that one of mmpr's extras installs."""


class TaskFailed(MmprError):
    """A chunk's work failed for a cause that nobody foresaw; it is tried again."""


class HubError(MmprError):
    """The Hugging Face Hub refuses a push, or does not answer."""


class LawBroken(MmprError):
    """`questions = paired + skipped` does not hold."""


class RunStopped(KeyboardInterrupt):
    """SIGTERM while no engine was at work; like Ctrl-C, nothing but the command line catches it."""
