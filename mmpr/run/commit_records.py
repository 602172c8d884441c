"""The records that a run folder stores: the questions of a chunk with their responses, and the commit of the chunk."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat

from mmpr.images.spool import SpooledBytes
from mmpr.run.json_records import Count, Sha256, record_of, sealed
from mmpr.types import DecodedImage, Pair, Question, Response, Skip, Stage, Verdict
from mmpr.verifier.opinions import VerifierAnswer

# One side of a pair: the stage and the index of its response.
Side = tuple[Stage, int]
_FAR_UNIX_S = 253402300800.0  # the year 10000: datetime cannot show it
# These fields have the same value in all sidecars of a run. Interned, 100,000 sidecars share one string.
_Recurring = Annotated[str, AfterValidator(sys.intern)]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image without its pixels.

    `encoded` is None if only texts were read, or if `spooled` holds the bytes until they are written.
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
        """Make the record to store from a decoded image."""
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

    `continued` is `exact` if the engine continued the prefix's token ids, `text` if it received the prefix as text.
    `scores` holds two mean log-probabilities per token, given the images: of the rest of the draft and of the
    completion. `view` names what the model saw when it wrote the completion. `shown_sha256` has the hashes of its
    images if these are not the question's.
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
    """A generated response. Drafts and completions have no verdict; completions have a splice.

    `judge_version` is the `mmpr.judging.VERSION` that gave the verdict. It is None without a verdict, or if an mmpr
    before version 2 gave it. `answer` is the verifier's answer about the response, if one was asked. `ruled` is the
    verdict of the rules if the verifier's verdict replaced it.
    """

    response: Response
    verdict: Verdict | None = None
    splice: Splice | None = None
    judge_version: int | None = None
    answer: VerifierAnswer | None = None
    ruled: Verdict | None = None

    @property
    def by_rules(self) -> Verdict | None:
        """The verdict of the rules, also if the verifier's verdict replaced it."""
        return self.ruled or self.verdict


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """One question with all its responses.

    `skip` was decided while reading or generating and is final. Skips of pairing are not stored: pairing computes them
    from `responses`.
    """

    question: Question
    images: tuple[StoredImage, ...] = ()
    responses: tuple[StoredResponse, ...] = ()
    skip: Skip | None = None

    @property
    def judged(self) -> list[tuple[Response, Verdict]]:
        """The responses that have a verdict, each with it."""
        return [(r.response, r.verdict) for r in self.responses if r.verdict is not None]

    def of_stage(self, stage: Stage) -> list[Response]:
        """Return the responses of one stage, by index."""
        return [r.response for r in self.responses if r.response.stage is stage]

    def find(self, side: Side) -> StoredResponse:
        """Return the response that one side of a pair names.

        Raises:
            KeyError: there is none.
        """
        for stored in self.responses:
            if (stored.response.stage, stored.response.index) == side:
                return stored
        raise KeyError(f"{self.question.source}:{self.question.row} has no response {side[0].value} {side[1]}")

    def text_of(self, side: Side, *, thoughts: bool = False) -> str:
        """Return the whole text of a side; for a completion, the kept prefix of its draft comes first.

        Args:
            thoughts: with the side's thoughts in front; a completion's are the draft's, unless nothing of it was kept.
        """
        stored = self.find(side)
        text = stored.response.whole_text if thoughts else stored.response.text
        if stored.splice is None or not stored.splice.prefix_chars:
            return text
        draft = self.find((Stage.DRAFT, stored.splice.draft_index)).response
        kept = draft.text[: stored.splice.prefix_chars] + stored.response.text
        return replace(draft, text=kept).whole_text if thoughts else kept

    def tokens_of(self, side: Side) -> int | None:
        """Return the length of a side in tokens, with the kept prefix, without thoughts; None if unknown."""
        stored = self.find(side)
        if stored.response.n_tokens is None:
            return None
        return stored.response.text_tokens + (stored.splice.prefix_tokens if stored.splice else 0)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One written file. `path` is relative to the run folder; `rows` is 0 if the file is not a table."""

    path: str
    n_bytes: Count
    sha256: Sha256
    rows: Count = 0


@dataclass(frozen=True, slots=True)
class RowSpan:
    """The first and the last source row that a chunk has of one source."""

    source: _Recurring
    first: Count
    last: Count


def kept_as(counts: Mapping[str, int]) -> str:
    """Return the key in `counts` of the questions that were not skipped: `paired`, or `evaluated` for an evaluation."""
    return "evaluated" if "evaluated" in counts else "paired"


@dataclass(frozen=True, slots=True)
class ChunkAccount:
    """What a worker reports about its chunk.

    Args:
        lease: the leased range as the source describes it; plain JSON.
        rows_sha256: hash of the source rows; a later start compares it to detect changed rows.
        counts: `paired` (questions) and pairs by kind under the build's settings. For an evaluation: `evaluated`
            (questions), `responses`, and `right` responses.
        skips_by_reason: number of questions without a pair, by reason.
        tokens: `prompt` and `generated`.
        seconds: time from the lease to the commit.
        host: name of the node.
        engine: the engine and its settings, in one line.
        judge: how the verdicts were given, in one line.
        began: Unix seconds of the lease; None if an older mmpr committed the chunk.
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
        """The number of questions that were not skipped."""
        return self.counts.get(kept_as(self.counts), 0)

    @property
    def source(self) -> int:
        """The index of the chunk's source among the build's sources, ordered by name."""
        source = self.lease.get("source", 0)
        assert type(source) is int, "a lease of no source"
        return source


@dataclass(frozen=True, slots=True)
class ChunkCommit:
    """A sidecar (`chunks/00012.json`): names the chunk's two files."""

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
            ValueError: it is not a sidecar, is cut off or changed, or a field has an impossible value; names the field.
        """
        commit = record_of(cls, content)
        name = f"{commit.chunk:05d}-{commit.attempt}.parquet"
        faults = {
            "spans": any(span.first > span.last for span in commit.spans),
            "account.lease.source": type(commit.account.lease.get("source", 0)) is not int,
            # a sidecar that was copied from another chunk, or renamed, names other files
            "questions.path": commit.questions.path != f"questions/{name}",
            "responses.path": commit.responses.path != f"responses/{name}",
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise ValueError(f"{wrong[0]} has an impossible value")
        return commit


def pair_texts(committed: StoredQuestion, pair: Pair) -> tuple[str, str]:
    """Return the chosen and the rejected text of a pair."""
    return committed.text_of(pair.chosen), committed.text_of(pair.rejected)


def known_tokens(rows: Iterable[StoredQuestion]) -> dict[str, int]:
    """Sum the known token counts of responses that another program made; empty if no count is known."""
    known = [one.response.n_tokens for row in rows for one in row.responses if one.response.n_tokens is not None]
    return {"generated": sum(known)} if known else {}
