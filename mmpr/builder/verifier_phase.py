"""The step of a start that asks a verifier: lease chunks without answers until all have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mmpr.builder.asking_view import asking
from mmpr.builder.build_start import BuildStart
from mmpr.builder.failure_watch import FailureWatch
from mmpr.builder.run_recipes import judge_options, run_parts
from mmpr.builder.verifier_choice import asked_verifier, verifier_ask, verifier_maker, verifier_placement
from mmpr.builder.verifier_work import AskedChunk, VerifierSettings, VerifierWork
from mmpr.errors import ConfigError
from mmpr.pool import Done, Lease, MakeEngine
from mmpr.redact import redacted
from mmpr.run import ChunkCommit, RunFolder
from mmpr.run.verifier_files import (
    AskedVerifier,
    VerifierCommit,
    answers_commits,
    drop_answers,
    read_answers,
    sweep_answers,
)
from mmpr.settings.config import BuildConfig
from mmpr.verifier.verifier_options import VerifierKind


def verifier_settings(folder: RunFolder, config: BuildConfig) -> VerifierSettings:
    """Return what the work on any chunk needs.

    Raises:
        ConfigError: the verifier cannot be asked about this run.
    """
    run = folder.load_run()
    by = asked_verifier(config, run)
    parts = run_parts(config, run.members, folder.commits())
    judges = tuple((part.first, judge_options(part.config)) for part in parts)
    return VerifierSettings(folder, by, verifier_ask(by), judges, config.cluster)


def chunks_to_ask(settings: VerifierSettings, *, anew: bool = False, faults: bool = False) -> list[int]:
    """Return the committed chunks without answers to their current responses and verdicts; reads only commits.

    Args:
        anew: ignore answers of another verifier; otherwise they are an error.
        faults: return chunks with missing answers too, because their requests failed.

    Raises:
        ConfigError: another verifier was asked before, or this one in another way.
        RunFolderError: the commit of answers is damaged.
    """
    folder, todo = settings.folder, []
    answered = {one.chunk: one for one in answers_commits(folder)}
    for commit in folder.commits():
        stored = answered.get(commit.chunk)
        if stored is not None and stored.by != settings.by and not anew:
            raise ConfigError(
                f"verifier: {folder.url} has the answers of {stored.by.model} ({_how(stored.by, settings.by)}); "
                f"mmpr ask-verifier {folder.url} --model {settings.by.model} --anew replaces them"
            )
        current = stored if stored is not None and settings.is_current(stored, commit) else None
        if current is None or (faults and _is_incomplete(folder, commit, current)):
            todo.append(commit.chunk)
    return todo


def _is_incomplete(folder: RunFolder, commit: ChunkCommit, stored: VerifierCommit) -> bool:
    # an older mmpr did not count them: its answers are read instead
    if stored.faults is not None:
        return stored.faults > 0
    return any(answer.is_missing for answer in read_answers(folder, commit).values())


def _how(before: AskedVerifier, now: AskedVerifier) -> str:
    """Return the first field in which two verifiers differ."""
    known, asked = asdict(before), asdict(now)
    name = next(name for name in known if known[name] != asked[name])
    return f"{name} {known[name]}, now {asked[name]}"


@dataclass(frozen=True, slots=True)
class AskingEnd:
    """Why asking ended before every chunk was asked about, or with too few answers; both None: it is complete.

    Args:
        stopped: SIGTERM or a spent budget; the same command continues.
        failing: too many requests failed; in one line.
    """

    stopped: str | None = None
    failing: str | None = None


def ask_about_chunks(start: BuildStart, settings: VerifierSettings, todo: Sequence[int]) -> AskingEnd:
    """Ask about chunks until each has its answers, or until too many requests have failed.

    Answers of another verifier stay until the new one has answered.

    Raises:
        MmprError: no engine starts, or the folder cannot be written; committed answers stay.
    """
    config, folder = start.config, start.folder
    if why := start.budget.spent():
        start.stopping.request(why)
    start.heartbeat.update({"phase": "asking the verifier"})
    engines = start.shared.engines(
        verifier_maker_of(start), VerifierWork(settings), verifier_placement(config), folder.store.try_writing
    )
    watch, asked = FailureWatch(config.cluster.max_failure_fraction, "verdicts"), set[int]()
    fault, failing = "", None
    try:
        with (
            asking(settings.by.model, len(todo), run=redacted(folder.url), as_json=start.as_json) as view,
            start.stopping.gently(lambda: engines.stop(config.cluster.grace_s)),
        ):
            for event in engines.run([Lease(chunk, None) for chunk in todo]):
                for watcher in (view, start.chronicle, start.budget):
                    watcher.see(event)
                start.heartbeat.check()
                if isinstance(event, Done):
                    report: AskedChunk = event.report
                    asked.add(report.chunk)
                    fault = report.fault or fault
                    # what fails again says nothing new: a prompt that is too long fails at every start
                    watch.count(report.first, report.first_faults, report.host)
                if failing := watch.failing():
                    break
                if why := start.budget.spent():
                    start.stopping.request(why)
    finally:
        with start.waiting("ending the engines"):
            start.shared.give_back()
    done = asked == set(todo)
    stored = answers_commits(folder)
    if done and not failing:
        own = [one for one in stored if one.by == settings.by]
        whole = FailureWatch(config.cluster.max_failure_fraction, "verdicts")
        whole.count(sum(one.file.rows for one in own), {"no answer": sum(one.faults or 0 for one in own)})
        failing = watch.failing(at_the_end=True) or whole.failing(at_the_end=True)
    # Answers of another verifier stayed until here, in case that this one answers nothing.
    useless = _unanswered if failing else _of_another
    drop_answers(folder, [one.chunk for one in stored if one.chunk in asked and useless(settings.by, one)])
    sweep_answers(folder)
    if failing:
        return AskingEnd(failing=f"{failing}, such as {fault}")
    if not done:
        return AskingEnd(stopped=start.stopping.why or "")
    start.stopping.why = None  # the stop came too late: every chunk was asked about
    return AskingEnd()


def _unanswered(by: AskedVerifier, commit: VerifierCommit) -> bool:
    """Whether this verifier was asked and did not answer once."""
    return commit.by == by and commit.faults == commit.file.rows > 0


def _of_another(by: AskedVerifier, commit: VerifierCommit) -> bool:
    return commit.by != by


def verifier_maker_of(start: BuildStart) -> MakeEngine:
    """Return the function that starts the engines that are asked.

    Raises:
        ConfigError: the verifier's checkpoint does not exist, or the variable with its server's key is not set.
    """
    if start.config.verifier.kind is VerifierKind.SELF:
        return start.make_engine
    return start.make_verifier or verifier_maker(start.config)
