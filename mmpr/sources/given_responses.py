"""Read the responses of a row and what it says about each, under the names that other programs use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmpr.sources.answer_texts import literal_list, quoted_list, text_of
from mmpr.sources.file_columns import bare_name, value_at
from mmpr.sources.row_faults import NumberText, RowFault
from mmpr.sources.source_records import RESPONSES
from mmpr.sources.turns import last_reply
from mmpr.types import Finish, Reason

# Our name: names used by others; the first one in a row counts. `response` is one text, `responses` may be a list as
# text.
RESPONSE_COLUMNS: dict[str, tuple[str, ...]] = {
    "response": (*(name for name in RESPONSES if not name.endswith("s")), "output", "generation", "generated_text"),
    "responses": (
        *(name for name in RESPONSES if name.endswith("s")),
        "outputs",
        "generations",
        "filtered_resps",
        "resps",
    ),
    "rejected_response": ("rejected_response",),
    "model": ("model", "model_name", "model_id"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "n_tokens": ("n_tokens", "completion_tokens", "response_tokens", "output_tokens"),
    "seed": ("seed",),
    "thoughts": ("thoughts", "reasoning_content"),
    "response_index": ("response_index",),
    "round": ("round",),
    "gain": ("gain",),
    "source_row": ("source_row",),
    "minority_answers": ("minority_answers",),
    "prompt_version": ("prompt_version",),
    "answer_form": ("answer_form",),
}
_PAIRS = (("chosen_text", "rejected_text"), ("chosen", "rejected"))
_TEXTS = ("text", "content", "response", "output", "generated_text")
_FINISHES = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed"), Finish.STOP),
    **dict.fromkeys(("length", "max_tokens", "max_length"), Finish.LENGTH),
    "repetition": Finish.REPETITION,
}
# finish reasons of requests that failed: their text is no response of the model
_NO_RESPONSE = frozenset(("abort", "aborted", "cancelled", "content_filter", "error", "failed", "safety"))


@dataclass(frozen=True, slots=True)
class GivenResponse:
    """One response from a row; None marks what the row does not say."""

    text: str
    index: int | None = None
    round: int = 0
    n_tokens: int | None = None
    finish_reason: Finish | None = None
    seed: int | None = None
    gain: float | None = None
    thoughts: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class GivenResponses:
    """The responses of a row.

    Args:
        responses: at least one.
        left_out: why entries of its list are no responses.
        as_list: the text of its one response looks like a list of several.
    """

    responses: tuple[GivenResponse, ...]
    left_out: tuple[str, ...] = ()
    as_list: bool = False


@dataclass(frozen=True, slots=True)
class ResponseNames:
    """The columns of responses; `mapped` are those of the setting, by our name. An empty name is not read."""

    mapped: tuple[tuple[str, str], ...] = ()

    def column(self, ours: str, names: Sequence[str]) -> str | None:
        """Return the file's name for one of `RESPONSE_COLUMNS`; None if it has none."""
        return self.all(tuple(names))[ours]

    def all(self, names: tuple[str, ...]) -> Mapping[str, str | None]:
        """Return the file's names for all of `RESPONSE_COLUMNS`."""
        return _columns(self.mapped, names)

    def read(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the columns that are read besides the columns of questions."""
        found = self.all(tuple(names)).values()
        pairs = [name for pair in _PAIRS for name in pair if name in names]
        return tuple(dict.fromkeys(name.partition(".")[0] for name in (*found, *pairs) if name))


def responses_in(values: Mapping[str, object], names: ResponseNames) -> GivenResponses:
    """Return the responses of a row.

    Args:
        values: the row under the file's names.

    Raises:
        RowFault: the row has no response, or one of a wrong type.
    """
    row = {ours: _cell(values, column) for ours, column in names.all(tuple(values)).items()}
    given = row["response"] if row["response"] is not None else row["responses"]
    as_list = isinstance(given, str) and row["response"] is not None and quoted_list(given) is not None
    cells = _listed(given, whole=row["response"] is not None)
    if not cells:
        cells = _other_replies(values)
    cells = [*cells, *(cell for cell in _listed(row["rejected_response"], whole=True) if isinstance(cell, str))]
    if not cells:
        raise RowFault(Reason.BAD_ROW, "no response: give `response` a text, or map its column with columns.response")
    kept: list[GivenResponse] = []
    left_out: list[str] = []
    for place, cell in enumerate(cells):
        found = _response(cell, row, place, len(cells))
        if isinstance(found, str):
            left_out.append(found if len(cells) == 1 else f"entry {place + 1}: {found}")
        else:
            kept.append(found)
    if not kept:
        raise RowFault(Reason.BAD_ROW, f"no response: {left_out[0]}")
    return GivenResponses(tuple(kept), tuple(left_out), as_list)


@lru_cache(maxsize=512)
def _columns(mapped: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> dict[str, str | None]:
    """Map our names to the file's; cached, because JSON rows have few different sets of keys."""
    own, plain = dict(mapped), {bare_name(name): name for name in reversed(names)}
    found: dict[str, str | None] = {}
    for ours, called in RESPONSE_COLUMNS.items():
        known = next((plain[bare_name(name)] for name in called if bare_name(name) in plain), None)
        # with columns.response=.., a column `responses` is not read too
        other = ours in ("response", "responses") and own.keys() & {"response", "responses"}
        found[ours] = (own[ours] or None) if ours in own else None if other else known
    return found


def whole_number(value: object, *, digits: int = 9) -> int | None:
    """Return a cell as a non-negative whole number that can be stored; None if it is none."""
    text = str(value).strip().removesuffix(".0") if isinstance(value, str | int | float) else ""
    # 9 digits fit the int32 columns of a run, 18 an int64 (seeds, row numbers)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def _cell(values: Mapping[str, object], column: str | None) -> object:
    value = None if column is None else value_at(values, column)
    # NaN is an empty cell of pandas
    return None if isinstance(value, float) and value != value else value


def _listed(given: object, *, whole: bool) -> list[object]:
    """Return one value per response; with `whole`, a text is one response, whatever it looks like."""
    if given is None:
        return []
    if isinstance(given, str) and not whole and given.strip().startswith("["):
        given = literal_list(given) or given
    if isinstance(given, Mapping) and isinstance(choices := given.get("choices"), list):  # an answer of OpenAI's API
        shared = {name: given[name] for name in ("model",) if name in given}
        return [{**shared, **one} if isinstance(one, Mapping) else one for one in choices]
    if not isinstance(given, list):
        return [given]
    # turns; the last one is the response
    if given and all(isinstance(one, Mapping) and "role" in one for one in given):
        # turns of the assistant alone are several responses; with a user's turn among them, it is one conversation
        replies = [one for one in given if one["role"] == "assistant"]
        return replies[-1:] if len(replies) < len(given) or len(given) == 1 else replies
    return [cell for one in given for cell in (_listed(one, whole=whole) if isinstance(one, list) else [one])]


def _other_replies(values: Mapping[str, object]) -> list[object]:
    """Find responses in other columns: the last reply in turns, as ms-swift writes them, or both sides of a pair."""
    for turns in ("messages", "conversations"):
        if values.get(turns) is not None and (reply := last_reply(turns, values[turns])) is not None:
            return [reply]
    for pair in _PAIRS:
        sides = [values.get(name) for name in pair]
        if all(isinstance(side, str) for side in sides):
            return list(sides)
    return []


def _response(cell: object, row: Mapping[str, object], place: int, n: int) -> GivenResponse | str:
    """Return one response, or the reason why it is none."""
    own = cell if isinstance(cell, Mapping) else {}
    text = _text(cell)
    if text is None:
        return f"{ascii(cell)[:60]} is not a text"
    finish = _own(own, row, "finish_reason", place, n)
    if isinstance(finish, str) and finish.lower() in _NO_RESPONSE:
        return f"it ended with {finish[:40]!r}"
    thoughts, model = _own(own, row, "thoughts", place, n), _own(own, row, "model", place, n, shared=True)
    gain = _own(own, row, "gain", place, n)
    return GivenResponse(
        text=text,
        index=whole_number(_own(own, row, "response_index", place, n)),
        round=whole_number(_own(own, row, "round", place, n, shared=True)) or 0,
        n_tokens=whole_number(_own(own, row, "n_tokens", place, n)),
        finish_reason=_FINISHES.get(finish.lower()) if isinstance(finish, str) else None,
        seed=whole_number(_own(own, row, "seed", place, n), digits=18),
        gain=_float(gain),
        thoughts=thoughts if isinstance(thoughts, str) and thoughts else None,
        model=str(model) if isinstance(model, str) and model.strip() else None,
    )


def _own(
    own: Mapping[str, object], row: Mapping[str, object], name: str, place: int, n: int, *, shared: bool = False
) -> object:
    """Find a value for one response: in its own entry, in a list parallel to the responses, or in the row."""
    for called in RESPONSE_COLUMNS[name]:
        if own.get(called) is not None:
            return own[called]
    value = row[name]
    if isinstance(value, list):
        return value[place] if len(value) == n else None
    # the token count of a row cannot be that of each of its responses
    return value if n == 1 or shared else None


def _text(cell: object) -> str | None:
    if isinstance(cell, Mapping):
        cell = next((cell[name] for name in _TEXTS if cell.get(name) is not None), cell.get("message"))
        return None if cell is None else _text(cell)
    if isinstance(cell, list):  # parts of a message
        parts = [_text(part) for part in cell]
        return "\n".join(part for part in parts if part is not None) if parts and None not in parts else None
    if isinstance(cell, str):
        return str(cell)
    return None if cell is None or isinstance(cell, bytes) or cell != cell else text_of(cell)


def _float(value: object) -> float | None:
    try:
        return float(str(value)) if isinstance(value, NumberText | int | float) else None
    except ValueError:
        return None
