"""The gate that every INCORRECT passes: it is proven, likely, or not INCORRECT at all.

A family says what it sees; what it did not understand completely is no difference. Here each claim is held against the
whole answer once more: is it the same text in another dress, does one hold the other, was all of it understood?
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from mmpr.judging import guards
from mmpr.judging.algebra import Unbounded
from mmpr.judging.choice import without_other_letters
from mmpr.judging.closed_classes import excluded, member
from mmpr.judging.forms import Form
from mmpr.judging.kinship import akin, contains, numberless, shortened, squeezed
from mmpr.judging.lexicon import synonyms
from mmpr.judging.maths import is_value
from mmpr.judging.numbers import read_quantity, read_simple
from mmpr.judging.prose import core
from mmpr.judging.quantity import Number
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, unlike
from mmpr.types import Certainty, Outcome

Read = Callable[[str, str], Form | None]
_MAX_RULED = 64

# A guard's finding is no difference: the answer is negated, bounded, doubted or no answer.
_GUARDS = frozenset((Rule.REFUSAL, Rule.NEGATED, Rule.BOUND, Rule.SOFT, Rule.EXPRESSION_UNREAD))
# Kinds that one reader reads, so that they can be compared with each other.
_GROUPS = {
    **dict.fromkeys(("number", "year", "roman"), "number"),
    **dict.fromkeys(("expression", "equation"), "maths"),
    **dict.fromkeys(("date", "year_month"), "date"),
}
# Kinds in which every sign carries meaning, so that the family's own proof counts: `-x` is not another form of `x`.
_SIGNED = frozenset(("expression", "equation", "inequality", "matrix", "formula", "number"))
# Kinds for which `before 3:15 PM` names other values than 3:15 PM.
_BOUNDED = frozenset(("date", "time", "year", "number", "tuple", "ratio"))
# Kinds whose readers read the first part of `yes or 7`.
_ONE_OF = frozenset(("choice", "yes_no", "year"))
# Kinds whose reference may itself be "unknown", or whose answer may contain it next to a refusal.
_OWN_REFUSAL = frozenset(("text", "choice", "ocr", "number", "year", "yes_no", *_SIGNED))
_FAILED = {"negated": Rule.NEGATED, "soft": Rule.SOFT, "bound": Rule.BOUND}
# A sentence that only names its value: `The perimeter is 7`, `G represents 8`.
_STATED = re.compile(
    r"(?:[A-Za-z][A-Za-z' ]{0,100}\s)?(?:is|are|was|were|equals|represents|shows|got|there are)\s{1,4}"
    r"(?=[-+$€£¥]{0,2}\d)"
    r"|[m∠△|A-Za-z'() ]{1,40}=\s{0,4}(?=[-+$]?\d)"
    r"|(?:(?![没不非约超少多大小或几除])[\u3400-\u9fff，,]){0,30}[有是为共计得于](?=[-+]?\d|[零一二两三四五六七八九十百])",
    re.I,
)
# What makes another number of the one that stands there, or a rough one; a dash may be a sign, a mark or an "up to".
_CHANGES = re.compile(
    r"\b(?:not|never|no|than|half|twice|thrice|double|triple|times|dozen|per|every|each|between|from|plus|minus|of the"
    r"|least|most|or|if|when|before|after|about|around|roughly|approximately|some|nearly|almost)\b|约|-\s|\d-",
    re.I,
)
_UP_TO = re.compile(r"\W{0,3}([$€£]?\d[\d,.]{0,15}%?)\s?-\s?([$€£]?\d[\d,.]{0,15}%?)(?:[ %][A-Za-z ]{0,20})?$")
_BY_TOKENS = {"text": Rule.TEXT, "ocr": Rule.OCR, "date": Rule.DATE}
_COMPOUND = frozenset(("set", "list", "tuple", "multipart"))
# `e^{3}` is `e^3` and `a + b` is `a+b`; `\\sqrt{3}+1` is not `\\sqrt{3+1}`, nor `2 1/2` `21/2`.
_SCRIPT = re.compile(r"(?<=[\^_])\{(\w{1,40})\}")
_BLANKS = re.compile(r"(?<!\d)\s{1,4}|\s{1,4}(?!\d)")


@dataclass(frozen=True, slots=True)
class Gated:
    """A form whose INCORRECT is either proven or likely."""

    inner: Form
    text: str
    question: str
    read: Read
    kind: str
    _ruled: dict[str, Ruling] = field(default_factory=dict, repr=False, compare=False)

    def compare(self, answer: str) -> Ruling:
        """Return the family's ruling after examining every INCORRECT; a hedge never decides in favour of the answer.

        Sets and options compare one text several times, so that rulings are remembered.
        """
        if (ruling := self._ruled.get(answer)) is None:
            if len(self._ruled) >= _MAX_RULED:
                self._ruled.clear()
            ruling = self._ruled[answer] = self._compared(answer)
        return ruling

    def _compared(self, answer: str) -> Ruling:
        if self._plain_quantity(answer):  # no guard, no other notation, nothing that was not understood
            ruling = self.inner.compare(answer)
            return ruling if ruling.outcome is not Outcome.INCORRECT else different(ruling.rule)
        hedged = guards.without_hedge(answer)
        if hedged is not None:
            found = self.compare(hedged)
            return found if found.certainty is Certainty.PROVEN else ambiguous(Rule.SOFT)
        if self.kind not in _OWN_REFUSAL and guards.refuses(answer.casefold()):
            return ambiguous(Rule.REFUSAL)
        ruling = self.inner.compare(answer)
        if ruling.outcome is Outcome.CORRECT:
            return self._stood_by(answer, ruling)
        if self.kind in _BY_TOKENS and _same_tokens(answer, self.text, numeric=self.kind == "date"):
            return correct(_BY_TOKENS[self.kind])
        if answer.endswith("!") and ruling.outcome is Outcome.INCORRECT:  # `42!`: a factorial, or an exclamation
            calm = self.compare(answer.rstrip("! "))
            return ruling if calm.certainty is Certainty.PROVEN else ambiguous(ruling.rule)
        return ruling if ruling.outcome is not Outcome.INCORRECT else self._examined(answer, ruling)

    def _plain_quantity(self, answer: str) -> bool:
        try:
            return self.kind == "number" and read_quantity(answer) is not None
        except Unbounded:
            return False

    def normal(self, answer: str) -> str | None:
        return self.inner.normal(answer)

    def show(self) -> str:
        return self.inner.show()

    def _stood_by(self, answer: str, ruling: Ruling) -> Ruling:
        """Return the family's CORRECT, unless the answer retracts it, doubts it or only gives a bound."""
        low = answer.casefold()
        if low == self.text.casefold():
            return ruling
        texts = getattr(self.inner, "texts", ())
        said = " ".join((self.text, *texts)).casefold()
        if guards.refuses(low):
            if guards.refuses(said):  # an option says that it cannot be determined
                return ruling
            if guards.opens_refusing(low):
                return ambiguous(Rule.REFUSAL)
        if self.kind == "choice":
            low = without_other_letters(answer).casefold()
        if self.kind in _ONE_OF and guards.either(low, f"{self.question} {said}"):
            return ambiguous(Rule.SEVERAL)
        failed = guards.unreliable(low, f"{self.question} {said}")
        if failed is None or (
            failed == "negated" and self.kind == "yes_no" and not low.startswith(self.text.casefold())
        ):
            return ruling
        if failed == "bound" and self.kind not in _BOUNDED:
            return ruling
        return ambiguous(_FAILED[failed])

    def _examined(self, answer: str, ruling: Ruling) -> Ruling:
        if ruling.rule in _GUARDS:
            return ambiguous(ruling.rule)
        if ruling.certainty is Certainty.PROVEN and self.kind in _SIGNED:
            return ruling
        if (same := self._same_dressed(answer, ruling)) is not None:
            return same
        if ruling.certainty is not None:
            return ruling
        if ruling.rule is Rule.SEVERAL or (self.kind == "number" and _listed(answer) is not None):
            return self._every_candidate(answer)
        if self.kind == "text":
            return self._open_text(answer, ruling)
        if self.kind == "ocr":
            near = contains(self.text, answer) or shortened(self.text, answer)
            return ambiguous(ruling.rule) if near else different(ruling.rule)
        if ruling.rule is Rule.NUMBER_NONE and numberless(answer):
            return unlike(ruling.rule)
        if self.kind == "number" and (ends := _UP_TO.match(answer)) is not None:  # `5-6` is no -1
            return self._outside(ends[1], ends[2])
        if isinstance(self.inner, Number) and _CHANGES.search(answer) is None and self.inner.explains(answer):
            return different(ruling.rule)
        return different(ruling.rule) if self._understood(answer) else ambiguous(ruling.rule)

    def _same_dressed(self, answer: str, ruling: Ruling) -> Ruling | None:
        if _unspaced(answer) == _unspaced(self.text) and _bare(answer) == _bare(self.text):
            return correct(ruling.rule)
        if not self._letters(answer) or (answer[:1] == "-") != (self.text[:1] == "-"):  # `-infinity`
            return None
        same = squeezed(answer)
        return ambiguous(ruling.rule) if same and same == squeezed(self.text) else None

    def _letters(self, answer: str) -> bool:
        """Whether a removed hyphen or dot cannot have been a sign or a decimal point."""
        return not any(c.isdigit() for c in answer) or self.kind in ("text", "ocr")

    def _every_candidate(self, answer: str) -> Ruling:
        if self.kind == "number" and (numbers := _listed(answer)) is not None:
            wanted = read_simple(self.text)
            apart = wanted is not None and wanted.value not in numbers
            return different(Rule.SEVERAL) if apart else ambiguous(Rule.SEVERAL)
        return self._none_of(guards.candidates(answer))

    def _outside(self, first: str, last: str) -> Ruling:
        """Compare a range with a reference that is neither of its ends and not between them."""
        low, wanted, high = (read_quantity(text) for text in (first, self.text, last))
        held = None not in (low, wanted, high) and low.value <= wanted.value <= high.value  # type: ignore[union-attr]
        return ambiguous(Rule.SEVERAL) if held else self._none_of((first, last))

    def _none_of(self, parts: Sequence[str]) -> Ruling:
        proven = (
            len(parts) > 1
            and "±" not in self.text
            and all(self.compare(part).certainty is Certainty.PROVEN for part in parts)
        )
        return different(Rule.SEVERAL) if proven else ambiguous(Rule.SEVERAL)

    def _open_text(self, answer: str, ruling: Ruling) -> Ruling:
        got, wanted = core(answer), core(self.text)
        if excluded(got, wanted) or (got and wanted and offers(self.question, got, wanted)):
            return different(ruling.rule)
        if synonyms(got, wanted) and not (member(got) or member(wanted)):  # `reddish` is no red
            return correct(Rule.TEXT)
        return ambiguous(ruling.rule) if akin(answer, self.text) else unlike(ruling.rule)

    def _understood(self, answer: str) -> bool:
        """Whether the whole answer can be read like a reference of this kind."""
        if self.kind == "number" and is_value(answer):
            return True
        form = self.read(answer, self.kind)
        if form is None or _GROUPS.get(form.kind, form.kind) != _GROUPS.get(self.kind, self.kind):
            return False
        if self.kind not in _COMPOUND:
            return True
        texts = [*getattr(form, "texts", ()), *getattr(self.inner, "texts", ())]
        return all(any(c.isdigit() for c in text) for text in texts)


