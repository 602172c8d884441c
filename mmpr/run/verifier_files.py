"""A verifier's answers about the responses of a run: a table and a commit per chunk, in their own files.

The commit names the hash of the responses that were asked about; the answers count for these responses only. Asking
after a build therefore changes no committed file. A chunk without these files was not asked about.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import pyarrow as pa
from pydantic import Field, FiniteFloat

from mmpr.errors import RunFolderError
from mmpr.run.commit_records import ChunkCommit, FileRecord, StoredQuestion
from mmpr.run.folder import RunFolder, is_temporary
from mmpr.run.json_records import Count, Sha256, record_of, sealed
from mmpr.run.parquet_reader import named_errors, row_groups
from mmpr.types import TableRow
from mmpr.verifier.opinions import Letters, VerifierAnswer
from mmpr.verifier.verifier_options import VerifierKind

VERIFIER = "verifier"  # verifier/00012.json, verifier/00012-1a2b3c4d.parquet
_COMMIT = re.compile(rf"{VERIFIER}/(\d{{5,}})\.json")
_ANSWERS = pa.schema(
    [
        ("place", pa.int32()),  # index of the question in its chunk, from 0
        ("index", pa.int32()),  # index of the sampled response
        ("plain", pa.list_(pa.float64())),
        ("swapped", pa.list_(pa.float64())),
        ("fault", pa.string()),
    ]
)

Answers = dict[tuple[int, int], VerifierAnswer]  # by (place, index)


@dataclass(frozen=True, slots=True)
class AskedVerifier:
    """The verifier and how it was asked. Answers are comparable if these fields are equal.

    Args:
        kind: where it ran.
        model: its name; for `self` the name of the run's own model.
        revision: commit of the weights, if known.
        form: name of the prompt's format.
        both_orders: whether both orders of the letters were asked.
        audit: share of the proven verdicts that it was asked about.
    """

    kind: VerifierKind
    model: str
    revision: str | None
    form: str
    both_orders: bool
    audit: FiniteFloat


@dataclass(frozen=True, slots=True)
class VerifierCommit:
    """The commit of the answers about a chunk.

    Args:
        attempt: 8 hex digits.
        by: the verifier.
        responses: hash of the committed responses that the answers are about.
        judge: key of the judge whose verdicts decided what was asked (`ChunkAccount.judge`).
        requests: number of prompts sent; equal prompts of a question are sent once.
        prompt_tokens: tokens of these prompts.
        seconds: time from the lease to the commit.
        host: name of the node.
        faults: number of answers that are missing and may be asked for again; None if an older mmpr wrote it.
    """

    chunk: Count
    attempt: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    by: AskedVerifier
    responses: Sha256
    judge: str
    file: FileRecord
    requests: Count
    prompt_tokens: Count
    seconds: FiniteFloat
    host: str
    faults: Count | None = None

    def to_json(self) -> bytes:
        return sealed(asdict(self))


def commit_name(chunk: int) -> str:
    """Return `verifier/00012.json`."""
    return f"{VERIFIER}/{chunk:05d}.json"


def table_name(chunk: int, attempt: str) -> str:
    """Return `verifier/00012-1a2b3c4d.parquet`."""
    return f"{VERIFIER}/{chunk:05d}-{attempt}.parquet"


def load_answers_commit(folder: RunFolder, chunk: int) -> VerifierCommit | None:
    """Return the commit of the answers about a chunk; None if the chunk was not asked about.

    Raises:
        RunFolderError: the commit is damaged.
    """
    try:
        return _parsed(folder, chunk, folder.store.read_bytes(commit_name(chunk)))
    except FileNotFoundError:
        return None


def _parsed(folder: RunFolder, chunk: int, content: bytes) -> VerifierCommit:
    name = commit_name(chunk)
    try:
        commit = record_of(VerifierCommit, content)
    except ValueError as error:
        raise RunFolderError(f"{folder.url}/{name} is damaged ({error}); {_remedy(folder)}") from error
    if (commit.chunk, commit.file.path) != (chunk, table_name(chunk, commit.attempt)):
        raise RunFolderError(f"{folder.url}/{name} is the commit of other answers; {_remedy(folder)}")
    return commit


def _remedy(folder: RunFolder) -> str:
    return f"delete it and ask again: mmpr ask-verifier {folder.url}"


def asked_chunks(folder: RunFolder) -> set[int]:
    """Return the numbers of the chunks that have answers. Reads only file names."""
    return {int(match[1]) for name in folder.store.names(VERIFIER) if (match := _COMMIT.fullmatch(name))}


def answers_commits(folder: RunFolder) -> list[VerifierCommit]:
    """Return the commits of all answers of a run, in the order of its chunks.

    Raises:
        RunFolderError: a commit is damaged.
    """
    chunks = sorted(asked_chunks(folder))
    contents = folder.store.read_many([commit_name(chunk) for chunk in chunks])
    return [_parsed(folder, chunk, contents[commit_name(chunk)]) for chunk in chunks]


@dataclass(frozen=True, slots=True)
class AnswersRecord:
    """Which answers a dataset was cut with: the number of chunks that had any, and a hash over their tables' hashes."""

    chunks: Count
    sha256: Sha256


