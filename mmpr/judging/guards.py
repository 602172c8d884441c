"""Detect what makes an answer no answer, whatever its kind: several candidates, bounds, negations, refusals."""

from __future__ import annotations

import re
from functools import lru_cache

from mmpr.judging.clean import latin_words

# A text of only these characters and without these words cannot match any pattern of this module.
_UNSUSPECTED = re.compile(r"^[\w $%.,:;/()\[\]\\{}^|\"=*°π√·×-]*+$", re.A)
_GUARD_WORDS_TEXT = """
n na no nobody none nothing not nor never neither cannot unable impossible hard difficult fail failed unknown unclear
unanswerable indeterminate undetermined undeterminable undecidable inconclusive illegible unreadable insufficient lack
lacks sorry apologise apologize more most least less fewer greater larger smaller higher lower over under above below
exceed exceeds beyond up upwards minimum maximum almost nearly just without except excluding other anything rather
longer probably possibly maybe perhaps likely might could may seem seems appear appears presumably guess guessing or
either versus vs between from to range instead opposed wrong incorrect false untrue unsure uncertain before after until
till by since later earlier prior
"""
_GUARD_WORDS = frozenset(_GUARD_WORDS_TEXT.split())


@lru_cache(maxsize=256)
def harmless(text: str) -> bool:
    """Whether no guard of this module can match the text, as in most answers."""
    return _UNSUSPECTED.match(text) is not None and _GUARD_WORDS.isdisjoint(latin_words(text))


_REFUSAL = re.compile(
    r"\b(?:can ?not|can't|could not|couldn't|unable to|not able to|impossible to|not possible to|hard to"
    r"|difficult to|fail(?:ed)? to)\s{1,4}"
    r"(?:be\s{1,4}|accurately\s{1,4}|reliably\s{1,4}|clearly\s{1,4}|definitively\s{1,4}){0,4}(?:determine|tell|identif|see|read|answer"
    r"|say|know|find|infer|conclude|view|made|make out|decid|calculat|discern|confirm|provide|assist|help"
    r"|count)\w{0,40}"
    r"|\b(?:unknown|unclear|unanswerable|indeterminate|undetermined|undeterminable|undecidable|inconclusive"
    r"|illegible|unreadable)\b"
    r"|^n/?a$|^n\.a$|\bnot (?:sure|certain|known|visible|shown|provided|specified|given|available|applicable"
    r"|answerable|clear|mentioned|stated|legible|readable|determinable|enough|sufficient)\b"
    r"|\b(?:no answer|no idea|i don't know|i do not know|don't know|do not know)\b|\binsufficient\b|\blacks? "
    r"(?:of )?(?:enough|sufficient)\b"
    r"|\b(?:sorry|apologi[sz]e)\b|\bno (?:image|picture|information|data|visible)\b|\bmore information "
    r"(?:is )?needed\b|\bdoes not (?:say|show|provide|specify|contain)\b"
    r"|无法|不能(?:确定|判断|得知|看|辨)|不确定|不知道|看不清|看不到|信息不足|未知|不清楚|没有足够|不详|抱歉"
    r"|难以(?:确定|判断|辨认)|条件不足"
)
_BOUND = re.compile(
    r"\bat (?:least|most)\b|\b(?:no )?(?:more|less|fewer|greater|larger|smaller|higher|lower) than\b|\b(?:over"
    r"|under|above|below|exceeds?|beyond|up to|upwards of|minimum of|maximum of|not (?:more|less))\b"
    r"(?= *[\d$€£≈-])"
    r"|(?<=[\d%])\s{0,4}(?:or (?:more|less|fewer|above|below|over|under|higher|lower|so)|and (?:above|below|up"
    r"|over))\b|(?<=\d)\+(?=\s{0,4}$|\s{1,4}[a-z])|^[<>≤≥]|^(?:almost|nearly|just (?:over|under))\b"
    r"|至少|至多|最少(?=\d)|最多(?=\d)|超过|不到|多于|少于|大于|小于|不少于|不超过|以上|以下|将近|接近"
)
_NEGATED = re.compile(
    r"\b(?:not|never|neither|nor|without|except|excluding|other than|anything but|rather than)\b|n't\b"
    r"|\bno longer\b|不是|并非|并不|而非|不为|不等于|没有|非(?=[A-Z])|除了|≠|!="
)
_SOFT = re.compile(
    r"\b(?:probably|possibly|maybe|perhaps|(?<!most )likely|might be|could be|may be|seems? (?:to be|like)"
    r"|appears? to be|presumably|my guess|i guess)\b|可能|也许|大概是|或许|似乎|好像|\?$"
)
_OR = re.compile(r"\bor\b|\beither\b|\band/or\b|或者|或|还是|\bversus\b|\bvs\b")
_RANGE = re.compile(
    r"\bbetween\b.{0,60}\band\b|\bfrom\b.{0,60}?\d.{0,60}?\bto\b.{0,60}?\d|(?<=\d)[\w%°]{0,12}\s?(?:-|~|至|到|—)\s?(?=\d)"
    r"|\d\S{0,20}\s{1,4}to\s{1,4}[-$€£]?\d|\bin the range\b|介于|之间"
)
_CONTRAST = re.compile(
    r"\s{0,4}(?:[,;，；(（-]\s{0,4}(?:and\s{1,4}|but\s{1,4})?(?:definitely\s{1,4}|it is\s{1,4})?not\s{1,4}"
    r"|\s(?:rather than|instead of"
    r"|as opposed to|and not)\s{1,4}|[,，、;]?\s{0,4}(?:而不是|而非|不是)).+$",
    re.I,
)
_NOT_BUT = re.compile(
    r"^\W{0,8}(?:it is |it's |this is )?not\s{1,4}(.+?),?\s{1,4}but\s{1,4}(?:rather\s{1,4})?(.+)$"
    r"|^不是(.+?)[,，]?(?:而|却)?是(.+)$",
    re.I,
)


