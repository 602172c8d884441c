"""Split an answer line into a head and an explanation. Guards check the head; the explanation may only retract it."""

from __future__ import annotations

import re

# `Dr. Smith`, `St. Louis`, `No. 5`, `approx. 5`: a dot that ends no sentence. One letter before a dot is a label.
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|prof|sr|jr|vs|nos|fig|approx|ca|inc|ltd|co|corp|mt|ft|gen|col|lt|sgt|rev|hon|dept|est"
    r"|e\.g|i\.e|etc|vol|min|max|sec|hr|hrs|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u\.s|a\.m|p\.m)"
    r"|(?<![\w:/.])\w)$",
    re.I,
)
_SENTENCE_END = re.compile(
    r"[.。!?？！](?=\s{1,4}[(\"'“*$\\A-Z\u3400-\u9fffa-z]|[\u3400-\u9fff])|。(?=.)|;\s{1,4}(?=[a-z]{1,40}\s)"
)
# A separate clause after a comma or a dash: it begins like a clause and contains a verb.
_CLAUSE = re.compile(
    r"\s{0,4}(?:[,，;；]|\s[-–—])\s{0,4}(?=(?:because|since|as|so|which|where|who|due to|given|based on"
    r"|according|this|these"
    r"|it|its|they|there|the|that|both|all|we|i|he|she|indicating|meaning|making|with|although|though|while|given|in|on"
    r"|by|from|if|when|not|but|and (?:it|they|the|this)|because of)\b|因为|由于|所以|其中|根据|图中|这|它)",
    re.I,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|does|do|did|can(?:not|'t)?|could|will|would|should|may|might|must|shows?"
    r"|appears?|seems?|means?|indicat\w{1,40}|suggest\w{0,40}|contain\w{0,40}|includ\w{1,40}|look\w{0,40}|represent\w{0,40}|depict\w{0,40}|provid\w{0,40}|equals?"
    r"|doesn't|don't|isn't|aren't|make\w{0,40}|match\w{0,40}|giv\w{1,40}|has)\b|n't\b|[是有为在]",
    re.I,
)
_REASON = re.compile(
    r"(?:because|since|due to|given|based on|according|as (?:it|the|there|shown)|因为|由于|根据)", re.I
)
_CLOSING_DOLLAR = re.compile(r"(\$[^$]+\$)(?=[\s.,;:]+[A-Za-z(]|[\u3400-\u9fff,，。])([^$\d]*)$")
# Words that retract an answer, at the start of a sentence or clause of the explanation.
_RETRACTS = re.compile(
    r"(?:^|[.!?。，,;]\s{0,4}|\s-\s{0,4})(?:\W|and |but |though |although |yet |oh |hmm+ |well ){0,6}(?:wait\b"
    r"|no\b(?=\s{0,4}[,.:!]|\s{1,4}(?:it|wait|that|the answer|not)\b)|actually\b|sorry\b|hmm"
    r"|correction\b|scratch|oops|alternatively\b|or\b(?! (?:so|less|more)\b)|maybe\b|perhaps\b|possibly\b|rather\b"
    r"|i mean\b|i meant\b|on second thought|let me (?:re|check)|that(?:'s| is) (?:wrong|not right|incorrect)"
    r"|it (?:could|might|may) (?:also )?be\b|should (?:be|have been)\b"
    r"|but (?:it|this|that|the answer|i) (?:could|might|may|should|am|was)|instead\b"
    r"|but (?:the )?(?:correct |right |final |real |actual )?(?:answer|option|choice|one) (?:is|should)\b(?! not)"
    r"|(?:is|are|was|were) (?:wrong|incorrect|false|not (?:right|correct|true))\b"
    r"|不对|等等|不,|不，|应该是|或|也可能|更正|抱歉|是错)"
    r"|\b(?:however|but)\b[^.]*\b(?:not (?:an? )?(?:exact|option|available|listed|sure|certain)|error)|\?\s{0,4}$",
    re.I,
)
_BOILERPLATE = re.compile(
    r"\s{0,4}(?:[.!]|(?<=[$}]))\s{0,4}(?:i hope (?:it|this) (?:is|helps)[^.]*|let me know[^.]*"
    r"|hope (?:this|that|it) helps[^.]*|希望[^。]*)[.!。]?\s{0,4}$",
    re.I,
)


def without_boilerplate(text: str) -> str:
    """Remove `I hope it is correct.` and the like."""
    found = _BOILERPLATE.search(text) if len(text) > 12 else None
    return text if found is None else text[: found.start()].strip()


def split_head(text: str) -> tuple[str, str]:
    """Return the head of an answer line and its explanation, which is empty if the line is only an answer.

    A sentence end, a clause of its own after a comma, or a closing dollar with words after it ends the head.
    """
    ends = [end for end in (_sentence(text), _clause(text), _dollar(text), _gloss(text)) if end is not None]
    if not ends:
        return text, ""
    at = min(ends)
    return text[:at].strip(), text[at:].strip(" ,，;；")


def _sentence(text: str) -> int | None:
    for found in _SENTENCE_END.finditer(text):
        before = text[: found.start()]
        closing = found.group() == "." and _ABBREVIATION.search(before) is not None
        if not closing and before.strip(" *_$\"'("):
            return found.start() if found.group() not in "?？" else found.end()
    return None


def _clause(text: str) -> int | None:
    for found in _CLAUSE.finditer(text):
        rest = text[found.end() :]
        if found.start() and (_REASON.match(rest) is not None or _VERB.search(rest) is not None):
            return found.start()
    return None


_GLOSS = re.compile(
    r"\s\((?:as|because|since|see|shown|given|based|according|from|visible|which|so|this|it|the)\s[^()]{3,200}\)[.\s]{0,3}$",
    re.I,
)


def _gloss(text: str) -> int | None:
    """Match a gloss such as `6 (as shown in the image)`."""
    found = _GLOSS.search(text) if text.rstrip(". ").endswith(")") else None
    return None if found is None or not found.start() else found.start()


def _dollar(text: str) -> int | None:
    found = _CLOSING_DOLLAR.match(text.strip())
    return None if found is None else text.find("$", text.find("$") + 1) + 1


def retracts(explanation: str) -> bool:
    """Whether the explanation retracts the head or doubts it: `Wait, no, C`, `or maybe 6`."""
    return bool(explanation) and _RETRACTS.search(explanation) is not None
