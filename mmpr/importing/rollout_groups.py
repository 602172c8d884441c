"""Group rows of responses by the question that they answer, in bounded memory.

One pass reads every row, hashes its question, and writes its responses to a temporary file. The hashes, 8 bytes per
row, tell which rows belong to one question. Later, the responses of a chunk are read from their offsets in that file. A
question has the place of its first row, so that chunks are in the source's order whatever the order of the rows is.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from typing import IO, TYPE_CHECKING

from mmpr.errors import RunFolderError
from mmpr.sources import Index, LeaseRange, Source, ranges
from mmpr.sources.given_responses import GivenResponse, ResponseNames, responses_in, whole_number
from mmpr.sources.ranges import lease_of
from mmpr.sources.row_faults import RowFault
from mmpr.sources.row_reader import read_given
from mmpr.sources.rows import skip
from mmpr.sources.source_records import PART_ROWS
from mmpr.types import Question, Skip

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_RESPONSES, _MOST_CHARS = 512, 64_000_000  # per question, because pairing looks at every combination
_CHUNK_RESPONSES, _CHUNK_CHARS = 16_384, 16_000_000  # limits of a chunk, unless it has only one question
_KNOWN = ("n_tokens", "finish_reason", "seed")
_MOST_NAMES = 50  # models and versions that are counted by name


@dataclass(frozen=True, slots=True)
class GroupedRow:
    """The content of one row, as stored in the temporary file.

    Args:
        responses: empty if the row has a `skip`.
        source_row: the number of the row in its original source, if it names one.
        minority: answers that too few annotators gave; only mmpr's own export has them.
    """

    responses: tuple[GivenResponse, ...] = ()
    skip: Skip | None = None
    source_row: int | None = None
    minority: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupedQuestion:
    """One question with its responses, or the skip of a row without a question."""

    responses: tuple[GivenResponse, ...]
    skip: Skip | None
    source_row: int | None
    minority: tuple[str, ...]
    omitted: int  # number of responses over the limit per question


@dataclass(slots=True)
class ImportFacts:
    """Facts about a file after every row was read.

    Args:
        rows, responses, bad_rows: their number.
        sha256: hash of all rows, to detect a changed file.
        models, versions, forms: models, instructions and forms of answers that rows name.
        known: number of responses with `n_tokens`, `finish_reason`, `seed`.
        left_out: list entries that are no responses, and the first of them.
        listed_texts: responses that look like a list of several, and the first of them.
        without_images: rows of questions without an image.
        own_ids: rows with their own id.
    """

    rows: int = 0
    responses: int = 0
    bad_rows: int = 0
    sha256: str = ""
    models: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    first_left_out: str = ""
    listed_texts: int = 0
    first_listed: str = ""
    first_bad: str = ""
    without_images: int = 0
    own_ids: int = 0

    def to_json(self) -> dict[str, object]:
        """Return plain values for `run.json`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
        return {**found, "known": {name: self.known[name] for name in _KNOWN}}


