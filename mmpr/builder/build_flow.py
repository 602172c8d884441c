"""A build from start to end: open, claim, lease what is not committed, finish."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmpr import pool
from mmpr.builder.budget import Budget
from mmpr.builder.build_start import BuildStart
from mmpr.builder.chronicle import BUILT, chronicled
from mmpr.builder.chunk import ChunkReport, ChunkSettings, ChunkWork
from mmpr.builder.engine_choice import placement, ray_address, recipe
from mmpr.builder.evaluation_flow import finish_evaluation
from mmpr.builder.exclude import keep_list
from mmpr.builder.failure_watch import FailureWatch
from mmpr.builder.finish import finish, finished_report, preview, refuse_lost_answers, unused_by
from mmpr.builder.layout import EnteredRun, decided, enter, identity, refuse_nameless, require_identity, sources_of
from mmpr.builder.metering import Metering
from mmpr.builder.node_probe import make_probe
from mmpr.builder.progress import Progress, Watcher
from mmpr.builder.progress_views import report_notes, shown, waiting
from mmpr.builder.row_checks import refuse_bad_rows, source_notes
from mmpr.builder.run_recipes import judge_options
from mmpr.builder.shared_engines import Shared
from mmpr.builder.stopping import stop_signal
from mmpr.builder.stored_settings import refuse_unknown_models, stored_settings
from mmpr.builder.verifier_phase import (
    AskingEnd,
    ask_about_chunks,
    chunks_to_ask,
    verifier_maker_of,
    verifier_settings,
)
from mmpr.errors import ConfigError, RunFolderError
from mmpr.images import Loader
from mmpr.log import LogFormat
from mmpr.pool import Done, Lease, MakeEngine
from mmpr.redact import redacted
from mmpr.reporting.evaluation_report import EvaluationReport
from mmpr.reporting.report_record import PairingPreview, Report
from mmpr.run import RunFolder, read_manifest
from mmpr.run.heartbeat import claimed
from mmpr.run.verifier_files import asked_chunks, load_answers_commit, take_answers
from mmpr.settings.config import BuildConfig, Mark, changed, engine_tiles, of_sources, part, unused_settings
from mmpr.sources import Index, Source, index
from mmpr.verification import damaged_chunks, file_fault
from mmpr.verifier.verifier_options import VerifierKind


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """The result of one start.

    Args:
        folder: the run.
        report: the report of a complete run.
        idle: the run was complete before this start.
        stopped: why it was stopped; the same command continues it (exit 75).
        failing: what failed, if it was too much: questions, or requests to the verifier (exit 3).
    """

    folder: RunFolder
    report: Report | EvaluationReport | None = None
    idle: bool = False
    stopped: str | None = None
    failing: str | None = None


def build(
    config: BuildConfig,
    out: str,
    make_engine: MakeEngine,
    *,
    make_verifier: MakeEngine | None = None,
    shared: Shared | None = None,
    budget: Budget | None = None,
    log_format: LogFormat = LogFormat.TEXT,
    debug: bool = False,
    finished: Callable[[BuildOutcome], None] = lambda _: None,
) -> BuildOutcome:
    """Build the run folder `out`, or continue to build it.

    Args:
        config: the settings; `config.source` or `config.sources` name the questions.
        out: a local folder or an fsspec URL.
        make_engine: called inside each engine's actor; picklable.
        make_verifier: the same for a verifier that is not the model itself; None: as the settings say.
        shared: cluster and engines that other builds of this command use too; None: this build has its own.
        budget: limits of the command; None: those of the settings.
        log_format: format of the progress output on stderr.
        debug: show the engines' own logs.
        finished: called when the run is complete, before engines and cluster have ended, which takes seconds.

    Raises:
        MmprError: a foreseeable fault, in one line; committed chunks stay.
        RunStopped: SIGTERM or a spent budget while no engine was working.
    """
    budget = budget or Budget(config.cluster.deadline, config.cluster.max_gpu_hours)
    folder = RunFolder(out)
    folder.require_room()
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_signal())
        heartbeat = stack.enter_context(claimed(folder))
        chronicle = stack.enter_context(chronicled(folder))
        heartbeat.update({"phase": "reading the source"})
        as_json = log_format is LogFormat.JSON
        with waiting("reading the source", as_json=as_json):
            sources = sources_of(config)
            counted = [index(source) for source in sources]
            sources = decided(folder, config, sources, counted)
        notes = [*unused_settings(config, [Mark.IDENTITY]), *unused_by(folder, config)]
        report_notes([*notes, *source_notes(sources, counted)], run=redacted(folder.url), as_json=as_json)
        if config.cluster.strict:
            refuse_bad_rows(sources, counted, [judge_options(one.config) for one in of_sources(config)])
        stack.enter_context(swept(folder, abandoned=shared is None and ray_address(config) is None))
        used = shared or stack.enter_context(Shared(debug=debug))
        start = BuildStart(
            config, folder, make_engine, make_verifier, used, budget, stopping, heartbeat, chronicle, log_format
        )
        outcome = _build(start, sources, counted)
        chronicle.add(*_end_of(outcome))
        if outcome.report is not None:
            finished(outcome)
        if shared is None and outcome.report is not None:
            stopping.ignore()
        if shared is None:
            with start.waiting("ending the engines and Ray"):
                used.close()
        return outcome


def _build(start: BuildStart, sources: Sequence[Source], counted: Sequence[Index]) -> BuildOutcome:
    """Enter the run, lease its chunks, finish; connect to the cluster when the first step needs it."""
    config, folder = start.config, start.folder
    # A later start is refused before it waits for a cluster.
    if known := folder.has_run():
        require_identity(folder, identity(config, sources))
    else:
        connect(start)  # the number of engines decides how a new source is cut into chunks
    run = enter(folder, config, sources, counted)
    # here, so that an unreadable list and a verifier that cannot be asked are errors before anything is paid for
    keep_list(folder, config.dataset.exclude)
    unasked = _unasked(start) if config.verifier.asks else []
    if known and not (run.todo or unasked) and (report := finished_report(folder, config)):
        return BuildOutcome(folder, report, idle=True)
    connect(start)
    outcome, usage = _lease_out(start, run) if run.todo else (None, {})
    if outcome is None and config.verifier.asks:
        outcome = _ask_verifier(start)
    if outcome is None:
        start.heartbeat.update({"phase": "finishing"})
        start.chronicle.add(BUILT, "every chunk is committed")
        stored = _as_stored(folder, config)
        outcome = BuildOutcome(
            folder,
            finish_evaluation(folder, stored)
            if config.sampling.evaluate
            else finish(folder, stored, usage=usage, waiting=start.waiting),
        )
    return outcome


def _unasked(start: BuildStart) -> list[int]:
    """Return the committed chunks that the verifier has not been asked about yet.

    Raises:
        ConfigError: the verifier cannot be asked, as far as this machine can tell, or another one was asked before.
    """
    # only for its errors, which must come before the answering engines cost anything
    verifier_maker_of(start)
    return chunks_to_ask(verifier_settings(start.folder, start.config))


def _ask_verifier(start: BuildStart) -> BuildOutcome | None:
    """Ask the verifier about what the rules left undecided; return None when every chunk has its answers."""
    settings = verifier_settings(start.folder, start.config)
    todo = chunks_to_ask(settings, faults=True)
    end = ask_about_chunks(start, settings, todo) if todo else AskingEnd()
    start.shared.give_back()  # engines that were kept for the verifier
    if end == AskingEnd():
        return None
    return BuildOutcome(start.folder, stopped=end.stopped, failing=end.failing)


def connect(start: BuildStart) -> None:
    """Join the cluster that the settings name, or start one here; do nothing if that is done already."""
    address = ray_address(start.config)
    if start.shared.is_connected(address):
        return
    with start.waiting("starting Ray" if address is None else "joining Ray"):
        start.shared.connect(address)


def _end_of(outcome: BuildOutcome) -> tuple[str, str]:
    """Return the event that ends a start, and its message."""
    if outcome.failing or outcome.stopped:
        return ("failing", outcome.failing) if outcome.failing else ("stopped", outcome.stopped or "")
    return "complete", "nothing was left to do" if outcome.idle else ""


@contextmanager
def swept(folder: RunFolder, *, abandoned: bool) -> Iterator[None]:
    """Delete files that do not count, also after an error.

    Args:
        abandoned: the cluster ends inside the block, and every writer with it.
    """
    try:
        yield
    finally:
        with suppress(RunFolderError):
            # an error here must not hide the error that ended the block
            folder.sweep(abandoned=abandoned)


def _as_stored(folder: RunFolder, config: BuildConfig) -> BuildConfig:
    """Return the settings with the stored identity: absolute paths, resolved revision."""
    return changed(config, folder.load_run().identity)


def pair_again(out: str, overrides: list[str], *, to: str | None = None) -> Report:
    """Cut a run's dataset again under other selection settings; return the report.

    Args:
        out: the run folder.
        overrides: `key=value` selection settings.
        to: a new folder for the run's responses and the new dataset; `out` is not changed. None: change `out`.

    Raises:
        ConfigError: an override is neither a selection nor an operation setting.
        RunFolderError: the folder holds no run or an evaluation, is in use or damaged; or `to` holds a run.
    """
    folder, config = paired_anew(out, overrides)
    _refuse_asking(config)
    refuse_lost(folder)
    refuse_lost_answers(folder, config)
    report_notes(unused_by(folder, config), run=redacted(folder.url), as_json=False)
    with stop_signal():
        if to is not None:
            folder = _copied(folder, to)
        with claimed(folder), swept(folder, abandoned=True), pool.task_room():
            refuse_damaged_chunks(folder)
            keep_list(folder, config.dataset.exclude)
            folder.change_selection(part(config, Mark.SELECTION))
            return finish(folder, config, waiting=waiting)


def _copied(folder: RunFolder, to: str) -> RunFolder:
    """Copy the run's responses and the verifier's answers about them into a new folder.

    A copy that was cut off before its dataset was written is taken as it is.
    """
    other = RunFolder(to, folder.store.options)
    if other.has_run() and read_manifest(other) is None and other.fingerprint() == folder.fingerprint():
        return other
    return folder.copy(to, beside=functools.partial(_copy_answers, folder))


def _copy_answers(folder: RunFolder, other: RunFolder) -> None:
    for commit in folder.commits():
        take_answers(other, folder, commit, chunk=commit.chunk, responses=commit.responses.sha256)


def preview_pairs(out: str, overrides: list[str]) -> PairingPreview:
    """Return the counts that `pair_again` would give, and what the judge decided; write nothing.

    Raises:
        ConfigError, RunFolderError: as for `pair_again`.
    """
    folder, config = paired_anew(out, overrides)
    _refuse_asking(config)
    refuse_lost_answers(folder, config)
    report_notes(unused_by(folder, config), run=redacted(folder.url), as_json=False)
    with pool.task_room():
        return preview(folder, config)


def paired_anew(out: str, overrides: list[str]) -> tuple[RunFolder, BuildConfig]:
    """Open a run with pairs and apply overrides, which may change only selection and operation settings."""
    folder = RunFolder(out)
    run = folder.load_run()
    run.refuse_evaluation(out)
    config = stored_settings(run, overrides)
    if not run.members:
        refuse_nameless(config)
    refuse_unknown_models(run, config.pairs)
    folder.require_identity(
        part(config, Mark.IDENTITY),
        defaults=part(BuildConfig(), Mark.IDENTITY),
        remedy="its responses are made with it: pairing changes only settings of selection (mmpr settings)",
    )
    return folder, config


def _refuse_asking(config: BuildConfig) -> None:
    """Raise `ConfigError` if a verifier is named: pairing uses only stored answers."""
    if config.verifier.asks:
        raise ConfigError("verifier: pairing asks no model; use `mmpr ask-verifier DIR`, which also pairs again")


def refuse_lost(folder: RunFolder) -> None:
    """Refuse a run with faults that are found without reading files: missing commits, files of another length."""
    manifest, now = read_manifest(folder), len(folder.committed_chunks())
    if manifest is not None and now < manifest.n_chunks:
        lost = f"chunks/ has {now} commits, its dataset was cut from {manifest.n_chunks}"
        raise RunFolderError(f"{folder.url}: {lost}; `mmpr verify {folder.url}` says what to do")
    for lines in damaged_chunks(folder, thorough=False).values():
        raise RunFolderError(f"{folder.url}: {lines[0]}")


def refuse_damaged_chunks(folder: RunFolder) -> None:
    """Read every byte before anything is written: a dataset cut from damaged chunks would hide the damage.

    A verifier's answers are read too, because they decide who stands in a pair.
    """
    committed, asked = folder.committed_chunks(), asked_chunks(folder)
    for stray in sorted(asked - set(committed)):
        load_answers_commit(folder, stray)
    chunks = [(folder, chunk, chunk in asked) for chunk in sorted(committed)]
    for fault in pool.map_tasks(_file_fault, chunks):
        if fault:
            raise RunFolderError(f"{folder.url}: {fault}; `mmpr verify {folder.url}` says what to do")


def _file_fault(chunk: tuple[RunFolder, int, bool]) -> str | None:
    folder, number, asked = chunk
    commit, answers = folder.load_commit(number), load_answers_commit(folder, number) if asked else None
    files = [commit.questions, commit.responses, *([] if answers is None else [answers.file])]
    return next(filter(None, (file_fault(folder, file) for file in files)), None)


def _lease_out(start: BuildStart, run: EnteredRun) -> tuple[BuildOutcome | None, dict[str, float]]:
    """Run the chunks that are not committed; return None for the outcome when all are, and the engines' usage."""
    config, shared, stopping = start.config, start.shared, start.stopping
    if why := start.budget.spent():
        stopping.request(why)
    settings = _settings(config, run)
    work = ChunkWork(settings)
    engines = shared.engines(
        start.make_engine, work, placement(config), make_probe(run, [one.loader for one in settings])
    )
    total = sum(rows.n_rows for rows in run.leases.values())
    progress = Progress(total, sum(run.committed.values()), evaluates=config.sampling.evaluate)
    name = redacted(run.folder.url)
    try:
        with (
            closing(Metering(name, progress)) as metering,
            shown(progress, run=name, as_json=start.log_format is LogFormat.JSON) as view,
            stopping.gently(lambda: engines.stop(config.cluster.grace_s)),
        ):
            # `progress` sees each event first: view and metering read its sums
            failing = _watch(start, engines, run, progress, [progress, view, metering, start.chronicle, start.budget])
    finally:
        # the run's own model verifies next: its engines stay
        if not (config.verifier.kind is VerifierKind.SELF and config.verifier.asks and engines.is_idle):
            with start.waiting("ending the engines"):
                shared.give_back()
    if failing:
        return BuildOutcome(run.folder, failing=failing), {}
    if run.leases.keys() - run.folder.committed_chunks():
        return BuildOutcome(run.folder, stopped=stopping.why or ""), progress.usage()
    stopping.why = None  # the stop came too late: every chunk is committed
    return None, progress.usage()


