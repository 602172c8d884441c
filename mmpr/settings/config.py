"""The settings of a build in sections; each section is the options record of a part.

Each setting has a mark for later starts. Identity: a change is refused and named in the error. Selection: applied by
pairing again, without an engine. Operation: may change at every start. A setting has two names, `pairs.max_uses` and
the short `max_uses`; a run folder stores the short one, without sections. No lower layer sees this config: parts get
their own options.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import Field as OptionField
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mmpr.dropout import DropoutOptions
from mmpr.engines.engine_options import EndpointOptions, EngineOptions
from mmpr.errors import ConfigError
from mmpr.images import ImageOptions
from mmpr.judging import JudgeOptions
from mmpr.options import DESCRIPTION, NEEDS, Needs
from mmpr.pairing import PairOptions, needs_scores
from mmpr.pocket import POCKET
from mmpr.pool import ClusterOptions
from mmpr.prompts import PromptOptions
from mmpr.redact import secrets_in
from mmpr.rounds import SamplingOptions
from mmpr.run import DatasetOptions
from mmpr.settings.mixture import spread
from mmpr.settings.presets import override_setting, preset, read_settings, read_templates
from mmpr.sources import SourceOptions
from mmpr.verifier.verifier_options import VerifierOptions

_DEFAULTS = "defaults"
_NOT_SHOWN = frozenset(
    ("endpoint_url", "endpoint_key_env", "verifier_url", "verifier_key_env")
)  # a user may have put the key itself there by mistake


class Mark(StrEnum):
    """What a change of a setting means for an existing run folder."""

    IDENTITY = "identity"
    SELECTION = "selection"
    OPERATION = "operation"


# The mark of each section's settings, and the settings with another mark.
_MARKS = {
    "source": Mark.IDENTITY,
    "prompt": Mark.IDENTITY,
    "images": Mark.IDENTITY,
    "engine": Mark.IDENTITY,
    "endpoint": Mark.OPERATION,
    "sampling": Mark.IDENTITY,
    "dropout": Mark.IDENTITY,
    "judge": Mark.SELECTION,
    "verifier": Mark.OPERATION,  # answers are stored with the verifier that gave them
    "pairs": Mark.SELECTION,
    "dataset": Mark.SELECTION,
    "cluster": Mark.OPERATION,
}
_OTHER_MARKS = {
    "images.fetch_timeout_s": Mark.OPERATION,
    "images.fetch_retries": Mark.OPERATION,
    "engine.tensor_parallel_size": Mark.OPERATION,
    "engine.memory_fraction": Mark.OPERATION,
    "verifier.min_margin": Mark.SELECTION,
    "endpoint.continues": Mark.IDENTITY,
    "endpoint.image_tag": Mark.IDENTITY,
    "endpoint.body": Mark.IDENTITY,
}
# Short names that differ from the field's name.
_SHORT = {
    "source.path": "source",
    "prompt.version": "prompt_version",
    "prompt.template": "prompt_template",
    "engine.kind": "engine",
    "dropout.completions": "endings",
    "verifier.model": "verifier",
    **{f"verifier.{name}": f"verifier_{name}" for name in ("url", "key_env", "timeout_s", "patience_s")},
    **{f"verifier.{name}": f"verifier_{name}" for name in ("revision", "tensor_parallel_size", "context_tokens")},
    "verifier.vllm": "verifier_vllm",
    **{f"endpoint.{name}": f"endpoint_{name}" for name in ("url", "key_env", "continues", "image_tag", "body")},
    **{f"endpoint.{name}": f"endpoint_{name}" for name in ("concurrency", "timeout_s", "patience_s")},
}


class BuildConfig(BaseModel):
    """Settings of `mmpr build`, by section. Unknown names are refused.

    They may be given in sections, without sections by their short names, or mixed.
    """

    # pydantic's messages would repeat the input, and a user may have put a key there
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source: SourceOptions = Field(default=SourceOptions(), description="where questions come from")
    prompt: PromptOptions = Field(default=PromptOptions(), description="what the model is asked")
    images: ImageOptions = Field(default=ImageOptions(), description="images and videos")
    engine: EngineOptions = Field(default=EngineOptions(), description="the model, and the engine that runs it")
    endpoint: EndpointOptions = Field(default=EndpointOptions(), description="a server instead of engines")
    sampling: SamplingOptions = Field(
        default=SamplingOptions(), description="how many responses, and how they are sampled"
    )
    dropout: DropoutOptions = Field(default=DropoutOptions(), description="Dropout-NTP: drafts and their completions")
    judge: JudgeOptions = Field(default=JudgeOptions(), description="how answers are compared")
    verifier: VerifierOptions = Field(
        default=VerifierOptions(), description="a model that is asked about what the rules leave open"
    )
    pairs: PairOptions = Field(default=PairOptions(), description="which pairs are made")
    dataset: DatasetOptions = Field(default=DatasetOptions(), description="which pairs are written, and how")
    cluster: ClusterOptions = Field(default=ClusterOptions(), description="where a build runs, and when it stops")
    sources: Annotated[dict[str, dict[str, Any]], Mark.IDENTITY] = Field(
        default_factory=dict,
        description="several sources instead of one, each with settings of its own; see docs/sources.md",
    )
    per_source: Annotated[dict[str, dict[str, Any]], Mark.SELECTION] = Field(
        default_factory=dict,
        description="settings of selection of each source, by name; filled from the entries of sources",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_names(cls, values: Any) -> Any:  # noqa: ANN401
        if not isinstance(values, dict):
            return values
        given = spread(flat(values), selection_names())
        if fault := name_fault(given):
            raise ValueError(fault)
        given["deadline"] = _moment_text(given.get("deadline"))
        return _in_sections(given)

    @model_validator(mode="after")
    def _sources_fit(self) -> BuildConfig:
        if self.source.path and self.sources:
            raise ValueError("source and sources: give one of them; --source is for a build with one source")
        if self.sources and (unknown := self.per_source.keys() - self.sources.keys()):
            raise ValueError(f"per_source: no source is named {min(unknown)!r}, only {', '.join(self.sources)}")
        for one in of_sources(self) if self.sources else ():
            # all sources share the engines, which either use tiles or do not
            if (one.config.images.max_tiles is None) != (self.images.max_tiles is None):
                raise ValueError(f"sources.{one.name}.max_tiles: give null (no tiles) to all sources or to none")
        return self

    @model_validator(mode="after")
    def _needs_scores(self) -> BuildConfig:
        name = needs_scores(self.pairs.strategy, self.pairs.min_grounding_margin)
        if name and not self.dropout.grounding:
            raise ValueError(f"{name} needs a run that was built with grounding=true")
        return self

    @model_validator(mode="after")
    def _leaves_an_answer(self) -> BuildConfig:
        most = self.sampling.max_thought_tokens
        for name, room in (
            ("max_tokens", self.sampling.max_tokens),
            ("draft_max_tokens", self.dropout.draft_max_tokens),
        ):
            if most is not None and most >= room:
                raise ValueError(f"max_thought_tokens: {most} leaves no token of {name} ({room}) for the answer")
        return self

    @model_validator(mode="after")
    def _evaluates_in_full(self) -> BuildConfig:
        if self.sampling.evaluate and self.sampling.adaptive:
            raise ValueError("evaluate asks every question n times: give adaptive=false")
        if self.sampling.evaluate and self.dataset.exclude is not None:
            raise ValueError("exclude works only with pairs: an evaluation asks all questions of its source")
        return self

    @model_validator(mode="after")
    def _verifies_pairs(self) -> BuildConfig:
        if self.verifier.asks and self.sampling.evaluate:
            raise ValueError("verifier works only with pairs: an evaluation counts what the rules decide")
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> BuildConfig:
        """Refuse secrets in settings: they are stored in the run folder, which is copied and shared."""
        for place in secrets_in(plain(self)):
            raise ValueError(f"{place} holds a secret, which run.json would store; pass it by environment (HF_TOKEN)")
        return self

    @model_validator(mode="after")
    def _fits_its_engine(self) -> BuildConfig:
        if (self.engine.kind == "endpoint") != (self.endpoint.url is not None):
            raise ValueError("give engine=endpoint and endpoint_url together, or neither")
        if self.engine.kind == "endpoint" and self.engine.lora is not None:
            raise ValueError("lora: a server serves an adapter under its own name: give that name as model")
        return self

    @property
    def is_pocket(self) -> bool:
        """Whether the embedded pocket model answers."""
        return self.engine.model == POCKET


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Args:
        name: the short name, which run folders store.
        place: its section and field; the field is None for `sources` and `per_source`.
        mark: what a change means.
        description: one sentence or less.
        needs: what it has no effect without.
    """

    name: str
    place: tuple[str, str | None]
    mark: Mark
    description: str
    needs: Needs | None = None

    @property
    def full_name(self) -> str:
        """The name with its section: `pairs.max_uses`."""
        return ".".join(filter(None, self.place))


