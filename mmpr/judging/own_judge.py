"""A user's own judge instead of the rules, named by `module:name`; without a name, the rules judge."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from mmpr.errors import ConfigError
from mmpr.judging.judge_session import Judge
from mmpr.judging.option_lists import JudgeOptions
from mmpr.judging.rules import VERSION
from mmpr.types import Outcome, Question, Verdict

FAILED = "error-own-judge"  # prefix of the rule if the judge raised or returned no Verdict


class JudgesResponses(Protocol):
    """A callable with the judge's signature; `name` and `version` go into the key of every verdict that is stored.

    A new `version` has a run judged again when it is paired or resumed.
    """

    name: str
    version: str

    def __call__(self, question: Question, response: str, /) -> Verdict: ...


class OwnJudge:
    """A user's own judge with the methods of `Judge`. An exception on one response makes its verdict ERROR.

    Args:
        place: `module:name`.

    Raises:
        ConfigError: the callable does not exist, or has no name and version.
    """

    def __init__(self, place: str) -> None:
        self._call = load_judge(place)

    def __enter__(self) -> OwnJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def judge(self, question: Question, response: str) -> Verdict:
        """Judge one response."""
        try:
            verdict = self._call(question, response)
        except Exception as error:  # noqa: BLE001 whatever a stranger's code raises on one response ends no build
            return Verdict(Outcome.ERROR, None, f"{FAILED}-{type(error).__name__}")
        if isinstance(verdict, Verdict):
            return verdict
        return Verdict(Outcome.ERROR, None, f"{FAILED}-returned-{type(verdict).__name__}")

    def judge_all(self, question: Question, responses: Sequence[str]) -> list[Verdict]:
        """Judge all responses to one question."""
        return [self.judge(question, response) for response in responses]

    def close(self) -> None:
        """Do nothing: there is no process to end."""


def load_judge(place: str) -> JudgesResponses:
    """Return the callable that `module:name` names; a module of the working directory is found, too.

    Raises:
        ConfigError: it cannot be imported here, or is no judge; says what is missing.
    """
    module, _, name = place.partition(":")
    try:
        # the command `mmpr` has its own folder on the path in place of the user's; last, so that it hides no package
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)
        found: object = importlib.import_module(module)
        for step in name.split("."):
            found = getattr(found, step)
    except Exception as error:  # noqa: BLE001 the module's own code runs here
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"judge: {place} cannot be imported ({words}); it must be importable on every node") from None
    if not callable(found) or not all(isinstance(_text(found, label), str) for label in ("name", "version")):
        raise ConfigError(f"judge: {place} is no judge: a callable with the texts `name` and `version`")
    return found  # type: ignore[return-value]


def _text(found: Callable[..., object], label: str) -> str | None:
    value = getattr(found, label, None)
    return value if isinstance(value, str) and value else None


def place_of(judge: Callable[..., object]) -> str:
    """Return the `module:name` by which engines and later starts find a callable again.

    Raises:
        ConfigError: it is no judge, or cannot be found again because it is local, or defined in a script or notebook.
    """
    module, name = getattr(judge, "__module__", ""), getattr(judge, "__qualname__", "")
    place = f"{module}:{name}"
    if not name or module == "__main__" or load_judge(place) is not judge:
        shown = name or type(judge).__qualname__
        raise ConfigError(f"judge: {shown} must be a function of a module of yours: Ray's workers import it by name")
    return place


def open_judge(options: JudgeOptions, *, time_limit_s: float = 1.0) -> Judge | OwnJudge:
    """Return what judges under these options: the rules, or a user's own judge."""
    return OwnJudge(options.judge) if options.judge else Judge(options=options, time_limit_s=time_limit_s)


def judge_key(options: JudgeOptions) -> str:
    """Return one line that identifies a way of judging, with the version of an own judge; every commit stores it.

    Raises:
        ConfigError: the own judge cannot be loaded.
    """
    key = {**asdict(options), "version": VERSION, **own_label(options)}
    if options.judge is None:
        del key["judge"]  # the keys of runs from before own judges existed do not change
    return json.dumps(key, sort_keys=True)


def own_label(options: JudgeOptions) -> dict[str, str]:
    """Return name and version of the own judge; empty if the rules judge."""
    if options.judge is None:
        return {}
    own = load_judge(options.judge)
    return {"judge_name": own.name, "judge_version": own.version}
