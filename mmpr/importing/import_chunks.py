"""Import one chunk: read its questions as a build does, judge the given responses, commit all."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import replace

from mmpr.builder.chunk import ChunkReport, commit_once
from mmpr.builder.evaluation_results import no_answer
from mmpr.builder.pair_rule import count
from mmpr.builder.row_checks import judgeable
from mmpr.engines.thoughts import split_given
from mmpr.errors import ImageError
from mmpr.importing.import_records import ImportChunk, ImportSettings
from mmpr.importing.rollout_groups import GroupedQuestion
from mmpr.judging import judge_key, open_judge
from mmpr.run import ChunkAccount, StoredImage, StoredQuestion, StoredResponse
from mmpr.run.commit_records import known_tokens
from mmpr.run.stored_verdicts import with_verdicts
from mmpr.sources import Row, read_hashed
from mmpr.sources.given_responses import GivenResponse
from mmpr.types import Question, Response, Skip, Stage


def import_chunk(settings: ImportSettings, work: ImportChunk) -> ChunkReport:
    """Read, judge and commit one chunk; if another attempt has committed it, report what that one committed.

    Raises:
        SourceError: the file has changed since it was read first.
        RunFolderError: the folder cannot be written.
    """
    began = time.time()
    rows, sha256 = read_hashed(settings.source, work.lease)
    rows = judgeable(rows, settings.source, settings.judge)
    found = [_committed(settings, row, given) for row, given in zip(rows, work.questions, strict=True)]
    with open_judge(settings.judge, time_limit_s=settings.judge_time_limit_s) as judge:
        found = [with_verdicts(one, judge) for one in found]
    counts, skips = count(found, settings.pairs)
    account = ChunkAccount(
        lease=work.lease.to_json(),
        rows_sha256=sha256,
        counts={**counts, **_repeats(found), "omitted": sum(given.omitted for given in work.questions)},
        skips_by_reason=skips,
        tokens=known_tokens(found),
        seconds=round(time.time() - began, 3),
        host=socket.gethostname(),
        engine=f"imported from {settings.source.name}",
        judge=judge_key(settings.judge),
        began=round(began, 3),
    )
    return commit_once(settings.folder, work.chunk, work.attempt, found, account)


def _committed(settings: ImportSettings, row: Row, given: GroupedQuestion) -> StoredQuestion:
    """Return a question with its responses, or with the skip that explains why it has none."""
    question, skipped = row
    place = settings.source.place(question.row)
    # an export of mmpr names the place in the first source: pair ids stay the same
    if given.source_row is not None:
        question = replace(question, row=given.source_row, minority_answers=given.minority)
    skip = given.skip or skipped
    if skip is None and question.answer is None:
        skip = no_answer(question.id)
    images: tuple[StoredImage, ...] = ()
    if skip is None:
        try:
            images = tuple(StoredImage.of(image) for image in settings.loader(question.images))
        except ImageError as error:
            skip = Skip(question.id, Stage.READ, error.reason, error.detail)
    if skip is not None:
        detail = skip.detail if place in skip.detail else f"{place}: {skip.detail}"
        return StoredQuestion(question, skip=Skip(question.id, skip.stage, skip.reason, detail))
    return StoredQuestion(question, images, tuple(_responses(settings, question, given.responses)))


def _responses(settings: ImportSettings, question: Question, given: Sequence[GivenResponse]) -> list[StoredResponse]:
    """Return the responses under their own indices if all have different ones, otherwise in the order of the file."""
    # indices of an export of mmpr are kept, so that the same responses become pairs
    own = [one.index for one in given]
    indices = own if None not in own and len(set(own)) == len(own) else list(range(len(own)))
    split = settings.splits_thoughts
    parts = [split_given(one.text) if split and one.thoughts is None else (one.thoughts, one.text) for one in given]
    return [
        StoredResponse(
            Response(
                question.id,
                Stage.SAMPLE,
                # `or 0` is for mypy: no index is None here
                index or 0,
                text,
                (),
                one.n_tokens,
                one.finish_reason,
                one.seed,
                one.round,
                one.gain,
                thoughts,
                # stored only where it differs, as a merge does
                None if one.model == settings.model else one.model,
            )
        )
        for index, one, (thoughts, text) in zip(indices, given, parts, strict=True)
    ]


def _repeats(found: Sequence[StoredQuestion]) -> dict[str, int]:
    """Count the responses, and those with the same text as another response to their question."""
    texts = [[stored.response.text for stored in one.responses] for one in found]
    return {"responses": sum(map(len, texts)), "repeated": sum(len(each) - len(set(each)) for each in texts)}