def _found(pattern: re.Pattern[str], low: str, question: str) -> bool:
    """Whether the pattern occurs outside the question's own words: `not including 10` restates, `not 27` does not."""
    for match in pattern.finditer(low):
        following = low[match.end() : match.end() + 40].split(maxsplit=1)[:1]
        words = " ".join((match.group().strip(), *following)).rstrip(",.;:!?")
        if len(words) < 3 or not words.isascii() or words not in question:
            return True
    return False


_NONE = re.compile(
    r"(?:there (?:are|is|were|was) |i see |it has )?"
    r"(?:(?:none|nobody|no one|no|nothing)\b|没有任何|没有|无|一[个只条本张人位辆件]也没有)"
    r"(?:\s{0,4}of (?:them|these))?"
    r"(?P<thing>(?:\s?(?!are\b|is\b|were\b)[\w-]+){0,3}?)"
    r"(?:\s{0,4}(?:are|is|were|was))?(?:\s{0,4}(?:visible|shown|present|there|in the (?:image|picture"
    r"|photo)|at all))?\W{0,8}$"
)


def says_none(low: str, question: str) -> bool:
    """Whether the answer means zero: `none`, `There are none`, `no sheep` if the question counts sheep."""
    if harmless(low):
        return False
    found = _NONE.match(low.strip())
    return found is not None and all(word in question for word in found.group("thing").split())


@lru_cache(maxsize=256)
def refuses(low: str) -> bool:
    """Whether the answer refuses: `cannot be determined`, `unknown`, `无法确定`."""
    return not harmless(low) and _REFUSAL.search(low) is not None


def bounded(low: str, question: str = "") -> bool:
    """Whether the answer gives a bound: `at least 6`, `more than 13`, `至少`."""
    return not harmless(low) and _found(_BOUND, low, question)


def negated(low: str, question: str = "") -> bool:
    """Whether the answer is negated: `not 6`, `不是B`."""
    return not harmless(low) and _found(_NEGATED, low, question)


def soft(low: str) -> bool:
    """Whether the writer doubts the answer: `probably 6`, `6?`."""
    return not harmless(low) and _SOFT.search(low) is not None


_HEDGE = re.compile(
    r"\s{0,4}(?:it(?:'s| is)\s{1,4})?(?:probably|possibly|maybe|perhaps|most likely|likely|presumably"
    r"|i guess|my guess is"
    r"|可能是?|也许是?|大概是?|或许是?|好像是?)[\s,:]*(?=\S)",
    re.I,
)


def without_hedge(text: str) -> str | None:
    """Turn `probably 6` into `6`; None if the text does not begin with a hedge."""
    found = None if harmless(text) else _HEDGE.match(text)
    return None if found is None else text[found.end() :]


