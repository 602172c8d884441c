"""The records of an import: its settings, the rows of one chunk, and notes about the imported file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmpr.engines.engine_options import UNKNOWN_MODEL
from mmpr.errors import ConfigError
from mmpr.images import Loader
from mmpr.importing.rollout_groups import GroupedQuestion, ImportFacts
from mmpr.judging import JudgeOptions
from mmpr.pairing import PairOptions
from mmpr.prompts import GIVEN
from mmpr.run import RunFolder
from mmpr.settings.config import BuildConfig, Mark, Setting, changed, flat, merge, settings_by_name, short_name
from mmpr.settings.presets import read_settings
from mmpr.sources import LeaseRange, Source
from mmpr.sources.given_responses import RESPONSE_COLUMNS, ResponseNames
from mmpr.sources.source_records import COLUMNS

# Identity settings about how rows and images are read and what was asked. All others belong to a build.
IMPORT_SETTINGS = (
    *("source", "image_root", "columns", "answer_index", "answer_agreement", "language", "chunk_questions"),
    *("prompt_version", "answer_form", "prompt_template", "system_message"),
    *(
        "max_pixels",
        "max_image_bytes",
        "allowed_hosts",
        "video_frames",
        "max_video_bytes",
        "model",
        "revision",
        "grounding",
    ),
)
# Prompt versions that rows may name: InternVL's names, and those of mmpr.
_VERSIONS = {
    **{
        f"{language}{ending}": version
        for language in ("en", "zh")
        for ending, version in (("", "final"), ("_v2", "boxed"), ("_r1", "think"))
    },
    **{version: version for version in ("final", "boxed", "think", GIVEN)},
}
_BARE = ("internvl-rollouts", "mmpr-rollouts")  # layouts whose questions do not contain the instruction


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What the work on a chunk needs; picklable, made once per start.

    `model` wrote every response without a model name. `splits_thoughts`: thoughts at the beginning of a response are
    kept apart; not if the instruction asked for them as a part of the answer.
    """

    folder: RunFolder
    source: Source
    model: str
    judge: JudgeOptions
    judge_time_limit_s: float
    pairs: PairOptions
    loader: Loader
    splits_thoughts: bool


@dataclass(frozen=True, slots=True)
class ImportChunk:
    """One chunk: the first row of each of its questions, and the responses to each."""

    chunk: int
    attempt: str
    lease: LeaseRange
    questions: tuple[GroupedQuestion, ...]


def import_config(file: str, settings: Path | None, overrides: list[str]) -> tuple[BuildConfig, bool]:
    """Return the settings of an import: those of a file, with `key=value` overrides.

    Returns:
        The settings, and whether they name the prompt version; if not, the rows decide.

    Raises:
        ConfigError: an override is about asking a model, or is invalid.
    """
    names = set()
    known = {name for name, one in settings_by_name().items() if _holds_for_imports(one)} | {*IMPORT_SETTINGS}
    for override in overrides:
        first, *others = override.partition("=")[0].split(".")
        name = short_name(".".join([first, *others[:1]])).partition(".")[0]
        names.add(name)
        if name in settings_by_name() and name not in known:
            raise ConfigError(
                f"{name}: has no effect on an import, which asks no model and takes every row; leave it out"
            )
    values = flat(read_settings(settings)) if settings is not None else {}
    # the model in a file of settings is the one that a build would ask, not the one that answered
    values = {name: value for name, value in values.items() if name in known and name not in ("source", "model")}
    values |= {"source": file, "imported": True, "model": UNKNOWN_MODEL}
    config = merge({"prompt_version": GIVEN, **values}, overrides, place=str(settings or "the settings"))
    if not config.engine.model.strip():
        raise ConfigError("model: give the name of the model that answered, or leave it out")
    return config, "prompt_version" in names | values.keys()


def _holds_for_imports(setting: Setting) -> bool:
    """Whether a setting is about judging, pairing or running; `mmpr ask-verifier` takes those of the verifier."""
    return setting.mark is Mark.SELECTION or (setting.mark is Mark.OPERATION and setting.place[0] != "verifier")


