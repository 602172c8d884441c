"""The step of a start that asks a verifier: lease chunks without answers until all have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mmpr.builder.build_start import BuildStart
from mmpr.builder.run_recipes import judge_options, run_parts
from mmpr.builder.verifier_choice import asked_verifier, verifier_ask, verifier_maker, verifier_placement
from mmpr.builder.verifier_work import VerifierSettings, VerifierWork
from mmpr.errors import ConfigError
from mmpr.judging import judge_key
from mmpr.pool import Lease, MakeEngine
from mmpr.run import RunFolder
from mmpr.run.verifier_files import AskedVerifier, asked_chunks, drop_answers, load_answers_commit, sweep_answers
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


def chunks_to_ask(settings: VerifierSettings, *, anew: bool = False) -> list[int]:
    """Return the committed chunks without answers to their current responses and verdicts; reads only commits.

    Args:
        anew: ignore answers of another verifier; otherwise they are an error.

    Raises:
        ConfigError: another verifier was asked before, or this one in another way.
        RunFolderError: the commit of answers is damaged.
    """
    folder, todo = settings.folder, []
    asked = asked_chunks(folder)
    for commit in folder.commits():
        stored = load_answers_commit(folder, commit.chunk) if commit.chunk in asked else None
        if stored is not None and stored.by != settings.by and not anew:
            raise ConfigError(
                f"verifier: {folder.url} has the answers of {stored.by.model} ({_how(stored.by, settings.by)}); "
                f"mmpr ask-verifier {folder.url} --model {settings.by.model} --anew replaces them"
            )
        now = (settings.by, commit.responses.sha256, judge_key(settings.judge_of(commit.chunk)))
        if stored is None or (stored.by, stored.responses, stored.judge) != now:
            todo.append(commit.chunk)
    return todo


def _how(before: AskedVerifier, now: AskedVerifier) -> str:
    """Return the first field in which two verifiers differ."""
    known, asked = asdict(before), asdict(now)
    name = next(name for name in known if known[name] != asked[name])
    return f"{name} {known[name]}, now {asked[name]}"


def ask_about_chunks(start: BuildStart, settings: VerifierSettings, todo: Sequence[int]) -> str | None:
    """Ask about chunks until each has its answers; return the reason if that was stopped before, otherwise None.

    Raises:
        MmprError: no engine starts, or the folder cannot be written; committed answers stay.
    """
    config, folder = start.config, start.folder
    drop_answers(folder, todo)
    if why := start.budget.spent():
        start.stopping.request(why)
    start.heartbeat.update({"phase": "asking the verifier"})
    engines = start.shared.engines(
        verifier_maker_of(start), VerifierWork(settings), verifier_placement(config), folder.store.try_writing
    )
    try:
        with (
            start.waiting(f"asking {settings.by.model} about {len(todo):,} chunks"),
            start.stopping.gently(lambda: engines.stop(config.cluster.grace_s)),
        ):
            for event in engines.run([Lease(chunk, None) for chunk in todo]):
                start.chronicle.see(event)
                start.budget.see(event)
                start.heartbeat.check()
                if why := start.budget.spent():
                    start.stopping.request(why)
    finally:
        with start.waiting("ending the engines"):
            start.shared.give_back()
    sweep_answers(folder)
    if set(todo) - asked_chunks(folder):
        return start.stopping.why or ""
    # the stop came too late: every chunk has its answers
    start.stopping.why = None
    return None


def verifier_maker_of(start: BuildStart) -> MakeEngine:
    """Return the function that starts the engines that are asked.

    Raises:
        ConfigError: the verifier's checkpoint does not exist, or the variable with its server's key is not set.
    """
    if start.config.verifier.kind is VerifierKind.SELF:
        return start.make_engine
    return start.make_verifier or verifier_maker(start.config)