def answers_record(folder: RunFolder) -> AnswersRecord:
    """Return which answers a run has now.

    Raises:
        RunFolderError: a commit of answers is damaged.
    """
    commits = answers_commits(folder)
    named = "".join(f"{commit.chunk} {commit.responses} {commit.file.sha256}\n" for commit in commits)
    return AnswersRecord(len(commits), hashlib.sha256(named.encode()).hexdigest())


def read_answers(folder: RunFolder, commit: ChunkCommit) -> Answers:
    """Return a verifier's answers about the responses of a chunk; empty if it was not asked about these.

    Raises:
        RunFolderError: a file is missing or damaged.
    """
    stored = load_answers_commit(folder, commit.chunk)
    if stored is None or stored.responses != commit.responses.sha256:
        return {}
    return read_table(folder, stored)


def read_table(folder: RunFolder, stored: VerifierCommit) -> Answers:
    """Return the answers that a commit names, whatever responses they are about.

    Raises:
        RunFolderError: the table is missing or damaged.
    """
    found: Answers = {}
    with named_errors(folder, stored.file.path):
        for _, group in row_groups(folder, stored.file.path):
            for row in group.to_pylist():
                answer = VerifierAnswer(_letters(row["plain"]), _letters(row["swapped"]), stored.by.model, row["fault"])
                found[row["place"], row["index"]] = answer
    return found


def _letters(found: list[float] | None) -> Letters | None:
    if found is None:
        return None
    first, second, third = map(float, found)
    return (first, second, third)


def with_answers(
    committed: StoredQuestion, place: int, answers: Mapping[tuple[int, int], VerifierAnswer]
) -> StoredQuestion:
    """Return the question with its answer on every sampled response."""
    responses = tuple(
        replace(one, answer=answers.get((place, one.response.index))) if one.verdict is not None else one
        for one in committed.responses
    )
    return replace(committed, responses=responses)


def commit_answers(
    folder: RunFolder,
    commit: VerifierCommit,
    answers: Mapping[tuple[int, int], VerifierAnswer],
    *,
    instead_of: VerifierCommit | None = None,
) -> VerifierCommit:
    """Write the answers about a chunk, then their commit. If another attempt was first, return the commit of that one.

    Args:
        commit: its `file` is set here.
        instead_of: the commit that this one replaces: answers of another verifier, or incomplete ones.

    Raises:
        RunFolderError: a file cannot be written; no answer counts.
    """
    rows: list[TableRow] = [
        {
            "place": place,
            "index": index,
            "plain": None if answer.plain is None else list(answer.plain),
            "swapped": None if answer.swapped is None else list(answer.swapped),
            "fault": answer.fault,
        }
        for (place, index), answer in sorted(answers.items())
    ]
    name = table_name(commit.chunk, commit.attempt)
    try:
        file = folder.write_table(name, _ANSWERS, [pa.Table.from_pylist(rows, schema=_ANSWERS)])
        commit = replace(commit, file=file)
        if (now := load_answers_commit(folder, commit.chunk)) is not None and now == instead_of:
            # at once: no moment without answers, and the old ones stay until the new ones are whole
            folder.store.write_bytes(commit_name(commit.chunk), commit.to_json())
        else:
            folder.store.write_exclusive(commit_name(commit.chunk), commit.to_json())
    except FileExistsError:
        folder.store.delete(name)
        first = load_answers_commit(folder, commit.chunk)
        assert first is not None, "refused by a commit that is not there"
        return first
    return commit


def take_answers(folder: RunFolder, other: RunFolder, own: ChunkCommit, *, chunk: int, responses: str) -> None:
    """Copy the answers about a chunk of another run into this folder, under a new chunk number.

    Nobody else may write to this folder: the copy replaces what a cut-off copy has left.

    Args:
        own: the chunk in `other`.
        chunk: its number here.
        responses: hash of the responses here; it differs if the copy was rewritten.
    """
    stored = load_answers_commit(other, own.chunk)
    if stored is None or stored.responses != own.responses.sha256:
        return
    name = table_name(chunk, stored.attempt)
    folder.store.copy_from(other.store, stored.file.path, to=name)
    file = replace(stored.file, path=name)
    copy = replace(stored, chunk=chunk, responses=responses, file=file)
    folder.store.write_bytes(commit_name(chunk), copy.to_json())


def drop_answers(folder: RunFolder, chunks: Iterable[int]) -> None:
    """Delete the commits of these chunks' answers, so that the chunks are asked about again."""
    for chunk in chunks:
        folder.store.delete(commit_name(chunk))


def sweep_answers(folder: RunFolder) -> None:
    """Delete files that no commit names. Only the driver may call this, while no worker writes."""
    for name in folder.store.names(VERIFIER):
        if is_temporary(name):
            folder.store.delete(name)
        elif name.endswith(".parquet") and (number := name.removeprefix(f"{VERIFIER}/").partition("-")[0]).isdecimal():
            chunk = int(number)
            commit = load_answers_commit(folder, chunk)
            if commit is None or commit.file.path != name:
                folder.store.delete(name)
