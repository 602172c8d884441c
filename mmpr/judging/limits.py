"""Limits that no honest final answer exceeds, whatever its kind; larger texts are refused before they are read."""

from __future__ import annotations

import re

# A longer answer line is no answer: it is not given to the readers, whose work grows with it.
MAX_ANSWER_CHARS = 2_000
# Deeper brackets are no answer; the readers recurse or loop over them.
MAX_NESTING = 40
_OVERSIZED = re.compile(
    r"\d[\s)}]*(?:\^|\*\*)[\s({]*\d+[\s)}]*(?:\^|\*\*)"  # 10^{10^{10}}, 9**9**9
    r"|(?:\^|\*\*)[\s({]*[-+]?\d{5,}"  # 2^99999
    r"|\d{4,}\s*!|![\s)}]*!"  # 1000000!, (9!)!
    r"|\d[eE][-+]?\d{4,}"  # 1e99999
    r"|\d{61}"
)


def oversized(text: str) -> bool:
    """Whether the text is too long, too deep, or contains a number that is too large to write out."""
    return len(text) > MAX_ANSWER_CHARS or nesting(text) > MAX_NESTING or _OVERSIZED.search(text) is not None


def nesting(text: str) -> int:
    """Return the depth of the text's brackets of any kind; 0 for a text that cannot be too deep."""
    if len(text) <= MAX_NESTING:  # too short to matter, as most answers are
        return 0
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest
