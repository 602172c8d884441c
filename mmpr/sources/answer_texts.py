"""What a cell says of the answer -> the texts of accepted answers, and which of them annotators agree on."""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mmpr.judging.clean import clean
from mmpr.judging.reference import unwrapped
from mmpr.sources.row_faults import NumberText, RowFault, wrong
from mmpr.types import Reason

_MAX_LITERAL = 100_000  # characters of a list that stands as text: `ast` is slow, and hungry, beyond
_EXPECTED = "a text, a number, true or false, a list of these, or null"
_FIELDS = ("answer", "text", "value", "ground_truth", "label", "multiple_choice_answer", "raw_answer", "answers")
_ANNOTATED = ("answer_confidence", "answer_id", "raw_answer", "confidence")
_NOTHING = ("", "?", "？")


@dataclass(frozen=True, slots=True)
class Answers:
    """A row's answers in order, repeats included; `annotated`: each is one annotator's."""

    texts: tuple[str, ...]
    annotated: bool = False


def answers_in(value: object, withheld: Sequence[str] = ()) -> Answers | None:
    """The answers that a cell gives, or None where it gives none.

    Args:
        value: a scalar, a struct, a list of either, or such a list as text.
        withheld: what else stands for an answer that is not given out.

    Raises:
        RowFault: it is of another kind.
    """
    cells = list(_cells(value))
    texts = tuple(one for cell in cells for one in _variants("" if cell is None and value is None else text_of(cell)))
    absent = (*_NOTHING, *withheld)
    if all(text.strip().lower() in absent for text in texts):
        return None
    annotated = _is_annotated(value)
    kept = texts if annotated else tuple(text for text in texts if text.strip())
    return Answers(kept, annotated)


def _variants(text: str) -> list[str]:
    """MM-Vet's `11<OR>eleven` is two accepted answers; raises `RowFault` for `x<AND>y`, of which all are needed."""
    if "<AND>" in text:
        raise RowFault(Reason.BAD_ANSWER, f"the answer {text[:40]!r} is several at once: no rule judges by all of them")
    return [one.strip() for one in text.split("<OR>")] if "<OR>" in text else [text]


def repeats(texts: Sequence[str]) -> bool:
    """Whether three or more answers say one thing twice: so do annotators, and no list of accepted variants."""
    return len(texts) > 2 and len({_voted(text) for text in texts}) < len(texts)


def agreed(answers: Answers, share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What at least this share of the annotators say, most first, and what fewer say."""
    votes = Counter(_voted(text) for text in answers.texts if text.strip())
    first = {_voted(text): text for text in reversed(answers.texts)}
    least = share * len(answers.texts) - 1e-9
    ranked = [(first[voted], n) for voted, n in votes.most_common()]
    return tuple(text for text, n in ranked if n >= least), tuple(text for text, n in ranked if n < least)


def _voted(text: str) -> str:
    return clean(unwrapped(text)).casefold()


def text_of(cell: object) -> str:
    """A scalar as one would write it: 3.1 and not 3.0999999, 2020-01-02, `true`.

    Raises:
        RowFault: it is no scalar.
    """
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return _float_text(cell)
    if isinstance(cell, datetime.datetime):
        return str(cell.date()) if cell.time() == datetime.time() else str(cell)
    if isinstance(cell, int | Decimal | datetime.date | datetime.time):
        return str(cell)
    raise wrong("answer", cell, _EXPECTED)


def _float_text(cell: float) -> str:
    """A whole number without `.0`: pandas makes floats of a column of counts that has a gap."""
    if cell == int(cell) and abs(cell) < 1e15:
        return str(int(cell))
    written = repr(cell)
    return format(Decimal(written), "f") if "e" in written and 1e-20 < abs(cell) < 1e20 else written


def _cells(value: object) -> Iterator[object]:
    """The scalars of a cell; a list that is written as text, of texts or structs, is that list."""
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
    """The list of texts or structs that a text writes in Python or JSON; `[2, 3]` may be an interval and is none."""
    stripped = text.strip()
    if not re.match(r"\[\s*['\"{]", stripped) or not stripped.endswith("]"):
        return None
    found = literal_list(stripped)
    return found if found and all(isinstance(each, str | dict) for each in found) else None


def literal_list(text: str) -> list[object] | None:
    """The list that a text writes in Python or JSON, read as data and never evaluated; None where it is none."""
    if len(text) > _MAX_LITERAL:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return found if isinstance(found, list) else None