_TAKEN_BACK = re.compile(
    r"\b(?:is|are|was|were|seems|looks) (?:clearly |also |definitely |just |simply )?(?:wrong|incorrect|false|untrue"
    r"|not (?:right|correct|true|it)\b)|\b(?:can ?not|can't|could not|couldn't|must not) be\b"
    r"|^\W{0,4}(?:it |this |that )?(?:isn't|is not|wasn't|was not|anything but|cannot be)\b|是错的|不对$|错误$"
)
_DOUBTED = re.compile(
    r"\b(?:not|n't) (?:entirely |completely |really |very |so |too |quite |at all )?(?:sure|certain|confident)\b"
    r"|\b(?:unsure|uncertain|guess(?:ing)?|might be|could be|may be|maybe|perhaps|possibly|probably)\b"
    r"|不确定|不太确定|可能|也许|或许|似乎|好像|[?？]$"
)
_LIMITED = re.compile(
    r"^\W{0,4}(?:it (?:is|was) |not |some ?time |shortly |just |long )?(?:before|after|until|till|by|since|at least"
    r"|at most|more than|less than|fewer than|no (?:more|less|later|earlier) than|up to|over|under|later than"
    r"|earlier than|prior to|above|below)\b|之前$|之后$|以前$|以后$"
)


def unreliable(low: str, known: str) -> str | None:
    """Return which guard an answer with the reference fails: `negated`, `soft` or `bound`; None if it passes.

    Args:
        low: the answer in lower case.
        known: words of the question and the reference, which are no hedge of the answer.
    """
    if harmless(low):
        return None
    for name, pattern in (("negated", _TAKEN_BACK), ("soft", _DOUBTED), ("bound", _LIMITED)):
        if (found := pattern.search(low)) is None:
            continue
        if found.group() in "?？" or found.group().strip() not in known:  # a question ends in a question mark too
            return name
    return None


_OPENS_REFUSING = re.compile(
    r"\W{0,4}(?:(?:i|we|it)(?:'m| am| is|'s)? |sorry,? )?"
    r"(?:can ?not|can't|could not|couldn't|unable|not (?:able|sure|certain|possible)"
    r"|impossible|hard|difficult)\b|\W{0,4}(?:我)?(?:无法|不能(?:确定|判断|看)|不确定|不知道|看不清)"
)
_EITHER = re.compile(
    r"\W{0,4}either\b|(?:\W{0,2}[a-z][.)])?"
    r"(?:(?!\s(?:because|since|as|when|if|whether|where|which|so)\s|因为|由于)[^,;.，。]){1,60}?"
    r"(?:\s(?:or|versus|vs\.?)\s{1,4}\W{0,4}\w{1,40}|或者?|还是)"
)


def opens_refusing(low: str) -> bool:
    """Whether the text is a refusal that names the value: `I cannot tell whether it is 5`."""
    return refuses(low) and _OPENS_REFUSING.match(low) is not None


def either(low: str, known: str) -> bool:
    """Whether it is `yes or 7`, `either a cat or (B)`, unless the question or an option contains that text."""
    if harmless(low):
        return False
    if (found := _EITHER.match(low)) is None:
        return False
    words = found.group().split()
    return words[-1] not in ("more", "less", "so") and " ".join(words[-2:]) not in known


def alternatives(low: str) -> bool:
    """Whether the text offers alternatives: `5 or 6`, `A或B`."""
    return not harmless(low) and _OR.search(low) is not None


def ranged(low: str, question: str = "") -> bool:
    """Whether the text gives a range: `between 5 and 6`, `5-6`, `5 to 6`."""
    return not (harmless(low) and "-" not in low) and _found(_RANGE, low, question)


def without_contrast(text: str) -> tuple[str, bool]:
    """Turn `13, not 12` into `13`: an excluded value is no candidate. Also return if something was cut."""
    found = None if harmless(text) else _CONTRAST.search(text)
    if found is None or not text[: found.start()].strip():
        return text, False
    return text[: found.start()].strip(), True


def corrected(text: str) -> str | None:
    """Turn `not a cat but a dog` into `a dog`; None if there is no such correction."""
    found = None if harmless(text) else _NOT_BUT.match(text)
    return None if found is None else (found.group(2) or found.group(4)).strip()


_SPLIT_OR = re.compile(r"\s{0,4}(?:,\s{0,4}or\b|\bor\b|\beither\b|或者|或|还是|(?<!\d),|,(?!\d))\s{0,4}", re.I)


def candidates(text: str) -> list[str]:
    """Return the parts of `5 or 6`."""
    return [part for part in _SPLIT_OR.split(text) if part.strip(" ,()")]