class RolloutGroups:
    """The rows of a source by question; `grouped` makes it and closes its file.

    Args:
        facts: facts about the whole file.
        lenient: number of questions if ids did not count.
    """

    def __init__(
        self, source: Source, counted: Index, spool: IO[bytes], collected: _Collected, chunk_questions: int
    ) -> None:
        import numpy as np

        self.source, self.counted, self.facts = source, counted, collected.facts
        self._spool = spool
        self._offsets = np.frombuffer(collected.offsets, dtype=np.int64)
        keys = np.frombuffer(collected.keys, dtype=np.uint64)
        self._order, self._starts = _by_first(keys)
        self.lenient = len(np.unique(np.frombuffer(collected.contents, dtype=np.uint64)))
        self._refuse_twice(collected.places)
        self._stops = self._chunk_stops(chunk_questions, np.frombuffer(collected.chars, dtype=np.int64))

    def __len__(self) -> int:
        """The number of questions, including rows without one."""
        return len(self._starts) - 1

    @property
    def n_chunks(self) -> int:
        return len(self._stops)

    def _refuse_twice(self, places: array[int]) -> None:
        """Refuse two questions with the same place, because nothing would distinguish them."""
        import numpy as np

        firsts = np.frombuffer(places, dtype=np.uint64)[self._order[self._starts[:-1]]]
        named = firsts[firsts != 0]
        if len(np.unique(named)) < len(named):
            raise RunFolderError(
                f"{self.source.path}: two questions have one `source_row`: columns.source_row='' numbers them again"
            )

    def _chunk_stops(self, n_questions: int, chars: npt.NDArray[np.int64]) -> list[int]:
        """Return where each chunk ends: at the limit of questions, or before the limits of memory."""
        import numpy as np

        held = np.concatenate(([0], np.cumsum(chars[self._order])))[self._starts].tolist()
        rows = self._starts.tolist()
        stops, first = [], 0
        for group in range(1, len(self) + 1):
            full = group - first > n_questions
            full |= rows[group] - rows[first] > _CHUNK_RESPONSES or held[group] - held[first] > _CHUNK_CHARS
            # a single question over the limit is a chunk of its own
            if full and group - 1 > first:
                stops.append(group - 1)
                first = group - 1
        return [*stops, len(self)] if len(self) else []

    def span(self, chunk: int) -> tuple[int, int]:
        """Return the index of a chunk's first question, and of the first question after it."""
        return (self._stops[chunk - 1] if chunk else 0), self._stops[chunk]

    def lease(self, chunk: int) -> LeaseRange:
        """Return the first row of each of a chunk's questions."""
        first, stop = self.span(chunk)
        return lease_of(self.counted, self._order[self._starts[first:stop]].tolist())

    def questions(self, chunk: int) -> list[GroupedQuestion]:
        """Return the questions of a chunk with their responses."""
        return [self._question(group) for group in range(*self.span(chunk))]

    def _question(self, group: int) -> GroupedQuestion:
        places = self._order[self._starts[group] : self._starts[group + 1]].tolist()
        first = self._row(places[0])
        kept: list[GivenResponse] = []
        held = omitted = 0
        for response in (response for place in places for response in self._row(place).responses):
            held += len(response.text)
            if len(kept) < MOST_RESPONSES and (held <= _MOST_CHARS or not kept):
                kept.append(response)
            else:
                omitted += 1
        return GroupedQuestion(tuple(kept), first.skip, first.source_row, first.minority, omitted)

    def _row(self, row: int) -> GroupedRow:
        self._spool.seek(int(self._offsets[row]))
        found: GroupedRow = pickle.load(self._spool)  # safe: this process wrote it, into a file without a name
        return found


@contextmanager
def grouped(source: Source, counted: Index, names: ResponseNames, chunk_questions: int) -> Iterator[RolloutGroups]:
    """Read every row once; inside the block, its responses can be read by question.

    Args:
        source: a settled source; its `beside` names the columns that `names` reads.
        counted: its index.
        names: names of the columns of responses.
        chunk_questions: most questions of a chunk.

    Raises:
        SourceError: the file cannot be read.
        RunFolderError: there is no space for the temporary file, or two questions name one place.
    """
    with ExitStack() as stack:
        try:
            spool = tempfile.TemporaryFile()  # noqa: SIM115  the stack closes it, whatever it says
            stack.callback(_closed, spool)
            collected = _collect(source, counted, names, spool)
        except OSError as error:
            what = f"no room for temporary files ({error.strerror or error})"
            raise RunFolderError(f"{source.path}: {what}; set TMPDIR to a folder with free space") from error
        groups = RolloutGroups(source, counted, spool, collected, chunk_questions)
        del collected  # 8 of its 40 bytes per row are still needed
        yield groups


def _closed(spool: IO[bytes]) -> None:
    """Close the file without an error on a full disk: its content is not needed any more."""
    with suppress(OSError):
        spool.close()


@dataclass(slots=True)
class _Collected:
    """Per row: hashes of its question, of its question without the id, and of its named place; characters; offset."""

    facts: ImportFacts = field(default_factory=ImportFacts)
    keys: array[int] = field(default_factory=lambda: array("Q"))
    contents: array[int] = field(default_factory=lambda: array("Q"))
    places: array[int] = field(default_factory=lambda: array("Q"))
    chars: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))


