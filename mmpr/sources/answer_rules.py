"""Find the option that an answer names (by letter, text or index), and derive from the rows which of these applies.

Every row whose answer has only one reading is evidence for that reading. A 0 proves that options are counted from 0;
the number of options proves that they are counted from 1. Letters and texts may occur in one source together; indices
may not be mixed with them. If the rows prove nothing, or two rules equally often, the source is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from mmpr.judging.choice import reference_indices
from mmpr.judging.clean import clean
from mmpr.judging.reference import unwrapped
from mmpr.option_letters import MOST_OPTIONS, bare, letter
from mmpr.sources.layouts import AnswerRule
from mmpr.sources.row_faults import RowFault
from mmpr.types import Reason

Indices = frozenset[int]


class OptionPlace(str):
    """The 0-based index of the correct option, if it is known without a rule."""

    __slots__ = ()


_LETTER, _TEXT, _EITHER = AnswerRule.LETTER, AnswerRule.TEXT, AnswerRule.EITHER
_INDEX0, _INDEX1 = AnswerRule.INDEX0, AnswerRule.INDEX1
_NUMBER = re.compile(r"-?\d{1,3}(?:\.0+)?")
# counts such as {0,4} are bounded, so that a cell of a million blanks is searched in linear time
_ONE = re.compile(
    r"^(?:option|choice|选项?)?\s{0,4}[\(\[（【]?\s{0,4}([A-Za-z])\s{0,4}[\)\]）】]?\s{0,4}[.:、)]?\s*+(.*)",
    re.IGNORECASE | re.DOTALL,
)
# `AC`, `A, C` and `A and C` name two options
_SEVERAL = re.compile(r"^[A-J](?:\s{0,4}[,、;&/]?\s{0,4}(?:and\s{1,4})?[A-J])+")


def readings(answer: str, options: Sequence[str]) -> Mapping[AnswerRule, Indices]:
    """Return what an answer means under each rule that fits it: a set of option indices, nearly always one."""
    text = clean(unwrapped(answer))
    cleaned = _cleaned(tuple(options))
    found: dict[AnswerRule, Indices] = {}
    if (lettered := _by_letter(text, cleaned)) is not None:
        found[_LETTER] = lettered
    if (named := _by_text(text, cleaned)) is not None:
        found[_TEXT] = frozenset((named,))
    if _NUMBER.fullmatch(text):
        number = int(float(text))
        if 0 <= number < len(options):
            found[_INDEX0] = frozenset((number,))
        # both rules get an index: the other rows show from where this source counts
        if 1 <= number <= len(options):
            found[_INDEX1] = frozenset((number - 1,))
    return found


@lru_cache(maxsize=256)
def _cleaned(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(clean(option) for option in options)


def _by_letter(text: str, cleaned: Sequence[str]) -> Indices | None:
    if (one := _ONE.fullmatch(text)) is not None:
        place, rest = ord(one[1].upper()) - ord("A"), one[2].strip()
        if place < len(cleaned) and (not rest or _same(rest, cleaned[place])):
            return frozenset((place,))
    if _SEVERAL.fullmatch(text):
        places = frozenset(ord(each) - ord("A") for each in text if each.isupper())
        return places if max(places) < len(cleaned) else None
    return None


def _by_text(text: str, cleaned: Sequence[str]) -> int | None:
    if text in cleaned:
        return cleaned.index(text)
    same = [place for place, option in enumerate(cleaned) if _same(text, option)]
    return same[0] if len(same) == 1 else None


def _same(text: str, option: str) -> bool:
    if text.casefold().rstrip(".") == option.casefold().rstrip("."):
        return True
    return bool(_DECIMAL.fullmatch(text) and _DECIMAL.fullmatch(option)) and float(text) == float(option)


_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_YES = {"true": "yes", "false": "no", "yes": "true", "no": "false"}


def chosen(answer: str, options: Sequence[str], rule: AnswerRule | None) -> Indices | None:
    """Return the options that an answer names under a rule; None if it names none."""
    found = readings(answer, options)
    if rule is None and len(set(found.values())) > 1:
        return None  # two readings, and no rule to decide
    if rule in (_INDEX0, _INDEX1):
        return found.get(rule)
    if rule is _EITHER and _LETTER in found and _TEXT in found and found[_LETTER] != found[_TEXT]:
        return None
    first, second = (_TEXT, _LETTER) if rule is _TEXT else (_LETTER, _TEXT)
    meant = found.get(first, found.get(second))
    # a boolean `true` where the options are `yes` and `no`
    if meant is None and (said := _YES.get(answer.strip().casefold())):
        meant = readings(said, options).get(_TEXT)
    return meant


def as_written(answer: str, options: Sequence[str], meant: Indices) -> str:
    """Return the answer in a form that the judge can read in one way only: its own text, or its letter.

    Raises:
        RowFault: there is no such form.
    """
    if len(meant) > 1:
        return "".join(letter(place) for place in sorted(meant))
    (place,) = meant
    own, cleaned = options[place], bare(_cleaned(tuple(options)))
    # Text first, then the letter: among the options C, A, B the text `A` would be read as a letter.
    forms: tuple[str, ...] = (*((answer,) if answer == own else ()), letter(place), f"{letter(place)}. {own}")
    for form in forms:
        if reference_indices(clean(unwrapped(form)), cleaned) == meant:
            return form
    raise RowFault(Reason.BAD_ANSWER, f"the answer {answer[:40]!r} is several of its options: give them other texts")


_Row = tuple[str, str, tuple[str, ...]]  # its place, its answer, its options
_NAMED = "named"  # by letter or text
_MIXED = 10


@dataclass(slots=True)
class RuleProofs:
    """Evidence from a source's rows: how many rows each rule can read, and rows with two different readings."""

    support: Counter[str] = field(default_factory=Counter)
    letters: int = 0  # rows whose answer is a letter of an option but no text of one
    texts: int = 0
    differing: dict[frozenset[str], _Row] = field(default_factory=dict)

    def see(self, place: str, answer: str, options: tuple[str, ...]) -> None:
        """Add the answer of one row."""
        found = readings(answer, options)
        row = (place, answer, options)
        by_letter, by_text = found.get(_LETTER), found.get(_TEXT)
        self.letters += by_letter is not None and by_text is None
        self.texts += by_text is not None and by_letter is None
        if by_letter is not None and by_text is not None and by_letter != by_text:
            self.differing.setdefault(frozenset((_LETTER, _TEXT)), row)
        ways: dict[str, Indices] = {rule: found[rule] for rule in (_INDEX0, _INDEX1) if rule in found}
        if (named := by_text if by_letter is None else by_letter) is not None:
            ways[_NAMED] = named
        for way in ways:
            self.support[way] += 1
            for other in ways:
                if ways[way] != ways[other]:
                    self.differing.setdefault(frozenset((way, other)), row)

    def decided(self, prior: AnswerRule | None = None, *, margin: int = 1) -> AnswerRule | None:
        """Return the rule that can read most rows; `prior` if no row has an answer and options.

        Args:
            prior: from the layout or the setting; it applies unless another rule reads at least `margin` more rows, or
                `prior` reads none.

        Raises:
            RowFault: two rules are equally likely; the message shows both readings of one row.
        """
        if not self.support:
            return prior
        most = max(self.support.values())
        before = self._way(prior)
        if self.support[before] and most - self.support[before] < margin:
            return self._named_rule(prior) if before == _NAMED else prior
        first, *others = [way for way in (_NAMED, _INDEX0, _INDEX1) if self.support[way] == most]
        for other in others:
            if row := self.differing.get(frozenset((first, other))):
                raise RowFault(Reason.BAD_ANSWER, _both(*row, (first, other)))
            if first != _NAMED:  # one row answers 0, and as many rows answer the number of options
                raise RowFault(Reason.BAD_ANSWER, "as many answers are counted from 0 as from 1: give answer_index")
        return AnswerRule(first) if first != _NAMED else self._named_rule(prior)

    def _way(self, prior: AnswerRule | None) -> str:
        return _NAMED if prior in (_LETTER, _TEXT) else prior or ""

    def _named_rule(self, prior: AnswerRule | None) -> AnswerRule:
        """Return LETTER or TEXT: the one that more rows prove; if equal, the prior one.

        If at least a tenth of these rows proves the other one, the source mixes both, and an answer with two readings
        names none.
        """
        unclear = self.differing.get(frozenset((_LETTER, _TEXT)))
        if unclear and min(self.letters, self.texts) * _MIXED > self.letters + self.texts:
            return _EITHER
        if self.texts != self.letters:
            return _TEXT if self.texts > self.letters else _LETTER
        if prior in (_LETTER, _TEXT):
            return prior
        if unclear:
            raise RowFault(Reason.BAD_ANSWER, _both(*unclear, (_LETTER, _TEXT)))
        return _LETTER