@cache
def settings_by_name() -> dict[str, Setting]:
    """Return all settings by short name, in the order of the sections."""
    found: dict[str, Setting] = {}
    for section, field in BuildConfig.model_fields.items():
        if not is_dataclass(field.annotation):
            mark = next(mark for mark in field.metadata if isinstance(mark, Mark))
            found[section] = Setting(section, (section, None), mark, field.description or "")
            continue
        for option in _options(field.annotation):
            full = f"{section}.{option.name}"
            name = _SHORT.get(full, option.name)
            assert name not in found, f"two settings are named {name}"
            mark = _OTHER_MARKS.get(full, _MARKS[section])
            words, needs = option.metadata[DESCRIPTION], option.metadata[NEEDS]
            found[name] = Setting(name, (section, option.name), mark, words, needs)
    return found


def _options(record: Any) -> Iterator[OptionField[Any]]:  # noqa: ANN401 a dataclass
    return (field for field in fields(record) if not field.metadata.get("exclude"))


def selection_names() -> frozenset[str]:
    """Return the short names of the settings that pairing again may change."""
    return frozenset(name for name, setting in settings_by_name().items() if setting.mark is Mark.SELECTION)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their short names, without sections. Unknown names are kept.

    `source`, `engine`, `judge` and `verifier` each name a section and a setting in it: a mapping is the section.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        given = (
            {option.name: getattr(value, option.name) for option in _options(value)} if is_dataclass(value) else value
        )
        if name in _MARKS and isinstance(given, Mapping):
            found |= {short_name(f"{name}.{field}"): own for field, own in given.items()}
        elif name == "sources" and isinstance(given, Mapping):
            found[name] = {key: _flat_entry(entry) for key, entry in given.items()}
        elif name == "sources" and isinstance(given, list):
            found[name] = [_flat_entry(entry) for entry in given]
        else:
            found[name] = given
    if isinstance(found.get("thinking"), bool):  # YAML reads on and off as booleans
        found["thinking"] = "on" if found["thinking"] else "off"
    return found


