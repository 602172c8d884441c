"""The settings of a build: one flat, frozen model, every field marked with what a change of it means on resume.

Identity: a change is refused and named. Selection: applied by pairing again, without an engine. Operation: may change
at every start. Nothing below this file sees a config: parts take plain keyword arguments.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmpr.errors import ConfigError
from mmpr.pairing import Strategy, needs_scores
from mmpr.pocket import POCKET
from mmpr.redact import secrets_in
from mmpr.settings.field_types import (
    Count,
    EndpointUrl,
    Fraction,
    Moment,
    OwnJudgePlace,
    Seconds,
    SystemMessage,
    Template,
    Variable,
    Window,
)
from mmpr.settings.mixture import spread
from mmpr.settings.presets import override_setting, preset, read_settings, read_templates
from mmpr.types import Certainty, View

_DEFAULTS = "defaults"
_NOT_SHOWN = frozenset(("endpoint_url", "endpoint_key_env"))  # where a key may have been given by mistake
# Fields that a request has from elsewhere.
_ENDPOINT_FIELDS = frozenset(
    ("model", "messages", "prompt", "n", "temperature", "top_p", "top_k", "max_tokens", "seed", "stream")
)


class Mark(StrEnum):
    """What a change of a setting means for a run folder that exists."""

    IDENTITY = "identity"
    SELECTION = "selection"
    OPERATION = "operation"


_I, _S, _O = Mark.IDENTITY, Mark.SELECTION, Mark.OPERATION


class BuildConfig(BaseModel):
    """Settings of `mmpr build`. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    # -- source ---------------------------------------------------------------------------------------------------
    source: Annotated[str, _I] = Field(default="", description="questions: a file, a folder, hf://owner/name:split")
    sources: Annotated[dict[str, dict[str, Any]], _I] = Field(
        default_factory=dict, description="several instead of one, each with settings of its own; see README, Sources"
    )
    image_root: Annotated[str | None, _I] = Field(default=None, description="folder of relative image paths")
    columns: Annotated[dict[str, str], _I] = Field(default_factory=dict, description="our column: the source's name")
    answer_index: Annotated[Literal[0, 1] | None, _I] = Field(
        default=None,
        description="answers beside options are indices from 0 or 1; None: as the data set or its rows say",
    )
    answer_agreement: Annotated[Fraction, _I] = Field(
        default=0.3, description="least share of annotators that must give an answer for it to count"
    )
    language: Annotated[Literal["auto", "en", "zh"], _I] = "auto"
    limit: Annotated[Count | None, _I] = Field(default=None, description="a seeded sample of so many rows")
    seed: Annotated[int, _I] = Field(default=0, description="of the sample, and of requests if seeded")
    chunk_questions: Annotated[Count | None, _I] = Field(
        default=None, description="questions a chunk; None: 128 or fewer"
    )

    # -- prompts --------------------------------------------------------------------------------------------------
    prompt_version: Annotated[Literal["final", "boxed", "think", "given"], _I] = Field(
        default="final", description="the instruction, and the form of the final answer; given: none, and any form"
    )
    answer_form: Annotated[Literal["final", "boxed", "think", "any"] | None, _I] = Field(
        default=None, description="form of the final answer that the judge looks for; None: that of prompt_version"
    )
    prompt_template: Annotated[Template | None, _I] = Field(
        default=None, description="a file with an instruction of your own; kept by its contents"
    )
    system_message: Annotated[SystemMessage | None, _I] = Field(
        default=None, description="of rows without one: a text, or internvl2, internvl2_5, internvl3, internvl_think"
    )

    # -- images and videos --------------------------------------------------------------------------------------
    max_pixels: Annotated[Count, _I] = Field(default=100_000_000, description="larger images are skipped")
    max_image_bytes: Annotated[Count, _I] = Field(default=100_000_000, description="larger files of images are skipped")
    video_frames: Annotated[Count, _I] = Field(default=8, description="frames a video, spread evenly over it")
    video_tiles: Annotated[Count, _I] = Field(default=1, description="448x448 tiles a frame of a video")
    max_video_bytes: Annotated[Count, _I] = Field(default=2_000_000_000, description="larger videos are skipped")
    allowed_hosts: Annotated[list[str], _I] = Field(
        default_factory=list,
        description="where images may be fetched: example.org, *.example.org, s3://bucket; none by default",
    )

    # -- model ----------------------------------------------------------------------------------------------------
    model: Annotated[str, _I] = "OpenGVLab/InternVL2-8B"
    revision: Annotated[str | None, _I] = Field(default=None, description="commit of the model's repository")
    imported: Annotated[bool, _I] = Field(
        default=False, description="responses that were made elsewhere; what `mmpr import` sets"
    )
    lora: Annotated[str | None, _I] = Field(
        default=None, description="folder of a LoRA adapter (PEFT's files) that the model is served with, unmerged"
    )
    dtype: Annotated[str, _I] = "bfloat16"
    quantization: Annotated[str | None, _I] = None
    trust_remote_code: Annotated[bool, _I] = Field(
        default=False,
        description="run Python files of the model's repository, in every engine, with the rights of Ray's workers: "
        "on a shared cluster with all that these may read and write; pin revision to what you have read",
    )
    max_tiles: Annotated[Count | None, _I] = Field(default=6, description="448x448 tiles an image, thumbnail aside")
    context_tokens: Annotated[Count | None, _I] = 16384
    vllm: Annotated[dict[str, Any], _I] = Field(default_factory=dict, description="further vLLM engine arguments")

    # -- a server instead of engines of our own -------------------------------------------------------------------
    engine: Annotated[Literal["vllm", "endpoint"], _I] = Field(
        default="vllm", description="vllm: engines in actors; endpoint: the server at endpoint_url"
    )
    endpoint_continues: Annotated[Literal["auto", "exact", "text", "none"], _I] = Field(
        default="auto", description="how a prefix is continued: by token ids, as text, not at all; auto: what it can"
    )
    endpoint_image_tag: Annotated[str, _I] = Field(
        default="auto", description="what stands for an image amid a text; parts: the text is cut there"
    )
    endpoint_body: Annotated[dict[str, Any], _I] = Field(
        default_factory=dict, description="further fields of each request; no keys, they would be stored"
    )

    # -- sampling -------------------------------------------------------------------------------------------------
    n: Annotated[Count, _I] = Field(default=32, description="responses a question with a known answer, at most")
    adaptive: Annotated[bool, _I] = Field(
        default=True, description="ask in rounds until a question has its pairs; off: n responses of each, as the paper"
    )
    evaluate: Annotated[bool, _I] = Field(
        default=False, description="figures instead of pairs, of questions with an answer; what `mmpr eval` sets"
    )
    first_round: Annotated[Count, _I] = Field(default=4, description="responses of the first round; they give accuracy")
    temperature: Annotated[float, _I] = Field(default=1.0, ge=0)
    top_k: Annotated[int, _I] = Field(default=50, ge=0, description="0: no limit")
    top_p: Annotated[float, _I] = Field(default=1.0, gt=0, le=1)
    max_tokens: Annotated[Count, _I] = Field(default=4096, description="tokens a response")
    seeded: Annotated[bool, _I] = Field(
        default=False, description="requests carry seeds made of (seed, question, stage)"
    )

    # -- Dropout-NTP ----------------------------------------------------------------------------------------------
    draft_max_tokens: Annotated[Count, _I] = 2048
    drafts: Annotated[Count, _I] = Field(default=1, description="the one the image speaks for most is chosen")
    rejected_view: Annotated[View, _I] = Field(
        default=View.BLIND, description="what the rejected side sees: blind, image_kept, shuffled_tiles, other_picture"
    )
    keep_fraction: Annotated[float, _I] = Field(
        default=0.5, ge=0, lt=1, description="share of the draft's tokens kept; 0: the whole answer is written anew"
    )
    endings: Annotated[Count, _I] = Field(
        default=1, description="rejected completions a draft, in one request; each can make a pair"
    )
    min_side_tokens: Annotated[Count, _I] = Field(default=8, description="tokens on each side of the cut")
    grounding: Annotated[bool, _I] = Field(
        default=False, description="score right responses with and without the image, halves behind a cut with it"
    )

    # -- judge and pairs ------------------------------------------------------------------------------------------
    per_source: Annotated[dict[str, dict[str, Any]], _S] = Field(
        default_factory=dict, description="what entries of sources say of selection, by name; filled from them"
    )
    judge: Annotated[OwnJudgePlace | None, _S] = Field(
        default=None, description="module:name of a judge of your own; None: the rules (docs/api.md)"
    )
    answer_kind: Annotated[str | None, _S] = Field(default=None, description="kind of all answers; None: found by row")
    relative_tolerance: Annotated[Fraction, _S] = Field(default=0.0, description="0.05 for charts; never years, counts")
    ordered: Annotated[bool | None, _S] = Field(default=None, description="compare lists in order; None: as asked")
    box_format: Annotated[Literal["xyxy", "xywh", "cxcywh"] | None, _S] = Field(
        default=None, description="None: as asked"
    )
    box_iou: Annotated[float, _S] = Field(default=0.5, gt=0, le=1, description="least IoU of a right box")
    min_grounding_margin: Annotated[float | None, _S] = Field(
        default=None, description="nats a token that the draft's half must be likelier by, given the image"
    )
    pairs_per_question: Annotated[Count, _S] = 4
    max_uses: Annotated[Count | None, _S] = Field(
        default=2, description="pairs a response may stand in, drafts aside; None: no limit"
    )
    rejected_certainty: Annotated[Certainty, _S] = Field(
        default=Certainty.PROVEN, description="proven: only responses proven wrong are rejected; likely: others too"
    )
    refusal_negatives: Annotated[bool, _S] = Field(default=False, description="let responses that refuse be rejected")
    format_pairs: Annotated[bool, _S] = Field(default=True, description="pair against responses without an answer")
    unfinished_negatives: Annotated[bool, _S] = Field(default=False, description="let responses cut by length be such")
    policy: Annotated[str | None, _S] = Field(
        default=None, description="the model that pairs are for, where several answered: rejected sides are its own"
    )
    chosen_from: Annotated[str, _S] = Field(
        default="any",
        description="who may be chosen: any (the policy, else another model), same (as is rejected), or a model",
    )
    max_across: Annotated[int | None, _S] = Field(
        default=None, ge=0, description="most pairs a question whose sides are two models'; None: no limit"
    )
    strategy: Annotated[Strategy, _S] = Field(
        default=Strategy.RANDOM,
        description="which pairs: random, length_matched (tokens), hardest (closest words), grounded",
    )
    accuracy_window: Annotated[Window | None, _S] = Field(
        default=None, description="[0.2, 0.8]: pair only questions with such a share of right responses"
    )
    near_duplicate: Annotated[Fraction | None, _S] = Field(
        default=1.0, description="share of equal words from which responses are one; 1: equal texts; None: keep all"
    )
    max_pairs_per_source: Annotated[Count | None, _S] = Field(
        default=None, description="most pairs of one source, best of each question first; None: no limit"
    )
    max_format_fraction: Annotated[Fraction | None, _S] = Field(
        default=None, description="most format pairs as a share of a source's correctness and format pairs"
    )
    validation_fraction: Annotated[Fraction, _S] = Field(
        default=0.0, description="share of images held out, with all their questions, as the validation split"
    )
    exclude: Annotated[str | None, _S] = Field(
        default=None, description="a benchmark's list (.jsonl, .parquet, .txt): its images and questions are skipped"
    )
    exclude_texts: Annotated[bool, _S] = Field(
        default=True, description="exclude questions by their text alone too, not only by their images"
    )
    embed_images: Annotated[bool, _S] = Field(
        default=True, description="images' bytes in data/; off: paths of local files, where these are what was seen"
    )
    shard_bytes: Annotated[Count, _S] = Field(default=500_000_000, description="uncompressed bytes a Parquet file")

    # -- operation ------------------------------------------------------------------------------------------------
    engines: Annotated[Count | Literal["auto"], _O] = "auto"
    tensor_parallel_size: Annotated[Count, _O] = Field(default=1, description="GPUs an engine, on one node")
    memory_fraction: Annotated[float, _O] = Field(default=0.9, gt=0, le=1, description="of a GPU's memory")
    chunks_in_flight: Annotated[Count, _O] = Field(default=4, description="chunks an engine works on at once")
    tokens_in_flight: Annotated[Count, _O] = Field(
        default=400_000, description="prompt and response tokens an engine holds"
    )
    io_threads: Annotated[Count, _O] = Field(default=32, description="threads an engine has to open and fetch images")
    cpu_threads: Annotated[Count, _O] = Field(default=4, description="threads an engine has to read rows and judge")
    fetches_per_host: Annotated[Count, _O] = Field(
        default=8, description="questions an engine fetches images for at once from one server or store"
    )
    accelerator: Annotated[str | None, _O] = Field(
        default=None, description="Ray's name of the GPUs' type (A100, H100, L4) that engines ask for; None: any"
    )
    ray_address: Annotated[str | None, _O] = Field(
        default=None, description="None: RAY_ADDRESS, else this machine alone"
    )
    fetch_timeout_s: Annotated[Seconds, _O] = Field(default=60.0, description="to fetch one image or video")
    fetch_retries: Annotated[int, _O] = Field(default=3, ge=0, description="after a fault that may pass")
    endpoint_url: Annotated[EndpointUrl | None, _O] = Field(
        default=None, description="base URL of an OpenAI-compatible server, such as http://host:8000/v1"
    )
    endpoint_key_env: Annotated[Variable | None, _O] = Field(
        default=None, description="environment variable, set wherever engines run, that holds the server's key"
    )
    endpoint_concurrency: Annotated[Count, _O] = Field(default=64, description="requests an engine sends at once")
    endpoint_timeout_s: Annotated[Seconds, _O] = Field(default=600.0, description="for one request")
    endpoint_patience_s: Annotated[Seconds, _O] = Field(
        default=300.0, description="silence after which a failing server counts as dead"
    )
    engine_wait_s: Annotated[Seconds, _O] = 300.0
    stall_timeout_s: Annotated[Seconds, _O] = 600.0
    engine_restarts: Annotated[int, _O] = Field(default=5, ge=0)
    grace_s: Annotated[Seconds, _O] = Field(default=120.0, description="time to finish chunks after SIGTERM")
    deadline: Annotated[Moment | None, _O] = Field(
        default=None, description="stop as on SIGTERM (exit 75) at 06:00, after +8h, or at 2027-01-31T06:00"
    )
    max_gpu_hours: Annotated[float | None, Field(gt=0), _O] = Field(
        default=None, description="stop as on SIGTERM once this start's engines have held GPUs for so long"
    )
    judge_time_limit_s: Annotated[Seconds, _O] = Field(
        default=1.0, description="a response, for a second reader of maths"
    )
    max_failure_fraction: Annotated[Fraction | None, _O] = Field(
        default=None, description="of questions that failed: exit 3; None: half of 200 or more"
    )
    strict: Annotated[bool, _O] = Field(default=False, description="the first bad row or image ends the run")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:  # noqa: ANN401
        return spread(values, _selection()) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _sources_fit(self) -> BuildConfig:
        if self.source and self.sources:
            raise ValueError("source and sources: give one of them; --source is for a build of one")
        if self.sources and (unknown := self.per_source.keys() - self.sources.keys()):
            raise ValueError(f"per_source: no source is named {min(unknown)!r}: {', '.join(self.sources)}")
        for one in of_sources(self) if self.sources else ():
            if (one.config.max_tiles is None) != (self.max_tiles is None):
                raise ValueError(f"sources.{one.name}.max_tiles: null is for a model, so for all sources or for none")
        return self

    @model_validator(mode="after")
    def _needs_scores(self) -> BuildConfig:
        if not self.grounding and (name := needs_scores(self.strategy, self.min_grounding_margin)):
            raise ValueError(f"{name} needs a run that was built with grounding=true")
        return self

    @model_validator(mode="after")
    def _evaluates_in_full(self) -> BuildConfig:
        if self.evaluate and self.adaptive:
            raise ValueError("evaluate asks every question n times: give adaptive=false")
        if self.evaluate and self.exclude is not None:
            raise ValueError("exclude is of pairs: an evaluation asks the questions that its source has")
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> BuildConfig:
        """Settings are written into the run folder, which is copied and shared."""
        for place in secrets_in(self.model_dump(mode="json")):
            raise ValueError(f"{place} holds a secret, and run.json would keep it; give it by environment (HF_TOKEN)")
        return self

    @model_validator(mode="after")
    def _fits_its_engine(self) -> BuildConfig:
        if (self.engine == "endpoint") != (self.endpoint_url is not None):
            raise ValueError("engine: endpoint and endpoint_url go together")
        if self.engine == "endpoint" and self.lora is not None:
            raise ValueError("lora: a server serves an adapter under a name of its own: give it as model")
        if own := sorted(_ENDPOINT_FIELDS & self.endpoint_body.keys()):
            raise ValueError(f"endpoint_body may not have {own[0]!r}: it has a setting of its own, or none")
        return self

    @property
    def answering(self) -> str:
        """Who answers, as columns and reports have it: the model, and its adapter if it has one."""
        return self.model if self.lora is None else f"{self.model} + {self.lora}"

    @property
    def is_pocket(self) -> bool:
        """Whether the embedded model is what answers."""
        return self.model == POCKET


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source of a build with the settings that hold for it.

    Args:
        name: in ids; None for the only source, which is called after its file.
        config: the build's, with the source's own over them; its `limit` is the source's.
        weight: its share where the whole build has a limit.
    """

    name: str | None
    config: BuildConfig
    weight: float = 1


def of_sources(config: BuildConfig) -> tuple[SourceSettings, ...]:
    """The sources of a build in the order of their names; one that is named by `source` has the build's settings.

    Raises:
        ValueError: a source's own setting cannot be so; names the source and the setting.
    """
    if not config.sources:
        return (SourceSettings(None, config),)
    return tuple(_of_source(config, name) for name in config.sources)


def _of_source(config: BuildConfig, name: str) -> SourceSettings:
    own = {**config.sources[name], **config.per_source.get(name, {})}
    weight = own.pop("weight", 1)
    try:
        checked = BuildConfig(**own)
    except ValidationError as error:
        raise ValueError(f"sources.{name}.{_explain(error)}") from None
    values = {"sources": {}, "per_source": {}, "limit": None, **{field: getattr(checked, field) for field in own}}
    return SourceSettings(name, config.model_copy(update=values), weight)


def engine_tiles(config: BuildConfig) -> int | None:
    """The most tiles that any source wants of the engines, which one set of serves all sources."""
    return max((one.config.max_tiles or 0 for one in of_sources(config)), default=0) or None


def marks() -> dict[str, Mark | None]:
    """Every field's mark; a test asserts that none is missing."""
    return {
        name: next((mark for mark in field.metadata if isinstance(mark, Mark)), None)
        for name, field in BuildConfig.model_fields.items()
    }


