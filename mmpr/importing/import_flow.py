"""`mmpr import`: turn a file of responses into a run folder that all commands accept like a built one.

Rows are read and grouped, then judged and committed chunk by chunk, then the dataset is cut. The same command resumes
an import: committed chunks stay, and the file must not have changed.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpr import pool
from mmpr.builder.build_flow import swept
from mmpr.builder.chronicle import BUILT, Chronicle, chronicled
from mmpr.builder.exclude import keep_list
from mmpr.builder.finish import finish, finished_report, unused_by
from mmpr.builder.layout import drop_damaged, readings, source_of, versions
from mmpr.builder.progress_views import report_notes, waiting
from mmpr.builder.run_recipes import judge_options
from mmpr.builder.stopping import stop_signal
from mmpr.errors import ResumeError, RunFolderError, SourceError
from mmpr.images import Loader
from mmpr.importing.import_chunks import import_chunk
from mmpr.importing.import_records import (
    IMPORT_SETTINGS,
    ImportChunk,
    ImportSettings,
    import_config,
    import_notes,
    settled_by_rows,
    split_columns,
)
from mmpr.importing.rollout_groups import MOST_RESPONSES, RolloutGroups, grouped
from mmpr.log import LogFormat, stamp
from mmpr.redact import redacted
from mmpr.reporting.report_record import Report
from mmpr.run import RunFolder, RunLayout, RunRecord, new_attempt
from mmpr.run.heartbeat import Heartbeat, claimed
from mmpr.run.run_record import FORMAT, rollouts_of, with_rollouts
from mmpr.settings.config import BuildConfig, Mark, changed, part
from mmpr.sources import Index, Source, as_recorded, index, settled
from mmpr.sources.column_report import column_names
from mmpr.sources.given_responses import ResponseNames

_CHUNK = 128  # questions
_AT_ONCE = 4  # chunks whose responses are in memory at a time


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The result of an import. `idle`: the run was complete before; `late_notes`: notes from its commits."""

    folder: RunFolder
    report: Report
    idle: bool
    notes: tuple[str, ...]
    late_notes: tuple[str, ...] = ()


def import_file(
    file: str,
    out: str,
    overrides: list[str],
    *,
    settings: Path | None = None,
    log_format: LogFormat = LogFormat.TEXT,
) -> ImportOutcome:
    """Import a file of responses into the run folder `out`, or continue an import.

    Args:
        file: any source, with columns of responses (docs/rollouts.md).
        out: a local folder or an fsspec URL.
        overrides: `key=value` settings; `columns.response=prediction` maps columns of responses too.
        settings: a YAML file of settings; those about asking a model are ignored.
        log_format: format of the progress output on stderr.

    Raises:
        ConfigError: a setting is invalid or has no effect on an import.
        SourceError: the file cannot be read, or no row has a response.
        ResumeError: the file or a setting has changed since the import began.
        RunFolderError: the folder holds something else, is in use or damaged, or cannot be written.
        RunStopped: SIGTERM; the same call continues.
    """
    config, names_version = import_config(file, settings, overrides)
    as_json = log_format is LogFormat.JSON
    folder = RunFolder(out)
    folder.require_room()
    with ExitStack() as stack:
        stack.enter_context(stop_signal())
        heartbeat = stack.enter_context(claimed(folder))
        chronicle = stack.enter_context(chronicled(folder))
        stack.enter_context(swept(folder, abandoned=True))
        heartbeat.update({"phase": "reading the rollouts"})
        with waiting("reading the rollouts", as_json=as_json):
            source, counted, names = _opened(folder, config)
            groups = stack.enter_context(grouped(source, counted, names, config.source.chunk_questions or _CHUNK))
        _refuse_empty(source, groups)
        if config.cluster.strict and groups.facts.first_bad:
            raise SourceError(f"{groups.facts.first_bad} (strict ends the import here)")
        config = settled_by_rows(config, groups.facts, source, names_version=names_version)
        notes = import_notes(config, groups.facts, len(groups), groups.lenient)
        report_notes([*unused_by(folder, config), *notes], run=redacted(folder.url), as_json=as_json)
        _enter(folder, config, source, groups)
        outcome = _import(folder, config, source, groups, heartbeat, chronicle)
        chronicle.add("complete", "nothing was left to do" if outcome.idle else "")
        return replace(outcome, notes=tuple(notes))


def _opened(folder: RunFolder, config: BuildConfig) -> tuple[Source, Index, ResponseNames]:
    """Open the file as a source, count and settle it, and find the columns of its responses.

    Raises:
        SourceError: it cannot be read, or its answers have two possible readings.
    """
    columns, names = split_columns(config.source.columns)
    source = source_of(changed(config, {"columns": columns}))
    seen = column_names(source)
    beside = names.read(seen) or ("response",)
    # these columns are hashed with the rows: a changed response is a changed file
    source = replace(source, beside=beside, parts=tuple(replace(part, beside=beside) for part in source.parts))
    for ours, theirs in names.mapped:
        if theirs and theirs.partition(".")[0] not in seen:
            raise SourceError(f"{source.path}: has no column {theirs!r} (columns.{ours}) but {', '.join(seen)[:300]}")
    if folder.has_run():
        source = as_recorded(source, folder.load_run().reading or {})
    counted = index(source)
    return settled(source, counted, answer_index=config.source.answer_index), counted, names


