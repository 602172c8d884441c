"""Compare yes and no, true and false, in English and Chinese."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging import guards
from mmpr.judging.closed_classes import opposed
from mmpr.judging.cues import Cues, stem
from mmpr.judging.prose import HAN
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect

_YES_TEXT = """
yes yep yeah yup true correct right affirmative sure indeed absolutely certainly definitely
"""
_YES = frozenset(_YES_TEXT.split())
_NO = frozenset(["no", "nope", "nah", "false", "incorrect", "wrong", "negative"])
_YES_HAN = ("没错", "是的", "对的", "正确", "可以", "是", "对", "有", "会", "能", "真", "存在")
_NO_HAN = ("无", "不是", "不对", "不正确", "不可以", "不会", "不能", "没有", "错误", "错", "否", "不", "假", "并非")
_AFFIRMATIONS_TEXT = "yes true y t correct right 是 对 正确 是的 对的 √ 有 会 能 可以"
_DENIALS_TEXT = "no false n f incorrect wrong 否 错 错误 不是 不对 × 不正确 没有 不会 不能 不可以"
_REFERENCES = dict.fromkeys(_AFFIRMATIONS_TEXT.split(), True) | dict.fromkeys(_DENIALS_TEXT.split(), False)
_FIRST = re.compile(
    r"^\W{0,8}(?:(?:so|thus|therefore|hence|well|the (?:correct |final )?answer(?: is)?|answer|it(?:'s| is)|that"
    r"(?:'s| is)|this is|the statement is|i (?:think|believe|would say))[\s,:]+)*([a-z]{1,40})\b(.*)$",
    re.S,
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|cannot|isn't|aren't|doesn't|don't|didn't|wasn't|weren't|can't|won't|neither|without)\b|n't\b"
)
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?")
_QUANTIFIERS = re.compile(r"\b(?:all|both|only|every|each|always)\b")
_PLAIN_TEXT = """
a an the is are was were it its they them he she this that there do does did not no never cannot can't isn't
aren't doesn't don't didn't wasn't weren't can could will would has have had be been to of in on at and any all
so
"""
_PLAIN = frozenset(_PLAIN_TEXT.split())
_THERE = re.compile(
    r"\W{0,4}(?:is|are|was|were) there ((?:(?!\b(?:in|on|at|of|near|behind|under|above|below|next|to|left|right|with"
    r"|that|which|who|anywhere|visible|between|beside|inside|outside|among)\b)[^?.]){0,200})"
)
_NAMED_A = re.compile(r"[a-z] A\b")  # `circle A`


@dataclass(frozen=True, slots=True)
class YesNo:
    """A reference that is yes or no."""

    yes: bool
    question: str
    negative_question: bool
    digits: bool = False  # the reference is 0 or 1
    kind: str = "yes_no"

    def compare(self, answer: str) -> Ruling:
        """Compare by the first word, if nothing after it says the opposite."""
        low = answer.casefold().strip()
        if self.digits and (number := re.fullmatch(r"([01])(?:\.0+)?", low)) is not None:
            low = "yes" if number.group(1) == "1" else "no"
        if _DENIED.search(low) is not None:
            return ambiguous(Rule.NEGATED)
        if not low.isascii() and guards.refuses(low):
            return incorrect(Rule.REFUSAL)
        said, rest = _first_word(low)
        if said is not None:
            if _contradicts(said, rest):
                return ambiguous(Rule.YES_NO_CONFLICT)
            if guards.soft(low):
                return ambiguous(Rule.SOFT)
            return correct(Rule.YES_NO) if said == self.yes else different(Rule.YES_NO)
        if guards.refuses(low):
            return incorrect(Rule.REFUSAL)
        if guards.alternatives(low):
            return incorrect(Rule.SEVERAL)
        spoken = self._sentence(low)
        if spoken is not None:
            return correct(Rule.YES_NO_SENTENCE) if spoken == self.yes else different(Rule.YES_NO_SENTENCE)
        if re.fullmatch(r"[01](?:\.0+)?", low):  # a code for no and yes, if the reference is not written like that
            return ambiguous(Rule.YES_NO)
        if low in ("none", "nothing", "n/a", "neither", "both", "maybe") or re.fullmatch(r"[\W\d]+", low):
            return incorrect(Rule.YES_NO)
        return ambiguous(Rule.YES_NO_SENTENCE) if len(low.split()) > 2 else incorrect(Rule.YES_NO)

    def normal(self, answer: str) -> str | None:
        low = answer.casefold().strip()
        said, _ = _first_word(low)
        said = said if said is not None else self._sentence(low)
        return None if said is None else ("yes" if said else "no")

    def show(self) -> str:
        return "yes" if self.yes else "no"

    def _sentence(self, low: str) -> bool | None:
        """Read `They do not cross`: a denial or affirmation in words of the question."""
        if HAN.search(low) is not None:
            return self._sentence_han(low)
        question = self.question.casefold()
        plain = _PLAIN - {"a"} if _NAMED_A.search(self.question) is not None else _PLAIN
        words = [w for w in _WORD.findall(low) if w not in plain]
        whole = set(_QUANTIFIERS.findall(question)) <= set(_QUANTIFIERS.findall(low))
        if all(word[0].isdigit() for word in words) or self.negative_question or not whole:
            return None
        asked = _WORD.findall(question)
        denied = _NEGATION.search(low) is not None
        for i, word in enumerate(words):  # `The door is closed.`
            if word not in asked and (opposite := next((w for w in asked if opposed(word, w)), None)) is not None:
                words[i], denied = opposite, not denied
        compared, than, _ = question.partition(" than ")
        there = _THERE.match(question)  # `a square` says nothing about a purple one
        compared = there[1] if there is not None else compared
        needed = {w for w in _WORD.findall(compared) if w not in plain} if than or there is not None else set()
        if not needed <= set(words):  # that more people prefer coffee does not answer about tea
            return None
        words, asked = [*map(stem, words)], [*map(stem, asked)]
        known = [word for word in words if word in asked]
        left = iter(asked)
        if len(known) * 2 <= len(words) or not all(word in left for word in known):  # B is taller than A
            return None
        return not denied if denied or len(known) == len(words) else None

    def _sentence_han(self, low: str) -> bool | None:
        """Read `小明不比小红高`: the question's own characters, with or without a denial."""
        said = [c for c in low if HAN.match(c) is not None and c not in "不没有的了着是"]
        if len(said) < 2 or self.negative_question or not all(c in self.question for c in said):
            return None
        return re.search("[不没]", low) is None


