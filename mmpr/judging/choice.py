"""Letters and texts of options. Options are known here, so `3.14` is no choice 3 and `Indochina` is not China."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from mmpr.judging import guards
from mmpr.judging.prose import core, same_words, spelled
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect


class Comparable(Protocol):
    """What an option's text is compiled to."""

    @property
    def kind(self) -> str: ...

    def compare(self, answer: str) -> Ruling: ...


_LEAD = (
    r"(?:(?:so|thus|hence|therefore|because|since)[,\s]+)*(?:i (?:think|believe|choose|pick|select|would "
    r"(?:choose|pick|say|select))\s*(?:that\s+)?(?:it(?:'s| is)\s+)?)?"
    r"(?:(?:it(?:'s| is)|that(?:'s| is)|this is)\s+)?(?:(?:the\s+)?(?:final |most likely |best |only )*"
    r"(?:correct |right |best |true |appropriate )?(?:answer|option|choice|letter|statement|selection|one"
    r"|alternative)s?(?:\s+letter)?\s*(?:(?:is|are|would be|should be)\b)?\s*:?\s*)*"
    r"(?:(?:应该|应当|应|宜|该|可|我|所以|因此|故|本题)*(?:选择|选项|选|故选|答案)(?:是|为)?\s*:?\s*)*(?:choose|pick|select)?\s*(?:option"
    r"|choice|answer|letter|figure|diagram|graph|picture|image|point|panel|line|circuit|net|shape|path|part"
    r"|region|position|label|statement|图)?\s*:?\s*"
)
_LETTER = re.compile(
    rf"^{_LEAD}[\(\[{{<]?\s*([A-Za-z])\s*(?:[\)\]}}>]|(?=$|[\s.,:;、。,!?/-]|[\u3400-\u9fff]))\s*([.:、)]|-(?=\s))?\s*(.*)$",
    re.I | re.S,
)
_LETTERS = re.compile(
    rf"^{_LEAD}(?:both\s+|either\s+)?[\(\[]?([A-J](?:[\)\]]?\s*(?:,\s*and|,\s*or|,|、|;|and|or|&|/|\+|和|或者"
    rf"|或|与|及|还是|\s)?\s*[\(\[]?[A-J])+)(?![\w'])[\)\]]?(.*)$",
    re.S,
)
_ANY_LETTER = re.compile(
    r"(?:\b(?:option|choice|answer|letter|(?:answer|choice|option) is|选项?|选择)"
    r"\s*:?\s*[\(\[]?|[\(\[])([A-J])(?![\w'])[\)\]]?",
    re.I,
)
_EXCLUDED = re.compile(r"^(?:is |are )?(?:clearly |also )?(?:incorrect|wrong|false|excluded|eliminated|错)")
_REASON = re.compile(
    r"^\W*(?:since|because|as|given|which|due to|so|this|the|it|is (?:the )?(?:correct|right|best|true|most)"
    r"|因为|由于|it's|based on|matches|corresponds)\b|^\W*(?:因为|由于|是?正确|对应|[是为]?正确)",
    re.I,
)
_PLAIN_LETTER = re.compile(r"[A-Z]$|\([A-Z]\)$")
_STATEMENTS = re.compile(r"(?<![A-Za-z])(?:VIII|VII|VI|IV|IX|III|II|I|V|X)(?![A-Za-z])")
_STATEMENT_WORDS = re.compile(
    r"(?<![A-Za-z])(?:VIII|VII|VI|IV|IX|III|II|I|V|X)(?![A-Za-z])|\b(?:only|and|both|statements?|just|are|is"
    r"|must be|true|correct|the|all|of|option|conditions?|roman|numerals?|hold)\b|[,&.;:和、与仅只有]|\s",
    re.I,
)
_OFFICIAL = re.compile(
    r"^(?:(?:peoples|federal|islamic|democratic|socialist|united|great)\s+)*(?:republic|kingdom|state|city"
    r"|province|commonwealth|union|federation|island|river|mount|lake|county|town|country|emirate|the)s?"
    r"(?:\s+of)?(?:\s+the)?\s+|^(?:mount|lake|the)\s+"
)
_DIGIT_CHOICE = re.compile(r"^(?:option|choice|选项)\s*[\(\[]?(\d)[\)\]]?$", re.I)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the options is meant; `reference` is a set of indices, nearly always one."""

    reference: frozenset[int]
    texts: tuple[str, ...]
    options: tuple[Comparable | None, ...] = field(repr=False)
    spelled: tuple[str, ...] = field(repr=False, default=())
    cores: tuple[str, ...] = field(repr=False, default=())
    sets: tuple[frozenset[str] | None, ...] = field(repr=False, default=())
    one_letter: bool = False  # some option's text is itself a letter or numeral: `I`
    kind: str = "choice"

    def compare(self, answer: str) -> Ruling:
        meant = self.meant(answer)
        if isinstance(meant, Ruling):
            return meant
        chosen, rule = meant
        return correct(rule) if chosen == self.reference else different(rule)

    def normal(self, answer: str) -> str | None:
        meant = self.meant(answer)
        return None if isinstance(meant, Ruling) else "".join(_letter(i) for i in sorted(meant[0]))

    def show(self) -> str:
        return "".join(_letter(i) for i in sorted(self.reference))

    def meant(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling:
        """The options that the answer means, or the ruling where it means none or contradicts itself."""
        if _PLAIN_LETTER.match(answer) is not None and not self.one_letter:
            index = ord(answer.strip("()")) - 65
            inside = index < len(self.texts) or not self.texts
            return (frozenset((index,)), Rule.CHOICE_LETTER) if inside else different(Rule.CHOICE_OUTSIDE)
        exactly = self._equal(answer)
        if len(exactly) == 1 and (len(answer) > 1 or not self._is_letter(answer)):
            return frozenset(exactly), Rule.CHOICE_TEXT
        if (statements := self._statements(answer)) is not None:
            return statements
        guarded = self._guard(answer)
        if guarded is not None:
            return guarded
        answer, _ = guards.without_contrast(answer)
        if (rest := guards.corrected(answer)) is not None:
            answer = rest
        several = self._several(answer)
        if several is not None:
            return several
        lettered = self._lettered(answer)
        return lettered if lettered is not None else self._text(answer)

    def _is_letter(self, answer: str) -> bool:
        index = ord(answer.upper()) - 65
        return 0 <= index < max(len(self.texts), 1)

    def _equal(self, answer: str) -> list[int]:
        words = spelled(answer)
        return [i for i, text in enumerate(self.spelled) if text == words and words]

    def _guard(self, answer: str) -> Ruling | None:
        low = answer.casefold()
        texts = " ".join(self.texts).casefold()
        if guards.refuses(low) and not guards.refuses(texts):
            return incorrect(Rule.REFUSAL)
        if guards.negated(low) and guards.without_contrast(answer)[1] is False and guards.corrected(answer) is None:
            if not guards.negated(texts):
                return incorrect(Rule.NEGATED)
            if re.match(r"^\W*(?:not|不是|并非)\s*(?:option|choice|选项?)?\s*[\(\[]?[A-J]\b", answer, re.I):
                return incorrect(Rule.NEGATED)
        return None

    def _several(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling | None:
        found = _LETTERS.match(answer)
        if found is None:
            return None
        letters = re.findall(r"[A-J](?![a-z])", found.group(1))
        if "II" in found.group(1) or re.search(r"[a-z]", re.sub(r"\band\b|\bor\b", "", found.group(1))):
            return None
        chosen = frozenset(ord(letter) - 65 for letter in letters)
        if len(chosen) == 1:
            return chosen, Rule.CHOICE_LETTER
        if self.texts and 8 in chosen and len(self.texts) < 9:  # `(A) I only`: a numeral, no letter
            return None
        if re.search(r"\b[A-J]\b", found.group(len(found.groups()))) is not None:  # `A and B are wrong, so C`
            return ambiguous(Rule.SEVERAL)
        if re.search(r"\bor\b|或|还是|/", found.group(1)) or len(self.reference) == 1:
            return incorrect(Rule.SEVERAL)
        return chosen, Rule.CHOICE_LETTER

    def _lettered(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling | None:
        found = _LETTER.match(answer)
        if found is None:
            return self._inner_letter(answer)
        letter, mark, rest = (
            found.group(1),
            found.group(2),
            found.group(3).strip(" .:,;)").removeprefix("- ").removeprefix("项"),
        )
        marked = bool(mark) or answer[found.end(1) : found.end(1) + 1] in (")", "]", "}", ",", ".")
        if letter.islower() and rest and not marked:  # the article in `a cat`
            return None
        if (
            rest
            and rest.isascii()
            and not marked
            and letter.upper() in "AI"
            and not self._agrees(rest, ord(letter.upper()) - 65)
            and not _REASON.match(rest)
            and not _EXCLUDED.match(rest)
        ):
            return self._inner_letter(answer)
        index = ord(letter.upper()) - 65
        if self.texts and index >= len(self.texts):
            return incorrect(Rule.CHOICE_OUTSIDE)
        return self._with_rest(index, rest)

    def _with_rest(self, index: int, rest: str) -> tuple[frozenset[int], Rule] | Ruling:
        chosen = frozenset((index,))
        if not rest or self._agrees(rest, index):
            return chosen, Rule.CHOICE_LETTER
        if _EXCLUDED.match(rest) is not None:
            return ambiguous(Rule.CHOICE_CONFLICT)
        others = [i for i in range(len(self.texts)) if i != index and self._agrees(rest, i)]
        if others and not _REASON.match(rest):
            return ambiguous(Rule.CHOICE_CONFLICT)
        if re.match(r"^(?:or|and|/|or maybe|或|和)\s*[\(\[]?[A-J]\b", rest):
            return incorrect(Rule.SEVERAL)
        if guards.soft(rest.casefold()) or re.search(r"\bor\s+[\(\[]?[A-J]\b", rest):
            return ambiguous(Rule.SOFT)
        if not _REASON.match(rest) and self._mentions_other(rest, index):
            return ambiguous(Rule.CHOICE_CONFLICT)
        return chosen, Rule.CHOICE_LETTER

    def _mentions_other(self, rest: str, index: int) -> bool:
        words = f" {spelled(rest)} "
        own = self.texts and f" {self.spelled[index]} " in words
        return not own and any(
            f" {text} " in words for i, text in enumerate(self.spelled) if i != index and len(text) > 1
        )

    def _inner_letter(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling | None:
        letters = {m.group(1) for m in _ANY_LETTER.finditer(answer) if m.group(1).isupper()}
        if len(letters) == 1:
            index = ord(letters.pop()) - 65
            if self.texts and index >= len(self.texts):
                return incorrect(Rule.CHOICE_OUTSIDE)
            if self._mentions_other(answer, index):
                return ambiguous(Rule.CHOICE_CONFLICT)
            return frozenset((index,)), Rule.CHOICE_LETTER
        return ambiguous(Rule.SEVERAL) if len(letters) > 1 else None

    def _agrees(self, text: str, index: int) -> bool:
        if index >= len(self.texts):
            return False
        option = self.options[index]
        if same_words(core(text), self.cores[index]):
            return True
        return option is not None and option.compare(text).outcome == "correct"

    def _text(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling:
        if (digit := _DIGIT_CHOICE.match(answer)) is not None and 1 <= int(digit.group(1)) <= len(self.texts):
            return frozenset((int(digit.group(1)) - 1,)), Rule.CHOICE_LETTER
        if not self.texts:
            return incorrect(Rule.CHOICE_OUTSIDE)
        if re.fullmatch(r"\(?[1-9]\)?", answer) and not any(c.isdigit() for text in self.texts for c in text):
            return ambiguous(Rule.CHOICE_NEAR)  # the second option, perhaps
        agreeing = [i for i in range(len(self.texts)) if self._agrees(answer, i)]
        if len(agreeing) == 1:
            return frozenset(agreeing), Rule.CHOICE_TEXT
        unitless = [
            i for i, o in enumerate(self.options) if o is not None and o.compare(answer).rule is Rule.UNIT_MISSING
        ]
        if not agreeing and len(unitless) == 1:  # `5` where one option is `5 cm`
            return frozenset(unitless), Rule.CHOICE_TEXT
        if guards.alternatives(answer.casefold()) and not guards.alternatives(" ".join(self.texts).casefold()):
            return incorrect(Rule.SEVERAL)
        return self._contained(answer)

    def _contained(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling:
        words = f" {spelled(answer)} "
        han = not answer.isascii()
        held = [i for i, text in enumerate(self.spelled) if _held(text, words, han)]
        longest = [
            i for i in held if not any(i != j and _held(self.spelled[i], f" {self.spelled[j]} ", han) for j in held)
        ]
        if len(longest) > 1:
            return (
                incorrect(Rule.SEVERAL)
                if guards.alternatives(answer.casefold()) or re.search(r"\band\b|,|和|、", answer)
                else ambiguous(Rule.SEVERAL)
            )
        if len(longest) == 1:
            return self._sentence(words.strip(), longest[0])
        return self._outside(answer)

    def _sentence(self, words: str, index: int) -> tuple[frozenset[int], Rule] | Ruling:
        """An option within more words: a whole sentence of it, or its official name, is the option."""
        option = self.spelled[index]
        if _OFFICIAL.sub("", words) == option or len(option.split()) >= 3:
            return frozenset((index,)), Rule.CHOICE_TEXT
        rest = re.sub(rf"(?:^|\s){re.escape(option)}(?:\s|$)", " ", words).split()
        known = {
            "the",
            "a",
            "an",
            "is",
            "it",
            "in",
            "of",
            "because",
            "since",
            "as",
            "only",
            "gas",
            "answer",
            "here",
            "that",
            "was",
            "are",
        }
        if all(word in known for word in rest) or (
            words.startswith(option + " ") and rest[0] in ("because", "since", "as", "which", "is", "has", "was", "are")
        ):
            return frozenset((index,)), Rule.CHOICE_TEXT
        return ambiguous(Rule.CHOICE_NEAR) if index in self.reference else incorrect(Rule.CHOICE_TEXT)

    def _outside(self, answer: str) -> Ruling:
        """Text that no option has; dropped where it shares a telling word with the truth, else wrong."""
        got = {word for word in core(answer).split() if len(word) > 3}
        for index in self.reference:
            text = self.cores[index]
            if guards.refuses(text) and not guards.refuses(answer.casefold()):
                return incorrect(Rule.CHOICE_OUTSIDE)
            if any(len(w) > 3 and w in got for w in text.split()) or (
                guards.refuses(answer.casefold()) and guards.refuses(text)
            ):
                return ambiguous(Rule.CHOICE_NEAR)
        return incorrect(Rule.CHOICE_OUTSIDE)

    def _statements(self, answer: str) -> tuple[frozenset[int], Rule] | Ruling | None:
        """`I and II`, `Statements I and II only`, where the options are sets of statements."""
        sets = self.sets
        if sum(s is not None for s in sets) < 2:
            return None
        lettered = re.match(r"^[\(\[]?([A-J])(?![A-Za-z])[\)\]]?\s*[.:)]?\s*(.*)$", answer)
        if lettered and lettered.group(1) not in "IVX" and lettered.group(2):
            return None
        got = statement_set(answer)
        if got is None and re.match(r"^(?:all|all (?:of|three)\b.*)$", answer.casefold()):
            got = frozenset().union(*(s for s in sets if s is not None))
        if got is None:
            return None
        same = [i for i, s in enumerate(sets) if s == got]
        return (frozenset(same), Rule.CHOICE_STATEMENTS) if len(same) == 1 else incorrect(Rule.CHOICE_STATEMENTS)


def statement_set(text: str) -> frozenset[str] | None:
    """The roman numerals of `I and III only`; None where there are other words."""
    if _STATEMENT_WORDS.sub("", text):
        return None
    found = _STATEMENTS.findall(text)
    if not found:
        return None
    return frozenset(found)


def _held(option: str, words: str, han: bool) -> bool:
    if not option:
        return False
    return f" {option} " in words or (han and not option.isascii() and option in words)


def _letter(index: int) -> str:
    return chr(65 + index)


def built(reference: frozenset[int], texts: tuple[str, ...], options: tuple[Comparable | None, ...]) -> Choice:
    """A choice with what every comparison needs of its options, made once."""
    sets = tuple(statement_set(text) for text in texts)
    short = any(len(text) == 1 for text in texts) or sum(found is not None for found in sets) >= 2
    return Choice(reference, texts, options, tuple(map(spelled, texts)), tuple(map(core, texts)), sets, short)


_REFERENCE_LETTER = re.compile(r"^(?:option|choice|选项?)?\s*[\(\[]?([A-Za-z])[\)\]]?\s*[.:、)]?\s*(.*)$", re.S | re.I)
_REFERENCE_LETTERS = re.compile(r"^[A-J](?:\s*[,、;&/]?\s*(?:and\s+)?[A-J])+$")


def reference_indices(text: str, choices: tuple[str, ...]) -> frozenset[int] | None:
    """Which options a truth names: by its text, its letter, letter and text, or several letters."""
    words = spelled(text)
    equal = [i for i, choice in enumerate(choices) if choice == text] or [
        i for i, c in enumerate(choices) if spelled(c) == words
    ]
    if equal and (len(text) > 1 or not text.isalpha()):
        return frozenset(equal[:1])
    found = _REFERENCE_LETTER.match(text)
    if found is not None:
        index, rest = ord(found.group(1).upper()) - 65, found.group(2).strip()
        if (not choices or index < len(choices)) and (
            not rest or (choices and spelled(rest) == spelled(choices[index]))
        ):
            return frozenset((index,))
    if _REFERENCE_LETTERS.match(text):
        indices = frozenset(ord(c) - 65 for c in text if c.isupper())
        if not choices or max(indices) < len(choices):
            return indices
    return frozenset(equal[:1]) if equal else None


_OPTION_LINE = re.compile(r"(?:^|\n)\s*[\(\[]?([A-J])[\)\].:、]\s*(\S.*?)\s*(?=\n|$)")
_OPTION_INLINE = re.compile(
    r"[\(\[]?\b([A-J])[\)\].:、]\s*(.+?)(?=\s*[,;]?\s*[\(\[]?\b[A-J][\)\].:、]\s*\S|\s*$)", re.S
)


def options_in(question: str) -> tuple[str, ...]:
    """Options that the question's text lists: `A. cat`, a line each, or `(A) cat (B) dog`."""
    for pattern in (_OPTION_LINE, _OPTION_INLINE):
        found = pattern.findall(question)
        letters = [letter for letter, _ in found]
        if len(letters) >= 2 and letters == [_letter(i) for i in range(len(letters))]:
            return tuple(text.strip(" \n,;") for _, text in found)
    return ()
