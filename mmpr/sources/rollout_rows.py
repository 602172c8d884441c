"""Read rows of rollouts like those of a source, with the responses beside them; they need no images."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mmpr.errors import SourceError
from mmpr.judging.rollouts import Rollout
from mmpr.sources.opening import open_source
from mmpr.sources.ranges import ranges
from mmpr.sources.recognition import settled
from mmpr.sources.row_faults import NumberText
from mmpr.sources.row_reader import index, read_with_values
from mmpr.sources.source_records import RESPONSES, Source
from mmpr.types import Question, Skip

_STDIN = "-"


@contextmanager
def opened_rollouts(file: str, *, columns: Mapping[str, str] | None = None) -> Iterator[Iterator[Rollout]]:
    """Open the rows of any source file, or of JSON lines from standard input (`-`), packed or not.

    Raises:
        SourceError: the file cannot be read, or no row has a response.
    """
    if file != _STDIN:
        yield _read(open_source(file, columns=columns))
        return
    # a source is read twice, to count its rows and to judge them; standard input can be read once
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "stdin.jsonl")
        with copy.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield _read(open_source(copy, columns=columns))


def _read(source: Source) -> Iterator[Rollout]:
    """Yield every row with its responses, or the reason why it has none; the first of `RESPONSES` in a row is read."""
    source = replace(source, rollouts=True, parts=tuple(replace(part, rollouts=True) for part in source.parts))
    waiting: list[Rollout] = []  # rows before the first response: a file without responses is refused as a whole
    found = False
    counted = index(source)
    with suppress(SourceError):  # if nothing decides, each row with two readings is an error
        source = settled(source, counted)
    for lease in ranges(counted):
        for read, values in read_with_values(source, lease):
            # an unreadable row may have a response
            found = found or not values or any(name in values for name in RESPONSES)
            waiting.append(_rollout(read, values, source))
            if found:
                yield from waiting
                waiting.clear()
    if not found:
        why = waiting[0].fault if waiting else f"{source.path}: has no rows"
        raise SourceError(f"{why}; no row has a response: give `response` (a text or a list)")
    for row in counted.unfinished:
        yield Rollout(source.row_id(row), None, fault=f"{source.place(row)}: the file ends inside it")


def _rollout(read: Question | Skip, values: Mapping[str, object], source: Source) -> Rollout:
    if isinstance(read, Skip):
        return Rollout(read.question_id, None, fault=read.detail)
    place = source.place(read.row)
    given = next((values[name] for name in RESPONSES if values.get(name) is not None), None)
    texts = [_text(each) for each in (given if isinstance(given, list) else [given])]
    if all(text is None for text in texts):
        return Rollout(read.id, None, fault=f"{place}: `response` must be a text or a list of texts")
    if read.answer is None:
        return Rollout(read.id, None, fault=f"{place}: no `answer` to judge by")
    return Rollout(read.id, read, tuple(texts), listed=isinstance(given, list))


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str) and not isinstance(value, NumberText) else None
