"""The work on a chunk: ask every question in the engine's actor, then judge and commit all in a CPU task beside it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from typing import TypeVar

from mmpr.builder.admission import Admission
from mmpr.builder.answer import AnsweredQuestion, AskRecipe, Rounds, answer, open_images, unopened
from mmpr.builder.evaluation_results import count_results, no_answer
from mmpr.builder.pair_rule import count
from mmpr.builder.row_checks import judgeable
from mmpr.builder.work_threads import WorkThreads
from mmpr.engines.protocol import Engine
from mmpr.errors import CommitRefused, ImageError, MmprError, RunFolderError, SourceError, TaskFailed
from mmpr.images import Loader, Spool, SpoolGone, stored_reference
from mmpr.judging import VERSION, JudgeOptions, judge_key, open_judge
from mmpr.pairing import PairOptions
from mmpr.pool import ClusterOptions, Lease, WorkContext
from mmpr.rounds import SourceRates
from mmpr.run import ChunkAccount, RunFolder, Splice, StoredImage, StoredQuestion, StoredResponse
from mmpr.run.stored_verdicts import verdicts_on, with_verdicts
from mmpr.sources import LeaseRange, Row, Source, read_hashed
from mmpr.types import DecodedImage, Question, Reason, Response, Skip, Stage, Verdict

Ask = Callable[[Row], Awaitable[AnsweredQuestion]]
T = TypeVar("T")

_WRITE_PAUSES_S = (0.2, 0.6, 1.8, 5.4)  # for a disk that is full for a moment, or a share whose server restarts
_SHOWN_CHARS = 300  # of an exception's text
_TILE_TOKENS = 256  # InternVL's 448x448 tile after pixel shuffle; used only to compare questions with each other

# Skips that show a fault in the source, the images or the engine. All other skips are results of sampling.
FAILURES = frozenset(
    {
        Reason.BAD_ROW,
        Reason.EMPTY_QUESTION,
        Reason.BAD_ANSWER,
        Reason.IMAGE_MISSING,
        Reason.IMAGE_UNREADABLE,
        Reason.IMAGE_TOO_LARGE,
        Reason.IMAGE_OUTSIDE_ROOT,
        Reason.IMAGE_TAGS,
        Reason.IMAGE_NOT_ALLOWED,
        Reason.IMAGE_UNREACHABLE,
        Reason.VIDEO_UNREADABLE,
        Reason.VIDEO_TOO_SHORT,
        Reason.PROMPT_TOO_LONG,
        Reason.ENGINE_REFUSED,
        Reason.QUARANTINED,
        Reason.PREFIX_CHANGED,
    }
)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """What the work on a source's chunks needs besides their rows; picklable, made once per start."""

    folder: RunFolder
    source: Source
    recipe: AskRecipe
    first_round: int | None  # None: all responses at once
    judge: JudgeOptions
    pairs: PairOptions
    loader: Loader
    max_tiles: int
    cluster: ClusterOptions
    engine: str  # the model as it is served; one line for the sidecar


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What the driver learns about a chunk: counts only, under 1 kB."""

    chunk: int
    questions: int
    counts: dict[str, int]
    skips_by_reason: dict[str, int]
    tokens: dict[str, int]
    seconds: float
    host: str

    @property
    def failures(self) -> dict[str, int]:
        """Number of failed questions, by reason."""
        return {reason: n for reason, n in self.skips_by_reason.items() if reason in FAILURES}


class ChunkWork:
    """The pool's work: lease -> report. Each actor has one object, so that all its chunks share one admission."""

    def __init__(self, settings: Sequence[ChunkSettings]) -> None:
        """Take the settings of each source of the build, in the build's order."""
        self._settings = settings
        self._room: ActorRoom | None = None
        self._slots: dict[JudgeOptions, ActorJudge] = {}
        # Prompts of an older chunk come first. In lease order, all chunks in flight would end together: each would wait
        # for its last completions behind the others' queue, and then the engine would have no work until new chunks
        # came.
        self._order = itertools.count()

    async def __call__(self, engine: Engine, lease: Lease, context: WorkContext) -> ChunkReport:
        began = time.time()
        leased = LeaseRange.from_json(lease.payload)
        settings = self._settings[leased.source]
        room = self._room = self._room or ActorRoom.of(settings)
        if settings.judge not in self._slots:  # sources with the same judge settings share one judge
            self._slots[settings.judge] = ActorJudge(settings, room.threads)
        slot = self._slots[settings.judge]
        with closing(Spool()) as spool:
            rows, sha256 = await room.threads.compute(_read, settings, leased, spool)
            dangerous = dict(lease.quarantined)
            others = [question for question, _ in rows if question.row not in dangerous]
            ask = functools.partial(_ask, engine, settings, room, slot, others, next(self._order), spool)
            answered = await (_in_groups(rows, lease, context, ask) if lease.alone else _together(rows, ask))
            if settings.cluster.strict:
                _refuse_faults(answered, settings.source)
            attempt = Attempt(lease.chunk, lease.attempt, lease.payload, sha256, began)
            return await insistently(functools.partial(_beside, context, settings, attempt, answered))


