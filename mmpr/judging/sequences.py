"""Compare several values: sets, ordered lists, tuples, ratios."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from mmpr.judging import algebra, guards
from mmpr.judging.closed_classes import member
from mmpr.judging.cues import Cues, singular
from mmpr.judging.forms import Form
from mmpr.judging.intervals import Interval, read_pieces
from mmpr.judging.maths import is_value
from mmpr.judging.number_words import digits
from mmpr.judging.numbers import mentions, plain_numbers
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect, ruled
from mmpr.judging.units import DIMENSIONS, read_unit
from mmpr.types import Certainty

Compile = Callable[[str], Form]
_MAX_MEMBERS = 32

_OPEN, _CLOSE = "([{<", ")]}>"
_AND = re.compile(r"\s{0,4}(?:,\s{0,4})?(?:\band\b|&|和|以及|及|与|\bthen\b|->|→)\s{0,4}", re.I)
_PARTED = re.compile(r"[,;、&→>\x02和及与]|and|then", re.I)
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")
_LEAD = re.compile(r"^[^()\[\]{}]*?(?:\b(?:is|are|were|was|include[sd]?|be|at)\b\s{0,4}:?|[:：]|是|为|有)\s{0,4}", re.I)
_NAME = re.compile(r"^\s{0,4}(?:[a-zA-Z](?:_?\{?\d\}?)?|[xyz]-?coordinate|[a-z]\d)\s{0,4}=\s{0,4}")


def split(text: str) -> list[str]:
    """Split at commas, semicolons and "and" outside brackets; `1,234` is one number if other commas have blanks."""
    if _PARTED.search(text) is None:
        return [text.strip()] if text.strip(" .") else []
    if ", " in text or ";" in text or "、" in text:
        text = _THOUSANDS.sub(lambda m: m.group().replace(",", "\x01"), text)
    text = _AND.sub(" \x02 ", text)
    parts, depth, start = [], 0, 0
    separators = (
        ";\x02" if ";" in text and re.search(r"\d,\d", text) is None and "," in text and _nested(text) else ",;、\x02"
    )
    for index, char in enumerate(text):
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        elif depth <= 0 and char in separators:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.replace("\x01", ",").strip() for part in parts if part.strip(" .")]


def _nested(text: str) -> bool:
    return any(part.count(",") for part in text.split(";"))


def unbracketed(text: str, pairs: tuple[str, ...] = ("{}", "[]", "()", "<>")) -> tuple[str, str]:
    """Return the text without one pair of brackets around the whole, and the pair."""
    text = text.strip()
    for pair in pairs:
        if len(text) > 1 and text[0] == pair[0] and text[-1] == pair[1] and _closes_at_end(text):
            return text[1:-1].strip(), pair
    return text, ""


def _closes_at_end(text: str) -> bool:
    depth = 0
    for index, char in enumerate(text):
        depth += char in _OPEN
        depth -= char in _CLOSE
        if depth == 0:
            return index == len(text) - 1
    return False


_SOLUTION = re.compile(r"\s{0,4}(?:([a-zA-Z])\s{0,4}=\s{0,4})?(±\s{0,4})?([-+]?\s?[\d\\√π(][^=±]{0,200}?)\s{0,4}$")
_SOLUTIONS_APART = re.compile(r"\s{0,4}(?:,|;|\bor\b|\band\b|或|和)\s{0,4}(?:(?:or|and)\s)?\s{0,4}")


def solutions(text: str) -> str | None:
    """Turn `x = ±3`, `x = 3 or x = -3` into `3, -3`: the values of one unknown; None for any other text."""
    inner, _ = unbracketed(text, ("{}",))
    if "±" not in inner and "=" not in inner:
        return None
    values: list[str] = []
    names: set[str] = set()
    for part in _SOLUTIONS_APART.split(inner):
        found = _SOLUTION.match(part)
        if found is None:
            return None
        names.update(found[1] or "")
        values += [found[3]] + [f"-{found[3]}"] * (found[2] is not None)
    return ", ".join(values) if len(values) > 1 and len(names) < 2 else None


_SLOT = re.compile(
    r"\s{0,4}(?:the\s{1,4})?([A-Za-z][A-Za-z ]{0,24}?)"
    r"(?:\s{0,4}[=:]\s{0,4}|\s{1,4}(?:is|of)\s{1,4}|(?<=[a-z]{3})\s{1,4})([-+±$(]?\s?[\d\\√π].{0,400})$"
)


_COUNTED = re.compile(r"\s{0,4}(?:there are )?(\d{1,9})\s{1,4}([a-z]{3,20}(?: [a-z]{3,20})?)$")


def read_slots(text: str) -> dict[str, str] | None:
    """`x=1, y=2` -> {x: 1, y: 2}, `two cats and 3 dogs` -> {cat: 2, dog: 3}; None where a part has no name or two
    have one."""
    if len(parts := split(text)) < 2:
        return None
    found = [_SLOT.match(part) for part in parts]
    slots = {m[1].strip().casefold(): m[2].strip() for m in found if m is not None}
    if not slots:
        counted = [_COUNTED.match(digits(part.casefold())) for part in parts]
        slots = {m[2]: m[1] for m in counted if m is not None and _is_thing(m[2])}
    slots = {singular(name): value for name, value in slots.items()}
    return slots if len(slots) == len(parts) else None


def _is_thing(name: str) -> bool:
    """Whether a name is no unit, coin or scale: `3 feet and 4 inches` are one length."""
    return read_unit(name) is None and _NO_THING.search(name) is None


_NO_THING = re.compile(
    r"\b(?:dollars?|cents?|euros?|pounds?|percent|hundred|thousand|million|billion|point|over|out|of|to)\b"
)
_BY = re.compile(r"\s{0,4}(?:[x×*]|\bby\b)\s{0,4}", re.I)
_LONG = re.compile(r"\d{1,9}(?:[./]\d{1,6})?\s?-?([a-z]{1,11}\.?|['\"′″])?$", re.I)


def dimensions(text: str) -> str | None:
    """`12 ft x 15 ft`, `12 by 15 ft` -> `12 ft; 15 ft`: lengths side by side; None where the text is nothing of the
    kind, as `12 x 15`, which is 180, too."""
    parts = _BY.split(text.replace("'", " ft").replace('"', " in"))
    found = [_LONG.match(part) for part in parts]
    units = [m[1] for m in found if m is not None]
    if not 2 <= len(parts) <= 3 or len(units) < len(parts) or units[-1] is None:
        return None
    unit = read_unit(units[-1])
    if unit is None or unit.dimension != DIMENSIONS["length"]:
        return None
    return "; ".join(part if m else f"{part} {units[-1]}" for part, m in zip(parts, units, strict=True))


@dataclass(frozen=True, slots=True)
class Slots:
    """Named values: matched by name if the answer has names, else by position."""

    names: tuple[str, ...]
    elements: tuple[Form, ...]
    texts: tuple[str, ...]
    kind: str = "slots"

    def compare(self, answer: str) -> Ruling:
        inner, _ = unbracketed(answer)
        given = read_slots(inner)
        if given is not None and set(given) == set(self.names):
            return self._ruled([given[name] for name in self.names], named=True)
        if given is not None and set(given) & set(self.names):
            return ambiguous(Rule.SET)
        parts = split(inner) if given is None else list(given.values())
        if len(parts) != len(self.elements) or any("=" in part for part in parts):
            return ambiguous(Rule.SET)
        return self._ruled(parts, named=False)

    def _ruled(self, parts: list[str], *, named: bool) -> Ruling:
        outcomes = [element.compare(part).outcome for element, part in zip(self.elements, parts, strict=True)]
        if all(outcome == "correct" for outcome in outcomes):
            return correct(Rule.SET)
        return incorrect(Rule.SET) if named and "incorrect" in outcomes else ambiguous(Rule.LIST_ORDER)

    def normal(self, answer: str) -> str | None:
        given = read_slots(answer)
        return None if given is None else ", ".join(f"{name}={given[name]}" for name in sorted(given))

    def show(self) -> str:
        return ", ".join(f"{name} = {text}" for name, text in zip(self.names, self.texts, strict=True))


def compile_slots(text: str, compiled: Compile) -> Slots | None:
    """Compile the reference as named values."""
    slots = read_slots(unbracketed(text, ("{}",))[0])
    if slots is None:
        return None
    return Slots(tuple(slots), tuple(compiled(value) for value in slots.values()), tuple(slots.values()))


@dataclass(frozen=True, slots=True)
class Collection:
    """A set or list: every element and no more, in order if the question says so."""

    elements: tuple[Form, ...]
    texts: tuple[str, ...]
    ordered: bool
    numeric: bool
    pair: bool = False  # `[0, 1]`
    braced: bool = False  # `{1, 2}`, where repeats say nothing
    named: bool = False  # `x = 1, x = 2`
    kind: str = "set"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if self.pair and _LEAD.sub("", answer).lstrip("$ ").startswith("("):  # `(0, 1)` is another interval, or a point
            return ambiguous(Rule.TUPLE_FORM)
        if guards.negated(low) and not guards.negated(" ".join(self.texts).casefold()):
            return incorrect(Rule.NEGATED)
        if self.numeric and len(set(_ASSIGNED.findall(answer))) > 1:
            return self._of_unknowns(answer)
        found: Ruling = incorrect(Rule.SET)
        for reading in self._readings(answer):
            ruling = self._parts(reading)
            if ruling.rule is Rule.SET_REPEATS and self.braced and answer[:1] + answer[-1:] == "{}":
                return correct(Rule.SET)
            if ruling.outcome == "correct":
                return ambiguous(Rule.SOFT) if guards.soft(low) else ruling
            if ruling.outcome == "ambiguous" or found.rule == Rule.SET:
                found = ruling
        return found

    def _of_unknowns(self, answer: str) -> Ruling:
        """Read `x = 1, y = 2` as `1, 2`, in this order; values of two unknowns are not two values of one."""
        given = [] if self.named else list((read_slots(unbracketed(answer)[0]) or {}).values())
        same = len(given) == len(self.elements) and all(
            e.compare(part).outcome == "correct" for e, part in zip(self.elements, given, strict=True)
        )
        return correct(Rule.SET) if same else ambiguous(Rule.SET)

    def normal(self, answer: str) -> str | None:
        parts = self._readings(answer)[-1]
        named = [
            next((t for e, t in zip(self.elements, self.texts, strict=True) if e.compare(p).outcome == "correct"), p)
            for p in parts
        ]
        return ", ".join(named if self.ordered else sorted(named))

    def show(self) -> str:
        return ", ".join(self.texts)

    def _readings(self, answer: str) -> list[list[str]]:
        answer = _NAMED_SET.sub("", answer)
        if all(len(text) == 1 and text.isalpha() for text in self.texts) and _LETTERS.match(answer) is not None:
            return [re.findall("[A-Za-z]", answer)]  # `BDAC`, `B-D-A-C`
        if self.numeric and (sides := dimensions(_LEAD.sub("", answer))) is not None:
            return [split(sides)]
        points = all(_POINT.match(text) for text in self.texts)
        inner, _ = unbracketed(answer, ("{}", "[]") if points else ("{}", "[]", "()", "<>"))
        if "/" in inner and not any(c.isdigit() for c in inner):
            inner = inner.replace("/", ", ")
        if self.numeric and (values := solutions(answer) or solutions(_LEAD.sub("", answer))) is not None:
            return [split(values)]
        if self.numeric and (values := _members_of(answer)) is not None:
            return [split(values)]
        if self.numeric:
            inner = re.sub(r"\s{1,4}\bor\b\s{1,4}|或", ", ", inner)
            inner = re.sub(r"(?<![\w.)])±\s{0,4}(\d[\d./]*)", r"\1, -\1", inner)
            inner = _BOTH_SIGNS.sub(r"\1+\2,\1-\2", inner)
        readings = [split(_clean_chain(inner))]
        shorter = _LEAD.sub("", inner)
        if shorter != inner and shorter.strip():
            readings.append(split(_clean_chain(unbracketed(shorter)[0])))
        return [[_NAME.sub("", part) if self.numeric else part for part in reading] for reading in readings]

    def _parts(self, parts: list[str]) -> Ruling:
        if self.ordered and len(parts) == len(self.elements):
            outcomes = [e.compare(p).outcome for e, p in zip(self.elements, parts, strict=True)]
            if all(outcome == "correct" for outcome in outcomes):
                return correct(Rule.SET)
            if self._matched(parts) == len(parts):
                reversed_ = [e.compare(p).outcome for e, p in zip(self.elements, reversed(parts), strict=True)]
                return incorrect(Rule.LIST_ORDER) if set(reversed_) == {"correct"} else different(Rule.LIST_ORDER)
            return ambiguous(Rule.SET) if "incorrect" not in outcomes else self._apart(parts)
        if len(parts) == len(self.elements):
            return self._same_count(parts)
        distinct = list(dict.fromkeys(part.casefold() for part in parts))
        if (
            len(distinct) < len(parts)
            and len(distinct) == len(self.elements)
            and self._matched(distinct) == len(distinct)
        ):
            return ambiguous(Rule.SET_REPEATS)
        return self._apart(parts)

    def _same_count(self, parts: list[str]) -> Ruling:
        matched = self._matched(parts)
        if matched == len(parts):
            return correct(Rule.SET)
        loose = self._matched(parts, loose=True)
        return ambiguous(Rule.SET) if loose == len(parts) else self._apart(parts)

    def _apart(self, parts: list[str]) -> Ruling:
        """Different where one member of either side is proven to be none of the other's; a lone part may be one of
        several that a question would take."""
        many = max(len(parts), len(self.elements)) > _MAX_MEMBERS
        unread = any("±" in part for part in (*parts, *self.texts)) or parts == [".".join(self.texts)]
        if many or unread or _PRODUCT.search(parts[0]):  # `(1 ± √5)/2` is two, `0,111` one number, `2 × 3` a 2 and a 3
            return incorrect(Rule.SET)
        table = [[e.compare(part).certainty is Certainty.PROVEN for part in parts] for e in self.elements]
        lonely_part = any(all(column) for column in zip(*table, strict=True))
        if lonely_part or (len(parts) > 1 and any(all(row) for row in table)):
            return different(Rule.SET)
        return incorrect(Rule.SET)

    def _matched(self, parts: list[str], *, loose: bool = False) -> int:
        """Return how many parts match an element of their own."""
        free = list(self.elements)
        count = 0
        for part in parts:
            for element in free:
                outcome = element.compare(part).outcome
                if outcome == "correct" or (loose and outcome == "ambiguous"):
                    free.remove(element)
                    count += 1
                    break
        return count


_LETTERS = re.compile(r"[A-Z](?:[ -]{0,3}[A-Z]){1,12}$")
_PRODUCT = re.compile(r"\d\s{0,4}[×·]\s{0,4}\d")


def _clean_chain(text: str) -> str:
    return re.sub(r"(?<=[\w)])\s{0,4}[<>]\s{0,4}(?=[\w(-])", ", ", text)


# `k = {1, 2}`, `x ∈ {1, 2}`, `(x, y) = (1, 2), (2, 1)`: the name of what the members are values of.
_NAMED_SET = re.compile(
    r"^\s{0,4}(?:\(\s{0,4}[a-z](?:\s{0,4},\s{0,4}[a-z]){1,3}\s{0,4}\)|[A-Za-z]\w?)\s{0,4}(?:=|∈|\bin\b)\s{0,4}"
    r"(?=[{(\[\d+-])"
)
_ASSIGNED = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z])\s?=")


def _members_of(answer: str) -> str | None:
    """Turn `{1, 2} ∪ {3}` into `1, 2, 3`, if the algebra of sets gives whole numbers."""
    if re.search("[∪∩]", answer) is None:
        return None
    try:
        pieces = read_pieces(answer)
    except (algebra.Unreadable, algebra.Unbounded):
        return None
    whole = all(low == high and abs(low) < 1e9 and low == int(low) for low, _, high, _ in pieces)
    return ", ".join(str(int(low)) for low, *_ in pieces) if pieces and whole else None


_BOTH_SIGNS = re.compile(r"([^,;±]{1,80})±([^,;±]{1,80})")  # `1 ± √2`
_POINT = re.compile(r"\([^(),]{1,80}(?:,[^(),]{1,80}){1,5}\)$")


def compile_collection(
    text: str, cues: Cues, compiled: Compile, *, ordered: bool | None, forced: bool
) -> Collection | None:
    """Compile as a set or list; lists of texts need three parts, an "and", or a question that asks for several."""
    sides = dimensions(text)
    inner, brackets = unbracketed(solutions(text) or sides or _NAMED_SET.sub("", text), ("{}", "[]"))
    if "," in inner and not re.search(r"[a-zA-Z]{3,}", inner):
        inner = re.sub(r"\s{1,4}or\s{1,4}", ", ", inner)  # `21, 16 or 11`
    if "±" in inner and "," in inner:
        inner = _BOTH_SIGNS.sub(r"\1+\2,\1-\2", inner)
    if inner.count("/") > 1 and not any(c.isdigit() or c in ",;" for c in inner):
        inner = inner.replace("/", ", ")
    parts = [part.rstrip(".") for part in split(inner)]
    if len(parts) < 2 and not (brackets == "{}" and parts and forced):
        return None
    numeric = sides is not None or all(
        re.search(r"\d", part)
        and ((len(mentions_or_none(part)) == 1 and not re.search(r"[a-zA-Z]{4,}", part)) or is_value(part))
        for part in parts
    )
    asks = (
        re.search(
            r"\blist\b|\bwhich\b.*s\b|\bname (?:the|all)\b|\bwhat are\b|哪些|\ball\b|\bcolou?rs\b|分别"
            r"|\b(?:what|which) [a-z]{3,20}s (?:are|do|were|have|can|did)\b",
            cues.low,
        )
        is not None
    )
    points = all(_POINT.match(part) for part in parts)
    coloured = all((found := member(part.casefold())) is not None and found[0] == "colour" for part in parts)
    if not (numeric or forced or brackets or asks or points or coloured or len(parts) >= 3):
        return None
    wanted = cues.ordered() if ordered is None else ordered
    return Collection(
        tuple(compiled(part) for part in parts),
        tuple(parts),
        wanted,
        numeric or points,
        numeric and brackets == "[]" and len(parts) == 2,
        brackets == "{}",
        "=" in text,
    )


def mentions_or_none(text: str) -> list[object]:
    """Return the numbers of a part; none if one is too large."""
    try:
        return list(mentions(plain_numbers(text)))
    except algebra.Unbounded:
        return []


_COORDINATES = re.compile(r"(?:^|[^\w\d])(?:[A-Z]'?\s{0,4})?(\([^()]*(?:\([^()]*\)[^()]*)*\))")
_NAMED = re.compile(
    r"\b([xyz])(?:-?(?:coordinate|value))?\s{0,4}(?:=|:|\bis\b)\s{0,4}([^,;\s]+(?:\s?/\s?\d{1,60})?)", re.I
)


_OF_INTERVALS = re.compile(r"[<>≤≥∞∪∈]|^\[[^\[\]()]{1,80}\)$|^\([^\[\]()]{1,80}\]$")


@dataclass(frozen=True, slots=True)
class Tuple:
    """Coordinates and other ordered values."""

    elements: tuple[Form, ...]
    texts: tuple[str, ...]
    kind: str = "tuple"

    def compare(self, answer: str) -> Ruling:
        low, answer = answer.casefold(), _NAMED_SET.sub("", answer)
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        if _OF_INTERVALS.search(answer) is not None and "<" not in answer[:1]:
            return self._as_interval(answer)
        parts, exact_form = self._parts(answer)
        if len(parts) != len(self.elements):
            return incorrect(Rule.TUPLE)
        outcomes = [e.compare(p).outcome for e, p in zip(self.elements, parts, strict=True)]
        if any(outcome == "incorrect" for outcome in outcomes):
            return incorrect(Rule.TUPLE)
        if any(outcome != "correct" for outcome in outcomes):
            return ambiguous(Rule.TUPLE)
        if guards.alternatives(low):
            return incorrect(Rule.SEVERAL)
        return correct(Rule.TUPLE) if exact_form else ambiguous(Rule.TUPLE_FORM)

    def normal(self, answer: str) -> str | None:
        parts, _ = self._parts(answer)
        return "(" + ", ".join(parts) + ")"

    def show(self) -> str:
        return "(" + ", ".join(self.texts) + ")"

    def _as_interval(self, answer: str) -> Ruling:
        """Judge an inequality: it may be the reference only if that is an open interval, never a point."""
        try:
            return Interval(tuple(read_pieces(self.show()))).compare(answer)
        except (algebra.Unreadable, algebra.Unbounded):
            return ambiguous(Rule.TUPLE_FORM)

    def _parts(self, answer: str) -> tuple[list[str], bool]:
        """Return the coordinates, and whether they are written as a point; `[-1, 2]` may be an interval."""
        named = {m.group(1).lower(): m.group(2) for m in _NAMED.finditer(answer)}
        if len(named) == len(self.elements) and len(named) > 1 and sorted(named) == list("xyz")[: len(named)]:
            return [named[axis].rstrip(".)") for axis in sorted(named)], True
        found = _COORDINATES.findall(" " + answer)
        if len(found) > 1 and len({"".join(f.split()) for f in found}) > 1:
            return found, True
        if found and "," in found[0]:
            return [_NAME.sub("", p) for p in split(found[0][1:-1])], not answer.strip().startswith("[")
        inner, brackets = unbracketed(answer)
        return [_NAME.sub("", p) for p in split(_LEAD.sub("", inner))], brackets in ("", "()", "<>")


def compile_tuple(text: str, compiled: Compile) -> Tuple | None:
    """Compile the reference as a tuple: one pair of round brackets with a comma."""
    found = re.fullmatch(r"^(?:[A-Z]'?\s{0,4}(?:=\s{0,4})?)?(\(.*\)|<.*>)", text.strip())
    if found is None or not _closes_at_end(found.group(1)):
        return None
    parts = split(found.group(1)[1:-1])
    return Tuple(tuple(compiled(part) for part in parts), tuple(parts)) if len(parts) > 1 else None


_RATIO = re.compile(
    r"(?<![\d.:])(\d{1,60}(?:\.\d{1,60})?(?:/\d{1,60})?)((?:\s{0,4}[a-z]{0,40}\s{0,4}(?::|\bto\b"
    r"|\bfor every\b|比)\s{0,4}\d{1,60}(?:\.\d{1,60})?"
    r"(?:/\d{1,60})?)+)(?![\d:]|\.\d)",
    re.I,
)
_RATIO_WORD = re.compile("to|for every|比", re.I)
_RATIO_PART = re.compile(r"(?::|\bto\b|\bfor every\b|比)\s{0,4}(\d{1,60}(?:\.\d{1,60})?(?:/\d{1,60})?)", re.I)
_SLASH = re.compile(r"(?<![\d/.])(\d{1,60}(?:\.\d{1,60})?)\s{0,4}/\s{0,4}(\d{1,60}(?:\.\d{1,60})?)(?![\d/]|\.\d)")


def read_ratio(text: str) -> list[tuple[Fraction, ...]]:
    """Return every ratio of the text, divided by its first term."""
    text = re.sub(r"(?<=\d)[, ](?=\d{3}(?!\d))", "", text)
    found: list[tuple[Fraction, ...]] = []
    for match in _RATIO.finditer(text) if ":" in text or _RATIO_WORD.search(text) is not None else ():
        terms = [_term(part) for part in (match.group(1), *_RATIO_PART.findall(match.group(2)))]
        if None not in terms:
            found.append(_reduced([term for term in terms if term is not None]))
    if not found:
        found = [_reduced([Fraction(m.group(1)), Fraction(m.group(2))]) for m in _SLASH.finditer(text)]
    return [ratio for ratio in found if ratio]


def _term(text: str) -> Fraction | None:
    """Read `5.2`, `3/4`, `1.5/2`; None if it divides by zero."""
    top, _, bottom = text.partition("/")
    divisor = Fraction(bottom or 1)
    return Fraction(top) / divisor if divisor else None


def _reduced(terms: list[Fraction]) -> tuple[Fraction, ...]:
    if terms[0] == 0:
        return tuple(terms) if not any(terms[1:]) else (Fraction(0), *(Fraction(int(t != 0)) for t in terms[1:]))
    return tuple(term / terms[0] for term in terms)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ordered terms up to a common factor."""

    terms: tuple[Fraction, ...]
    text: str
    low_question: str
    exact: bool = False  # a score, or possibly a time of day: 12:00 is not 1:00
    kind: str = "ratio"

    def compare(self, answer: str) -> Ruling:
        low = answer.casefold()
        if guards.alternatives(low):
            return incorrect(Rule.SEVERAL)
        if guards.negated(low):
            return incorrect(Rule.NEGATED)
        plain = plain_numbers(answer).replace("{", "").replace("}", "")
        found = read_ratio(plain)
        if not found:
            return self._single(plain)
        if any(ratio != found[0] for ratio in found):
            return incorrect(Rule.SEVERAL)
        if self._turned(low):
            return ambiguous(Rule.RATIO)
        if self.exact and (
            "".join(plain.split()) != "".join(self.text.split())
            and (found[0] == self.terms or plain.count(":") != self.text.count(":"))
        ):
            return ambiguous(Rule.RATIO)
        return ruled(found[0] == self.terms, Rule.RATIO)

    def normal(self, answer: str) -> str | None:
        found = read_ratio(plain_numbers(answer))
        return ":".join(str(term) for term in found[0]) if found else None

    def show(self) -> str:
        return ":".join(str(term) for term in self.terms)

    def _single(self, plain: str) -> Ruling:
        """Compare a single number: `0.667` for 2:3 is a coarser form of it."""
        found = re.fullmatch(r"^\D{0,400}(\d{1,12}\.\d{1,12})\D{0,400}$", plain)
        if found is None or len(self.terms) != 2 or not self.terms[1]:
            return incorrect(Rule.RATIO)
        near = abs(float(found.group(1)) - float(1 / self.terms[1]))
        return ambiguous(Rule.RATIO) if near < 0.005 else incorrect(Rule.RATIO)

    def _turned(self, low: str) -> bool:
        """Whether the answer names its terms in another order than the question: `3 girls to 2 boys`."""
        named = re.search(r"\d\s{1,4}([a-z]{1,40})\s{0,4}(?:to|:|for every)\s{0,4}\d{1,60}\s{1,4}([a-z]{1,40})", low)
        subject = named or re.search(r"\b([a-z]{1,40})\s{0,4}(?:to|:)\s{0,4}([a-z]{1,40})\b", low)
        if subject is None:
            return False
        first, second = self.low_question.find(subject.group(1)), self.low_question.find(subject.group(2))
        return first >= 0 and second >= 0 and first > second


