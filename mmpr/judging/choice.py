"""Compare letters and texts of options. Options are known, so `3.14` is no choice 3 and `Indochina` is not China."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mmpr.judging import guards
from mmpr.judging.answer_head import retracts
from mmpr.judging.clean import fold
from mmpr.judging.cues import stem
from mmpr.judging.forms import Form
from mmpr.judging.kinship import akin
from mmpr.judging.prose import STOP, core, same_words, spelled
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect, unlike
from mmpr.judging.sequences import split
from mmpr.types import Certainty, Outcome

# Words before a letter: "I think it's", "so the correct option is", 选, "Figure".
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|because|since)[,:\s]+)*"
    r"(?:(?:we|i)(?:'d| would| will)? (?:think|believe|choose|pick|select|say|go with)\s{1,4}(?:that\s{1,4})?"
    r"(?:it(?:'s| is| must be)\s{1,4})?)?(?:(?:it(?:'s| is)|that(?:'s| is)|this is)\s{1,4})?"
    r"(?:(?:the\s{1,4})?(?:final |most likely |best |only )?(?:correct |right |best |true |appropriate )?"
    r"(?:answer|option|choice|letter|selection|alternative)s?(?:\s{1,4}letter)?\s{0,4}"
    r"(?:(?:is|are|would be|should be)\b(?: for sure)?)?\s{0,4}[:\-]?\s{0,4}){0,3}"
    r"(?:(?:应该|应当|应|宜|该|可|我|所以|因此|故|本题)?(?:选择|选项|选|故选|答案|정답)(?:是|为)?\s{0,4}:?\s{0,4}){0,3}"
    r"(?:choose|pick|select)?\s{0,4}"
    r"(?P<noun>option|choice|answer|letter|figure|diagram|graph|picture|image|point|panel|line|circuit|net|shape|path|part"
    r"|region|position|label|statement|step|图)?\s{0,4}:?\s{0,4}",
    re.I,
)
_LABEL = re.compile(
    r"(?P<open>[(\[{<])?\s{0,4}(?P<letter>[A-Za-z])(?:\s{0,4}(?P<close>[)\]}>])|(?=$|[\s.,:;、。!?/\-\u3400-\u9fff\"]))\s{0,4}"
    r"(?P<mark>[.:、)]|-(?=\s)|,(?=\s|$)|(?=\())?\s{0,4}(?P<rest>.*)$",
    re.S,
)
_SEVERAL = re.compile(
    r"(?:both\s{1,4}|either\s{1,4})?((?:[(\[]?[A-Z][)\]]?(?:\s{0,4}(?:,\s{0,4}and|,\s{0,4}or|,|、|;|and|or|&|/|\+|和|或者|或|与|及|还是)\s{0,4}|\s{0,4})){1,26})(?![\w'])"
    r"[.。]?$"
)
_OR = re.compile(r"\bor\b|或|还是")
_GLOSSED = re.compile(r"([^()]{1,200})\s\(([^()]{1,400})\)$")
_NAMED_INSIDE = re.compile(
    r"(?:\b(?i:option|choice|answer|letter|(?:answer|choice|option) is|it(?:'s| is| must be)|choose|pick|select"
    r"|go with)|选项?|选择|[(\[])\s{0,4}[:-]?\s{0,4}[(\[]?([A-Z]|(?<=option )[a-z]|(?<=choice )[a-z]"
    r"|(?<=\()[a-z](?=\))|(?<=answer: )[a-z](?=\W{0,4}$))(?![\w'])[)\]]?"
)
_EXCLUDED = re.compile(
    r"(?:is |are )?(?:clearly |also )?(?:incorrect|wrong|false|excluded|eliminated|错)|cannot|can't|could not|不"
)
# An explanation of the letter, not another option's text.
_REASON = re.compile(
    r"\W{0,8}(?:since|because|as|given|which|due to|so|this|the|it|is (?:the )?(?:correct|right|best|true"
    r"|most)|based on"
    r"|it's|it is|that|matches|corresponds|for sure|is closer|is)\b|\W{0,8}(?:因为|由于|是?正确|对应|[是为]?正确|选项)",
    re.I,
)
_TURNED = re.compile(r"\b(?:but|however)\b(?! not\b)|但|然而")  # `A is the largest, but C is the capital`
_NEGATED_CLAUSE = re.compile(r"\b(?:can't|cannot|couldn't|isn't|is not|not|doesn't make sense for it to)\b.*$", re.I)
_NONE_RIGHT = re.compile(
    r"\bnone of (?:the|these)\b[^.]{0,40}\b(?:options?|choices?|answers?|match|above|listed|given)"
    r"|\bnot (?:in|among|listed|one of)\b"
    r"|\bno (?:correct|matching|valid) (?:answer|option|choice)|\b(?:isn't|not) (?:an option|available|provided) "
    r"|无正确(?:答案|选项)|没有正确|无选项|都不(?:正确|对)|均不正确",
    re.I,
)
_STATEMENTS = re.compile(r"(?<![A-Za-z])(?:VIII|VII|VI|IV|IX|III|II|I|V|X)(?![A-Za-z])")
_STATEMENT_WORDS = re.compile(
    r"(?<![A-Za-z])(?:VIII|VII|VI|IV|IX|III|II|I|V|X)(?![A-Za-z])|\b(?:only|and|both|statements?|just|are|is"
    r"|must be|true|correct|the|all|of|option|conditions?|roman|numerals?|hold)\b|[,&.;:和、与仅只有]|\s",
    re.I,
)
_OFFICIAL = re.compile(
    r"^(?:(?:peoples|federal|islamic|democratic|socialist|united|great)\s{1,4})*(?:republic|kingdom|state|city"
    r"|province|commonwealth|union|federation|island|river|mount|lake|county|town|country|emirate|the)s?"
    r"(?:\s{1,4}of)?(?:\s{1,4}the)?\s{1,4}|^(?:mount|lake|the)\s{1,4}"
)
_LONE_LETTER = re.compile(r"(?<![\w'])([B-HJ-Z]|A(?=\s{1,4}(?:and|or|is)\b)|A$)(?![\w'])")
_MORE_LETTERS = re.compile(r"[(\[]?[b-hj-z][)\]]?(?:[,、;]|\W{0,4}$)")  # after `a,`
_LETTER_AFTER = re.compile(r"(?:^|\b(?:or|and|not)\s{1,4}|[,/、和或与及])[(\[]?[A-Z](?![A-Za-z'])")
_LONE_DIGIT = re.compile(r"\(?\d{1,2}(?:\.0)?\)?\W{0,2}$")
_LETTER_RUN = re.compile(r"([A-Za-z](?:,? ?[A-Za-z]){1,5})\W{0,4}(?:\([a-z ]{3,80}\))?$")
_DIGIT_CHOICE = re.compile(r"(?:option|choice|选项)\s{0,4}[(\[]?(\d{1,2})[)\]]?$", re.I)
# The last words of a sentence: `The designer of the chair is Dutch`.
_SAYS = r"\b(?:is|are|was|were|be|depicts?|shows?|represents?|called|named)\s(?:an?\s|the\s)?"
_AROUND_TEXT_WORDS = """
the a an is it its in of because since as only gas answer here that was are i think believe from diagram picture image
must be this shows color
"""
_AROUND_TEXT = frozenset(_AROUND_TEXT_WORDS.split())

_LIGHT = STOP | {"will", "would"}
_UNITLESS = frozenset((Rule.UNIT_MISSING,))  # `5` where one option is `5 cm`
_ROUNDED = frozenset((Rule.NUMBER_COARSER, Rule.NUMBER_ROUNDED))  # `7.07` where one is `5√2`

Meant = tuple[frozenset[int], Rule]


@dataclass(frozen=True, slots=True)
class Choice:
    """The options, and which of them are right; `reference` is a set of indices, nearly always one.

    Args:
        texts: the options; empty if only their letters are known.
        options: each option compiled under its own kind, with the gate.
        letters: the index of each label of the question, if the labels have another order than `texts`.
        anonymous: the texts have no content, such as `A`, `B` and `<image 1>`.
    """

    reference: frozenset[int]
    texts: tuple[str, ...]
    options: tuple[Form | None, ...] = field(repr=False)
    letters: dict[str, int] = field(repr=False)
    spelled: tuple[str, ...] = field(repr=False)
    cores: tuple[str, ...] = field(repr=False)
    sets: tuple[frozenset[str] | None, ...] = field(repr=False)
    anonymous: bool = False
    kind: str = "choice"

    def compare(self, answer: str) -> Ruling:
        meant = self.meant(answer)
        if isinstance(meant, Ruling):
            return meant
        chosen, rule = meant
        return correct(rule) if chosen == self.reference else different(rule)

    def normal(self, answer: str) -> str | None:
        meant = self.meant(answer)
        return None if isinstance(meant, Ruling) else "".join(label(i) for i in sorted(meant[0]))

    def show(self) -> str:
        return "".join(label(i) for i in sorted(self.reference))

    def meant(self, answer: str) -> Meant | Ruling:
        """Return the options that the answer names, or the ruling if it names none or contradicts itself."""
        equal = self._equal(answer)
        labelled = self._plain_letter(answer)
        if equal is not None and labelled is not None and equal != labelled:
            wrong = not {equal, labelled} & self.reference  # `A` is the text of option C
            return different(Rule.CHOICE_LETTER) if wrong else ambiguous(Rule.CHOICE_CONFLICT)
        if equal is not None:
            return frozenset((equal,)), Rule.CHOICE_TEXT
        if labelled is not None:
            return frozenset((labelled,)), Rule.CHOICE_LETTER
        for reading in (self._statements, self._guarded, self._members, self._lettered, self._several, self._text):
            if (found := reading(answer)) is not None:
                return found
        return self._outside(answer)

    def _plain_letter(self, answer: str) -> int | None:
        bare = answer[1:-1] if answer[:1] == "(" and answer[-1:] == ")" else answer
        if len(bare) == 2 and len(self.texts) > 26 and bare.isalpha() and bare.isupper():
            index = 26 * (ord(bare[0]) - 64) + ord(bare[1]) - 65  # AA follows Z
            return index if index < len(self.texts) else None
        return self._index(bare) if len(bare) == 1 and "A" <= bare <= "Z" else None

    def _index(self, letter: str) -> int | None:
        """Return the index of the option with this letter; None if there is none."""
        if self.letters:
            return self.letters.get(letter.upper())
        index = ord(letter.upper()) - 65
        return index if not self.texts or index < len(self.texts) else None

    def _equal(self, answer: str) -> int | None:
        exact = [i for i, text in enumerate(self.texts) if text == answer]
        words = spelled(answer)
        same = exact or [i for i, text in enumerate(self.spelled) if text == words and words]
        return same[0] if len(same) == 1 else None

    def _guarded(self, answer: str) -> Meant | Ruling | None:
        low, texts = answer.casefold(), " ".join(self.texts).casefold()
        if _NONE_RIGHT.search(answer) is not None and _NONE_RIGHT.search(texts) is None and "none" not in texts:
            return ambiguous(Rule.NEGATED) if _LABEL.match(answer) else different(Rule.CHOICE_OUTSIDE)
        if guards.refuses(low) and not guards.refuses(texts):
            return incorrect(Rule.REFUSAL)
        if (rest := guards.corrected(answer)) is not None:
            return self.meant(rest)
        main, cut = guards.without_contrast(answer)
        return self.meant(main) if cut and not guards.negated(texts) else None

    def _members(self, answer: str) -> Meant | None:
        """Read `A. cat, C. dog` and `cat, dog (A, C)`, if several options are right."""
        if len(self.reference) < 2:
            return None
        glossed = _GLOSSED.match(answer)
        parts = split(answer) if glossed is None else glossed.groups()
        found = [self.meant(part) for part in parts] if len(parts) > 1 else []
        sets = [one[0] for one in found if not isinstance(one, Ruling)]
        if not sets or len(sets) < len(found) or (glossed is not None and sets[0] != sets[1]):
            return None
        return frozenset().union(*sets), Rule.CHOICE_LETTER

    def _lettered(self, answer: str) -> Meant | Ruling | None:
        lead = _LEAD.match(answer)
        start = lead.end() if lead is not None else 0
        named = lead is not None and (lead.group("noun") is not None or start > 0)
        found = _LABEL.match(answer, start)
        if found is None:
            return None
        letter, rest = (
            found.group("letter"),
            found.group("rest").strip(' .:,;)"*').removeprefix("- ").removeprefix("项"),
        )
        marked = bool(found.group("close") or found.group("mark") is not None) or (named and not rest)
        index = self._index(letter)
        if letter.islower() and not (marked or not rest):
            return None  # the article in `a cat`
        if index is None:
            return different(Rule.CHOICE_OUTSIDE) if not rest and letter.isupper() and self.texts else None
        if rest and self._agrees(rest, index):
            return frozenset((index,)), Rule.CHOICE_LETTER
        if (
            rest
            and not marked
            and not named
            and not _REASON.match(rest)
            and not _EXCLUDED.match(rest)
            and rest.isascii()
        ):
            return None
        return self._with_rest(index, rest)

    def _with_rest(self, index: int, rest: str) -> Meant | Ruling | None:
        if not rest:
            return frozenset((index,)), Rule.CHOICE_LETTER
        own = self.spelled[index] if self.texts else ""
        if own and spelled(rest).startswith(own + " "):
            rest = spelled(rest).removeprefix(own + " ")  # `(B) no. The boat is above`
        turned = _TURNED.search(rest)
        after = "" if turned is None else rest[turned.end() :]
        if _EXCLUDED.match(rest) is not None or retracts(rest) or self._mentions_other(after, index):
            return ambiguous(Rule.CHOICE_CONFLICT)
        if _MORE_LETTERS.match(rest) is not None:
            return None
        kept = _NEGATED_CLAUSE.sub("", rest)
        if _SEVERAL.match(rest) or _LETTER_AFTER.search(kept):
            return None
        others = [i for i in range(len(self.texts)) if i != index and self._agrees(rest, i)]
        if others or (not _REASON.match(rest) and self._mentions_other(rest, index)):
            return ambiguous(Rule.CHOICE_CONFLICT)
        if guards.soft(kept.casefold()) and not _REASON.match(rest):
            return ambiguous(Rule.SOFT)
        return frozenset((index,)), Rule.CHOICE_LETTER

    def _mentions_other(self, rest: str, index: int) -> bool:
        words = f" {spelled(rest)} "
        own = self.texts and f" {self.spelled[index]} " in words
        return (
            not own
            and bool(rest)
            and any(f" {text} " in words for i, text in enumerate(self.spelled) if i != index and len(text) > 1)
        )

    def _several(self, answer: str) -> Meant | Ruling | None:
        """Read `A and C` and `AC` as a set, `A or C` as candidates."""
        lead = _LEAD.match(answer)
        found = _SEVERAL.match(answer, lead.end() if lead is not None else 0)
        if found is None:
            return self._inner_letter(answer)
        indices = [self._index(letter) for letter in re.findall(r"[A-Z](?![a-z])", found.group(1))]
        chosen = frozenset(index for index in indices if index is not None)
        if len(chosen) < len(indices) or len(chosen) < 2:
            return None
        if _OR.search(found.group(1)):
            return ambiguous(Rule.SEVERAL) if chosen & self.reference else different(Rule.SEVERAL)
        if len(self.reference) == 1 and chosen & self.reference:
            return ambiguous(Rule.SEVERAL)
        return chosen, Rule.CHOICE_LETTER

    def _inner_letter(self, answer: str) -> Meant | Ruling | None:
        """Read `I would go with (B) here`, if no other option is named outside a negation."""
        kept = _NEGATED_CLAUSE.sub("", answer) or answer
        found = list(_NAMED_INSIDE.finditer(answer))
        letters = {m.group(1).upper() for m in found if not _denied(answer[max(0, m.start() - 12) : m.start(1)])}
        if len(letters) > 1:
            return ambiguous(Rule.SEVERAL)
        if not letters:
            return ambiguous(Rule.NEGATED) if found else None
        index = self._index(letters.pop())
        if index is None:
            return ambiguous(Rule.CHOICE_OUTSIDE)
        if guards.negated(kept.casefold()) or self._mentions_other(answer, index) or guards.soft(kept.casefold()):
            return ambiguous(Rule.CHOICE_CONFLICT)
        return frozenset((index,)), Rule.CHOICE_LETTER

    def _agrees(self, text: str, index: int) -> bool:
        if index >= len(self.texts):
            return False
        option = self.options[index]
        if same_words(core(text), self.cores[index]):
            return True
        return option is not None and option.compare(text).outcome is Outcome.CORRECT

    def _text(self, answer: str) -> Meant | Ruling | None:
        if (digit := _DIGIT_CHOICE.match(answer)) is not None and 1 <= int(digit.group(1)) <= len(self.texts):
            return frozenset((int(digit.group(1)) - 1,)), Rule.CHOICE_LETTER
        if not self.texts or self.anonymous:
            return ambiguous(Rule.CHOICE_OUTSIDE)
        if _LONE_DIGIT.match(core(answer)) is not None and not any(c.isdigit() for text in self.texts for c in text):
            return ambiguous(Rule.CHOICE_NEAR)  # may be the second option
        if (run := _LETTER_RUN.match(answer)) is not None and all(
            self._index(letter) is not None for letter in run[1].replace(" ", "").replace(",", "")
        ):
            return ambiguous(Rule.CHOICE_NEAR)  # `ac`, `DCA?` may be letters
        low, texts = answer.casefold(), " ".join(self.texts).casefold()
        if guards.negated(low) and not guards.negated(texts):
            return ambiguous(Rule.NEGATED)
        rulings = [None if option is None else option.compare(answer) for option in self.options]
        agreeing = [
            i
            for i, ruling in enumerate(rulings)
            if same_words(core(answer), self.cores[i]) or (ruling is not None and ruling.outcome is Outcome.CORRECT)
        ]
        if len(agreeing) == 1:
            refused = rulings[agreeing[0]]
            if refused is not None and refused.rule is Rule.REFUSAL and self._names_another(answer, agreeing[0]):
                return ambiguous(Rule.CHOICE_CONFLICT)  # `I'm not sure, but A`
            return frozenset(agreeing), Rule.CHOICE_TEXT
        for rules in (_UNITLESS, _ROUNDED):
            found = [i for i, ruling in enumerate(rulings) if ruling is not None and ruling.rule in rules]
            if not agreeing and len(found) == 1 and (rules is _UNITLESS or "." in answer):
                return frozenset(found), Rule.CHOICE_TEXT
        return self._contained(answer)

    def _names_another(self, answer: str, index: int) -> bool:
        return any(self._index(letter) not in (None, index) for letter in _LONE_LETTER.findall(answer))

    def _contained(self, answer: str) -> Meant | Ruling | None:
        words = f" {spelled(answer)} "
        han = not answer.isascii()
        held = [i for i, text in enumerate(self.spelled) if _held(text, words, han)]
        longest = [
            i for i in held if not any(i != j and _held(self.spelled[i], f" {self.spelled[j]} ", han) for j in held)
        ]
        if len(longest) > 1:
            wrong = guards.alternatives(answer.casefold()) and not set(longest) & self.reference
            return different(Rule.SEVERAL) if wrong else ambiguous(Rule.SEVERAL)
        if longest:
            return self._sentence(words.strip(), longest[0])
        return self._reworded(answer) or self._told_apart(answer)

    def _reworded(self, answer: str) -> Meant | None:
        """`The snake population would decrease` for `The population of snakes decreases`: the same stems, and in the
        same order where the option has no `of`."""
        said = _stems(core(answer))
        same = [i for i, text in enumerate(self.cores) if sorted(_stems(text)) == sorted(said)] if len(said) > 1 else []
        kept = len(same) == 1 and (_stems(self.cores[same[0]]) == said or " of " in self.cores[same[0]])
        return (frozenset(same), Rule.CHOICE_TEXT) if kept else None

    def _told_apart(self, answer: str) -> Meant | None:
        """Return the option that words of one option name: `blue` among a red car, a blue boat and a green tree."""
        said = set(core(answer).split()) - STOP
        if not said or len(said) > 2 or not all(word.isalpha() for word in said):
            return None
        words = [set(text.split()) - STOP for text in self.cores]
        holding = [i for i, own in enumerate(words) if said & own]
        plain = len(holding) == 1 and said <= words[holding[0]] and len(words[holding[0]]) == 2
        joined = plain and re.search(r"\b(?:and|or|not|no|both|neither)\b|[,/&]", self.texts[holding[0]])
        return (frozenset(holding), Rule.CHOICE_TEXT) if plain and not joined else None

    def _sentence(self, words: str, index: int) -> Meant | Ruling:
        """Find an option within more words: a whole sentence that names it, or its official name."""
        option = self.spelled[index]
        rest = re.sub(rf"(?:^|\s){re.escape(option)}(?:\s|$)", " ", words).split()
        explained = words.startswith(option + " ") and rest[0] in (
            "because",
            "since",
            "as",
            "which",
            "is",
            "has",
            "was",
        )
        whole = _OFFICIAL.sub("", words) == option or len(option.split()) >= 3
        whole = whole or re.search(rf"{_SAYS}{re.escape(option)}$", words) is not None
        if whole or explained or all(word in _AROUND_TEXT for word in rest):
            return frozenset((index,)), Rule.CHOICE_TEXT
        return ambiguous(Rule.CHOICE_NEAR)

    def _outside(self, answer: str) -> Ruling:
        """Judge a text or value that is no option: the reference option itself must be proven different."""
        if self.anonymous or not self.texts:
            return ambiguous(Rule.CHOICE_OUTSIDE)
        if any(self._index(letter) is not None for letter in _LONE_LETTER.findall(answer)):
            return ambiguous(Rule.CHOICE_CONFLICT)  # `A and B are wrong, so C`
        meant = [self.options[i] for i in self.reference]
        found = [option.compare(answer) for option in meant if option is not None]
        if found and all(ruling.certainty is Certainty.PROVEN for ruling in found):
            return different(Rule.CHOICE_OUTSIDE)
        if any(akin(answer, self.texts[i]) for i in self.reference):
            return ambiguous(Rule.CHOICE_NEAR)
        return unlike(Rule.CHOICE_OUTSIDE)

    def _statements(self, answer: str) -> Meant | Ruling | None:
        """Read `I and II`, `Statements I and II only`, if the options are sets of statements."""
        sets = self.sets
        if sum(s is not None for s in sets) < 2:
            return None
        lettered = re.match(r"^[(\[]?([A-Z])(?![A-Za-z])[)\]]?\s{0,4}[.:)]?\s{0,4}(.*)$", answer)
        if lettered and lettered.group(1) not in "IVX" and lettered.group(2):
            return None
        got = statement_set(answer)
        if got is None and re.match(r"^(?:all|all (?:of|three)\b.*)$", answer.casefold()):
            got = frozenset().union(*(s for s in sets if s is not None))
        if got is None:
            return None
        same = [i for i, s in enumerate(sets) if s == got]
        return (frozenset(same), Rule.CHOICE_STATEMENTS) if len(same) == 1 else different(Rule.CHOICE_STATEMENTS)


def statement_set(text: str) -> frozenset[str] | None:
    """Return the roman numerals of `I and III only`; None if there are other words."""
    if _STATEMENT_WORDS.sub("", text):
        return None
    found = _STATEMENTS.findall(text)
    return frozenset(found) if found else None


def _stems(text: str) -> list[str]:
    return [stem(word) for word in text.split() if word not in _LIGHT]


def _denied(before: str) -> bool:
    return guards.negated(before.lower()) or "不" in before


def _held(option: str, words: str, han: bool) -> bool:
    if not option:
        return False
    return f" {option} " in words or (han and not option.isascii() and option in words)


_OTHERS_DENIED = re.compile(
    r"[,.;]\s{0,4}(?:it |this |that )?(?:can(?:'t|not)|could(?:n't| not)|isn't|is not|not)\s(?:be )?"
    r"((?:\(?[A-Z]\)?(?:,? (?:or|and|nor) |, )?){1,8})\.?$"
)


def without_other_letters(answer: str) -> str:
    """Turn `D, it can't be A or B` into `D`: other options are denied, not the named one."""
    found = _OTHERS_DENIED.search(answer)
    own = answer.lstrip(" (")[:1]
    return answer if found is None or own in re.findall("[A-Z]", found[1]) else answer[: found.start()]


def label(index: int) -> str:
    """Return the label of an index: A, B, .., Z, AA, AB, .."""
    return (label(index // 26 - 1) if index >= 26 else "") + chr(65 + index % 26)


_ANONYMOUS = re.compile(
    r"[A-Za-z]$|<?\s{0,4}image\s{0,4}\d{0,60}\s{0,4}>?$|(?:figure|picture|option|choice)\s{0,4}[A-Z\d]$", re.I
)


def built(
    reference: frozenset[int], texts: tuple[str, ...], options: tuple[Form | None, ...], letters: dict[str, int]
) -> Choice:
    """Return a choice with everything that comparisons need about its options, computed once."""
    sets = tuple(statement_set(text) for text in texts)
    anonymous = bool(texts) and all(_ANONYMOUS.match(text) for text in texts)
    return Choice(
        reference, texts, options, letters, tuple(map(spelled, texts)), tuple(map(core, texts)), sets, anonymous
    )


_REFERENCE_LETTER = re.compile(
    r"^(?:option|choice|选项?)?\s{0,4}[(\[]?([A-Za-z])[)\]]?\s{0,4}[.:、)]?\s{0,4}(.*)$", re.S | re.I
)
_REFERENCE_LETTERS = re.compile(r"^[A-Z](?:\s{0,4}[,、;&/]?\s{0,4}(?:and\s{1,4})?[A-Z])*+$")


def reference_indices(text: str, choices: tuple[str, ...]) -> frozenset[int] | None:
    """Return the options that a reference names: by text, letter, letter and text, or several letters."""
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
    if len(text) < 80 and _REFERENCE_LETTERS.match(text):
        indices = frozenset(ord(c) - 65 for c in text if c.isupper())
        if not choices or max(indices) < len(choices):
            return indices
    return frozenset(equal[:1]) if equal else None


# Options are at the end of a question; before them may be a passage of any length.
_MAX_LISTED_CHARS = 20_000
_OPTION_LINE = re.compile(r"(?:^|\n)[ \t]{0,4}[(\[]?([A-Z])[)\].:、][ \t]{0,4}(\S[^\n]*)")
_OPTION_INLINE = re.compile(r"[(\[]?(?<![A-Za-z])([A-Z])[)\].:、][ \t]{0,4}")


def labelled_options(question: str) -> tuple[tuple[str, str], ...]:
    """Return letters and texts of the options that the question lists: `A. cat` per line, `(A) cat (B) dog`."""
    text = fold(question[-_MAX_LISTED_CHARS:])
    lines = [(m.group(1), m.group(2)) for m in _OPTION_LINE.finditer(text)]
    marks = list(_OPTION_INLINE.finditer(text))
    ends = [*(m.start() for m in marks[1:]), len(text)]
    inline = [(m.group(1), text[m.end() : end]) for m, end in zip(marks, ends, strict=False)]
    for found in (lines, inline):
        first = next((i for i in range(len(found) - 1, -1, -1) if found[i][0] == "A"), None)
        listed = found[first:] if first is not None else []
        if len(listed) >= 2 and [letter for letter, _ in listed] == [label(i) for i in range(len(listed))]:
            return tuple((letter, option.strip(" \t\n,;")) for letter, option in listed)
    return ()
