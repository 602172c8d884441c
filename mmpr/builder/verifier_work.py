"""The verifier's work on a chunk: ask about the undecided verdicts, then commit the answers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmpr.builder.chunk import insistently
from mmpr.builder.work_threads import WorkThreads
from mmpr.engines.protocol import Engine
from mmpr.engines.verifier_requests import VerifierAsk, VerifierReply, ask_verifier, verifier_prompts
from mmpr.judging import JudgeOptions, judge_key
from mmpr.pool import ClusterOptions, Lease, WorkContext
from mmpr.run import ChunkCommit, FileRecord, RunFolder, read_chunk
from mmpr.run.stored_verdicts import Rejudge
from mmpr.run.verifier_files import (
    Answers,
    AskedVerifier,
    VerifierCommit,
    commit_answers,
    load_answers_commit,
    read_answers,
)
from mmpr.types import Message, Question
from mmpr.verifier.opinions import ENDS_ENGINES, VerifierAnswer, is_asked_about

_Replied = tuple["OpenRequest", VerifierReply]
_Ask = Callable[["OpenRequest"], Coroutine[Any, Any, _Replied]]

# `commit_answers` puts the record of the written file in its place
_UNWRITTEN = FileRecord("", 0, "0" * 64)


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """What the work needs; picklable, made once per start.

    Args:
        by: the verifier.
        ask: how it is asked.
        judges: (first chunk, judge options), ascending, because sources and members have their own options.
    """

    folder: RunFolder
    by: AskedVerifier
    ask: VerifierAsk
    judges: tuple[tuple[int, JudgeOptions], ...]
    cluster: ClusterOptions

    def judge_of(self, chunk: int) -> JudgeOptions:
        """Return the judge options of a chunk."""
        return next(options for first, options in reversed(self.judges) if first <= chunk)

    def is_current(self, stored: VerifierCommit, commit: ChunkCommit) -> bool:
        """Whether stored answers are of this verifier, about the chunk's responses and their present verdicts."""
        now = (self.by, commit.responses.sha256, judge_key(self.judge_of(commit.chunk)))
        return (stored.by, stored.responses, stored.judge) == now


@dataclass(frozen=True, slots=True)
class AskedChunk:
    """What the driver learns about a chunk.

    Args:
        asked: number of responses that were asked about now; an earlier start may have asked about others.
        faults: how many of them have no answer, by reason.
        first, first_faults: the same for those that no earlier start has asked about.
        fault: one of these reasons in full.
        requests, prompt_tokens: what was sent now.
        host: name of the node.
    """

    chunk: int
    asked: int
    faults: Counter[str]
    first: int
    first_faults: Counter[str]
    fault: str
    requests: int
    prompt_tokens: int
    host: str


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One request for all responses to a question that give the same prompts.

    Args:
        place: place of the question in its chunk.
        indices: indices of the responses.
        prompts: one prompt per order of the letters.
    """

    place: int
    question: Question
    indices: tuple[int, ...]
    prompts: tuple[tuple[Message, ...], ...]

    @property
    def places(self) -> set[tuple[int, int]]:
        """The responses, as answers are stored: (place, index)."""
        return {(self.place, index) for index in self.indices}


class VerifierWork:
    """The pool's work: a committed chunk -> its answers. Each actor has one object."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._settings = settings
        self._threads: WorkThreads | None = None

    async def __call__(self, engine: Engine, lease: Lease, context: WorkContext) -> AskedChunk:
        began, settings = time.time(), self._settings
        threads = self._threads = self._threads or WorkThreads(settings.cluster)
        commit, requests = await threads.compute(open_requests, settings, lease.chunk)
        stored, same = await threads.compute(_stored_answers, settings, commit)
        kept = {place: answer for place, answer in (same or {}).items() if not answer.is_missing}
        requests = [one for one in requests if not one.places <= kept.keys()]
        found = await _replies(engine, settings.ask, requests, lease, context)
        new = {place: reply.answer for one, reply in found for place in one.places}
        first = {place: answer for place, answer in new.items() if place not in (same or {})}
        report = AskedChunk(
            chunk=lease.chunk,
            asked=len(new),
            faults=_faults(new),
            first=len(first),
            first_faults=_faults(first),
            fault=next((answer.fault for answer in new.values() if answer.fault), ""),
            requests=sum(reply.requests for _, reply in found),
            prompt_tokens=sum(reply.prompt_tokens for _, reply in found),
            host=socket.gethostname(),
        )
        if stored is not None and (new or same is not None) and all(answer.is_missing for answer in new.values()):
            return report  # no new answer: what is stored stays
        before = stored if same is not None else None
        written = VerifierCommit(
            chunk=lease.chunk,
            attempt=lease.attempt,
            by=settings.by,
            responses=commit.responses.sha256,
            judge=judge_key(settings.judge_of(lease.chunk)),
            file=_UNWRITTEN,
            requests=report.requests + (before.requests if before else 0),
            prompt_tokens=report.prompt_tokens + (before.prompt_tokens if before else 0),
            seconds=round(time.time() - began + (before.seconds if before else 0), 3),
            host=report.host,
            faults=sum(answer.is_missing for answer in new.values()),
        )
        commit_now = partial(commit_answers, settings.folder, written, kept | new, instead_of=stored)
        await insistently(partial(threads.compute, commit_now))
        return report


