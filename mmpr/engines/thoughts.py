"""Separate the thoughts of a response from the answer after them, in token ids or in a text. Pure.

The thoughts end at the last end mark, wherever they begin: models leave out the start mark (`So 4.</think>Four`) or
begin to think after some words. A start mark after the last end mark means that the thoughts are not closed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from mmpr.engines.families import marks_in
from mmpr.errors import RequestRefused
from mmpr.thought_marks import ThoughtMarks
from mmpr.types import Reason


def split_ids(
    ids: Sequence[int],
    marks: ThoughtMarks,
    *,
    is_open: bool,
    decode: Callable[[Sequence[int]], str],
    end_id: int | None = None,
) -> tuple[str | None, int]:
    """Separate the thoughts of a response from its answer, by token ids.

    Args:
        is_open: whether the prompt has already opened the thoughts.
        decode: token ids -> text, with special tokens.
        end_id: the id of the end mark, if the mark is a single token; None: the mark is searched in the text.

    Returns:
        The thoughts without marks, and the number of ids of thoughts, marks and the spaces after them; (None, 0) if
        the response has no mark of thoughts. Thoughts that are not closed take all ids.

    Raises:
        RequestRefused: one token contains the end of the thoughts and the beginning of the answer.
    """
    whole = decode(ids)
    thoughts = _inner(whole, marks, is_open=is_open)
    if thoughts is None:
        return None, 0
    if not _is_closed(whole, marks):
        return thoughts, len(ids)
    n_ends = whole.count(marks.end)
    if end_id is not None and list(ids).count(end_id) == n_ends:
        n_ids = len(ids) - list(ids)[::-1].index(end_id)
    else:
        holds_all = lambda n: decode(ids[:n]).count(marks.end) == n_ends  # noqa: E731
        n_ids = bisect_left(range(1, len(ids) + 1), True, key=holds_all) + 1
    if decode(ids[:n_ids]).rpartition(marks.end)[2].strip():
        raise RequestRefused(Reason.ENGINE_REFUSED, f"one token has {marks.end} and text after it")
    while n_ids < len(ids) and not decode(ids[n_ids : n_ids + 1]).strip():
        n_ids += 1
    return thoughts, n_ids


def split_text(text: str, marks: ThoughtMarks, *, is_open: bool) -> tuple[str | None, str]:
    """Return the thoughts of a text and the text after them, which is empty if they are not closed.

    The thoughts are None if the text has no mark of any.
    """
    thoughts = _inner(text, marks, is_open=is_open)
    if thoughts is None:
        return None, text
    return thoughts, text.rpartition(marks.end)[2].lstrip() if _is_closed(text, marks) else ""


def split_given(text: str) -> tuple[str | None, str]:
    """Separate a text that a file gives, by the marks of any family; only thoughts at its beginning count as such.

    A file's text may quote a mark; a response of an engine may not.
    """
    marks = marks_in(text)
    return split_text(text, marks, is_open=False) if text.lstrip().startswith(marks.start) else (None, text)


def _inner(text: str, marks: ThoughtMarks, *, is_open: bool) -> str | None:
    """Return the thoughts without the marks around them; None if the text has no mark of any."""
    if not is_open and marks.start not in text and marks.end not in text:
        return None
    inner = text.lstrip().removeprefix(marks.start)
    return (inner.rpartition(marks.end)[0] if _is_closed(text, marks) else inner).strip()


def _is_closed(text: str, marks: ThoughtMarks) -> bool:
    """Whether the last thoughts are closed, so that an answer may follow.

    Models nest thoughts and think again after an answer began: `<think>a</think> b <think>c` is not closed.
    """
    _, end, answer = text.rpartition(marks.end)
    return bool(end) and marks.start not in answer