def _collect(source: Source, counted: Index, names: ResponseNames, spool: IO[bytes]) -> _Collected:
    collected, digest = _Collected(), hashlib.sha256()
    for lease in ranges(counted):
        for number, read, values in read_given(source, lease, digest):
            collected.offsets.append(spool.tell())
            row = _row_of(source, number, read, values, names, collected)
            collected.chars.append(sum(len(response.text) for response in row.responses))
            pickle.dump(row, spool, protocol=pickle.HIGHEST_PROTOCOL)
    spool.flush()
    collected.facts.sha256 = digest.hexdigest()
    return collected


def _row_of(
    source: Source,
    number: int,
    read: Question | Skip,
    values: Mapping[str, object],
    names: ResponseNames,
    collected: _Collected,
) -> GroupedRow:
    """Count and hash one row."""
    facts, place = collected.facts, source.place(number)
    facts.rows += 1
    if isinstance(read, Question):
        try:
            given = responses_in(values, names)
        except RowFault as fault:
            read = skip(_part(source, number), number % PART_ROWS, fault, read.id)
    if isinstance(read, Skip):
        facts.bad_rows += 1
        facts.first_bad = facts.first_bad or read.detail
        # an unreadable row is a question of its own, with one skip
        for hashes in (collected.keys, collected.contents):
            hashes.append(_hash64(["row", number]))
        collected.places.append(0)
        return GroupedRow(skip=read)
    own_id = None if read.id == _part(source, number).row_id(number % PART_ROWS) else read.id
    content = _asked(read)
    collected.keys.append(_hash64([own_id, content]))
    collected.contents.append(_hash64([None, content]))
    source_row = whole_number(_named(values, names, "source_row"), digits=18)
    collected.places.append(0 if source_row is None else _hash64([read.source, source_row]))
    _count(facts, read, values, names)
    facts.own_ids += own_id is not None
    facts.responses += len(given.responses)
    facts.left_out += len(given.left_out)
    facts.first_left_out = facts.first_left_out or (f"{place}: {given.left_out[0]}" if given.left_out else "")
    facts.listed_texts += given.as_list
    facts.first_listed = facts.first_listed or (place if given.as_list else "")
    for response in given.responses:
        facts.known.update(name for name in _KNOWN if getattr(response, name) is not None)
        _count_name(facts.models, response.model or "")
    minority = _named(values, names, "minority_answers")
    listed = tuple(str(one) for one in minority) if isinstance(minority, list) else ()
    return GroupedRow(given.responses, None, source_row, listed)


def _count(facts: ImportFacts, question: Question, values: Mapping[str, object], names: ResponseNames) -> None:
    for counter, ours in ((facts.versions, "prompt_version"), (facts.forms, "answer_form")):
        value = _named(values, names, ours)
        _count_name(counter, value if isinstance(value, str) else "")
    facts.without_images += not question.images


def _count_name(counter: Counter[str], name: str) -> None:
    """Count a name; further ones are counted together."""
    counter[name if name in counter or len(counter) < _MOST_NAMES else "..."] += 1


def _named(values: Mapping[str, object], names: ResponseNames, ours: str) -> object:
    column = names.column(ours, tuple(values))
    return None if column is None else values.get(column)


def _part(source: Source, number: int) -> Source:
    return source.parts[number // PART_ROWS] if source.parts else source


def _asked(question: Question) -> list[object]:
    """Return what makes two rows ask the same question. Images are compared by path, data URIs by content."""
    images = [
        hashlib.sha256(image.encode()).hexdigest() if image.startswith("data:") else image for image in question.images
    ]
    answer = None if question.answer is None else list(question.answer)
    history = [list(pair) for pair in question.history]
    text = question.text.strip()
    return [question.source, question.system, history, text, list(question.choices), answer, images]


def _hash64(value: Sequence[object]) -> int:
    written = json.dumps(value, ensure_ascii=True).encode()
    # the last bit is set, so that no hash is 0, which means "no place"
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "big") | 1


def _by_first(keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows ordered by question (questions by first row), and where each question starts and the end."""
    import numpy as np

    _, firsts, groups = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), dtype=np.int64)
    # `np.unique` numbers groups by hash; here they are numbered by first row
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    ranked = ranks[groups]
    counts = np.bincount(ranked, minlength=len(firsts))
    return np.argsort(ranked, kind="stable"), np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