def _faults(answers: Answers) -> Counter[str]:
    """Return how many responses have no answer, by reason."""
    return Counter(answer.fault.partition(":")[0] for answer in answers.values() if answer.fault is not None)


def _stored_answers(settings: VerifierSettings, commit: ChunkCommit) -> tuple[VerifierCommit | None, Answers | None]:
    """Return the commit of a chunk's answers, whatever it holds, and its answers; None if these no longer count."""
    stored = load_answers_commit(settings.folder, commit.chunk)
    if stored is None or not settings.is_current(stored, commit):
        return stored, None
    return stored, read_answers(settings.folder, commit)


def open_requests(settings: VerifierSettings, chunk: int) -> tuple[ChunkCommit, list[OpenRequest]]:
    """Return a committed chunk and the requests about it; the verdicts are those of the current judge settings.

    Raises:
        RunFolderError: a file of the chunk is missing or damaged.
    """
    commit, options = settings.folder.load_commit(chunk), settings.judge_of(chunk)
    rows = read_chunk(settings.folder, commit, images=False)
    if commit.account.judge != judge_key(options):
        rows = map(Rejudge(options, settings.cluster.judge_time_limit_s), rows)
    found: list[OpenRequest] = []
    for place, committed in enumerate(rows):
        alike: dict[tuple[tuple[Message, ...], ...], list[int]] = {}
        for response, verdict in committed.judged:
            if is_asked_about(committed.question, response.index, verdict, settings.by.audit):
                prompts = verifier_prompts(committed.question, verdict.answer, response.text, settings.ask)
                alike.setdefault(prompts, []).append(response.index)
        found += [OpenRequest(place, committed.question, tuple(same), prompts) for prompts, same in alike.items()]
    return commit, found


async def _replies(
    engine: Engine, how: VerifierAsk, requests: Sequence[OpenRequest], lease: Lease, context: WorkContext
) -> list[_Replied]:
    """Send the requests, but not those about a question that has ended engines."""
    dangerous = dict(lease.quarantined)
    asked = [one for one in requests if one.question.row not in dangerous]
    ask = partial(_ask, engine, how)
    found = await (_in_groups(asked, lease, context, ask) if lease.alone else _together(asked, ask))
    for one in requests:
        if words := dangerous.get(one.question.row):
            found.append((one, VerifierReply(VerifierAnswer(model=how.model, fault=f"{ENDS_ENGINES}: {words}"))))
    return found


async def _ask(engine: Engine, ask: VerifierAsk, one: OpenRequest) -> tuple[OpenRequest, VerifierReply]:
    return one, await ask_verifier(engine, one.question, one.prompts, ask)


async def _together(asked: Sequence[OpenRequest], ask: _Ask) -> list[_Replied]:
    return list(await asyncio.gather(*map(ask, asked)))


async def _in_groups(asked: Sequence[OpenRequest], lease: Lease, context: WorkContext, ask: _Ask) -> list[_Replied]:
    """Announce each group of questions before it is asked, because one of them may end engines."""
    found: list[_Replied] = []
    for group in lease.groups(list(dict.fromkeys(one.question.row for one in asked))):
        await context.announce(group)
        found += await _together([one for one in asked if one.question.row in group], ask)
    return found
