"""Normalise notation: width, markdown, quotes, LaTeX markup. This module does not know the reference answer."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mmpr.judging.tables import meanings

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_VULGAR_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_BEFORE_NFKC = str.maketrans({"º": "°", "˚": "°", "´": "'", "…": "..."})
_AFTER_NFKC = str.maketrans(
    {
        **dict.fromkeys("−–‐‑‒﹣", "-"),
        **dict.fromkeys("“”„‟«»", '"'),
        **dict.fromkeys("‘’‚‛", "'"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f", ""),
        "⁄": "/",
        "∕": "/",
        "∶": ":",
        "⋅": "·",
        "∙": "·",
        "•": "·",
        "∗": "*",
        "≦": "≤",
        "≧": "≥",
        "⩽": "≤",
        "⩾": "≥",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)
_FOLDED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻¼-¾⅐-⅞" + "".join(map(chr, _BEFORE_NFKC)) + "]")
_FOLDED_AFTER = re.compile("[" + "".join(map(chr, _AFTER_NFKC)) + "]")


# LaTeX that was escaped twice on its way here; a row of a matrix ends in two backslashes as well, before no command.
_TWICE_ESCAPED = re.compile(
    r"(?<!\\)\\\\(?=(?:[dt]?frac|sqrt|text|mathrm|mathbf|boxed|pi|cdot|infty|cup|cap|left|right|times|pm|circ|theta|alpha"
    r"|leq?|geq?|begin|end|log|ln|sin|cos|tan)(?![a-z]))"
)


_DASHED = re.compile(r"(?<=\d)\s?—\s?(?=\d)")  # `1999—2004`


def fold(text: str) -> str:
    """Apply NFKC, but keep what NFKC breaks: superscripts stay exponents, `2½` stays two and a half."""
    if "\\\\" in text:
        text = _TWICE_ESCAPED.sub(r"\\", text)
    if text.isascii():
        return text
    if "—" in text:
        text = _DASHED.sub("-", text)
    if _FOLDED.search(text) is not None:
        text = _SUPERSCRIPTS.sub(lambda run: "^{" + run.group().translate(_SUPERSCRIPT) + "}", text)
        text = _VULGAR_AFTER_DIGIT.sub(" ", text).translate(_BEFORE_NFKC)
    text = unicodedata.normalize("NFKC", text)
    return text.translate(_AFTER_NFKC) if _FOLDED_AFTER.search(text) is not None else text


# `9**9` is a power: stars are bold only if one of their sides has no word character.
_BOLD = re.compile(r"(?<![A-Za-z0-9)*])\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?![A-Za-z0-9(*])|(?<!\w)__(?=\w)|(?<=\w)__(?!\w)")
_FORM = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|hbox|operatorname|emph|bm|ce)\s{0,4}\{"
)
_COMMAND = re.compile(r"\\([a-zA-Z]{1,40}|.)[*]?")
_SPACED_THOUSANDS = re.compile(r"(?<=\d),\\!\s?(?=\d{3})")
_DEGREE = re.compile(r"\^\s{0,4}\{?\s{0,4}(?:\\circ|\\degree|∘|°)\s{0,4}\}?")
_EMPTY_SET = re.compile(r"\\\{\s{0,4}\\\}|\\(?:emptyset|varnothing)(?![a-zA-Z])")
_BLANK_TEXT = "quad qquad space enspace thinspace"
_NOTHING_TEXT = "! left right ( ) [ ] displaystyle big Big bigl bigr limits therefore boldsymbol"
_SYMBOLS = {
    **meanings("latex commands"),
    **dict.fromkeys((",", ";", ":", " ", *_BLANK_TEXT.split()), " "),
    **dict.fromkeys(_NOTHING_TEXT.split(), ""),
    **{sign: sign for sign in "{}|%#&_"},
    "lbrack": "[",
    "to": " to ",
    "land": " and ",
    "lor": " or ",
    "$": "\x00",
    "\\": " ; ",
}


def _command(found: re.Match[str]) -> str:
    return _SYMBOLS.get(found.group(1), found.group())


def brace_end(text: str, start: int) -> int:
    """Return the index of the brace that closes the one at `start`, or -1."""
    depth = 0
    for index in range(start, len(text)):
        char = text[index]
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1


def _unwrap_forms(text: str) -> str:
    """Turn `\\text{cm}` into ` cm`; a few rounds are enough for any honest nesting."""
    for _ in range(12):
        found = _FORM.search(text)
        if found is None:
            return text
        end = brace_end(text, found.end() - 1)
        if end < 0:
            return text
        text = text[: found.start()] + text[found.end() : end] + text[end + 1 :]
    return text


def plain_latex(text: str) -> str:
    """Remove LaTeX markup; keep what carries meaning (`\\frac`, `\\sqrt`, functions, Greek letters)."""
    text = text.replace("{,}", ",")
    if "\\" in text:
        text = _EMPTY_SET.sub("∅", text)
        text = _DEGREE.sub("°", _unwrap_forms(text))
        text = _SPACED_THOUSANDS.sub(",", text)
        text = text.replace("\\mathbb{R}", "ℝ").replace("\\mathbb R", "ℝ").replace("~", " ")
        text = _COMMAND.sub(_command, text)
    if "$" in text:
        text = _undollar(text)
    return text.replace("\x00", "$") if "\x00" in text else text


_MATH = re.compile(r"\$\$?([^$]*)\$\$?")


def _undollar(text: str) -> str:
    """Remove dollars of mathematics: `$5$` is mathematics, `$5` is money."""
    return _MATH.sub(r"\1", text)


_QUOTES = {'"': '"', "'": "'", "「": "」", "『": "』", "《": "》", "`": "`"}
_TRAILING = " \t\r\n.。,，;；"
_FACTORIAL = re.compile(r"(?:[\d)!]|(?<![A-Za-z])[a-z])!$")  # `5!` is 120, `B!` is an exclamation
_PAIRED_TAG = re.compile(r"^<(answer|ans|b|i|strong|em)>(.*?)(?:</\1>)?$", re.IGNORECASE | re.DOTALL)


def trim(text: str) -> str:
    """Remove what surrounds an answer: blanks, quotes, final dots, a pair of tags."""
    for _ in range(20):  # no honest answer has more layers
        before = text
        text = text.strip().rstrip(_TRAILING)
        if text.endswith("!") and _FACTORIAL.search(text) is None:
            text = text[:-1]
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
            text = text[1:-1]
        if text.startswith("<") and (tag := _PAIRED_TAG.match(text)):
            text = tag.group(2)
        if text == before:
            break
    return text


_PICTOGRAPHS = re.compile("[\U0001f000-\U0001faff\ufe0f\u20e3✅✔☑]")
_LINK = re.compile(r"\[([^\[\]]{1,200})\]\((?:https?:|www\.|mailto:)[^()\s]{1,300}\)")
_LOOSE_DOT = re.compile(r" ([.])(?= |$)")  # `\boxed{5} .`


def clean(text: str) -> str:
    """Remove markdown, width, quotes and LaTeX markup from an answer or reference; keep case and inner words."""
    text = fold(text)
    if "*" in text or "_" in text:
        text = _BOLD.sub("", text)
    if "`" in text:
        text = text.replace("`", "")
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    text = plain_latex(text)
    if not text.isascii() and (worded := _PICTOGRAPHS.sub("", text)).strip(" .,"):  # `Paris 🇫🇷`
        text = worded
    text = " ".join(trim(text).split())
    return _LOOSE_DOT.sub(r"\1", text) if " ." in text else text


_WORDS = re.compile(r"[a-z]+")


@lru_cache(maxsize=512)
def latin_words(text: str) -> frozenset[str]:
    """Return the runs of Latin letters in lower case: which patterns of words can match at all."""
    return frozenset(_WORDS.findall(text.lower()))


@lru_cache(maxsize=256)
def cleaned(answer: str) -> str:
    """`clean` of one answer line with a cache: extraction and the readers ask for the same line in turn."""
    return clean(answer)
