"""Separate the thoughts of a response from the answer after them, in token ids or in a text. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from mmpr.engines.families import ThoughtMarks
from mmpr.errors import RequestRefused
from mmpr.types import Reason

# Only so many first tokens are decoded to look for the start mark. Harmony's mark alone has several tokens, and spaces
# may precede it.
_HEAD_TOKENS = 64


def split_ids(
    ids: Sequence[int],
    marks: ThoughtMarks,
    *,
    is_open: bool,
    decode: Callable[[Sequence[int]], str],
    end_id: int | None = None,
) -> tuple[str | None, int]:
    """Separate the thoughts at the beginning of a response from its answer, by token ids.

    Args:
        is_open: whether the prompt has already opened the thoughts.
        decode: token ids -> text, with special tokens.
        end_id: the id of the end mark, if the mark is a single token; None: the mark is searched in the text.

    Returns:
        The thoughts without marks, and the number of ids of thoughts, marks and the spaces after them; (None, 0) if
        the response does not begin with thoughts. Thoughts that are not closed take all ids.

    Raises:
        RequestRefused: one token contains the end of the thoughts and the beginning of the answer.
    """
    if not is_open and not decode(ids[:_HEAD_TOKENS]).lstrip().startswith(marks.start):
        return None, 0
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
    """Return the thoughts at the beginning of a text and the text after them, which is empty if they are not closed.

    The thoughts are None if the text does not begin with any.
    """
    thoughts = _inner(text, marks, is_open=is_open)
    if thoughts is None:
        return None, text
    return thoughts, text.rpartition(marks.end)[2].lstrip() if _is_closed(text, marks) else ""


def _inner(text: str, marks: ThoughtMarks, *, is_open: bool) -> str | None:
    """Return the thoughts without the marks around them; None if the text does not begin with any."""
    begun = text.lstrip()
    if not begun.startswith(marks.start) and not is_open:
        return None
    inner = begun.removeprefix(marks.start)
    return (inner.rpartition(marks.end)[0] if _is_closed(text, marks) else inner).strip()


def _is_closed(text: str, marks: ThoughtMarks) -> bool:
    """Whether the last thoughts are closed, so that an answer may follow.

    Models nest thoughts and think again after an answer began: `<think>a</think> b <think>c` is not closed.
    """
    _, end, answer = text.rpartition(marks.end)
    return bool(end) and marks.start not in answer
