"""Finish an evaluation: compute the result of each committed question and their summary, instead of pairs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields

from mmpr.builder.evaluation_results import result_of
from mmpr.builder.run_recipes import judge_options, own_judges, rejudged
from mmpr.builder.stored_settings import stored_settings
from mmpr.errors import ConfigError, LawBroken, RunFolderError, SourceError
from mmpr.evaluation import Result, compare
from mmpr.judging import JudgeOptions
from mmpr.pool import map_tasks
from mmpr.reporting.evaluation_report import (
    EVAL,
    ComparisonReport,
    EvaluationReport,
    comparison_report,
    evaluation_report,
)
from mmpr.run import ChunkCommit, RunFolder, RunRecord, finished_run, read_chunk, write_manifest
from mmpr.run.dataset import SKIPS, MapTasks, SkipsFile
from mmpr.run.folder import MANIFEST
from mmpr.run.plan import SkippedRow
from mmpr.run.run_record import Settings
from mmpr.run.stored_verdicts import Rejudge
from mmpr.settings.config import BuildConfig, Mark, of_sources, part
from mmpr.types import Skip

# Settings that choose the questions. Two runs that differ only in these asked in the same way.
_PLACES = frozenset(("source", "image_root", "columns", "limit", "chunk_questions", "adaptive", "evaluate", "sources"))

Found = tuple[list[Result], list[SkippedRow]]
Way = tuple[Rejudge | None, JudgeOptions]


def finish_evaluation(folder: RunFolder, config: BuildConfig) -> EvaluationReport:
    """Write `eval.json`, `skips.parquet` and the manifest. Needs a connected pool; opens neither source nor engine.

    Args:
        folder: a run with all chunks committed.
        config: the settings.

    Raises:
        RunFolderError: a committed file is missing or damaged, or the folder cannot be written.
        SourceError: no question could be evaluated.
        LawBroken: `questions = evaluated + skipped` does not hold.
    """
    # Without a manifest the folder is unfinished: a crash here leaves no old report that looks valid.
    folder.store.delete(MANIFEST)
    commits = list(folder.commits())
    results, skipped = _found(folder, config, commits, map_tasks)
    with SkipsFile(folder) as skips:
        for row in skipped:
            skips.add(row)
    report = _report(folder, folder.load_run(), commits, results, skipped)
    folder.store.write_bytes(EVAL, report.to_json())
    write_manifest(folder, [skips.record], [EVAL], own_judges=own_judges(config))
    folder.sweep()
    return report


def evaluate_run(url: str) -> EvaluationReport:
    """Return the figures of a finished run, built or evaluated, over the first round of each question; write nothing.

    Raises:
        RunFolderError: the run is unfinished, merged or damaged.
        SourceError: no question could be evaluated.
    """
    folder, run, config = _opened(url)
    commits = list(folder.commits())
    return _report(folder, run, commits, *_found(folder, config, commits, map))


def compare_runs(first: str, second: str) -> ComparisonReport:
    """Compare two finished runs on the questions that both asked; write nothing.

    Raises:
        ConfigError: the runs were judged under different settings.
        RunFolderError: as for `evaluate_run`; or the runs have no question in common.
    """
    (one, run, config), (other, other_run, against) = _opened(first), _opened(second)
    # A difference of judges would look like a difference of models.
    if judged := _differing(part(config, Mark.SELECTION), part(against, Mark.SELECTION), _judging()):
        name, (here, there) = next(iter(judged.items()))
        raise ConfigError(f"{name} is {here!r} in {first} and {there!r} in {second}: evaluate one of them again")
    both = (one, config), (other, against)
    found = [_found(folder, settings, list(folder.commits()), map)[0] for folder, settings in both]
    compared = compare(*found)
    if not compared.questions:
        raise RunFolderError(f"{first} and {second} have no question in common: compare evaluations of one source")
    identities = run.identity, other_run.identity
    differing = _differing(*identities, (run.identity.keys() | other_run.identity.keys()) - _PLACES)
    return comparison_report((first, second), (config.engine.model, against.engine.model), differing, compared)


def _opened(url: str) -> tuple[RunFolder, RunRecord, BuildConfig]:
    folder = RunFolder(url)
    run = finished_run(folder).record
    # a merged run may have several models, and an evaluation is of one
    if run.members:
        raise RunFolderError(f"{url} was merged: evaluate the runs that it was made of")
    return folder, run, stored_settings(run, [])


def _judging() -> set[str]:
    """Return the names of settings that decide how answers are compared; `format` belongs to the prompt."""
    return {"per_source", *(field.name for field in fields(JudgeOptions))} & part(BuildConfig(), Mark.SELECTION).keys()


def _differing(one: Settings, other: Settings, names: Iterable[str]) -> dict[str, tuple[object, object]]:
    return {n: (one.get(n), other.get(n)) for n in sorted(names) if one.get(n) != other.get(n)}


def _found(folder: RunFolder, config: BuildConfig, commits: Sequence[ChunkCommit], spread: MapTasks) -> Found:
    """Return all results and skips in source order."""
    read = functools.partial(_of_chunk, folder, _ways(config, commits))
    results: list[Result] = []
    skipped: list[SkippedRow] = []
    for own, others in spread(read, commits):
        results += own
        skipped += others
    return results, skipped


def _ways(config: BuildConfig, commits: Sequence[ChunkCommit]) -> list[Way]:
    """Return for each source how answers are compared, and what judges again if the settings have changed."""
    return [
        (
            rejudged(one.config, {c.account.judge for c in commits if c.account.source == place}),
            judge_options(one.config),
        )
        for place, one in enumerate(of_sources(config))
    ]


def _of_chunk(folder: RunFolder, ways: Sequence[Way], commit: ChunkCommit) -> Found:
    results: list[Result] = []
    skipped: list[SkippedRow] = []
    view, options = ways[commit.account.source]
    for committed in read_chunk(folder, commit, images=False):
        found = result_of(view(committed) if view else committed, options)
        if isinstance(found, Skip):
            skipped.append(SkippedRow(committed.question.source, committed.question.row, found))
        else:
            results.append(found)
    return results, skipped


def _report(
    folder: RunFolder,
    run: RunRecord,
    commits: Sequence[ChunkCommit],
    results: Sequence[Result],
    skipped: Sequence[SkippedRow],
) -> EvaluationReport:
    questions = sum(commit.questions.rows for commit in commits)
    reasons = Counter(row.skip.reason.value for row in skipped)
    if questions != len(results) + len(skipped):
        raise LawBroken(f"{questions} questions are not {len(results)} evaluated + {len(skipped)} skipped")
    if not results:
        listed = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(3)) or "it has none"
        raise SourceError(f"{folder.url}: none of {questions:,} questions can be evaluated ({listed}); see {SKIPS}")
    return evaluation_report(run, results, reasons)
