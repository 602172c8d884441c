"""Jobs: build several sources one after another, each into its own run folder under one root."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mmpr.builder.budget import Budget
from mmpr.builder.build_flow import BuildOutcome, build
from mmpr.builder.engine_choice import default_is_pocket, engine_maker
from mmpr.builder.shared_engines import Shared
from mmpr.builder.stopping import stop_signal
from mmpr.errors import ConfigError, MmprError, RunStopped
from mmpr.log import LogFormat
from mmpr.pool import MakeEngine
from mmpr.run.json_records import JsonObject
from mmpr.settings.config import BuildConfig, flat, load
from mmpr.settings.presets import read_file

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_PATHS = ("source", "image_root", "exclude", "prompt_template")  # settings whose paths are relative to the job file
_COMMAND = ("deadline", "max_gpu_hours", "ray_address")  # settings that all sources of a job share


class JobFile(BaseModel):
    """The content of a job file; paths are relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str = Field(description="the folder of the run folders: local, or any fsspec URL")
    config: str | None = Field(default=None, description="a YAML file of settings for all sources")
    settings: JsonObject = Field(default_factory=dict, description="settings for all sources, over the file's")
    sources: dict[str, JsonObject] = Field(min_length=1, description="name of the run folder: its own settings")


@dataclass(frozen=True, slots=True)
class JobPart:
    """One source of a job: the name and place of its run folder, and its settings."""

    name: str
    out: str
    config: BuildConfig


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one source's build: an outcome or an error. An error does not stop the other sources."""

    part: JobPart
    outcome: BuildOutcome | None = None
    error: MmprError | None = None


def read_job(file: Path, overrides: list[str]) -> list[JobPart]:
    """Read the parts of a job, in the order of the file; check everything before a build starts.

    Args:
        file: YAML.
        overrides: `key=value` settings that replace those of every source.

    Raises:
        ConfigError: names the file, the source and the fault.
    """
    job = _parse(file)
    return [_part(file, job, name, overrides) for name in job.sources]


def run_job(
    parts: list[JobPart],
    *,
    maker: Callable[[BuildConfig], MakeEngine] = engine_maker,
    log_format: LogFormat = LogFormat.TEXT,
    debug: bool = False,
) -> Iterator[Ended]:
    """Build each part. Parts that follow one another with equal engine settings share the engines.

    A failed part does not stop the others.

    Args:
        parts: from `read_job`.
        maker: returns from settings what starts an engine.
        log_format: format of the progress output on stderr.
        debug: show the engines' own logs.

    Raises:
        RunStopped: SIGTERM or a spent budget stopped the current part; later parts were not started.
    """
    first = parts[0].config
    budget = Budget(first.cluster.deadline, first.cluster.max_gpu_hours)
    with stop_signal(), Shared(keep=True, debug=debug) as shared:
        for part in parts:
            # the last part's engines end while its dataset is cut
            shared.keep = part is not parts[-1]
            try:
                outcome = build(
                    part.config,
                    part.out,
                    maker(part.config),
                    shared=shared,
                    budget=budget,
                    log_format=log_format,
                    debug=debug,
                )
            except MmprError as error:
                # they may be the cause: the next source gets new ones
                shared.end_engines()
                yield Ended(part, error=error)
                continue
            yield Ended(part, outcome)
            if outcome.stopped is not None:
                raise RunStopped(outcome.stopped)


def _parse(file: Path) -> JobFile:
    job = read_file(JobFile, file, what="job file", expected="`root:` and `sources:`")
    for name in job.sources:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{file}: sources: {name!r} cannot name a folder; use letters, digits, -, _ and .")
    return job


def _part(file: Path, job: JobFile, name: str, overrides: list[str]) -> JobPart:
    place = f"{file}: sources: {name}"
    own = flat(job.sources[name])
    # A job has one budget and one cluster: a source's own value would be ignored.
    if common := [key for key in _COMMAND if key in own]:
        raise ConfigError(f"{place}: {common[0]} belongs to the whole job; put it under `settings:`")
    values = _absolute(file, {**flat(job.settings), **own})
    config = None if job.config is None else Path(_beside(file, job.config))
    words = [*_words(values), *overrides]
    try:
        chosen = load(config, words, pocket=default_is_pocket(words))
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    if not chosen.source.path:
        raise ConfigError(f"{place}: source is missing: a file, a folder, hf://owner/name:split")
    return JobPart(name, f"{_beside(file, job.root).rstrip('/')}/{name}", chosen)


def _absolute(file: Path, values: Mapping[str, object]) -> JsonObject:
    known = {key: value for key, value in values.items() if key in _PATHS and isinstance(value, str)}
    return {**values, **{key: _beside(file, value) for key, value in known.items()}}


def _beside(file: Path, path: str) -> str:
    """Resolve a path relative to the job file; a URL is not changed."""
    return path if "://" in path else str(file.resolve().parent / Path(path).expanduser())


def _words(values: Mapping[str, object]) -> list[str]:
    """Return the settings as `key=value` texts, so that `load` merges them like overrides."""
    # JSON is YAML; `str`: YAML reads 2027-01-31 as a date, which JSON does not have
    return [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]
