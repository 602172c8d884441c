"""The records of a source, its index, and a lease on some of its rows; small, frozen and picklable."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mmpr.options import option
from mmpr.sources.layouts import AnswerRule

COLUMNS = (
    "id",
    "image",
    "video",
    "question",
    "answer",
    "choices",
    "chosen",
    "source",
    "answer_kind",
    "language",
    "history",
    "system",
    "conversations",
    "messages",
)
RESPONSES = ("response", "responses", "prediction", "predictions", "completion", "completions")  # of rollouts
ASKING = ("question", "conversations", "messages")  # a row has its question in one of these

# In a source of several files, row 7 of the third file (counted from 0) has the number 3_000_000_007.
PART_ROWS = 1_000_000_000

Format = Literal["jsonl", "json", "csv", "xlsx", "parquet", "arrow", "parts"]
Compression = Literal["gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where questions come from, and how their rows are read."""

    path: str = option("", "where the questions are: a file, a folder, or hf://owner/name:split")
    image_root: str | None = option(None, "folder that relative image paths start from; None: the folder of the file")
    columns: dict[str, str] = option({}, "our column names and the source's, such as columns.question=query")
    answer_index: Literal[0, 1] | None = option(
        None,
        "how answers that are indices of options are counted: from 0 or from 1; None: as the layout or the rows show",
    )
    answer_agreement: float = option(
        0.3, "smallest fraction of annotators that must give an answer for it to count", ge=0, le=1
    )
    language: Literal["auto", "en", "zh"] = option("auto", "language of the questions; auto: decided for each row")
    limit: int | None = option(None, "number of rows to take, as a seeded sample; None: all", ge=1)
    imported: bool = option(False, "whether the source has responses already; set by `mmpr import`")
    chunk_questions: int | None = option(None, "questions in a chunk; None: 128, fewer in a small source", ge=1)


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are and how they are read; made and checked by `open_source`.

    Args:
        path, image_root: absolute.
        columns: our column names -> the file's, where they differ.
        among_others: the build has other sources too.
        stem: name of this file in ids, if the source has several files.
        rows_at, keyed: place of the rows in a file that is one JSON object.
        layout: found once; how an answer names an option (`answers`), whether several answers are annotators' (`votes`,
            of whom the fraction `agreement` must agree), and the path of an image that a row names by number
            (`image_files`) belong to it.
        is_settled: `answers` is what a run recorded.
        annotations: the file with the answers to the questions.
        plain_hash: rows are hashed as before layouts existed.
        rollouts: the rows contain responses and need no images.
        beside: columns of responses that an import reads in addition.
        parts: the files of a source that has several.
    """

    name: str
    path: str
    format: Format
    image_root: str
    columns: tuple[tuple[str, str], ...] = ()
    language: str = "auto"
    answer_kind: str | None = None
    max_row_bytes: int = 10_000_000
    video_frames: int = 8
    among_others: bool = False
    compression: Compression | None = None
    delimiter: str = ","
    stem: str = ""
    rows_at: int | None = None
    keyed: bool = False
    layout: str = "plain"
    answers: AnswerRule | None = None
    is_settled: bool = False
    votes: bool = False
    agreement: float = 0.3
    image_files: str = ""
    annotations: str = ""
    plain_hash: bool = False
    rollouts: bool = False
    beside: tuple[str, ...] = ()
    parts: tuple[Source, ...] = field(default=(), repr=False)

    def place(self, row: int) -> str:
        """Return a row's place for messages: `vqa.jsonl line 7`, `vqa.parquet row 6`."""
        part, number = divmod(row, PART_ROWS)
        if part < len(self.parts):
            return self.parts[part].place(number)
        word = "line" if self.format in ("jsonl", "csv") else "row"
        return f"{Path(self.path).name} {word} {row}"

    def row_id(self, row: int) -> str:
        """Return the id of a row that has no id."""
        return f"{self.name}/{self.stem}:{row}" if self.stem else f"{self.name}:{row}"

    def label(self, own: str | None) -> str:
        """Return the source name of a row's question; rows of two sources with equal `source` values are kept apart."""
        if own is None:
            return self.name
        return f"{self.name}/{own}" if self.among_others else own

    @property
    def names(self) -> frozenset[str]:
        """The source's name, or those of a `meta.json`'s entries."""
        return frozenset(part.name for part in self.parts) or frozenset((self.name,))

    def column(self, ours: str) -> str:
        """Return the file's name for one of our columns."""
        return dict(self.columns).get(ours, ours)


@dataclass(frozen=True, slots=True)
class Index:
    """The number of rows of a source, and marks where reading can start.

    A mark is (ordinal, offset, number). JSONL, JSON and CSV have one every 128 rows, with the byte offset (unpacked)
    and the number of the row that starts there; Parquet has one per row group, with the group's index and its first
    row. `starts` has the ordinals at which the files of a source with several start. `unfinished` has the numbers of
    lines that files end inside, because another program is still writing them; they are no rows yet.
    """

    n_rows: int
    ordinals: array[int]
    offsets: array[int]
    numbers: array[int]
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    unfinished: tuple[int, ...] = ()

    def upto(self, stop: int) -> Index:
        """Return the index without the rows from ordinal `stop` on."""
        return replace(self, n_rows=min(stop, self.n_rows))

    def span(self, first: int, count: int) -> Span:
        """Return the span of `count` rows of one file from ordinal `first`, starting at the last mark before it."""
        mark = bisect_right(self.ordinals, first) - 1
        start = self.starts[bisect_right(self.starts, first) - 1]
        return Span(first, count, first - self.ordinals[mark], self.offsets[mark], self.numbers[mark], start)

    def spans(self, first: int, count: int) -> tuple[Span, ...]:
        """Return the spans of rows that may be in several files, one per file."""
        found, stop = [], first + count
        while first < stop:
            following = bisect_right(self.starts, first)
            end = min(stop, self.starts[following]) if following < len(self.starts) else stop
            found.append(self.span(first, end - first))
            first = end
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Span:
    """`count` consecutive rows from ordinal `first`: go to `offset`, where row `number` is, skip `skip` rows, read.

    `start` is the ordinal of the file's first row: 0 unless the source has several files.
    """

    first: int
    count: int
    skip: int
    offset: int
    number: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRange:
    """Rows of one source in rising order: one span of consecutive rows of a file, or several spans in a sample.

    `source` is the index of the source among those of its build.
    """

    spans: tuple[Span, ...]
    source: int = 0

    @property
    def start(self) -> int:
        """The ordinal of the first row."""
        return self.spans[0].first

    @property
    def stop(self) -> int:
        """The ordinal after the last row."""
        return self.spans[-1].first + self.spans[-1].count

    @property
    def n_rows(self) -> int:
        """The number of leased rows; less than `stop - start` in a sample."""
        return sum(span.count for span in self.spans)

    def to_json(self) -> dict[str, object]:
        """Return plain values for a chunk's sidecar; six numbers per span."""
        spans = [[s.first, s.count, s.skip, s.offset, s.number, s.start] for s in self.spans]
        return {"spans": spans, **({"source": self.source} if self.source else {})}

    @classmethod
    def from_json(cls, lease: Mapping[str, Any]) -> LeaseRange:
        """Read a lease; the inverse of `to_json`."""
        return cls(tuple(Span(*numbers) for numbers in lease["spans"]), lease.get("source", 0))
