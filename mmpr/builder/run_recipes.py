"""How a stored run's responses become rows: its settings, part by part, as the recipes that pairing and exports use."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from mmpr.builder.pair_rule import make_pairs
from mmpr.judging import JudgeOptions, judge_key
from mmpr.pairing import PairRule
from mmpr.prompts import GIVEN, ask
from mmpr.run import ChunkCommit, Committed, DatasetRecipe, Limits, Member, RunColumns
from mmpr.run.stored_verdicts import Rejudge, kind_of
from mmpr.settings.config import BuildConfig, of_sources
from mmpr.settings.field_types import UNKNOWN_MODEL
from mmpr.types import Message


@dataclass(frozen=True, slots=True)
class RunPart:
    """Neighbouring chunks of one member and source, which share their settings.

    Args:
        first: number of the first chunk.
        config: the settings that hold for them.
        judges: how their verdicts were given (`ChunkAccount.judge`).
    """

    first: int
    config: BuildConfig
    judges: frozenset[str]


def run_parts(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> Iterator[RunPart]:
    """The parts of a run in the order of their chunks.

    A member keeps its model, its prompts, its sampling; a source what it has settings of its own for.

    Args:
        config: the run's settings.
        members: of a merged run; else none.
        commits: of the run, in order; read once.
    """
    each = [config.model_copy(update={"sources": {}, **member.identity}) for member in members] or [config]
    settings = [[source.config for source in of_sources(one)] for one in each]
    stops = list(accumulate(member.chunks for member in members))

    def origin(commit: ChunkCommit) -> tuple[int, int]:
        return bisect_right(stops, commit.chunk), commit.account.source

    for (member, source), own in groupby(commits, key=origin):
        chunks, judges = zip(*((commit.chunk, commit.account.judge) for commit in own), strict=True)
        yield RunPart(chunks[0], settings[member][source], frozenset(judges))


def run_recipe(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> DatasetRecipe:
    """One recipe for a run that was built of one source; else each has its own, and in a merged run each member's."""
    parts = tuple((part.first, part_recipe(part.config, part.judges)) for part in run_parts(config, members, commits))
    first = parts[0][1] if parts else part_recipe(config, set())
    return first if len(parts) < 2 else replace(first, members=parts)


def part_recipe(config: BuildConfig, judges: Collection[str]) -> DatasetRecipe:
    """How the responses of one part become rows."""
    recipe = DatasetRecipe(
        pair=functools.partial(make_pairs, rule=pair_rule(config)),
        messages=functools.partial(
            _messages, version=config.prompt_version, template=config.prompt_template, system=config.system_message
        ),
        columns=RunColumns(
            model=None if config.imported and config.model == UNKNOWN_MODEL else config.answering,
            model_revision=config.revision,
            prompt_version="own" if config.prompt_template else config.prompt_version,
            temperature=None if config.imported else config.temperature,
            keep_fraction=config.keep_fraction,
            policy=config.policy,
        ),
        embed_images=config.embed_images,
        kind=functools.partial(kind_of, options=judge_options(config)),
    )
    view = rejudged(config, judges)
    return recipe if view is None else replace(recipe, view=view)


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
        policy=config.policy,
        chosen_from=config.chosen_from,
        max_across=config.max_across,
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
        format=config.answer_form or ("any" if config.prompt_version == GIVEN else config.prompt_version),
        judge=config.judge,
    )