_SCORE = re.compile(r"\bscore|\bresult of\b|\bwon\b|比分")


def compile_ratio(text: str, cues: Cues, *, forced: bool) -> Ratio | None:
    """Compile the reference as a ratio: `2:3`, or `2 to 3` and `2/3` if the question asks for one."""
    if not (forced or ":" in text or "比" in text or cues.ratio()):
        return None
    named, sign, terms = text.partition("=")
    if sign and ":" in named and re.search(r"\d", named) is None:  # `S_1:S = 7:32`
        text = terms
    plain = plain_numbers(text)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)
    shaped = (
        re.fullmatch(
            r"\s{0,4}\d{1,60}(?:\.\d{1,60})?(?:/\d{1,60})?(?:\s{0,4}[:比]\s{0,4}\d{1,60}(?:\.\d{1,60})?(?:/\d{1,60})?)+\s{0,4}",
            plain,
        )
        is not None
    )
    worded = (
        cues.ratio()
        and re.fullmatch(r"^\s{0,4}[\d./]{1,40}\s{0,4}(?:to|/)\s{0,4}[\d.]{1,40}\s{0,4}$", plain, re.I) is not None
    )
    if not (forced or shaped or (worded and "to" in plain)):
        return None
    found = read_ratio(plain)
    exact = not cues.ratio() and (
        cues.has(_SCORE) or re.fullmatch(r"\d{1,2}(?::[0-5]\d){1,2}", text.strip()) is not None
    )
    return Ratio(found[0], text, cues.low, exact) if len(found) == 1 else None
