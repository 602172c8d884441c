"""Compare years: exact, also in a chart, whatever the tolerance."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging import guards
from mmpr.judging.cues import Cues
from mmpr.judging.number_words import chinese_digits, english_digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect
from mmpr.judging.temporal import MONTHS

_YEARS = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_YEAR_WORDS_TEXT = """
in the year of it was is during ad ce a d c e since by around about circa ca around opened answer that this
happened occurred for back to at on peak
"""
_YEAR_WORDS = frozenset(_YEAR_WORDS_TEXT.split()) | frozenset(MONTHS)


@dataclass(frozen=True, slots=True)
class Year:
    """A reference that is a year: exact, whatever the tolerance."""

    year: int
    question_words: frozenset[str]
    kind: str = "year"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        main, cut = guards.without_contrast(answer)
        if cut:
            return self.compare(main)
        if guards.refuses(low):
            return incorrect(Rule.REFUSAL)
        found = [int(year) for year in _YEARS.findall(chinese_digits(answer))]
        if not found:
            return self._other_forms(answer, low)
        if any(year != found[0] for year in found):
            predicate = re.search(r"\b(?:is|was|are|in)\s{1,4}(?:the year\s{1,4})?(\d{4})\W{0,8}$", low)
            known = predicate is not None and all(str(y) in self.question_words for y in found[:-1])
            if not known:
                return incorrect(Rule.SEVERAL)
        if found[-1] != self.year:
            return incorrect(Rule.NUMBER)
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        if re.search(
            r"\b(?:before|after|until|between|from|bce?|b\.c)\b|\d{4}\s{0,4}(?:-|to|~)\s{0,4}\d|\d{4}s\b|以前|之前|以后|之后",
            low,
        ):
            return incorrect(Rule.BOUND)
        return self._rest(low)

    def normal(self, answer: str) -> str | None:
        found = _YEARS.findall(answer)
        return found[0] if len(set(found)) == 1 else None

    def show(self) -> str:
        return str(self.year)

    def _other_forms(self, answer: str, low: str) -> Ruling:
        """Whether `'16` or `2,016` may be the year."""
        short = re.fullmatch(r"(?:in\s{1,4})?'(\d\d)", low)
        if short is not None and int(short.group(1)) == self.year % 100:
            return ambiguous(Rule.YEAR_FORM)
        grouped = re.search(r"(?<!\d)\d,\d{3}(?!\d)", answer)
        if grouped is not None and int(grouped.group().replace(",", "")) == self.year:
            return ambiguous(Rule.YEAR_FORM)
        spoken = english_digits(low).split()
        if [int(w) for w in spoken if w.isdigit()] in ([self.year], [self.year // 100, self.year % 100]):
            return correct(Rule.NUMBER)
        return incorrect(Rule.NUMBER)

    def _rest(self, low: str) -> Ruling:
        low = re.split(r"[.,;(]\s{0,4}(?:because|since|as|which|when|where|with|the)\b|\.\s", low)[0]
        rest = [w for w in re.findall(r"[a-z]+", low) if w not in _YEAR_WORDS and w not in self.question_words]
        if guards.soft(low):
            return ambiguous(Rule.SOFT)
        if re.search(r"\$|€|%|\b(?:km|kg|people|dollars?)\b", low):
            return incorrect(Rule.UNIT)
        return correct(Rule.NUMBER) if len(rest) <= 4 else ambiguous(Rule.NUMBER_REST)


def compile_year(text: str, cues: Cues, *, forced: bool) -> Year | None:
    """Compile the reference as a year, if the question asks for one."""
    if not (forced or cues.year()):
        return None
    found = re.fullmatch(r"(?:in |the year |year ){0,4}(1[0-9]\d\d|20\d\d|\d{4} ?年?)", text.casefold().strip())
    if found is None:
        return None
    return Year(int(found.group(1).strip(" 年")), cues.words())
