"""`merge --pair-across`: join the responses of several runs to the same question.

The first run that has a question keeps it, with its id and place. The responses of later runs are appended, each with
the model that wrote it. Pairs may then combine models: `policy`, `chosen_from`, `max_across`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mmpr.builder.merge_parts import MergePart
from mmpr.builder.pair_rule import count
from mmpr.builder.run_recipes import judge_options, member_settings
from mmpr.builder.stored_settings import answering_models
from mmpr.engines.engine_options import UNKNOWN_MODEL
from mmpr.errors import ConfigError
from mmpr.judging import JudgeOptions, judge_key, open_judge
from mmpr.pairing import PairOptions
from mmpr.run import ChunkCommit, RunFolder, StoredQuestion, StoredResponse, new_attempt, read_chunk
from mmpr.run.commit_records import known_tokens
from mmpr.run.joined_questions import AnsweredElsewhere, JoinedQuestions
from mmpr.run.stored_verdicts import with_verdicts
from mmpr.run.verifier_files import answers_commits, commit_answers, load_answers_commit
from mmpr.settings.config import BuildConfig


@dataclass(frozen=True, slots=True)
class OtherRun:
    """A run whose responses a chunk takes: its folder and the model that answered there."""

    folder: RunFolder
    model: str


@dataclass(frozen=True, slots=True)
class JoinedChunk:
    """One chunk to be written into the merged folder.

    Args:
        commit: the chunk in its own run.
        chunk: its number in the merged run.
        runs: all runs in the order of the merge; `own` is the index of the chunk's run.
        renamed: source names of its run, with their names in the merged run.
        moved: places of questions that an earlier run keeps.
        answered: where other runs answered its questions.
        judge: judge settings for all responses.
    """

    commit: ChunkCommit
    chunk: int
    runs: tuple[OtherRun, ...]
    own: int
    renamed: Mapping[str, str]
    moved: frozenset[int]
    answered: tuple[AnsweredElsewhere, ...]
    judge: JudgeOptions


def models_by_part(parts: Sequence[MergePart]) -> list[str]:
    """Return the model that answered in each run.

    Raises:
        ConfigError: the model of a run is not known.
    """
    models = answering_models([one.member.identity for one in parts])
    for one, model in zip(parts, models, strict=True):
        if model == UNKNOWN_MODEL:
            place = one.folder.url
            raise ConfigError(
                f"--pair-across: the model that answered in {place} is not known: import it with --model NAME"
            )
    return models


def across_overrides(parts: Sequence[MergePart], overrides: list[str]) -> list[str]:
    """Return the overrides; without a `policy`, add the first run's model as the policy."""
    if any(one.startswith(("policy=", "pairs.policy=")) for one in overrides):
        return overrides
    return [*overrides, f"policy={json.dumps(models_by_part(parts)[0])}"]


def across_notes(parts: Sequence[MergePart], joined: JoinedQuestions) -> tuple[str, ...]:
    """Return notes: how many questions are joined, and which runs used another prompt version than the first."""
    first, *others = parts
    verifiers = {commit.by for one in parts for commit in answers_commits(one.folder)}
    version = first.member.identity.get("prompt_version")
    notes = [f"{len(joined):,} questions have answers of several runs"]
    if len(verifiers) > 1:
        notes.append("the runs have answers of different verifiers: ask one about the merged run (mmpr ask-verifier)")
    for one in others:
        if (other := one.member.identity.get("prompt_version")) != version:
            notes.append(
                f"{one.folder.url} was asked under {other}; its responses are stored under the first run's {version}"
            )
    return tuple(notes)


def join_parts(parts: Sequence[MergePart]) -> tuple[list[MergePart], JoinedQuestions]:
    """Return the runs without the chunks that earlier runs replace completely, and the joined questions."""
    joined = JoinedQuestions([(one.folder, one.commits) for one in parts])
    left = []
    for number, one in enumerate(parts):
        commits = tuple(c for c in one.commits if len(joined.moved(number, c.chunk)) < c.questions.rows)
        left.append(replace(one, commits=commits, member=replace(one.member, chunks=len(commits))))
    return left, joined


def joined_chunks(parts: Sequence[MergePart], joined: JoinedQuestions, config: BuildConfig) -> Iterator[JoinedChunk]:
    """Yield the chunks of the merged run in order."""
    runs = tuple(OtherRun(one.folder, model) for one, model in zip(parts, models_by_part(parts), strict=True))
    settings = member_settings(config, [one.member for one in parts])
    places = ((place, commit) for place, one in enumerate(parts) for commit in one.commits)
    for number, (place, commit) in enumerate(places):
        yield JoinedChunk(
            commit,
            number,
            runs,
            place,
            parts[place].renamed,
            joined.moved(place, commit.chunk),
            joined.answered(place, commit.chunk),
            judge_options(settings[place][commit.account.source]),
        )