def _both(place: str, answer: str, options: tuple[str, ...], ways: Sequence[str]) -> str:
    """Describe both readings of one row, and the remedy."""
    found = readings(answer, options)
    says = {_LETTER: "by letter", _TEXT: "by text", _INDEX0: "counted from 0", _INDEX1: "counted from 1"}
    rules = [rule for rule in says if rule in found and (rule in ways or (_NAMED in ways and rule in (_LETTER, _TEXT)))]
    meant = " or ".join(f"{_shown(options, found[rule])} {says[rule]}" for rule in rules)
    remedy = "give the options' letters"
    if {_INDEX0, _INDEX1} & set(rules):
        remedy = "give answer_index=0 or answer_index=1"
    return f"{place}: the answer {answer[:40]!r} is {meant}, and no row decides: {remedy}"


def _shown(options: Sequence[str], meant: Indices) -> str:
    return " and ".join(repr(options[place][:40]) for place in sorted(meant))


def none_of_them(answer: str, options: Sequence[str], rule: AnswerRule | None) -> RowFault:
    """Return the fault of an answer that names no option under the source's rule."""
    way = f" (answers are read as {rule})" if rule else ""
    shown = ", ".join(option[:30] for option in options[:MOST_OPTIONS])[:120]
    return RowFault(
        Reason.BAD_ANSWER, f"the answer {answer[:40]!r} is none of the {len(options)} options{way}: {shown}"
    )