def split_columns(columns: Mapping[str, str]) -> tuple[dict[str, str], ResponseNames]:
    """Divide the setting `columns` into columns of questions and columns of responses.

    Raises:
        ConfigError: a name is neither.
    """
    if unknown := sorted(columns.keys() - {*COLUMNS, *RESPONSE_COLUMNS}):
        known = ", ".join((*RESPONSE_COLUMNS, *COLUMNS))
        raise ConfigError(f"columns: {unknown[0]!r} is not a column of mmpr: choose from {known}")
    own = {name: column for name, column in columns.items() if name in RESPONSE_COLUMNS}
    others = {name: column for name, column in columns.items() if name not in own}
    return others, ResponseNames(tuple(sorted(own.items())))


def settled_by_rows(config: BuildConfig, facts: ImportFacts, source: Source, *, names_version: bool) -> BuildConfig:
    """Return the settings with values that all rows agree on: model, instruction, and form of answers.

    Args:
        names_version: the settings name the instruction.
    """
    changes: dict[str, object] = {}
    models = [name for name in sorted(facts.models) if name]
    if config.engine.model == UNKNOWN_MODEL and models:
        named = models if "" not in facts.models else [*models, UNKNOWN_MODEL]
        # a file of a leaderboard may name a hundred models
        changes["model"] = " + ".join(named) if len(named) <= 4 else f"{len(named)} models"
    layouts = {part.layout for part in source.parts or (source,)}
    if not names_version:
        versions = {_VERSIONS.get(name, GIVEN) for name in facts.versions} if layouts <= {*_BARE} else set()
        changes["prompt_version"] = versions.pop() if len(versions) == 1 else GIVEN
    # rows that were asked for different forms are judged in any form
    if config.prompt.answer_form is None:
        forms = {*facts.forms}
        alike = forms.pop() if len(forms) == 1 else "any"
        changes["answer_form"] = alike if alike in ("final", "boxed", "think") else "any"
    return changed(config, changes)


def import_notes(config: BuildConfig, facts: ImportFacts, n_questions: int, lenient: int) -> list[str]:
    """Return notes about the file for the user, one line each."""
    known = [f"{name} of {n:,}" for name, n in facts.known.items() if n < facts.responses]
    unknown = [name for name in ("n_tokens", "finish_reason", "seed") if not facts.known[name]]
    notes = [f"{facts.rows:,} rows: {facts.responses:,} responses to {n_questions - facts.bad_rows:,} questions"]
    if facts.bad_rows:
        notes.append(f"{facts.bad_rows:,} rows are skipped; the first: {facts.first_bad}")
    if unknown:
        notes.append(f"not known, and null: {', '.join(unknown)}")
    if known:
        notes.append(f"known for some responses only: {', '.join(known)}; null for the others")
    if config.engine.model == UNKNOWN_MODEL:
        notes.append("the model that answered is not known: give --model NAME")
    if facts.left_out:
        notes.append(f"left out: {facts.left_out:,} entries that are not responses; the first: {facts.first_left_out}")
    if facts.listed_texts:
        notes.append(
            f"{facts.listed_texts:,} responses look like lists of several, the first at {facts.first_listed}: "
            "columns.responses=.. with their column's name reads them as lists"
        )
    # Ids of responses instead of questions: every question would have one response, and no pair.
    n_asked = n_questions - facts.bad_rows
    if (
        facts.own_ids
        and n_asked > 1
        and facts.own_ids == facts.rows - facts.bad_rows == n_asked > lenient - facts.bad_rows
    ):
        notes.append(
            f"every row has an id of its own, yet only {lenient - facts.bad_rows:,} questions differ: "
            "columns.id='' groups by image, question and answer"
        )
    if facts.without_images and facts.without_images == facts.rows - facts.bad_rows:
        notes.append("no row names an image: the pairs will have none")
    versions = Counter({name: n for name, n in facts.versions.items() if name})
    if len({_VERSIONS.get(name, name) for name in versions}) > 1:
        shares = ", ".join(f"{n:,} {name}" for name, n in versions.most_common(6))
        notes.append(
            f"asked under several instructions ({shares}): pairs have the bare question; prompt_version=.. adds one"
        )
    return notes
