"""Read the texts of accepted answers from a cell, and find those on which annotators agree."""

from __future__ import annotations

import ast
import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mmpr.judging.clean import clean
from mmpr.judging.reference import unwrapped
from mmpr.sources.row_faults import NumberText, RowFault, wrong
from mmpr.types import Reason

_MAX_LITERAL = 100_000  # characters of a list written as text; for longer ones `ast` needs much time and memory
_EXPECTED = "a text, a number, true or false, a list of these, or null"
_FIELDS = ("answer", "text", "value", "ground_truth", "label", "multiple_choice_answer", "raw_answer", "answers")
_ANNOTATED = ("answer_confidence", "answer_id", "raw_answer", "confidence")
# published test sets write these in the place of an answer that they withhold
_NOTHING = ("", "?", "？")


@dataclass(frozen=True, slots=True)
class Answers:
    """A row's answers in order, with repeats. `annotated`: each one is of one annotator."""

    texts: tuple[str, ...]
    annotated: bool = False


def answers_in(value: object, withheld: Sequence[str] = ()) -> Answers | None:
    """Return the answers in a cell; None if it has none.

    Args:
        value: a scalar, a struct, a list of these, or such a list written as text.
        withheld: further texts that mean a withheld answer.

    Raises:
        RowFault: the value has another type.
    """
    cells = list(_cells(value))
    texts = tuple(one for cell in cells for one in _variants("" if cell is None and value is None else text_of(cell)))
    absent = (*_NOTHING, *withheld)
    if all(text.strip().lower() in absent for text in texts):
        return None
    annotated = _is_annotated(value)
    # an annotator who wrote nothing still counts among those who may agree
    kept = texts if annotated else tuple(text for text in texts if text.strip())
    return Answers(kept, annotated)


def _variants(text: str) -> list[str]:
    """Split MM-Vet's `11<OR>eleven` into two accepted answers.

    Raise `RowFault` for `x<AND>y`: all parts are needed there.
    """
    if "<AND>" in text:
        raise RowFault(Reason.BAD_ANSWER, f"the answer {text[:40]!r} combines several; no rule requires all of them")
    return [one.strip() for one in text.split("<OR>")] if "<OR>" in text else [text]


def repeats(texts: Sequence[str]) -> bool:
    """Whether an answer repeats among three or more: answers of annotators repeat, accepted variants do not."""
    return len(texts) > 2 and len({_voted(text) for text in texts}) < len(texts)


def agreed(answers: Answers, share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the answers that at least this fraction of annotators gave, most frequent first, and the other ones."""
    votes = Counter(_voted(text) for text in answers.texts if text.strip())
    # reversed: of several spellings of one answer, the first one is kept
    first = {_voted(text): text for text in reversed(answers.texts)}
    # 0.28 * 25 is 7.000000000000001 in floats, and 7 of 25 votes must count
    least = share * len(answers.texts) - 1e-9
    ranked = [(first[voted], n) for voted, n in votes.most_common()]
    return tuple(text for text, n in ranked if n >= least), tuple(text for text, n in ranked if n < least)


def _voted(text: str) -> str:
    return clean(unwrapped(text)).casefold()


def text_of(cell: object, name: str = "answer") -> str:
    """Return a scalar as a person would write it: 3.1 and not 3.0999999, 2020-01-02, `true`.

    Args:
        cell: the value.
        name: the column that an error names.

    Raises:
        RowFault: it is no scalar, or an infinite number.
    """
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and math.isfinite(cell):
        return _float_text(cell)
    if isinstance(cell, datetime.datetime):
        return str(cell.date()) if cell.time() == datetime.time() else str(cell)
    if isinstance(cell, int | Decimal | datetime.date | datetime.time):
        return str(cell)
    raise wrong(name, cell, _EXPECTED)


def _float_text(cell: float) -> str:
    """Format a float; a whole number has no `.0`, because pandas turns a column of counts with a gap into floats."""
    if cell == int(cell) and abs(cell) < 1e15:
        return str(int(cell))
    written = repr(cell)
    return format(Decimal(written), "f") if "e" in written and 1e-20 < abs(cell) < 1e20 else written


def _cells(value: object) -> Iterator[object]:
    """Yield the scalars of a cell; a text that writes a list of texts or structs counts as that list."""
    if isinstance(value, str) and not isinstance(value, NumberText):
        value = quoted_list(value) or value
    if isinstance(value, list | tuple):
        for each in value:
            yield from _of_struct(each) if isinstance(each, Mapping) else (each,)
    elif isinstance(value, Mapping):
        yield from _of_struct(value)
    else:
        yield value


def _of_struct(struct: Mapping[str, object]) -> Iterator[object]:
    for name in _FIELDS:
        if name in struct:
            yield from _cells(struct[name])
            return
    raise wrong("answer", struct, _EXPECTED)


def _is_annotated(value: object) -> bool:
    if isinstance(value, str) and not isinstance(value, NumberText):
        value = quoted_list(value)
    return isinstance(value, list) and any(
        isinstance(each, Mapping) and any(name in each for name in _ANNOTATED) for each in value
    )


def quoted_list(text: str) -> list[object] | None:
    """Parse a text that writes a list of texts or structs in Python or JSON.

    `[2, 3]` may be an interval: not parsed.
    """
    stripped = text.strip()
    if not re.match(r"\[\s*['\"{]", stripped) or not stripped.endswith("]"):
        return None
    found = literal_list(stripped)
    return found if found and all(isinstance(each, str | dict) for each in found) else None


def literal_list(text: str) -> list[object] | None:
    """Parse a text that writes a list in Python or JSON, as data and without evaluating it; None if it is no list."""
    if len(text) > _MAX_LITERAL:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        # `ast` raises all of these for hostile text: RecursionError for `[` and 5,000 minus signs
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return found if isinstance(found, list) else None
