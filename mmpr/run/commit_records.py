"""What a run folder remembers: the questions of a chunk with all that was answered, and the commit that names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmpr.run.json_records import record_of, sealed, unsealed
from mmpr.types import DecodedImage, Pair, Question, Response, Skip, Stage, Verdict

# A pair's side by what it is made of.
Side = tuple[Stage, int]
_ATTEMPT, _SHA256 = re.compile("[0-9a-f]{8}"), re.compile("[0-9a-f]{64}")
_FAR_UNIX_S = 253402300800.0  # the year 10000, which no date can have
_RECURRING = {"host", "engine", "judge", "source"}  # fields of sidecars that say the same in many


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A `Image` without its pixels. `encoded` is None where only texts were read."""

    sha256: str
    original_sha256: str
    width: int
    height: int
    format: str
    n_bytes: int
    encoded: bytes | None = field(repr=False)

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
    version 2 gave it.
    """

    response: Response
    verdict: Verdict | None = None
    splice: Splice | None = None
    judge_version: int | None = None


@dataclass(frozen=True, slots=True)
class Committed:
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
        """A side's length in tokens, the kept part of the draft included; None where nobody knows."""
        stored = self.find(side)
        if stored.response.n_tokens is None:
            return None
        return stored.response.n_tokens + (stored.splice.prefix_tokens if stored.splice else 0)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as it was written; `path` is relative to the run folder; `rows` is 0 where it is no table."""

    path: str
    n_bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class RowSpan:
    """First and last source row of one source name in a chunk."""

    source: str
    first: int
    last: int


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

    lease: dict[str, Any]
    rows_sha256: str
    counts: dict[str, int]
    skips_by_reason: dict[str, int]
    tokens: dict[str, int]
    seconds: float
    host: str
    engine: str
    judge: str = ""
    began: float | None = None

    @property
    def kept(self) -> int:
        """Questions that did not leave as skips."""
        return self.counts.get(kept_as(self.counts), 0)

    @property
    def source(self) -> int:
        """Which of its build's sources the chunk is of, by the order of their names."""
        return int(self.lease.get("source", 0))


@dataclass(frozen=True, slots=True)
class ChunkCommit:
    """A sidecar: names the chunk's two files."""

    chunk: int
    attempt: str
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
        commit = record_of(cls, unsealed(content, object_hook=_interned))
        commit._require_sense()
        return commit

    def _require_sense(self) -> None:
        """What types cannot say: without a hash (an older mmpr's file) this is all that tells a flipped digit."""
        account, files = self.account, {"questions": self.questions, "responses": self.responses}
        counts = {"counts": account.counts, "skips_by_reason": account.skips_by_reason, "tokens": account.tokens}
        faults = {
            "chunk": self.chunk < 0,
            "attempt": _ATTEMPT.fullmatch(self.attempt) is None,
            "spans": any(not 0 <= span.first <= span.last for span in self.spans),
            "account.lease.source": type(account.lease.get("source", 0)) is not int,
            "account.rows_sha256": _SHA256.fullmatch(account.rows_sha256) is None,
            "account.began": account.began is not None and not 0 <= account.began < _FAR_UNIX_S,
            **{f"account.{name}": min(of.values(), default=0) < 0 for name, of in counts.items()},
            **{f"{name}.path": file.path != self._path(name) for name, file in files.items()},
            **{f"{name}.sha256": _SHA256.fullmatch(file.sha256) is None for name, file in files.items()},
            **{f"{name}.n_bytes": file.n_bytes < 0 for name, file in files.items()},
            **{f"{name}.rows": file.rows < 0 for name, file in files.items()},
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise ValueError(f"{wrong[0]} cannot be meant so")

    def _path(self, folder: str) -> str:
        return f"{folder}/{self.chunk:05d}-{self.attempt}.parquet"


def _interned(fields: dict[str, Any]) -> dict[str, Any]:
    """With one object for every string that all sidecars of a run share: their names, and what these say."""
    return {
        sys.intern(name): sys.intern(value) if name in _RECURRING and isinstance(value, str) else value
        for name, value in fields.items()
    }


def pair_texts(committed: Committed, pair: Pair) -> tuple[str, str]:
    """Chosen and rejected text of a pair."""
    return committed.text_of(pair.chosen), committed.text_of(pair.rejected)