def _flat_entry(entry: object) -> object:
    return flat(entry) if isinstance(entry, Mapping) else entry


def short_name(name: str) -> str:
    """Return the short name of `section.field`; another name is returned unchanged."""
    section, _, field = name.partition(".")
    if section not in _MARKS or not field:
        return name
    short = _SHORT.get(name, field)
    known = settings_by_name().get(short)
    return short if known and known.full_name == name else name


def plain(config: BuildConfig) -> dict[str, Any]:
    """Return every setting as a plain value, by short name."""
    dumped = config.model_dump(mode="json")
    return {
        name: dumped[section] if field is None else dumped[section][field]
        for name, (section, field) in ((one.name, one.place) for one in settings_by_name().values())
    }


def changed(config: BuildConfig, values: Mapping[str, Any]) -> BuildConfig:
    """Return the settings with other values, given by short names; each is checked, but not against the others.

    Raises:
        ConfigError: a value is invalid, or a name is unknown.
    """
    if fault := name_fault(values):
        raise ConfigError(fault)
    update = {}
    for section, given in _in_sections(values).items():
        now = getattr(config, section)
        if is_dataclass(now):
            whole = {option.name: getattr(now, option.name) for option in _options(now)} | given
            try:
                given = _adapter(section).validate_python(whole)
            except ValidationError as error:
                raise ConfigError(_explain(error)) from None
        update[section] = given
    return config.model_copy(update=update)


