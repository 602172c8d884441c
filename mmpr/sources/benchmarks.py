"""Rows of benchmarks as they are released -> our columns. A row is recognised by the names that it has.

- MathVista (`AI4Math/MathVista`): `pid`, `question`, `decoded_image`, `choices`, `unit`, `answer`, `answer_type`,
  `metadata`, `query`. Asked is `query`, the released prompt; figures by source are those of `metadata`.
- MMMU and MMMU-Pro's standard configurations (`MMMU/MMMU`): `question` with tags like `<image 1>`, `options` as a
  list's text, `image_1` to `image_7`, `answer`.
- VLMEvalKit's TSV: `index`, `question`, `image` (base64, a list of it as text, or the `index` of a row that has it) or
  `image_path`, options in `A`, `B`, .., `answer`, `hint`.

What `columns` maps goes before all of these. Answers that are withheld ("", "?") are none.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Collection, Mapping
from typing import Literal

from mmpr.sources.csv_file import image_of
from mmpr.sources.row_faults import RowFault
from mmpr.sources.row_tags import ImageSlots
from mmpr.sources.source_records import Source
from mmpr.types import Reason

Layout = Literal["mathvista", "mmmu", "vlmeval"]

_MATHVISTA = ("pid", "decoded_image", "unit", "answer_type", "metadata", "query")
_MMMU_IMAGES = tuple(f"image_{i}" for i in range(1, 8))
_MMMU = ("options", *_MMMU_IMAGES)
_KINDS = {"integer": "number", "float": "number", "list": "list"}  # MathVista's types of free answers
_NUMBERED = re.compile(r"<image\s*(\d+)>")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")  # VLMEvalKit takes 64 characters or fewer for an index
_LETTER = re.compile(r"[A-Z]")


def layout_of(names: Collection[str], *, separated: bool = False) -> Layout | None:
    """Which benchmark has such columns.

    Args:
        names: the columns of a table, or the keys of a row.
        separated: whether it is of a CSV or TSV file.
    """
    if "pid" in names and "answer_type" in names:
        return "mathvista"
    if "image_1" in names and "options" in names:
        return "mmmu"
    return "vlmeval" if separated and "index" in names and ("image" in names or "image_path" in names) else None


def more_columns(names: Collection[str]) -> tuple[str, ...]:
    """What a table's rows are read for besides our columns."""
    wanted = {"mathvista": _MATHVISTA, "mmmu": _MMMU}.get(layout_of(names) or "", ())
    return tuple(name for name in wanted if name in names)


def image_columns(names: Collection[str], source: Source) -> tuple[str, ...]:
    """The columns of a table that hold images."""
    if "image" in dict(source.columns):
        return (source.column("image"),)
    layout = layout_of(names)
    if layout == "mathvista" and "decoded_image" in names:
        return ("decoded_image",)
    return tuple(name for name in _MMMU_IMAGES if name in names) if layout == "mmmu" else ("image",)


def with_ours(ours: Mapping[str, object], values: Mapping[str, object], source: Source) -> Mapping[str, object]:
    """A row's values under our names, with what a benchmark's layout says of them.

    Args:
        ours: as `columns` and equal names gave them.
        values: the whole row.
        source: where it stands.

    Raises:
        RowFault: it is not as the benchmark's rows are.
    """
    layout = layout_of(values.keys(), separated=source.format == "csv")
    if layout is None:
        return ours
    read = {"mathvista": _mathvista, "mmmu": _mmmu, "vlmeval": _vlmeval}[layout](values, source)
    mapped = dict(source.columns)
    return {**ours, **{name: value for name, value in read.items() if name not in mapped}}


def _mathvista(values: Mapping[str, object], _: Source) -> dict[str, object]:
    unit, about = values.get("unit"), values.get("metadata")
    asked = f"{values.get('question')} (Unit: {unit})" if unit else values.get("question")
    kind = "choice" if values.get("choices") else _KINDS.get(str(values.get("answer_type")))
    image = values.get("decoded_image")
    return {
        "id": values.get("pid"),
        "question": values.get("query") or asked,
        "answer": _given(values.get("answer")),
        "answer_kind": kind,
        **({"source": about.get("source")} if isinstance(about, dict) else {}),
        **({"image": image} if image is not None else {}),
    }


def _mmmu(values: Mapping[str, object], _: Source) -> dict[str, object]:
    options = _listed("options", values.get("options")) or []
    answer = _given(values.get("answer"))
    lettered = options and isinstance(answer, str) and _LETTER.fullmatch(answer)
    return {
        "question": values.get("question"),
        "choices": options or None,
        "image": ImageSlots(values.get(name) for name in _MMMU_IMAGES),
        "answer": answer,
        "answer_kind": "choice" if lettered else None,
    }


def _vlmeval(values: Mapping[str, object], source: Source) -> dict[str, object]:
    options = {letter: values[letter] for letter in string.ascii_uppercase if values.get(letter) is not None}
    question, hint = values.get("question"), values.get("hint")
    if options and list(options) != list(string.ascii_uppercase[: len(options)]):
        raise RowFault(Reason.BAD_ROW, f"options {', '.join(options)}: letter them A, B, C .. without a gap")
    images = _images(values, source)
    answer = _given(values.get("answer"))
    return {
        "question": f"Hint: {hint}\n{question}" if hint and question else question,
        "choices": list(options.values()) or None,
        "image": images or None,
        "id": values["index"],
        "answer": answer,
        "answer_kind": "choice" if options and isinstance(answer, str) and _LETTER.fullmatch(answer) else None,
    }


def _images(values: Mapping[str, object], source: Source) -> list[object]:
    if (cell := values.get("image")) is None:
        return list(_listed("image_path", values.get("image_path")) or [])
    cells = _listed("image", cell) or []
    if len(cells) == 1 and isinstance(cells[0], str) and not _BASE64.match(cells[0]) and "." not in cells[0]:
        found = image_of(source, cells[0])  # of the row that it is shared with
        cells = cells if found is None else _listed("image", found) or []
    return [f"data:image/*;base64,{one}" if isinstance(one, str) and _BASE64.match(one) else one for one in cells]


def _given(answer: object) -> object:
    """None for an answer that is withheld; several accepted ones are a list of texts, written as text."""
    if answer is None or (isinstance(answer, str) and answer.strip() in ("", "?")):
        return None
    if isinstance(answer, str) and answer.startswith(("['", '["')):
        several = _literal(answer)
        return several if several and all(isinstance(one, str) for one in several) else answer
    return answer


def _listed(name: str, value: object) -> list[object] | None:
    """A list, or what a text writes of one; a plain text is a list of itself."""
    if value is None or isinstance(value, list):
        return value
    if not isinstance(value, str) or not value.startswith("["):
        return [value]
    found = _literal(value)
    if found is None:
        raise RowFault(Reason.BAD_ROW, f"`{name}` is {value[:60]!a}: give a list, such as ['one', 'two']")
    return found


def _literal(text: str) -> list[object] | None:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) else None