def _read(settings: ChunkSettings, leased: LeaseRange, spool: Spool) -> tuple[list[Row], str]:
    rows, sha256 = read_hashed(settings.source, leased, keep=spool.without_bytes)
    return judgeable(rows, settings.source, settings.judge), sha256


async def insistently(write: Callable[[], Awaitable[T]]) -> T:
    """Write what was paid for; if the folder cannot be written, try again for some seconds.

    Raises:
        RunFolderError: it could not be written at the last try either; names the path.
    """
    for pause_s in _WRITE_PAUSES_S:
        try:
            return await write()
        except (RunFolderError, TaskFailed):
            await asyncio.sleep(pause_s)
    return await write()


async def _beside(
    context: WorkContext, settings: ChunkSettings, attempt: Attempt, answered: list[AnsweredQuestion]
) -> ChunkReport:
    """Judge and commit in a CPU task."""
    try:
        return await context.beside(judge_and_commit, settings, attempt, answered)
    except SpoolGone:
        # the task ran on another machine, because this one has no free CPU: send the bytes themselves
        whole = [replace(one, images=tuple(map(_unspooled, one.images))) for one in answered]
        return await context.beside(judge_and_commit, settings, attempt, whole)


def _spooled(images: Sequence[DecodedImage], spool: Spool) -> tuple[StoredImage, ...]:
    """Return the images as they are stored; the spool holds the bytes of large ones."""
    kept = [(StoredImage.of(image), spool.put(image.encoded, image.sha256)) for image in images]
    return tuple(image if at is None else replace(image, encoded=None, spooled=at) for image, at in kept)


def _unspooled(image: StoredImage) -> StoredImage:
    return image if image.spooled is None else replace(image, encoded=image.spooled.read(), spooled=None)


@dataclass(frozen=True, slots=True)
class ActorRoom:
    """What the chunks of an actor share.

    Args:
        opened: admits questions with images, from before these are opened to the end.
        asked: admits questions to the engine. Separate, so that a question without images does not wait for others'
            images.
        rates: success rates of the sources in the engine's first rounds.
        threads: threads for files, servers and computation.
    """

    threads: WorkThreads
    opened: Admission
    asked: Admission
    rates: SourceRates

    @classmethod
    def of(cls, settings: ChunkSettings) -> ActorRoom:
        budget = settings.cluster.tokens_in_flight
        return cls(WorkThreads(settings.cluster), Admission(budget), Admission(budget), SourceRates())

    def learn(self, n_tokens: int) -> None:
        """Update the means with the length of one response."""
        self.opened.learn(n_tokens)
        self.asked.learn(n_tokens)


