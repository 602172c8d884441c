"""The end of a build, and all of pairing again: cut the dataset from the commits, then report and manifest."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Any

from mmpr.builder.pair_rule import make_pairs
from mmpr.builder.stored_verdicts import Rejudge, judge_key, kind_of
from mmpr.errors import ConfigError, RunFolderError
from mmpr.judging import VERSION, JudgeOptions
from mmpr.pairing import PairRule
from mmpr.pool import map_tasks
from mmpr.prompts import ask
from mmpr.reporting import write_reports
from mmpr.reporting.report_files import previewed
from mmpr.run import (
    ChunkCommit,
    Committed,
    DatasetRecipe,
    FileRecord,
    Limits,
    Member,
    RunColumns,
    RunFolder,
    count_dataset,
    cut_dataset,
    members_of,
    read_manifest,
    write_manifest,
)
from mmpr.run.exclusion import list_name
from mmpr.run.folder import DATA, EXCLUDE
from mmpr.run.json_records import unsealed
from mmpr.settings.config import BuildConfig, of_sources
from mmpr.types import Message

CARD = "README.md"
REPORTS = (CARD, "report.html", "report.json")


def finish(
    folder: RunFolder,
    config: BuildConfig,
    *,
    usage: Mapping[str, float] | None = None,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `data/`, the reports and the manifest; needs a connected pool, opens neither source nor engine.

    Args:
        folder: the run, every chunk of it committed.
        config: the settings; of a merged run's members each has its own identity.
        usage: of this start's engines, for the report.
        run: what `run.json` will be, where it is not written yet.

    Returns:
        The report, as `report.json` has it.

    Raises:
        RunFolderError: a committed file is missing or damaged, or the folder cannot be written.
        LawBroken: `questions = paired + skipped` does not hold.
    """
    run = run or folder.load_run()
    totals, files = cut_dataset(
        folder,
        _run_recipe(config, members_of(run), folder.commits()),
        limits=limits(config),
        shard_bytes=config.shard_bytes,
        map_tasks=map_tasks,
    )
    report = write_reports(folder, totals, files, usage=usage, run=run)
    write_manifest(folder, files, REPORTS if config.exclude is None else (*REPORTS, EXCLUDE))
    folder.sweep()
    return report


def preview(folder: RunFolder, config: BuildConfig) -> dict[str, Any]:
    """What pairing under these settings would give, as the first parts of a report; needs a connected pool, and writes
    nothing.

    Raises:
        ConfigError: `exclude` names a list that the run does not have yet.
        RunFolderError, LawBroken: as for `finish`.
    """
    if config.exclude is not None and list_name(folder) != config.exclude:
        raise ConfigError(f"exclude: {config.exclude} is not in {folder.url} yet: pair with it once, or leave it out")
    run = folder.load_run()
    recipe = _run_recipe(config, members_of(run), folder.commits())
    totals = count_dataset(folder, recipe, limits=limits(config), map_tasks=map_tasks)
    return previewed(totals, run)


def _run_recipe(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> DatasetRecipe:
    """One recipe for a run that was built of one source; else each has its own, and in a merged run each member's.

    A member keeps its model, its prompts, its sampling; a source what it has settings of its own for.

    Args:
        commits: of the run, in order; read once.
    """
    parts = tuple(_recipes(config, members, commits))
    first = parts[0][1] if parts else _recipe(config, set())
    return first if len(parts) < 2 else replace(first, members=parts)


def _recipes(
    config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]
) -> Iterator[tuple[int, DatasetRecipe]]:
    """The recipes of neighbouring chunks of one member and source, each with the number of the first of them."""
    each = [config.model_copy(update={"sources": {}, **member.identity}) for member in members] or [config]
    settings = [[source.config for source in of_sources(one)] for one in each]
    stops = list(accumulate(member.chunks for member in members))

    def origin(commit: ChunkCommit) -> tuple[int, int]:
        return bisect_right(stops, commit.chunk), commit.account.source

    for (member, source), own in groupby(commits, key=origin):
        chunks, judges = zip(*((commit.chunk, commit.account.judge) for commit in own), strict=True)
        yield chunks[0], _recipe(settings[member][source], set(judges))