def _selection() -> frozenset[str]:
    return frozenset(name for name, mark in marks().items() if mark is Mark.SELECTION)


def part(config: BuildConfig, mark: Mark) -> dict[str, Any]:
    """The fields with one mark, as plain values."""
    return {name: value for name, value in config.model_dump(mode="json").items() if marks()[name] is mark}


def load(file: Path | None, overrides: list[str], *, pocket: bool) -> BuildConfig:
    """The settings of one start: the defaults, a file over them, `key=value` over both.

    Args:
        file: a YAML file of fields, or a preset's name; None for the embedded defaults.
        overrides: `key=value`, the value in YAML; `vllm.block_size=32` reaches into a mapping.
        pocket: whether the embedded defaults are those of the pocket model rather than of InternVL2-8B.

    Raises:
        ConfigError: names the file or the override, the field, and what it may be.
    """
    values = read_settings(file) if file else preset(POCKET if pocket else "internvl2-8b") or {}
    return merge(values, overrides, place=str(file) if file else _DEFAULTS)


def merge(values: dict[str, Any], overrides: list[str], *, place: str = "run.json") -> BuildConfig:
    """Settings from plain values with `key=value` over them; `place` ends the error about what no override says.

    Raises:
        ConfigError: names the field, what it may be, and the place.
    """
    try:
        values = spread(values, _selection())  # first, for overrides reach into it: sources.charts.max_tiles=6
    except ValueError as error:
        raise ConfigError(f"{error}{_in(place)}") from None
    for override in overrides:
        override_setting(values, override)
    read_templates(values)
    for entry in values["sources"].values():
        read_templates(entry)
    try:
        return BuildConfig(**values)
    except ValidationError as error:
        overridden = {override.partition("=")[0].partition(".")[0] for override in overrides}
        at_fault = str(next(iter(error.errors()[0]["loc"]), ""))
        # what the caller has just written needs no place; a setting of the file does
        raise ConfigError(_explain(error) + ("" if at_fault in overridden else _in(place))) from None


def _in(place: str) -> str:
    return "" if place == _DEFAULTS else f" (in {place})"


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(step) for step in first["loc"])
    if not name:
        return first["msg"].removeprefix("Value error, ")  # of several settings together; its input is all of them
    if first["type"] != "extra_forbidden":
        got = "" if name in _NOT_SHOWN else f" (got {first['input']!r})"
        return f"{name}: {first['msg']}{got}"
    near = difflib.get_close_matches(name, BuildConfig.model_fields, n=1)
    return f"no setting is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; see `mmpr settings`")
