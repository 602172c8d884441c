"""Make text of models and sources safe to show on a page, in a card or in a terminal."""

from __future__ import annotations

import re

# Characters that control a terminal (C0 without line feed and tab, DEL, C1 with its one-character CSI), change the
# reading direction (bidi embeddings, overrides, isolates), break lines invisibly, are invisible, or cannot be encoded
# (surrogates). Joiners and direction marks stay: Persian, Indic scripts and emoji need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Replace every control or invisible character by its escape: `\x1b`, `\u202e`, `\U000e0041`."""
    return _STEERING.sub(_escape, text)


def visible_line(text: object) -> str:
    """Do the same and join lines to one, for headings, tables and messages."""
    return visible(" ".join(str(text).split()))


def visible_json(text: str) -> str:
    """Escape these characters in JSON text; they occur only inside strings, so the JSON keeps its meaning."""
    return _STEERING.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