_BRACKETED = re.compile(r"[(\[{]([^()\[\]{}]{1,200})[)\]}]$")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3}){1,20}$")
_LISTING = re.compile(r"\s{0,4},\s{0,4}(?:(?:and|or)\s{1,4})?|\s{1,4}(?:and|or)\s{1,4}|;\s{0,4}")


def _listed(answer: str) -> frozenset[Fraction] | None:
    """What `(1, 2)` or `7 and 11` may mean: each value, their sum (`3 and 4` for 7), their product, and where nothing
    brackets them one number of all digits; None where a part is more than a number."""
    if (stated := _STATED.match(answer)) is not None:
        answer = answer[stated.end() :]
    bracketed = _BRACKETED.match(answer)
    parts = _LISTING.split(bracketed[1].strip() if bracketed else answer)
    found = [read_simple(part.strip()) for part in parts]
    values = [one.value for one in found if one is not None]
    if len(values) < max(2, len(parts)) or (bracketed is None and _THOUSANDS.match(answer) is not None):
        return None
    if bracketed is None:  # `1, 234` may be 1234, `1,5` one and a half
        joined = [read_simple(mark.join(part.strip() for part in parts)) for mark in ("", ".")]
        found += joined
    return frozenset(
        (
            sum(values, Fraction(0)),
            math.prod(values, start=Fraction(1)),
            *(one.value for one in found if one is not None),
        )
    )


