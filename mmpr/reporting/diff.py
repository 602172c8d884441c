"""Compare two texts: runs of words that both have, and runs that only one has."""

from __future__ import annotations

import re

# A run is (only this side has it, text). Joined, the runs of a side give its text.
Runs = list[tuple[bool, str]]

# A Latin word, blanks, or one character of another script.
_WORD = re.compile(r"[A-Za-z0-9'’\u00c0-\u024f]+|\s+|.", re.DOTALL)
_MOST_WORDS = 8000  # the memory of the comparison grows with the product of both lengths
_LEAST_SHARED = 3  # shorter shared runs inside a difference ("the", ",") make it hard to read


def differing_runs(chosen: str, rejected: str) -> tuple[Runs, Runs]:
    """Return both texts as runs; equal parts are marked False.

    Args:
        chosen, rejected: of any length. In texts of more than 8,000 words, only equal beginnings and ends are found.
    """
    a, b = _WORD.findall(chosen), _WORD.findall(rejected)
    blocks = _blocks(a, b) if max(len(a), len(b)) <= _MOST_WORDS else _ends(a, b)
    left: Runs = []
    right: Runs = []
    # What is between two shared blocks differs; the empty block at the end closes the last difference.
    i = j = 0
    for start_a, start_b, size in [*blocks, (len(a), len(b), 0)]:
        _add(left, True, a[i:start_a])
        _add(right, True, b[j:start_b])
        i, j = start_a + size, start_b + size
        _add(left, False, a[start_a:i])
        _add(right, False, b[start_b:j])
    return left, right


def _add(runs: Runs, differs: bool, words: list[str]) -> None:
    if words:
        runs.append((differs, "".join(words)))


def _blocks(a: list[str], b: list[str]) -> list[tuple[int, int, int]]:
    from rapidfuzz.distance import Indel

    # insertions and deletions only, so that a changed word is shown on both sides
    equal = [op for op in Indel.opcodes(a, b) if op.tag == "equal"]
    blocks = [(op.src_start, op.dest_start, op.src_end - op.src_start) for op in equal]
    return [block for block in blocks if _is_shared(block, a, b)]


def _is_shared(block: tuple[int, int, int], a: list[str], b: list[str]) -> bool:
    """Whether a shared run is shown as shared: always at the beginning or end, otherwise only if it is long enough."""
    start_a, start_b, size = block
    at_an_end = (start_a == 0 and start_b == 0) or (start_a + size == len(a) and start_b + size == len(b))
    return at_an_end or sum(not word.isspace() for word in a[start_a : start_a + size]) >= _LEAST_SHARED


def _ends(a: list[str], b: list[str]) -> list[tuple[int, int, int]]:
    limit = min(len(a), len(b))
    head = next((k for k in range(limit) if a[k] != b[k]), limit)
    # behind the head only: `a a` in `a a a` must not be both the common beginning and the common end
    tail = next((k for k in range(limit - head) if a[-1 - k] != b[-1 - k]), limit - head)
    return [(0, 0, head), (len(a) - tail, len(b) - tail, tail)]
