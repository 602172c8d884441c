"""Read the closing sentence of a response without a stated answer; it counts if it restates the question.

`Therefore, the perimeter of the square is 16 m.` answers `What is the perimeter of the square?`. The last number of a
text is never an answer for being last.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mmpr.judging import guards
from mmpr.judging.answer_head import without_boilerplate
from mmpr.judging.cues import stem
from mmpr.judging.prose import STOP

_MAX_CLOSING_CHARS = 600
_MAX_SENTENCE_CHARS = 240
_COURTESY = re.compile(
    r"\s{0,8}(?:i hope (?:this|that|it)[^.!?\n]{0,120}|let me know[^.!?\n]{0,120}"
    r"|is there anything else[^.!?\n]{0,120}|feel free[^.!?\n]{0,120}"
    r"|please let me[^.!?\n]{0,120}|if you have[^.!?\n]{0,120}|this answers[^.!?\n]{0,120})[.!?]\s{0,8}$",
    re.I,
)
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s{1,8}(?=[A-Z*$\\])|\n+")
_OPENING = re.compile(
    r"\W{0,8}(?:(?:therefore|thus|so|hence|in conclusion|finally|overall|as a result)\b[,\s]{0,3})?", re.I
)
_VALUE = re.compile(
    r"(?P<value>[-+]?\s?[$€£¥]?\s?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s?(?:%|°|percent\b|degrees\b|million\b|billion\b|thousand\b)?)"
)
# `The vehicle is a truck`: the words before the verb are the question's, those after it are the answer.
SUBJECT = re.compile(
    r"((?:[A-Za-z'-]{1,20} ){1,8})(?:is|are|was|were) (?!wrong|incorrect|right|correct|not\b)(?=\W{0,4}\w)"
)
_WORD = re.compile(r"[a-z]{1,40}(?:'[a-z]{1,8})?")
_LOOSE_TEXT = """
therefore thus so hence total about approximately exactly equal equals will would be have has had
number amount value
what which how many much who when where find question
"""
_LOOSE = STOP | frozenset(_LOOSE_TEXT.split())
_UNIT_HINT = re.compile(r"\(units?:[^()\n]{0,40}\)")
# `is 3 cm + 3 cm = 9 cm`: the steps before the value.
_TERM = r"\$?\d[\d.,]{0,12}\s?(?:[a-z]{1,3}\b)?"
_STEPS = re.compile(rf"\s{_TERM}(?:\s?[-+*/×÷]\s?{_TERM}){{1,12}}\s?=\s?", re.I)
_BLANK = re.compile(r"\(_{1,8}\)|_{2,10}")


class Closing(NamedTuple):
    """A value, its sentence, and whether that says two thirds of what the question asks: else it may be a step."""

    value: str
    sentence: str
    whole: bool


def closing_value(response: str, question: str) -> Closing | None:
    """Return the value of the closing sentence if the question contains all its other words, or None.

    Args:
        question: its text in lower case.
    """
    asked = _asking(question)
    sentence = _closing(response)
    if not sentence or not asked or len(sentence) > _MAX_SENTENCE_CHARS or guards.refuses(sentence.casefold()):
        return None
    if _doubted(sentence):
        return None
    known = {word for said in _WORD.findall(question) for word in (said, stem(said))}
    wanted = {stem(word) for word in _WORD.findall(asked) if word not in _LOOSE}
    found = list(_VALUE.finditer(sentence))
    stated = SUBJECT.match(sentence) if not found else None
    if len(found) != 1 and stated is None:
        return None
    start, end = found[0].span() if stated is None else (stated.end(), len(sentence))
    rest = sentence[:start] + " " + sentence[end:]
    said = [word for word in _WORD.findall(rest.casefold()) if word not in _LOOSE]
    if not all(word in known or stem(word) in known for word in said):
        return None
    shared = wanted & {stem(word) for word in said}
    bare = sentence[start:end].strip()
    given = asked if len(shared) >= 2 else question
    # a value of the question is no answer
    fresh = stated is not None or re.search(rf"(?<![\d.]){re.escape(bare)}(?![\d.])", given) is None
    enough = len(set(said)) >= (2 if stated is None else 1)
    return Closing(bare, sentence, 3 * len(shared) >= 2 * len(wanted)) if shared and enough and fresh else None


def _asking(question: str) -> str:
    """Return the last sentence of the question, or the one with a blank to fill."""
    plain = _UNIT_HINT.sub(" ", _BLANK.sub(" ", question))
    parts = [part for part in re.split(r"(?<=[.?!])\s|\n", plain) if part.strip(" .?!")]
    return parts[-1] if parts else ""


def _closing(response: str) -> str:
    text = response[-_MAX_CLOSING_CHARS:].strip()
    for _ in range(4):
        shorter = _COURTESY.sub("", without_boilerplate(text)).strip()
        if shorter == text:
            break
        text = shorter
    sentence = _STEPS.sub(" ", _SENTENCE.split(text)[-1][-_MAX_SENTENCE_CHARS:])
    return _OPENING.sub("", sentence, count=1).replace("*", "").strip()


def _doubted(sentence: str) -> bool:
    low = sentence.casefold()
    return guards.negated(low) or guards.soft(low) or guards.bounded(low) or guards.alternatives(low)
