"""Find the questions that several runs answered; each is kept once, with the responses of all runs.

Two questions are the same if their text, earlier turns, options, reference answer and image contents are equal; ids and
places do not count. Memory: 32 bytes per question.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpr.run.commit_records import ChunkCommit
from mmpr.run.folder import RunFolder
from mmpr.run.parquet_reader import opened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Places = npt.NDArray[np.int64]  # (n, 3): part, chunk, place in the chunk

_ASKED = ["system", "history", "text", "choices", "answer", "pictures.list.element.sha256"]
_BATCH_ROWS = 8192
_WIDTH = 3


@dataclass(frozen=True, slots=True)
class AnsweredElsewhere:
    """A question of a chunk that a chunk of another run has too."""

    place: int
    part: int
    chunk: int
    other_place: int


class JoinedQuestions:
    """The questions that several runs share; the first run that has a question keeps it.

    Args:
        parts: the folder of each run with its commits.
    """

    def __init__(self, parts: Sequence[tuple[RunFolder, Sequence[ChunkCommit]]]) -> None:
        import numpy as np

        prints, places = array("Q"), array("q")
        for number, (folder, commits) in enumerate(parts):
            for commit in commits:
                for place, asked in _prints(folder, commit):
                    prints.append(asked)
                    places.extend((number, commit.chunk, place))
        found = np.frombuffer(places, dtype=np.int64).reshape(-1, _WIDTH)
        kept, moved = _joined(np.frombuffer(prints, dtype=np.uint64), found)
        order = np.lexsort((moved[:, 0], kept[:, 2], kept[:, 1], kept[:, 0]))
        self._kept, self._sources = kept[order], moved[order]
        self._moved = moved[np.lexsort(moved.T[::-1])]

    def __len__(self) -> int:
        """The number of questions that several runs answered."""
        import numpy as np

        return len(np.unique(self._kept, axis=0))

    def moved(self, part: int, chunk: int) -> frozenset[int]:
        """Return the places of a chunk whose questions an earlier run keeps."""
        return frozenset(self._moved[_of_chunk(self._moved, part, chunk), 2].tolist())

    def answered(self, part: int, chunk: int) -> tuple[AnsweredElsewhere, ...]:
        """Return where other runs answered the questions that this chunk keeps, in the order of the runs."""
        here = _of_chunk(self._kept, part, chunk)
        pairs = zip(self._kept[here, 2].tolist(), self._sources[here].tolist(), strict=True)
        return tuple(AnsweredElsewhere(place, *source) for place, source in pairs)


def _of_chunk(places: Places, part: int, chunk: int) -> slice:
    """Return the rows of one chunk in sorted places."""
    low, high = places[:, 0].searchsorted([part, part + 1]).tolist()
    first, stop = places[low:high, 1].searchsorted([chunk, chunk + 1]).tolist()
    return slice(low + first, low + stop)


def _joined(prints: npt.NDArray[np.uint64], places: Places) -> tuple[Places, Places]:
    """Return the places that keep a question, and in parallel the places that it takes responses from."""
    import numpy as np

    if not len(prints):
        return places, places
    order = np.lexsort((np.arange(len(prints)), prints))  # equal prints together, in the order of the runs
    sorted_prints, sorted_places = prints[order], places[order]
    begins = np.concatenate(([True], sorted_prints[1:] != sorted_prints[:-1]))
    group = np.cumsum(begins) - 1
    firsts = np.flatnonzero(begins)
    parts = sorted_places[:, 0]
    # Only the first of each run: a question that one run asks twice stays twice.
    first_of_run = np.concatenate(([True], (parts[1:] != parts[:-1]) | begins[1:]))
    later = first_of_run & (parts != parts[firsts[group]])
    return sorted_places[firsts[group[later]]], sorted_places[later]


def _prints(folder: RunFolder, commit: ChunkCommit) -> Iterator[tuple[int, int]]:
    """Yield (place, print) of each question with a reference answer that was not skipped before pairing."""
    place = 0
    with opened(folder, commit.questions.path) as parquet:
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=[*_ASKED, "skip_reason"]):
            for asked in batch.to_pylist():
                if asked.pop("skip_reason") is None and asked["answer"] is not None:
                    what = json.dumps(asked, sort_keys=True, ensure_ascii=True)
                    yield place, int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "big")
                place += 1