def take_joined(folder: RunFolder, rule: PairOptions, time_limit_s: float, work: JoinedChunk) -> None:
    """Commit a chunk with the responses of all runs, each with its model's name, judged under its own run's settings.

    Raises:
        RunFolderError: a file cannot be read or written.
    """
    own, account = work.runs[work.own], work.commit.account
    others, judges = _others(work)
    rows = []
    for place, committed in enumerate(read_chunk(own.folder, work.commit)):
        if place not in work.moved:
            rows.append(_renamed(_with_others(committed, own.model, others.get(place, ())), work.renamed))
    # Verdicts are given again if a run's were given under other settings.
    if {*judges, account.judge} != {judge_key(work.judge)}:
        with open_judge(work.judge, time_limit_s=time_limit_s) as judge:
            rows = [with_verdicts(one, judge) for one in rows]
    counts, skips = count(rows, rule)
    known = known_tokens(rows)
    joined = replace(
        account,
        counts=counts,
        skips_by_reason=skips,
        tokens=account.tokens | known if known else {},
        judge=judge_key(work.judge),
    )
    commit = folder.commit_chunk(work.chunk, new_attempt(), rows, joined)
    _take_answers(folder, commit, rows, work)


def _take_answers(folder: RunFolder, commit: ChunkCommit, rows: Sequence[StoredQuestion], work: JoinedChunk) -> None:
    """Commit the verifier's answers of all runs if they are of one verifier; otherwise it must be asked again."""
    answers = {
        (place, one.response.index): one.answer
        for place, row in enumerate(rows)
        for one in row.responses
        if one.answer is not None
    }
    asked = [(work.runs[work.own].folder, work.commit.chunk)]
    asked += [(work.runs[one.part].folder, one.chunk) for one in work.answered]
    stored = [found for run, chunk in asked if (found := load_answers_commit(run, chunk))]
    # `across_notes` tells the user to ask again: a commit names one verifier.
    if not answers or len({one.by for one in stored}) != 1:
        return
    kept = replace(
        # the requests are paid for, and counted, in their own run
        stored[0], chunk=commit.chunk, attempt=new_attempt(), responses=commit.responses.sha256, requests=0,
        prompt_tokens=0, seconds=0.0, judge=commit.account.judge,
    )  # fmt: skip
    commit_answers(folder, kept, answers)


def _others(work: JoinedChunk) -> tuple[dict[int, list[tuple[str, StoredQuestion]]], set[str]]:
    """Return by place what other runs answered, each with its model, and how those verdicts were given."""
    wanted: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    for one in work.answered:
        wanted[one.part, one.chunk][one.other_place] = one.place
    found: defaultdict[int, list[tuple[str, StoredQuestion]]] = defaultdict(list)
    judges = set()
    for (part, chunk), places in sorted(wanted.items()):
        run = work.runs[part]
        commit = run.folder.load_commit(chunk)
        judges.add(commit.account.judge)
        # without images: the joined question keeps those of the first run
        for other_place, committed in enumerate(read_chunk(run.folder, commit, images=False)):
            if other_place in places:
                found[places[other_place]].append((run.model, committed))
    return found, judges


def _with_others(committed: StoredQuestion, model: str, others: Sequence[tuple[str, StoredQuestion]]) -> StoredQuestion:
    """Return the question with its own responses, then the others', numbered in sequence; each names its model."""
    # a question without a reference answer has drafts, which are never paired with another model's
    if committed.question.answer is None or committed.skip is not None:
        return committed
    responses = [_of_model(stored, model) for stored in committed.responses]
    for name, other in others:
        first = 1 + max((stored.response.index for stored in responses), default=-1)
        for place, stored in enumerate(other.responses):
            named = _of_model(stored, name)
            response = replace(named.response, index=first + place, question_id=committed.question.id)
            responses.append(replace(named, response=response))
    return replace(committed, responses=tuple(responses))


def _of_model(stored: StoredResponse, model: str) -> StoredResponse:
    return replace(stored, response=replace(stored.response, model=stored.response.model or model))


def _renamed(committed: StoredQuestion, renamed: Mapping[str, str]) -> StoredQuestion:
    question = committed.question
    return replace(committed, question=replace(question, source=renamed.get(question.source, question.source)))
