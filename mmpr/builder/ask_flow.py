"""`mmpr ask-verifier`: ask a verifier about the undecided verdicts of a finished run, then pair the run again."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from mmpr import pool
from mmpr.builder import engine_choice
from mmpr.builder.budget import Budget
from mmpr.builder.build_flow import connect, paired_anew, refuse_damaged_chunks, refuse_lost, swept
from mmpr.builder.build_start import BuildStart
from mmpr.builder.chronicle import chronicled
from mmpr.builder.exclude import keep_list
from mmpr.builder.finish import finish, finished_report, unused_by
from mmpr.builder.progress_views import report_notes
from mmpr.builder.shared_engines import Shared
from mmpr.builder.stopping import stop_signal
from mmpr.builder.stored_settings import NOWHERE
from mmpr.builder.verifier_phase import AskingEnd, ask_about_chunks, chunks_to_ask, verifier_settings
from mmpr.builder.verifier_work import VerifierSettings
from mmpr.engines.protocol import Engine
from mmpr.errors import ConfigError, RunFolderError
from mmpr.log import LogFormat
from mmpr.pool import MakeEngine
from mmpr.redact import redacted
from mmpr.reporting.report_record import Report
from mmpr.run import RunFolder, read_manifest
from mmpr.run.folder import MANIFEST
from mmpr.run.heartbeat import claimed
from mmpr.settings.config import BuildConfig, Mark, part
from mmpr.verifier.verifier_options import VerifierKind


@dataclass(frozen=True, slots=True)
class AskOutcome:
    """The result of one start.

    Args:
        folder: the run.
        report: the report, if the run was asked about and paired again.
        idle: nothing was left to ask.
        stopped: why it was stopped; the same command continues it (exit 75).
        failing: what failed, if it was too much; the same command asks again (exit 3).
    """

    folder: RunFolder
    report: Report | None = None
    idle: bool = False
    stopped: str | None = None
    failing: str | None = None


def ask_about_run(
    out: str,
    overrides: list[str],
    *,
    anew: bool = False,
    make_verifier: MakeEngine | None = None,
    log_format: LogFormat = LogFormat.TEXT,
    debug: bool = False,
) -> AskOutcome:
    """Ask a verifier about what the rules left undecided in a finished run, then pair the run again.

    What was asked before is asked again only if its request failed.

    Args:
        out: the run folder.
        overrides: `key=value` settings of verifier, selection and operation; `verifier=` names the model to ask.
        anew: replace the answers of another verifier.
        make_verifier: starts your own engine inside each actor; picklable. None: as the settings say.
        log_format: format of the progress output on stderr.
        debug: show the engines' own logs.

    Raises:
        ConfigError: no verifier is named, another verifier was asked before, or a setting is wrong.
        RunFolderError: the folder holds no finished run with pairs, is in use or damaged.
        RunStopped: SIGTERM or a spent budget while no engine was working; the same call continues.
    """
    folder, config = paired_anew(out, overrides)
    if not config.verifier.asks:
        raise ConfigError("verifier: name the model to ask: self, a model, or the model of a server (verifier_url)")
    refuse_lost(folder)
    _refuse_unfinished(folder)
    report_notes(unused_by(folder, config), run=redacted(folder.url), as_json=log_format is LogFormat.JSON)
    maker = make_verifier or _own_maker(config)
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_signal())
        heartbeat = stack.enter_context(claimed(folder))
        chronicle = stack.enter_context(chronicled(folder))
        stack.enter_context(swept(folder, abandoned=engine_choice.ray_address(config) is None))
        # before any request, so that an unreadable list is an error that costs nothing
        keep_list(folder, config.dataset.exclude)
        settings = verifier_settings(folder, config)
        todo = chunks_to_ask(settings, anew=anew, faults=True)
        # new settings of pairing: the dataset is cut again although nothing is left to ask
        same = folder.load_run().selection == part(config, Mark.SELECTION)
        report = finished_report(folder, config) if not todo and same else None
        if isinstance(report, Report):
            return AskOutcome(folder, report, idle=True)
        shared = stack.enter_context(Shared(debug=debug))
        budget = Budget(config.cluster.deadline, config.cluster.max_gpu_hours)
        start = BuildStart(
            config, folder, maker, make_verifier, shared, budget, stopping, heartbeat, chronicle, log_format
        )
        connect(start)
        outcome = _ask(start, settings, todo)
        ends = {"stopped": outcome.stopped, "failing": outcome.failing}
        chronicle.add(*next(((name, words) for name, words in ends.items() if words is not None), ("complete", "")))
        return outcome


def _ask(start: BuildStart, settings: VerifierSettings, todo: list[int]) -> AskOutcome:
    folder, config = start.folder, start.config
    with pool.task_room():
        refuse_damaged_chunks(folder)
        end = ask_about_chunks(start, settings, todo) if todo else AskingEnd()
        if end != AskingEnd():
            return AskOutcome(folder, stopped=end.stopped, failing=end.failing)
        start.heartbeat.update({"phase": "finishing"})
        folder.change_selection(part(config, Mark.SELECTION))
        return AskOutcome(folder, finish(folder, config, waiting=start.waiting))


def _refuse_unfinished(folder: RunFolder) -> None:
    n_chunks, n_committed = folder.load_run().n_chunks, len(folder.committed_chunks())
    if n_chunks is not None and n_committed < n_chunks:
        raise RunFolderError(
            f"{folder.url} is unfinished: {n_committed} of {n_chunks} chunks; run its command again first"
        )
    # an older mmpr did not store the number of chunks, so only a manifest shows that none is missing
    if n_chunks is None and read_manifest(folder) is None:
        remedy = "run its command again first, or `mmpr pair` if all is built"
        raise RunFolderError(f"{folder.url} is unfinished: it has no {MANIFEST}; {remedy}")


def _own_maker(config: BuildConfig) -> MakeEngine:
    """Return what starts the run's own engines. Another verifier has its own maker, so this one is never called then.

    Raises:
        ConfigError: the URL of the run's server is not given.
    """
    if config.verifier.kind is not VerifierKind.SELF:
        return _never
    if config.endpoint.url == NOWHERE:
        raise ConfigError("endpoint_url: the address of the run's server is not stored; give endpoint_url=http://..")
    return engine_choice.engine_maker(config)


async def _never() -> Engine:
    raise AssertionError("the engines of a verifier of its own are made by another maker")