def _recipe(config: BuildConfig, judges: Collection[str]) -> DatasetRecipe:
    recipe = DatasetRecipe(
        pair=functools.partial(make_pairs, rule=pair_rule(config)),
        messages=functools.partial(
            _messages, version=config.prompt_version, template=config.prompt_template, system=config.system_message
        ),
        columns=RunColumns(
            model=config.model,
            model_revision=config.revision,
            prompt_version="own" if config.prompt_template else config.prompt_version,
            temperature=config.temperature,
            keep_fraction=config.keep_fraction,
        ),
        embed_images=config.embed_images,
        kind=functools.partial(kind_of, options=judge_options(config)),
    )
    view = rejudged(config, judges)
    return recipe if view is None else replace(recipe, view=view)


def finished_report(folder: RunFolder, name: str = REPORTS[-1]) -> dict[str, Any] | None:
    """The report of a run that was finished from all that is committed, by this judge, no file gone; else None."""
    try:
        manifest = read_manifest(folder)
        if manifest is None or manifest.n_chunks != len(folder.committed_chunks()):
            return None
        if not all(_is_there(folder, file) for file in manifest.files):
            return None
        report: dict[str, Any] = unsealed(folder.store.read_bytes(name))
    except (RunFolderError, FileNotFoundError, ValueError):  # finishing it again mends all of these
        return None
    return report if report.get("judge_version", 1) == VERSION else None


def _is_there(folder: RunFolder, file: FileRecord) -> bool:
    """In full length; what is small, or read by every start, also with the same content. A card may be edited."""
    if file.path == CARD:
        return folder.store.exists(file.path)
    if not folder.store.exists(file.path) or folder.store.size(file.path) != file.n_bytes:
        return False
    return file.path.startswith(f"{DATA}/") or folder.record(file.path).sha256 == file.sha256


def rejudged(config: BuildConfig, judges: Collection[str]) -> Rejudge | None:
    """What gives verdicts anew where any were given under other settings (`ChunkAccount.judge`)."""
    options = judge_options(config)
    if all(judge == judge_key(options) for judge in judges):
        return None
    return Rejudge(options, config.judge_time_limit_s)


def _messages(
    committed: Committed, version: str, template: Mapping[str, str] | None, system: str | None
) -> tuple[Message, ...]:
    return ask(committed.question, version, template=template, system=system)


def pair_rule(config: BuildConfig) -> PairRule:
    """The settings that say what a usable pair is."""
    return PairRule(
        pairs_per_question=config.pairs_per_question,
        max_uses=config.max_uses,
        format_pairs=config.format_pairs,
        unfinished_negatives=config.unfinished_negatives,
        min_grounding_margin=config.min_grounding_margin,
        strategy=config.strategy,
        accuracy_window=config.accuracy_window,
        near_duplicate=config.near_duplicate,
        rejected_certainty=config.rejected_certainty,
        refusal_negatives=config.refusal_negatives,
    )


def limits(config: BuildConfig) -> Limits:
    """The settings that need the whole run."""
    return Limits(
        max_pairs_per_source=config.max_pairs_per_source,
        max_format_fraction=config.max_format_fraction,
        validation_fraction=config.validation_fraction,
        exclude=config.exclude is not None,
        exclude_texts=config.exclude_texts,
    )


def judge_options(config: BuildConfig) -> JudgeOptions:
    """The settings that say how answers are compared."""
    return JudgeOptions(
        answer_kind=config.answer_kind,
        relative_tolerance=config.relative_tolerance or None,
        ordered=config.ordered,
        box_format=config.box_format,
        box_iou=config.box_iou,
        format=config.prompt_version,
    )