def _unspaced(text: str) -> str:
    return text.replace(" ", "").replace("{", "").replace("}", "")


def _bare(text: str) -> str:
    return _BLANKS.sub("", _SCRIPT.sub(r"\1", text))


_SEPARATED = re.compile(r"\A[^\W_]++(?:(?:[\s/,&;:|·'\"()-]|\.(?=\s)){1,3}[^\W_]++){1,12}[.)]?$")
_DECIMAL = re.compile(r"\d\.\d")


def _same_tokens(a: str, b: str, *, numeric: bool) -> bool:
    """The same words or groups of digits between other marks: `black/white` and `black white`, `333-3333`; of numbers
    without the zeros that lead them: `04/07/1985` and `4-7-1985`."""
    if any(_SEPARATED.match(text) is None or _DECIMAL.search(text) for text in (a, b)):
        return False
    token = r"[^\W_]+" if not numeric else r"0*([^\W_]+)"
    return re.findall(token, a.casefold()) == re.findall(token, b.casefold())


_OR = re.compile(r"\s{0,4},?\s{1,4}or\s{1,4}")
_ENDS = re.compile(r"[.?!:;()]|\sor\s")
_QUANTIFIED = re.compile(r"(?:(?:more|fewer|less|the|an?|in|on|at|by|with|for|to)\s)+")