class ActorJudge:
    """The judge of an actor, for sampling in rounds: one thread at a time, outside the event loop."""

    def __init__(self, settings: ChunkSettings, threads: WorkThreads) -> None:
        self._threads = threads
        self._judge = open_judge(settings.judge, time_limit_s=settings.cluster.judge_time_limit_s)
        self._free = asyncio.Lock()

    async def judge(self, question: Question, responses: Sequence[Response]) -> list[Verdict]:
        """Return a verdict on each response."""
        async with self._free:
            return await self._threads.compute(verdicts_on, self._judge, question, responses)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The identity of an attempt: chunk, 8 hex digits, leased rows with their hash, and its start in Unix seconds."""

    chunk: int
    attempt: str
    lease: Mapping[str, object]
    rows_sha256: str
    began: float


async def _together(rows: list[Row], ask: Ask) -> list[AnsweredQuestion]:
    return list(await asyncio.gather(*(ask(row) for row in rows)))


async def _in_groups(rows: list[Row], lease: Lease, context: WorkContext, ask: Ask) -> list[AnsweredQuestion]:
    """Announce each group before it is asked, and ask no quarantined row; return results in the order of the rows."""
    # The lease is alone in its engine: earlier attempts ended engines, and one of these rows may be the cause.
    by_row = {row[0].row: row for row in rows}
    answered: dict[int, AnsweredQuestion] = {}
    for number, words in lease.quarantined:
        question, _ = by_row[number]
        skip = Skip(question.id, Stage.SAMPLE, Reason.QUARANTINED, f"ends engines: {words}")
        answered[number] = AnsweredQuestion(question, skip=skip)
    for group in lease.groups(list(by_row)):
        await context.announce(group)
        answered.update(zip(group, await _together([by_row[number] for number in group], ask), strict=True))
    return [answered[number] for number in by_row]


async def _ask(
    engine: Engine,
    settings: ChunkSettings,
    room: ActorRoom,
    slot: ActorJudge,
    others: Sequence[Question],
    priority: int,
    spool: Spool,
    row: Row,
) -> AnsweredQuestion:
    question, skip = row
    # an evaluation counts right responses: without a reference answer none is right or wrong
    if skip is None and settings.recipe.sampling.evaluate and question.answer is None:
        skip = no_answer(question.id)
    if skip is not None:
        return AnsweredQuestion(question, skip=skip)
    first, recipe = settings.first_round, settings.recipe
    n_responses = (
        (first or recipe.sampling.n)
        if question.answer is not None
        else recipe.dropout.drafts + recipe.dropout.completions
    )
    tiles = recipe.tiles(question) or settings.max_tiles
    # a text has about three characters per token, an image its tiles and a thumbnail
    prompt_tokens = len(question.text) // 3 + len(question.images) * (tiles + 1) * _TILE_TOKENS
    async with AsyncExitStack() as kept:
        cost = n_responses, prompt_tokens
        try:
            admit = functools.partial(kept.enter_async_context, room.opened.question(*cost))
            images = await open_images(question, engine, settings.loader, room.threads, admit)
            # Spool now, while the budget of decoded bytes counts these images: the next question waits until they are
            # released.
            stored = await room.threads.compute(_spooled, images, spool)
        except ImageError as error:
            return unopened(question, error)
        held = await kept.enter_async_context(room.asked.question(*cost))
        rounds = Rounds(settings.pairs, first, slot.judge, held.expect, room.rates) if first else None
        try:
            answered = await answer(
                question, engine, recipe, settings.loader, rounds, others, priority, images, room.threads
            )
        # a dead engine or a full disk is no fault of this question
        except MmprError:
            raise
        except Exception as error:  # noqa: BLE001 a fault of one request, of any type, skips one question
            words = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_CHARS]
            return AnsweredQuestion(question, skip=Skip(question.id, Stage.SAMPLE, Reason.ENGINE_REFUSED, words))
    for response in answered.responses:
        room.learn(response.tokens)
    return replace(answered, images=stored)


def _refuse_faults(answered: list[AnsweredQuestion], source: Source) -> None:
    for one in answered:
        if one.skip is not None and one.skip.reason in FAILURES:
            place = source.place(one.question.row)
            detail = one.skip.detail.removeprefix(f"{place}: ")
            raise SourceError(f"{place}: {detail} ({one.skip.reason}; --strict ends the run here)")


def judge_and_commit(settings: ChunkSettings, attempt: Attempt, answered: list[AnsweredQuestion]) -> ChunkReport:
    """Judge a chunk's responses, count its pairs, write its files and commit them; runs on a CPU beside the engine.

    If another attempt has committed the chunk, report what that attempt committed.

    Raises:
        RunFolderError: the folder cannot be written (full, read-only); names the path.
    """
    with open_judge(settings.judge, time_limit_s=settings.cluster.judge_time_limit_s) as judge:
        committed = [_stored(one) if one.verdicts else with_verdicts(_stored(one), judge) for one in answered]
    counted = (
        count_results(committed, settings.judge)
        if settings.recipe.sampling.evaluate
        else count(committed, settings.pairs)
    )
    counts, skips = counted
    account = ChunkAccount(
        lease=attempt.lease,
        rows_sha256=attempt.rows_sha256,
        counts=counts,
        skips_by_reason=skips,
        tokens={"generated": sum(r.tokens for one in answered for r in one.responses)},
        seconds=round(time.time() - attempt.began, 3),
        host=socket.gethostname(),
        engine=settings.engine,
        judge=judge_key(settings.judge),
        began=round(attempt.began, 3),
    )
    return commit_once(settings.folder, attempt.chunk, attempt.attempt, committed, account)


def commit_once(
    folder: RunFolder, chunk: int, attempt: str, rows: Sequence[StoredQuestion], account: ChunkAccount
) -> ChunkReport:
    """Commit a chunk; report what is committed, by this attempt or by an earlier one.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        commit = folder.commit_chunk(chunk, attempt, rows, account)
    # An engine that was taken for dead may have committed the chunk in the meantime.
    except CommitRefused:
        commit = folder.load_commit(chunk)
    account = commit.account
    return ChunkReport(
        commit.chunk,
        commit.questions.rows,
        account.counts,
        account.skips_by_reason,
        account.tokens,
        account.seconds,
        account.host,
    )


def _stored(answered: AnsweredQuestion) -> StoredQuestion:
    responses = tuple(_store(response, answered) for response in answered.responses)
    if answered.verdicts:
        # verdicts of the rounds, given by this process with this version of the judge
        responses = tuple(
            replace(one, verdict=verdict, judge_version=VERSION)
            for one, verdict in zip(responses, answered.verdicts, strict=True)
        )
    question = replace(answered.question, images=tuple(map(stored_reference, answered.question.images)))
    return StoredQuestion(question, answered.images, responses, answered.skip)


def _store(response: Response, answered: AnsweredQuestion) -> StoredResponse:
    if response.stage is not Stage.COMPLETION or answered.cut is None:
        return StoredResponse(response)
    cut = answered.cut
    splice = Splice(
        answered.draft,
        len(cut.prefix.text),
        cut.kept_tokens,
        cut.continues.value,
        answered.scores.get(response.index),
        answered.view.value,
        answered.shown_sha256,
    )
    return StoredResponse(response, splice=splice)