@cache
def _adapter(section: str) -> TypeAdapter[Any]:
    """Return the checker of a section's record; cached, because building one costs as much as many checks."""
    record: Any = BuildConfig.model_fields[section].annotation
    return TypeAdapter(record)


def _in_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values by short names to values by section and field."""
    sections: dict[str, Any] = {}
    for name, value in values.items():
        section, field = settings_by_name()[name].place
        if field is None:
            sections[section] = value
        else:
            sections.setdefault(section, {})[field] = value
    return sections


def name_fault(names: Iterable[str]) -> str | None:
    """Return one line about the first unknown name; None if all are known."""
    known = settings_by_name()
    for name in names:
        if name in known:
            continue
        if name in _MARKS:
            return f"{name}: expected `setting: value` lines, because this name is a section"
        near = nearest_name(name)
        return f"no setting is named {name!r}" + (f"; did you mean {near!r}?" if near else "; see `mmpr settings`")
    return None


def nearest_name(name: str) -> str | None:
    """Return the setting whose name is most like an unknown one; None if none is like it."""
    section, _, field = name.partition(".")
    near = difflib.get_close_matches(field if section in _MARKS else name, settings_by_name(), n=1)
    return near[0] if near else None


def _moment_text(value: object) -> object:
    """Restore a time that YAML has converted: 12:30 is read as the number 750, 2027-01-31 06:00 as a date."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 60:02}:{value % 60:02}"
    return value.isoformat() if isinstance(value, date) else value


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source of a build with its settings.

    Args:
        name: part of ids; None for a single source, which is named after its file.
        config: the build's settings with the source's own ones; `limit` is the source's.
        weight: its share of a limit of the whole build.
    """

    name: str | None
    config: BuildConfig
    weight: float = 1


def of_sources(config: BuildConfig) -> tuple[SourceSettings, ...]:
    """Return the sources of a build in the order of their names; a single source has the build's settings.

    Raises:
        ValueError: a source's own setting is invalid; names the source and the setting.
    """
    if not config.sources:
        return (SourceSettings(None, config),)
    return tuple(_of_source(config, name) for name in config.sources)


def _of_source(config: BuildConfig, name: str) -> SourceSettings:
    own = {**config.sources[name], **config.per_source.get(name, {})}
    weight = own.pop("weight", 1)
    try:
        merged = changed(config, {"sources": {}, "per_source": {}, "limit": None, **own})
    except ConfigError as error:
        raise ValueError(f"sources.{name}.{error}") from None
    return SourceSettings(name, merged, weight)


def engine_tiles(config: BuildConfig) -> int | None:
    """Return the largest number of tiles of any source, because the same engines serve all of them."""
    return max((one.config.images.max_tiles or 0 for one in of_sources(config)), default=0) or None


def part(config: BuildConfig, mark: Mark) -> dict[str, Any]:
    """Return the settings with one mark as plain values, by short name."""
    return {name: value for name, value in plain(config).items() if settings_by_name()[name].mark is mark}


def unused_settings(config: BuildConfig, marks: Collection[Mark] = tuple(Mark)) -> list[str]:
    """Return one line for each setting with these marks that differs from its default and has no effect in any source.

    Args:
        config: the settings.
        marks: which settings to look at.
    """
    default, each = BuildConfig(), [one.config for one in of_sources(config)]
    found = []
    for setting in settings_by_name().values():
        section, field = setting.place
        needs = setting.needs if setting.mark in marks else None
        if needs is None or field is None:
            continue
        usual = getattr(getattr(default, section), field)
        setters = [one for one in each if getattr(getattr(one, section), field) != usual]
        if setters and not any(map(needs.are_met, setters)):
            found.append(f"{setting.name}: has no effect {needs.otherwise}")
    return found


def load(file: Path | None, overrides: list[str], *, pocket: bool) -> BuildConfig:
    """Load the settings of one start: the defaults, then a file, then `key=value` overrides.

    Args:
        file: a YAML file of settings, or the name of a preset; None: the embedded defaults.
        overrides: `key=value` with the value in YAML; `vllm.block_size=32` sets an entry of a mapping.
        pocket: use the embedded defaults of the pocket model instead of those of InternVL2-8B.

    Raises:
        ConfigError: names the file or the override, the setting, and its allowed values.
    """
    values = read_settings(file) if file else preset(POCKET if pocket else "internvl2-8b") or {}
    return merge(values, overrides, place=str(file) if file else _DEFAULTS)


def merge(values: dict[str, Any], overrides: list[str], *, place: str = "run.json") -> BuildConfig:
    """Merge plain values and `key=value` overrides; errors about the values end with `place`.

    Raises:
        ConfigError: names the setting, its allowed values, and the place.
    """
    try:
        # first, because overrides may name a source: sources.charts.max_tiles=6
        values = spread(flat(values), selection_names())
    except ValueError as error:
        raise ConfigError(f"{error}{_in(place)}") from None
    if fault := name_fault(values):
        raise ConfigError(f"{fault}{_in(place)}")
    overrides = [_short_override(override) for override in overrides]
    for override in overrides:
        override_setting(values, override)
        values = flat(values)  # an override may set a whole section: pairs={max_uses: 1}
    if fault := name_fault(values):
        raise ConfigError(fault)
    read_templates(values)
    for entry in values["sources"].values():
        read_templates(entry)
    try:
        return BuildConfig(**values)
    except (ValidationError, ConfigError) as error:
        words = _explain(error)
        overridden = {override.partition("=")[0].partition(".")[0] for override in overrides}
        # the name of the setting at the beginning of the message
        at_fault = re.match(r"\w*", words)
        # A setting of the override that the user has just written needs no place; one of the file does.
        raise ConfigError(words + ("" if at_fault and at_fault[0] in overridden else _in(place))) from None


def _short_override(override: str) -> str:
    """Shorten names: `pairs.max_uses=1` to `max_uses=1`, `engine.vllm.block_size=32` to `vllm.block_size=32`."""
    name, equals, text = override.partition("=")
    first, *others = name.split(".", 2)
    if first not in _MARKS or not others:
        return override
    full = f"{first}.{others[0]}"
    if (head := short_name(full)) == full:
        raise ConfigError(name_fault([full]))
    return ".".join([head, *others[1:]]) + equals + text


def _section_of(record: str) -> str | None:
    """Return the section whose record has this class name."""
    sections = BuildConfig.model_fields.items()
    return next((name for name, field in sections if getattr(field.annotation, "__name__", "") == record), None)


def _in(place: str) -> str:
    return "" if place == _DEFAULTS else f" (in {place})"


def _explain(error: ValidationError | ConfigError) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"]]
    if not steps:
        # about several settings together; `input` would be all of them
        return first["msg"].removeprefix("Value error, ")
    name = ".".join(steps)
    if len(steps) > 1 and steps[0] in _MARKS:
        name = ".".join([short_name(".".join(steps[:2])), *steps[2:]]).removesuffix(".int")
    elif section := _section_of(error.title):
        name = ".".join([short_name(f"{section}.{steps[0]}"), *steps[1:]])
    got = "" if name in _NOT_SHOWN else f" (got {first['input']!r})"
    return f"{name}: {first['msg']}{got}"
