"""Find the rows in a file that is one JSON object: an array under a key (`{"info", "questions": [..]}`), or members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpr.errors import SourceError
from mmpr.sources.file_columns import recognised
from mmpr.sources.source_records import Compression
from mmpr.sources.streams import behind_blanks

_HEAD_BYTES = 64_000_000  # the text before the rows (info, licences) has a few kB
_ASKS = (
    *("question", "query", "problem", "conversations", "messages", "texts", "instruction", "question_text", "text"),
    *("question_string", "problem_text"),
)
_BLANK = re.compile(r"[\s,]*+")
# counts are bounded: a file of blanks and backslashes is searched in linear time
_KEY = re.compile(r"(\"(?:[^\"\\]|\\.){0,400}+\")\s{0,400}+:\s{0,400}+")


@dataclass(frozen=True, slots=True)
class RowsInside:
    """The byte offset at which the rows of an object start; `keyed`: rows are members, not elements of an array."""

    offset: int
    keyed: bool


def annotations_beside(path: Path) -> Path | None:
    """Find the file of answers to a file of questions, as VQA names it: `v2_mscoco_train2014_annotations.json`."""
    if "questions" not in path.name:
        return None
    name = path.name.replace("questions", "annotations")
    # the answers of VQA's open and multiple-choice questions are in one file without these words
    plain = name.replace("OpenEnded_", "").replace("MultipleChoice_", "")
    found = (path.with_name(one) for one in (plain, name))
    return next((one for one in found if one != path and one.is_file()), None)


def rows_inside(path: Path, compression: Compression | None, *, asking: Sequence[str] = _ASKS) -> RowsInside | None:
    """Find the rows of a file that is one JSON object; return None if it is JSON lines.

    Args:
        asking: keys that a row may have its question in; it has one of them.

    Raises:
        SourceError: it is one object without rows.
    """
    behind, content = behind_blanks(str(path), compression, _HEAD_BYTES)
    if not content:
        return None
    # surrogateescape: encoding gives back the same bytes, which the offset of the rows is counted in
    text = content.decode("utf-8", "surrogateescape")
    start = text.find("{")
    first, _, rest = text[start:].partition("\n")
    alone = _whole(first)
    # the first line is a whole row, so the file is JSON lines
    if alone is not None and (rest.strip() or _is_row(alone, asking)):
        return None
    for key, at in _members(text, start + 1):
        inner = re.compile(r"[\[{]\s*").match(text, at)
        if inner is None:
            continue
        if text[at] == "[":
            element = _decoded(text, inner.end())
            if isinstance(element, dict) and _is_row(element, asking):
                return RowsInside(behind + len(text[: at + 1].encode("utf-8", "surrogateescape")), keyed=False)
            if isinstance(element, dict) and {"question_id", "answers"} <= element.keys():
                raise SourceError(
                    f"{path}: has answers without questions: give the file of questions; mmpr finds this one beside it"
                )
        elif key is not None and _is_row(_decoded(text, at), asking):
            return RowsInside(behind + len(text[: start + 1].encode("utf-8", "surrogateescape")), keyed=True)
    if alone is None and not rest.strip().startswith("{") and _whole(text[start:]) is None and "\n" in text.strip():
        return None  # JSON lines with a damaged first line
    raise SourceError(f"{path}: is one JSON object without questions: write an array of rows, or one row per line")


def _whole(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_row(value: object, asking: Sequence[str]) -> bool:
    if not isinstance(value, dict):
        return False
    names = {name.lower() for name in value}
    return any(name in names for name in asking) or bool(recognised(value, "json").asked)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _members(text: str, at: int) -> Iterator[tuple[str | None, int]]:
    """Yield the keys of an object that is open at `at`, and where their values start; stop at what is no member."""
    decoder = json.JSONDecoder()
    while (key := _KEY.match(text, _after_blanks(text, at))) is not None:
        yield key[1], key.end()
        try:
            _, at = decoder.raw_decode(text, key.end())
        except (ValueError, RecursionError):
            return


def _decoded(text: str, at: int) -> object:
    try:
        return json.JSONDecoder().raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        return None