_WHICH_HAN = re.compile("哪|谁|还是")
_BETWEEN_HAN = ("和", "与", "跟", "还是", "或", "或者", "、")  # `正方形和三角形哪个更多`


def offers(question: str, a: str, b: str) -> bool:
    """Whether the question offers both as alternatives: `metal or wood?`, `north, south, east or west`."""
    if not question.isascii() and _WHICH_HAN.search(question) is not None:
        return any(f"{one}{mark}{two}" in question for one, two in ((a, b), (b, a)) for mark in _BETWEEN_HAN)
    for match in _OR.finditer(question) if "or" in question else ():
        before = _ENDS.split(question[: match.start()][-200:])[-1].split(",")
        after = _QUANTIFIED.sub("", core(question[match.end() : match.end() + 200]), count=1) + " "
        items = [_QUANTIFIED.sub("", core(item), count=1) for item in before]
        # text before the first alternative belongs to its item: `is the mug ceramic`
        long = max((i for i, item in enumerate(items) if item.count(" ") > 2), default=0)
        places = [
            -1
            if after.startswith(name + " ")
            else next((i for i, item in enumerate(items) if item == name or (i >= long and _ends(item, name))), None)
            for name in (a, b)
        ]
        if None not in places and places[0] != places[1]:
            return True
    return False


def _ends(item: str, name: str) -> bool:
    return item.endswith(" " + name)
