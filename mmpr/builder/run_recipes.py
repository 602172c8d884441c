"""Derive from a stored run, part by part, the recipes that pairing and exports use."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from mmpr.builder.pair_rule import make_pairs
from mmpr.engines.engine_options import UNKNOWN_MODEL
from mmpr.judging import JudgeOptions, judge_key
from mmpr.judging.own_judge import own_label
from mmpr.prompts import GIVEN, PromptOptions, ask
from mmpr.run import ChunkCommit, DatasetRecipe, Member, RunColumns, StoredQuestion
from mmpr.run.stored_verdicts import Rejudge, kind_of, with_opinions
from mmpr.settings.config import BuildConfig, changed, of_sources
from mmpr.types import Message
from mmpr.verifier.opinions import UseVerifier


@dataclass(frozen=True, slots=True)
class RunPart:
    """Consecutive chunks of one member and source, which share their settings.

    Args:
        first: number of the first chunk.
        config: the settings that apply to these chunks.
        judges: how their verdicts were given (`ChunkAccount.judge`).
    """

    first: int
    config: BuildConfig
    judges: frozenset[str]


def run_parts(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> Iterator[RunPart]:
    """Yield the parts of a run in the order of their chunks.

    A member keeps its model, prompts and sampling; a source keeps its own settings.

    Args:
        config: the run's settings.
        members: the members of a merged run, otherwise empty.
        commits: the commits of the run in order; read once.
    """
    settings = member_settings(config, members)
    stops = list(accumulate(member.chunks for member in members))

    def origin(commit: ChunkCommit) -> tuple[int, int]:
        return bisect_right(stops, commit.chunk), commit.account.source

    for (member, source), own in groupby(commits, key=origin):
        chunks, judges = zip(*((commit.chunk, commit.account.judge) for commit in own), strict=True)
        yield RunPart(chunks[0], settings[member][source], frozenset(judges))


def member_settings(config: BuildConfig, members: Sequence[Member]) -> list[list[BuildConfig]]:
    """Return the settings of each member's sources; a run without members is treated as one member."""
    each = [changed(config, {"sources": {}, **member.identity}) for member in members] or [config]
    return [[source.config for source in of_sources(one)] for one in each]


def run_recipe(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> DatasetRecipe:
    """Return the recipe of a run; with several sources or members, it contains one recipe for each."""
    parts = tuple((part.first, part_recipe(part.config, part.judges)) for part in run_parts(config, members, commits))
    first = parts[0][1] if parts else part_recipe(config, set())
    return first if len(parts) < 2 else replace(first, members=parts)


def part_recipe(config: BuildConfig, judges: Collection[str]) -> DatasetRecipe:
    """Return the recipe of one part."""
    imported = config.source.imported
    recipe = DatasetRecipe(
        pair=functools.partial(make_pairs, rule=config.pairs),
        messages=functools.partial(_messages, options=config.prompt),
        columns=RunColumns(
            model=None if imported and config.engine.model == UNKNOWN_MODEL else config.engine.answering,
            model_revision=config.engine.revision,
            prompt_version="own" if config.prompt.template else config.prompt.version,
            temperature=None if imported else config.sampling.temperature,
            keep_fraction=config.dropout.keep_fraction,
            policy=config.pairs.policy,
        ),
        keep_thoughts=config.pairs.keep_thoughts,
        embed_images=config.dataset.embed_images,
        kind=functools.partial(kind_of, options=judge_options(config)),
        min_margin=config.verifier.min_margin,
    )
    view = verdicts_view(config, judges)
    return recipe if view is None else replace(recipe, view=view)


def verdicts_view(config: BuildConfig, judges: Collection[str]) -> Callable[[StoredQuestion], StoredQuestion] | None:
    """Return what replaces the stored verdicts: the current judge's, and the verifier's if it may decide.

    None if the stored verdicts count.
    """
    again, use = rejudged(config, judges), config.pairs.use_verifier
    if use is UseVerifier.NONE:
        return again
    opinions = functools.partial(with_opinions, min_margin=config.verifier.min_margin, use=use)
    return opinions if again is None else functools.partial(_through, views=(again, opinions))


def _through(committed: StoredQuestion, views: Sequence[Callable[[StoredQuestion], StoredQuestion]]) -> StoredQuestion:
    return functools.reduce(lambda one, view: view(one), views, committed)


def rejudged(config: BuildConfig, judges: Collection[str]) -> Rejudge | None:
    """Return what judges again if any verdict was given under other settings (`ChunkAccount.judge`), else None."""
    options = judge_options(config)
    if all(judge == judge_key(options) for judge in judges):
        return None
    return Rejudge(options, config.cluster.judge_time_limit_s)


def own_judges(config: BuildConfig) -> tuple[str, ...]:
    """Return name and version of each custom judge that the settings name, for the manifest."""
    options = [one.config.judge for one in of_sources(config)]
    return tuple(sorted({" ".join(own_label(one).values()) for one in options if one.judge}))


# no lambda, because a recipe is pickled for the tasks that pair
def _messages(committed: StoredQuestion, options: PromptOptions) -> tuple[Message, ...]:
    return ask(committed.question, options)


def judge_options(config: BuildConfig) -> JudgeOptions:
    """Return how answers are compared.

    Their form is the one that the prompt asks for, unless a setting overrides it.
    """
    asked = config.prompt.answer_form or config.prompt.version
    # a template of the user's own may ask for any form
    return replace(config.judge, format="any" if asked == GIVEN else asked)
