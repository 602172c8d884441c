"""Text of models and sources, made harmless for whoever looks at it on a page, in a card or in a terminal."""

from __future__ import annotations

import re

# What steers a terminal (C0 but line feed and tab, DEL, C1 with its one-character CSI), turns the order of reading
# (bidi embeddings, overrides, isolates), breaks lines where nobody sees it, is not seen at all, or cannot be written
# (surrogates). Joiners and direction marks stay: Persian, Indic scripts and emoji are spelt with them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""The text with every character that would act, or hide, shown as its escape: `\x1b`, `\u202e`, `\U000e0041`."""
    return _STEERING.sub(_escape, text)


def visible_line(text: object) -> str:
    """The same as one line, for headings, tables and messages."""
    return visible(" ".join(str(text).split()))


def visible_json(text: str) -> str:
    """JSON text that says the same and steers nothing; outside of strings it has none of these characters."""
    return _STEERING.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
