"""What a run folder remembers: the questions of a chunk with all that was answered, and the commit that names them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat

from mmpr.images.spool import SpooledBytes
from mmpr.run.json_records import Count, Sha256, record_of, sealed
from mmpr.types import DecodedImage, Pair, Question, Response, Skip, Stage, Verdict
from mmpr.verifier.opinions import VerifierAnswer

# A pair's side by what it is made of.
Side = tuple[Stage, int]
_FAR_UNIX_S = 253402300800.0  # the year 10000, which no date can have
# All sidecars of a run say the same in these fields: a hundred thousand of them share one text.
_Recurring = Annotated[str, AfterValidator(sys.intern)]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image without its pixels.

    `encoded` is None where only texts were read, and where `spooled` keeps the bytes until they are written.
    """

    sha256: str
    original_sha256: str
    width: int
    height: int
    format: str
    n_bytes: int
    encoded: bytes | None = field(repr=False)
    spooled: SpooledBytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, image: DecodedImage) -> StoredImage:
        """The same image, ready to be written."""
        return cls(
            image.sha256,
            image.original_sha256,
            image.width,
            image.height,
            image.format,
            len(image.encoded),
            image.encoded,
        )


@dataclass(frozen=True, slots=True)
class Splice:
    """Where a completion continues its draft: the rejected text is `draft.text[:prefix_chars] + completion.text`.

    `continued` is `exact` where the engine ran the prefix's token ids, `text` where it was only given their text.
    `scores`: mean log-probability per token, given the images, of the draft's own rest and of the completion.
    `view` is what the completion was written with; `shown_sha256` its images' hashes where they are not the question's.
    """

    draft_index: int
    prefix_chars: int
    prefix_tokens: int
    continued: str = "exact"
    scores: tuple[float, float] | None = None
    view: str = "blind"
    shown_sha256: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response that was paid for. Drafts and completions have no verdict; completions have a splice.

    `judge_version` is the `mmpr.judging.VERSION` that gave the verdict; None where there is none, or an mmpr before
    version 2 gave it. `answer` is what a verifier answered about it, where one was asked. `ruled` is the rules' verdict
    where the verifier's took its place.
    """

    response: Response
    verdict: Verdict | None = None
    splice: Splice | None = None
    judge_version: int | None = None
    answer: VerifierAnswer | None = None
    ruled: Verdict | None = None

    @property
    def by_rules(self) -> Verdict | None:
        """What the rules said, whatever a verifier made of it."""
        return self.ruled or self.verdict


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """One question and everything that came of it.

    `skip` is what reading or generating decided, and final; the skips of pairing are derived again from `responses`.
    """

    question: Question
    images: tuple[StoredImage, ...] = ()
    responses: tuple[StoredResponse, ...] = ()
    skip: Skip | None = None

    @property
    def judged(self) -> list[tuple[Response, Verdict]]:
        """The responses that have a verdict, as pairing takes them."""
        return [(r.response, r.verdict) for r in self.responses if r.verdict is not None]

    def of_stage(self, stage: Stage) -> list[Response]:
        """The responses of one stage, by index."""
        return [r.response for r in self.responses if r.response.stage is stage]

    def find(self, side: Side) -> StoredResponse:
        """The response that a pair's side names.

        Raises:
            KeyError: there is none.
        """
        for stored in self.responses:
            if (stored.response.stage, stored.response.index) == side:
                return stored
        raise KeyError(f"{self.question.source}:{self.question.row} has no response {side[0].value} {side[1]}")

    def text_of(self, side: Side) -> str:
        """A side's whole text: a completion stands behind the kept part of its draft."""
        stored = self.find(side)
        if stored.splice is None:
            return stored.response.text
        draft = self.find((Stage.DRAFT, stored.splice.draft_index)).response.text
        return draft[: stored.splice.prefix_chars] + stored.response.text

    def tokens_of(self, side: Side) -> int | None:
        """A side's length in tokens, the kept part of the draft included; None where unknown."""
        stored = self.find(side)
        if stored.response.n_tokens is None:
            return None
        return stored.response.n_tokens + (stored.splice.prefix_tokens if stored.splice else 0)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as it was written; `path` is relative to the run folder; `rows` is 0 where it is no table."""

    path: str
    n_bytes: Count
    sha256: Sha256
    rows: Count = 0


@dataclass(frozen=True, slots=True)
class RowSpan:
    """First and last source row of one source name in a chunk."""

    source: _Recurring
    first: Count
    last: Count


def kept_as(counts: Mapping[str, int]) -> str:
    """What counts say of questions that did not leave as skips: `paired`, or `evaluated`."""
    return "evaluated" if "evaluated" in counts else "paired"


@dataclass(frozen=True, slots=True)
class ChunkAccount:
    """What a chunk's worker tells of it.

    Args:
        lease: the leased range as the source describes it; plain JSON.
        rows_sha256: hash of the source rows, to notice when an old one changes.
        counts: `paired` (questions) and pairs by kind, as the build's settings gave them; of an evaluation
            `evaluated` (questions), their `responses`, and how many are `right`.
        skips_by_reason: questions without a pair.
        tokens: `prompt` and `generated`.
        seconds: from the lease to the commit.
        host: the node's name.
        engine: which engine, and how it was set, in one line.
        judge: how the verdicts were given, in one line.
        began: Unix seconds of the lease; None where an older mmpr committed it.
    """

    lease: Mapping[str, object]
    rows_sha256: Sha256
    counts: dict[str, Count]
    skips_by_reason: dict[str, Count]
    tokens: dict[str, Count]
    seconds: FiniteFloat
    host: _Recurring
    engine: _Recurring
    judge: _Recurring = ""
    began: Annotated[float, Field(ge=0, lt=_FAR_UNIX_S)] | None = None

    @property
    def kept(self) -> int:
        """Questions that did not leave as skips."""
        return self.counts.get(kept_as(self.counts), 0)

    @property
    def source(self) -> int:
        """Which of its build's sources the chunk is of, by the order of their names."""
        source = self.lease.get("source", 0)
        assert type(source) is int, "a lease of no source"
        return source


@dataclass(frozen=True, slots=True)
class ChunkCommit:
    """A sidecar: names the chunk's two files."""

    chunk: Count
    attempt: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    account: ChunkAccount
    spans: tuple[RowSpan, ...]
    questions: FileRecord
    responses: FileRecord

    def to_json(self) -> bytes:
        return sealed(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> ChunkCommit:
        """Read a sidecar.

        Raises:
            ValueError: it is none, is cut off or changed, or a field cannot be meant so; names the field.
        """
        commit = record_of(cls, content)
        name = f"{commit.chunk:05d}-{commit.attempt}.parquet"
        faults = {
            "spans": any(span.first > span.last for span in commit.spans),
            "account.lease.source": type(commit.account.lease.get("source", 0)) is not int,
            "questions.path": commit.questions.path != f"questions/{name}",
            "responses.path": commit.responses.path != f"responses/{name}",
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise ValueError(f"{wrong[0]} cannot be meant so")
        return commit


def pair_texts(committed: StoredQuestion, pair: Pair) -> tuple[str, str]:
    """Chosen and rejected text of a pair."""
    return committed.text_of(pair.chosen), committed.text_of(pair.rejected)


def known_tokens(rows: Iterable[StoredQuestion]) -> dict[str, int]:
    """`ChunkAccount.tokens` of responses that were made elsewhere: the sum of those known; nothing where none are."""
    known = [one.response.n_tokens for row in rows for one in row.responses if one.response.n_tokens is not None]
    return {"generated": sum(known)} if known else {}
