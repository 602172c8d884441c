"""How a stored run's responses become rows: its settings, part by part, as the recipes that pairing and exports use."""

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
    settings = member_settings(config, members)
    stops = list(accumulate(member.chunks for member in members))

    def origin(commit: ChunkCommit) -> tuple[int, int]:
        return bisect_right(stops, commit.chunk), commit.account.source

    for (member, source), own in groupby(commits, key=origin):
        chunks, judges = zip(*((commit.chunk, commit.account.judge) for commit in own), strict=True)
        yield RunPart(chunks[0], settings[member][source], frozenset(judges))


def member_settings(config: BuildConfig, members: Sequence[Member]) -> list[list[BuildConfig]]:
    """The settings of each member's sources; of a run without members the run's own."""
    each = [changed(config, {"sources": {}, **member.identity}) for member in members] or [config]
    return [[source.config for source in of_sources(one)] for one in each]


def run_recipe(config: BuildConfig, members: Sequence[Member], commits: Iterable[ChunkCommit]) -> DatasetRecipe:
    """One recipe for a run that was built of one source; else each has its own, and in a merged run each member's."""
    parts = tuple((part.first, part_recipe(part.config, part.judges)) for part in run_parts(config, members, commits))
    first = parts[0][1] if parts else part_recipe(config, set())
    return first if len(parts) < 2 else replace(first, members=parts)


def part_recipe(config: BuildConfig, judges: Collection[str]) -> DatasetRecipe:
    """How the responses of one part become rows."""
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
        embed_images=config.dataset.embed_images,
        kind=functools.partial(kind_of, options=judge_options(config)),
        min_margin=config.verifier.min_margin,
    )
    view = verdicts_view(config, judges)
    return recipe if view is None else replace(recipe, view=view)


def verdicts_view(config: BuildConfig, judges: Collection[str]) -> Callable[[StoredQuestion], StoredQuestion] | None:
    """What gives the verdicts that count: the rules' under the present settings, and a verifier's where it may decide.

    None where they are those that were committed.
    """
    again, use = rejudged(config, judges), config.pairs.use_verifier
    if use is UseVerifier.NONE:
        return again
    opinions = functools.partial(with_opinions, min_margin=config.verifier.min_margin, use=use)
    return opinions if again is None else functools.partial(_through, views=(again, opinions))


def _through(committed: StoredQuestion, views: Sequence[Callable[[StoredQuestion], StoredQuestion]]) -> StoredQuestion:
    return functools.reduce(lambda one, view: view(one), views, committed)


def rejudged(config: BuildConfig, judges: Collection[str]) -> Rejudge | None:
    """What gives verdicts anew where any were given under other settings (`ChunkAccount.judge`)."""
    options = judge_options(config)
    if all(judge == judge_key(options) for judge in judges):
        return None
    return Rejudge(options, config.cluster.judge_time_limit_s)


def own_judges(config: BuildConfig) -> tuple[str, ...]:
    """Name and version of each judge of somebody's own that the settings name, as a manifest has them."""
    options = [one.config.judge for one in of_sources(config)]
    return tuple(sorted({" ".join(own_label(one).values()) for one in options if one.judge}))


def _messages(committed: StoredQuestion, options: PromptOptions) -> tuple[Message, ...]:
    return ask(committed.question, options)


def judge_options(config: BuildConfig) -> JudgeOptions:
    """How answers are compared; their form is the one that the prompt asks for, unless a setting says another."""
    asked = config.prompt.answer_form or config.prompt.version
    return replace(config.judge, format="any" if asked == GIVEN else asked)
