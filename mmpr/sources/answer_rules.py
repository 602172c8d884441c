"""Which option an answer names: by letter, text or index, as the source's rule says; and how the rows decide that rule.

Every row whose answer can be read in one way only proves that way; a 0 proves that options are counted from 0, the
number of options that they are counted from 1. Letters and texts live in one source; indices stand alone. Where the
rows prove nothing, or as much for one way as for another, the source is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmpr.judging.clean import clean
from mmpr.judging.reference import unwrapped
from mmpr.option_letters import MOST_OPTIONS, letter
from mmpr.sources.layouts import AnswerRule
from mmpr.sources.row_faults import RowFault
from mmpr.types import Reason

Indices = frozenset[int]
_LETTER, _TEXT = AnswerRule.LETTER, AnswerRule.TEXT
_INDEX0, _INDEX1 = AnswerRule.INDEX0, AnswerRule.INDEX1
_NUMBER = re.compile(r"-?\d{1,3}(?:\.0+)?")
_ONE = re.compile(r"(?:option|choice|选项?)?\s*[\(\[（【]?\s*([A-Za-z])\s*[\)\]）】]?\s*[.:、)]?\s*(.*)", re.IGNORECASE | re.DOTALL)
_SEVERAL = re.compile(r"[A-J](?:\s*[,、;&/]?\s*(?:and\s+)?[A-J])+")


def readings(answer: str, options: Sequence[str]) -> Mapping[AnswerRule, Indices]:
    """What an answer means under each rule that fits it: the places of options, nearly always one."""
    text = clean(unwrapped(answer))
    cleaned = [clean(option) for option in options]
    found: dict[AnswerRule, Indices] = {}
    if (lettered := _by_letter(text, cleaned)) is not None:
        found[_LETTER] = lettered
    if (named := _by_text(text, cleaned)) is not None:
        found[_TEXT] = frozenset((named,))
    if _NUMBER.fullmatch(text):
        number = int(float(text))
        if 0 <= number < len(options):
            found[_INDEX0] = frozenset((number,))
        if 1 <= number <= len(options):
            found[_INDEX1] = frozenset((number - 1,))
    return found


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
    """The options that an answer names under a rule, or None where it names none."""
    found = readings(answer, options)
    if rule in (_INDEX0, _INDEX1):
        return found.get(rule)
    first, second = (_TEXT, _LETTER) if rule is _TEXT else (_LETTER, _TEXT)
    meant = found.get(first, found.get(second))
    if meant is None and (said := _YES.get(answer.strip().casefold())):  # a typed `true` beside `yes` and `no`
        meant = readings(said, options).get(_TEXT)
    return meant


def as_written(answer: str, options: Sequence[str], meant: Indices) -> str:
    """The answer as the judge reads it one way only: an option's own text stays, else its letter, with text if need be."""
    if len(meant) > 1:
        return "".join(letter(place) for place in sorted(meant))
    (place,) = meant
    own = options[place]
    if answer == own and options.index(own) == place and (len(own) > 1 or not own.isalpha()):
        return answer
    named = letter(place)
    return f"{named}. {own}" if any(clean(option).casefold() == named.casefold() for option in options) else named


@dataclass(slots=True)
class RuleProofs:
    """What a source's rows prove of its rule; `rows` is the first row of each proof, and of what stays open."""

    proofs: Counter[AnswerRule] = field(default_factory=Counter)
    open: Counter[frozenset[AnswerRule]] = field(default_factory=Counter)
    examples: dict[object, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)

    def see(self, place: str, answer: str, options: tuple[str, ...]) -> None:
        """Add one row's answer."""
        found = readings(answer, options)
        if not found:
            return
        if len(found) == 1:
            (rule,) = found
            self.proofs[rule] += 1
            self.examples.setdefault(rule, (place, answer, options))
        elif len(set(found.values())) > 1:
            ways = frozenset(found)
            self.open[ways] += 1
            self.examples.setdefault(ways, (place, answer, options))
            if not ways & {_LETTER, _TEXT}:
                self.proofs[_INDEX0] += 0  # an index of either base

    def decided(self) -> AnswerRule | None:
        """The rule that the rows prove; None where none of them needs one.

        Raises:
            RowFault: nothing decides; shows both readings of one row.
        """
        named = self.proofs[_LETTER] + self.proofs[_TEXT]
        counts = {_INDEX0: self.proofs[_INDEX0], _INDEX1: self.proofs[_INDEX1], _LETTER: named}
        ranked = sorted(counts.items(), key=lambda pair: -pair[1])
        indexed = sum(n for ways, n in self.open.items() if not ways & {_LETTER, _TEXT})
        (rule, most), (_, second) = ranked[0], ranked[1]
        if most == 0 or most == second or (rule is _LETTER and indexed > named):
            if not self.open and most == 0:
                return None
            raise self._undecided()
        if rule is not _LETTER:
            return rule
        either = [ways for ways in self.open if {_LETTER, _TEXT} <= ways]
        if either and bool(self.proofs[_LETTER]) == bool(self.proofs[_TEXT]):
            raise self._undecided(either[0])
        return _TEXT if self.proofs[_TEXT] > self.proofs[_LETTER] else _LETTER

    def _undecided(self, ways: object = None) -> RowFault:
        keys: list[object] = [ways] if ways in self.examples else [*self.open, *self.proofs]
        for key in keys:
            if key in self.examples and (len(self.examples) == 1 or not isinstance(key, AnswerRule) or not self.open):
                return RowFault(Reason.BAD_ANSWER, _both(*self.examples[key], self.examples))
        return RowFault(Reason.BAD_ANSWER, "its answers name no option")


def _both(place: str, answer: str, options: tuple[str, ...], examples: Mapping[object, object]) -> str:
    found = readings(answer, options)
    says = {_LETTER: "by letter", _TEXT: "by text", _INDEX0: "counted from 0", _INDEX1: "counted from 1"}
    meant = [f"{_shown(options, found[rule])} {says[rule]}" for rule in says if rule in found]
    other = ""
    if len(found) == 1:
        other = "; other rows prove another way"
    mend = "give answer_index=0 or answer_index=1" if _INDEX0 in found or _INDEX1 in found else "give answers as letters"
    return f"{place}: the answer {answer[:40]!r} is {' or '.join(meant)}, and no row decides{other}: {mend}"


def _shown(options: Sequence[str], meant: Indices) -> str:
    return " and ".join(repr(options[place][:40]) for place in sorted(meant))


def none_of_them(answer: str, options: Sequence[str], rule: AnswerRule | None) -> RowFault:
    """The answer is none of its options under the source's rule."""
    way = f" (answers are read as {rule})" if rule else ""
    shown = ", ".join(option[:30] for option in options[:MOST_OPTIONS])[:120]
    return RowFault(Reason.BAD_ANSWER, f"the answer {answer[:40]!r} is none of the {len(options)} options{way}: {shown}")


def all_places(answers: Iterable[str], options: Sequence[str], rule: AnswerRule | None) -> list[Indices | None]:
    """What each of several answers names."""
    return [chosen(answer, options, rule) for answer in answers]