def _watch(
    start: BuildStart, engines: pool.Pool, run: EnteredRun, progress: Progress, watchers: Sequence[Watcher]
) -> str | None:
    """Let the engines work to the end, or until too many questions have failed; return the reason then."""
    failures = FailureWatch(start.config.cluster.max_failure_fraction)
    for event in engines.run([Lease(chunk, rows.to_json()) for chunk, rows in run.todo.items()]):
        for watcher in watchers:
            watcher.see(event)
        start.heartbeat.check()
        start.heartbeat.update(progress.figures())
        if isinstance(event, Done):
            report: ChunkReport = event.report
            failures.count(report.questions, report.failures, report.host)
        if failing := failures.failing():
            return failing
        # asked after each event, because a deadline may pass while no chunk ends
        if why := start.budget.spent():
            start.stopping.request(why)
    return None


def _settings(config: BuildConfig, run: EnteredRun) -> tuple[ChunkSettings, ...]:
    """Return the settings of the chunks, one record per source."""
    of_all = zip(of_sources(config), run.sources, strict=True)
    return tuple(settings_of(one.config, run.folder, source, engine_tiles(config)) for one, source in of_all)


def _first_round(config: BuildConfig) -> int | None:
    """Return the size of the first round: all responses if only gains need verdicts, None if nothing does."""
    sampling = config.sampling
    if sampling.adaptive:
        return sampling.first_round
    return sampling.n if config.dropout.grounding and not sampling.evaluate else None


def settings_of(config: BuildConfig, folder: RunFolder, source: Source, tiles: int | None) -> ChunkSettings:
    """Return the settings of one source's chunks; `tiles`: most tiles that the engines cut an image into."""
    return ChunkSettings(
        folder=folder,
        source=source,
        recipe=recipe(config, engine_tiles=tiles),
        first_round=_first_round(config),
        judge=judge_options(config),
        pairs=config.pairs,
        loader=Loader(Path(source.image_root), config.images),
        # an image of a model without tiles counts as one: admission needs a number
        max_tiles=config.images.max_tiles or 1,
        cluster=config.cluster,
        engine=f"{config.engine.answering} {config.engine.revision or ''} {config.engine.dtype}".strip(),
    )