def _refuse_empty(source: Source, groups: RolloutGroups) -> None:
    """Refuse a file in which no row has a response that can be read."""
    if groups.facts.responses:
        return
    why = groups.facts.first_bad or f"{source.path}: has no rows"
    raise SourceError(f"{why}; no row has a usable response; if another column holds them, add columns.response=..")


def _enter(folder: RunFolder, config: BuildConfig, source: Source, groups: RolloutGroups) -> None:
    """Write `run.json` at the first start; a later start must agree with it, and the file must not have changed."""
    identity = _identity(config, source)
    facts = {**groups.facts.to_json(), "questions": len(groups)}
    if not folder.has_run():
        size, n = config.source.chunk_questions or _CHUNK, len(groups)
        folder.create_run(
            RunRecord(
                format=FORMAT,
                source=source.path,
                layout=RunLayout(size, (n,), n, groups.n_chunks),
                identity=identity,
                selection=part(config, Mark.SELECTION),
                versions=versions(),
                reading=with_rollouts(readings([source]), facts),
            )
        )
    else:
        if (run := folder.load_run()).members or not run.identity.get("imported"):
            raise RunFolderError(f"{folder.url} holds a run that was built or merged; give another --out")
        defaults = part(BuildConfig(), Mark.IDENTITY)
        # a setting that an older mmpr did not store had its default
        folder.require_identity({**defaults, **identity}, defaults=defaults)
        _refuse_changed(folder, source, groups.facts.sha256)
        folder.change_selection(part(config, Mark.SELECTION))
    folder.add_start({"at": stamp(), "host": platform.node(), "imported": source.name})
    drop_damaged(folder)
    for commit in folder.commits():
        if commit.chunk >= groups.n_chunks or commit.account.lease != groups.lease(commit.chunk).to_json():
            raise ResumeError(f"{folder.url}: chunk {commit.chunk} was cut by another mmpr; import into another --out")


def _identity(config: BuildConfig, source: Source) -> dict[str, Any]:
    """Return the settings that may never change, as far as they are known for responses that others sampled."""
    own = {name: value for name, value in part(config, Mark.IDENTITY).items() if name in IMPORT_SETTINGS}
    return {**own, "source": source.path, "image_root": source.image_root, "imported": True}


def _refuse_changed(folder: RunFolder, source: Source, sha256: str) -> None:
    kept = [facts.get("sha256") for facts in rollouts_of(folder.load_run())]
    if sha256 not in kept:
        raise ResumeError(f"{source.path} has changed since {folder.url} was started; restore it or use another --out")


def _import(
    folder: RunFolder,
    config: BuildConfig,
    source: Source,
    groups: RolloutGroups,
    heartbeat: Heartbeat,
    chronicle: Chronicle,
) -> ImportOutcome:
    """Commit the open chunks, then cut the dataset."""
    keep_list(folder, config.dataset.exclude)  # first, so that an unreadable list is an error before the work
    todo = sorted(set(range(groups.n_chunks)) - folder.committed_chunks())
    if not todo and isinstance(report := finished_report(folder, config), Report):
        return ImportOutcome(folder, report, True, ())
    work = functools.partial(import_chunk, _settings(folder, config, source))
    with pool.task_room():
        heartbeat.update({"phase": "judging"})
        with waiting(f"judging {groups.facts.responses:,} responses"):
            # few at once: a chunk's responses and decoded images are in memory
            for _ in pool.map_tasks(work, _chunks(groups, todo), in_flight=_AT_ONCE):
                heartbeat.check()
        heartbeat.update({"phase": "finishing"})
        chronicle.add(BUILT, "every chunk is committed")
        report = finish(folder, config, waiting=waiting)
    return ImportOutcome(folder, report, False, (), _counted(folder))


def _settings(folder: RunFolder, config: BuildConfig, source: Source) -> ImportSettings:
    return ImportSettings(
        folder=folder,
        source=source,
        model=config.engine.model,
        judge=judge_options(config),
        judge_time_limit_s=config.cluster.judge_time_limit_s,
        pairs=config.pairs,
        loader=Loader(Path(source.image_root), config.images),
        splits_thoughts=config.prompt.thinks is not None,
    )


def _chunks(groups: RolloutGroups, todo: Sequence[int]) -> Iterator[ImportChunk]:
    """Yield the chunks to be committed; each is read from the temporary file when it is needed."""
    for chunk in todo:
        yield ImportChunk(chunk, new_attempt(), groups.lease(chunk), tuple(groups.questions(chunk)))


def _counted(folder: RunFolder) -> tuple[str, ...]:
    """Return notes about repeated responses, and about those over the limit per question."""
    counts = [commit.account.counts for commit in folder.commits()]
    repeated, responses, omitted = (
        sum(each.get(name, 0) for each in counts) for name in ("repeated", "responses", "omitted")
    )
    lines = []
    if repeated:
        lines.append(f"{repeated:,} of {responses:,} responses repeat another of their question, word for word")
    if omitted:
        lines.append(f"left out: {omitted:,} responses behind the first {MOST_RESPONSES:,} of their question")
    return tuple(lines)
