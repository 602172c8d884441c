"""The errors that mmpr raises on purpose. Each message is one line that names the place and the remedy.

MmprError
├── ConfigError          a setting is invalid: names the field and its allowed values
├── SourceError          a source cannot be read (a bad row is a `Skip`, not an error)
├── ImageError           an image cannot be used; carries the `Reason` of its skip
├── EngineError          an error of a model's engine
│   ├── EngineStartError the engine did not start: wrong path, no memory, no GPU
│   ├── EngineDead       the engine ended while it held requests; its chunks are leased again
│   └── RequestRefused   the engine refused one request; carries the `Reason` of its skip
├── JudgeError           a reference answer or a response could not be judged for a technical reason
├── RunFolderError       a run folder is damaged, foreign, or in use
│   ├── ResumeError      a start with other identity settings than the folder's; names the changed field
│   ├── DriverReplaced   another driver has taken the run over
│   └── CommitRefused    another attempt has committed this chunk; the files of this one do not count
├── RunFailing           too many questions, or requests to a verifier, failed; committed chunks stay
├── MissingExtra         a package is not installed; names the extra of mmpr that installs it
├── TaskFailed           a chunk's work failed with an unexpected error; it is tried again
├── HubError             the Hugging Face Hub refuses a push, or does not answer
└── LawBroken            questions != paired + skipped: a bug of mmpr

KeyboardInterrupt
└── RunStopped           SIGTERM while no engine was working: exit code 75, run it again
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmpr.types import Reason


class MmprError(Exception):
    """Base class; the command line turns it into one line and exit code 1."""


class ConfigError(MmprError):
    """A setting is invalid."""


class SourceError(MmprError):
    """A source cannot be read."""


class _Reasoned(MmprError):
    """An error that becomes a `Skip` and carries its reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both in args, so that unpickling works
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class ImageError(_Reasoned):
    """An image cannot be used."""


class EngineError(MmprError):
    """An error of a model's engine."""


class EngineStartError(EngineError):
    """The engine did not start."""


class EngineDead(EngineError):
    """The engine ended while it held requests."""


class RequestRefused(_Reasoned, EngineError):
    """The engine refused one request and continues to run."""


class JudgeError(MmprError):
    """A response could not be judged for a technical reason; this is never a wrong answer."""


class RunFolderError(MmprError):
    """A run folder is damaged, foreign, or in use."""


class ResumeError(RunFolderError):
    """A start with other identity settings than the run folder's."""


class DriverReplaced(RunFolderError):
    """Another driver has taken the run over."""


class CommitRefused(RunFolderError):
    """Another attempt has committed this chunk."""


class RunFailing(MmprError):
    """It was ended because too many questions, or requests to a verifier, failed (`max_failure_fraction`)."""


class MissingExtra(MmprError, ImportError):
    """A package is not installed that one of mmpr's extras installs."""


class TaskFailed(MmprError):
    """A chunk's work failed with an unexpected error; it is tried again."""


class HubError(MmprError):
    """The Hugging Face Hub refuses a push, or does not answer."""


class LawBroken(MmprError):
    """`questions = paired + skipped` does not hold."""


class RunStopped(KeyboardInterrupt):
    """SIGTERM while no engine was working. Like Ctrl-C, only the command line catches it."""