# `It is not no`: the meaning is unclear.
_DENIED = re.compile(r"\W{0,4}(?:(?:it|that|this) )?(?:is |can ?|should )?not (?:be )?(?:yes|no)\b")


def _first_word(low: str) -> tuple[bool | None, str]:
    for words, said in ((_NO_HAN, False), (_YES_HAN, True)):
        for word in words:
            if low.startswith(word):
                return said, low[len(word) :]
    found = _FIRST.match(low)
    if found is None:
        return None, low
    word, rest = found.group(1), found.group(2)
    if (
        word == "not"
        and (found := re.match(r"\s{1,4}(true|correct|right|false|incorrect|wrong)\b(.*)$", rest)) is not None
    ):
        return found.group(1) in _NO, found.group(2)
    if word == "of" and rest.startswith(" course"):
        return True, rest
    if (
        word in ("right", "correct", "sure", "wrong")
        and re.match(r"\s{1,4}[a-z]", rest)
        and not re.match(r"\s{1,4}(?:because|since|as)\b", rest)
    ):
        return None, low
    if (
        word == "no"
        and re.match(r"\s{1,4}[a-z]{1,40}", rest)
        and not re.match(r"\s{1,4}(?:it|they|there|he|she|the|this|that|because|since|as)\b", rest)
    ):
        return (None, low) if re.match(r"\s{1,4}(?:answer|idea|way|information)\b", rest) else (False, rest)
    return (True if word in _YES else False if word in _NO else None), rest


_OPPOSITE_OF_YES = re.compile(
    r"\b(?:no|nope|false|incorrect|wrong)\b|^[\s,.;]*(?:and|but|or)?\s{0,4}(?:it|they|this|that|there|he|she)?\s{0,4}"
    r"(?:is|are|does|do|did|can|was|were|will|has|have)?\s{0,4}(?:not\b|n't\b|cannot)|^[\s,]*(?:it|they|he"
    r"|she)?\s{0,4}\w{1,40}n't\b|不是|不对|否|没有"
)
_OPPOSITE_OF_NO = re.compile(
    r"\b(?:yes|yep|yeah|true)\b|^[\s,.;]*(?:it|they|he|she|this|that|there)\s{1,4}(?:is|are|does|do|did|can|was"
    r"|were|will|has|have)\s{0,4}$|是的|对的"
)


def _contradicts(said: bool, rest: str) -> bool:
    if re.match(
        r"\s{0,4}(?:is|would be|can't be|cannot be)\s{1,4}(?:wrong|incorrect|false|right|not|impossible)", rest
    ):
        return True
    if re.search(r"^\s{0,4}(?:/|,)?\s{0,4}(?:or|and|或)?\s{0,4}/?\s{0,4}\b(?:yes|no)\b", rest):
        return True
    return (_OPPOSITE_OF_YES if said else _OPPOSITE_OF_NO).search(rest) is not None


# Yes and no only where the question asks for one of the two.
_ANSWERS_ONLY_TEXT = "right correct wrong incorrect 有 没有 会 不会 能 不能 可以 不可以"
_ANSWERS_ONLY = frozenset(_ANSWERS_ONLY_TEXT.split())
_SPOKEN = re.compile(r"(yes|no)[,.;] (?:it|they|he|she|there|the|this|that|these|those|you|we|i)\b")


def compile_yes_no(text: str, cues: Cues, *, forced: bool) -> YesNo | None:
    """Compile the reference as yes or no, or None; `t` and `f` count only if the source says so."""
    low = text.casefold().strip(" .,!。")
    negative = cues.has(_NEGATION)
    if low in ("0", "1") and cues.yes_no() and not cues.count():
        return YesNo(low == "1", cues.text, negative, digits=True)
    if (spoken := _SPOKEN.match(low)) is not None and cues.yes_no() and " or " not in cues.low:
        low = spoken[1]  # `Yes, it is` where the question asks for no more
    if low not in _REFERENCES or (len(low) == 1 and low in "ytnf√×" and not forced):
        return None
    asked = cues.yes_no() and " or " not in cues.low  # `Is it left or right?`
    if low in _ANSWERS_ONLY and not (forced or asked):
        return None
    return YesNo(_REFERENCES[low], cues.text, negative)
