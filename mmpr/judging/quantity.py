"""Compare numbers with everything attached to them: integers, decimals, percent, money, units, angles, fractions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from mmpr.judging import algebra, guards
from mmpr.judging.clean import latin_words
from mmpr.judging.cues import Cues, singular, stem
from mmpr.judging.grammar import FUNCTION_NAMES, number
from mmpr.judging.identity import renamed, same_function
from mmpr.judging.lexicon import senses
from mmpr.judging.magnitude import beyond
from mmpr.judging.maths import is_value, read_value
from mmpr.judging.measures import Measure, same, shown
from mmpr.judging.numbers import (
    Mention,
    Reading,
    closed_value,
    mentions,
    plain_numbers,
    read_closed,
    read_quantity,
    read_simple,
)
from mmpr.judging.roman import compile_roman, says_place
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect

# Words that do not change a number's meaning.
_FILLER_TEXT = """
a an the is are was were be it its it's this that these those there their they here he she in on at of to for
from by with and as has have had we i you get gets got find found see seen so thus hence therefore then answer
final value result total altogether overall number amount equals equal approximately about around roughly
exactly only just precisely all item items object objects thing things unit units piece pieces time
times pcs sum count which will would each per both correct solution measure measures value's shown visible image
picture figure diagram graph chart approx ca circa m∠ ∠ square sq units2 reading reads read shows show displayed
marked labelled labeled length width year grew rose increased contain contains contained holds hold costs cost
weighs weigh indicates indicate displays stands lasts takes take covers makes make gives become becomes
represents comes remains remain left needed required counted present amounts totals because when can who whom
whose adds up points pts according current believe think estimate estimated rounded using based data altitude off whole
cubic respectively counting counted positive
的 是 为 有 共 约 个 只 条 本 张 人 位 名 枚 颗 辆 棵 朵 件 台 双 头 匹 把 块 图 中 答 案 总 数 等 于 大 概
这 它 得 到 即 了 在 一 里 所 以 因 此 年 面 积 长 度 值 结 果 应 该 份 道 处 座 群 根 支 片 层 家 间 架 艘
们 需 要 花 费 付 民 币
"""
FILLER = frozenset(_FILLER_TEXT.split())
# Questions that count people, under any name.
_OF_PEOPLE_TEXT = """
people person
population inhabitant attend attendance visitor student sit passenger audience crowd member participant player
guest
"""
_OF_PEOPLE = frozenset(_OF_PEOPLE_TEXT.split())
_SCALE_WORDS = ("hundred", "thousand", "million", "billion", "trillion")
_NO_LIST = re.compile(r"(?!and\b|or\b)\b[a-z]{2,}|[\u3400-\u9fff]", re.I)
_PER = re.compile(r"/\s?(?=[a-z])")
_PEOPLE = re.compile(r"\b(?:people|persons?|individuals|inhabitants|residents)\b")
_WORD = re.compile(r"[a-z∠]{1,40}(?:'[a-z]{1,40})?|[\u3400-\u9fff]|[\\=<>≈±~#@&+*/^]")
_EXPRESSION = re.compile(
    rf"\\(?!frac|sqrt|pi)[a-z]|\d\s?\\frac[^+]{{0,60}}[+-]|[a-zA-Z]\s?\^|\d\s?i\b|\|"
    rf"|\b(?:{'|'.join(FUNCTION_NAMES)})\b|[a-zA-Z] ?[-+*] ?[a-zA-Z\d]"
)
_LEAD = re.compile(
    r"^(?:(?:so|thus|hence|therefore|answer|the answer(?: is)?|i (?:believe|think)(?: that)?(?: it(?:'s| is))?"
    r"|it(?:'s| is)|≈|~|≅|approximately|approx\.?|about|around|roughly|约|大约|约为)[\s:,]*)+",
    re.I,
)
_TAIL = re.compile(
    r"\s{0,4}[,;，；]?\s{1,4}(?:since|because|as (?!well)|given that|which|where|so that|due to|based on|after|when"
    r"|assuming)\b.*$|[,，]\s{0,4}(?:因为|由于|其中|即|所以).*$|[,;]\s{0,4}(?:since|because|as|which|so)\b.*$",
    re.I,
)
_TAIL_WORDS_TEXT = "since because as given which where so due based after when assuming"
_TAIL_WORDS = frozenset(_TAIL_WORDS_TEXT.split())
# `There are 3 dogs: two ..`
_COUNTED = re.compile(r"((?:there (?:are|is)|i (?:see|count)) [^:\d]{0,40}\d?[^:\d]{0,40}): .*$", re.I)
_OUT_OF = re.compile(r"(\d{1,9}) out of (?:the )?\d{1,9}\b")
_SENTENCE = re.compile(
    r"(?<=[\w)%°$}])[.。!]\s{1,4}(?=[A-Z\u3400-\u9fff][a-z\u3400-\u9fff]*[\s\u3400-\u9fff])|(?<=[^\s])。(?=.)"
)
_GLOSS = re.compile(r"\(([^()]*)\)")
_COMMA_DECIMAL = re.compile(r"([-+]?\d{1,60}),(\d{1,2}|\d{4,})(?![\d,])(.*)$")
_EQUALS = re.compile(r"\s{0,4}(?:=|≈|≅)\s{0,4}")
_LABEL = re.compile(r"(?:[^\d=]|(?<=[A-Za-z_])\d)*$")
_SPOKEN = re.compile(r"^([^\d]{0,400}(?:\b(?:is|are|was|equals|of)\b|[:：]|是|为|等于))\s{0,4}(.+)$", re.I)
_ROUNDING_GLOSS = re.compile(
    r"round|approx|≈|since|because|from|exact|e\.g|i\.e|out of|count|includ|\beach\b|\bper\b|\bevery\b", re.I
)
_DOTTED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\.\d{3}){2,}")


# `5 N to the left` may be -5: these words are a sign.
_DIRECTION = re.compile(
    r"\b(?:left|down|downwards?|west|south|back|backwards?|below|loss|lost|owed?|debt|deficit|decreas\w{1,4}|declin\w{1,4}"
    r"|fell|dropp?\w{0,3}|reduc\w{1,5}|negative|minus|clockwise|opposite)\b|(?<!零)[左下西南]|减少|下降|亏|负"
)
_TWO_TERMS = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s?(?::|\bto\b)\s?(\d{1,9})$")  # `3:4` if the reference is written 3/4
_GLUED = re.compile(r"(?<![\w.])\d[\d.,]{0,20}[a-zA-Z]{1,2}(?![\w/^])")  # `10m` is ten metres, or 10 times m
_HOW_MUCH = re.compile(r"多少|how (?:much|many|long|tall|high|old)(?! (?:more|less|fewer|longer|taller|higher))")
_MORE = re.compile(
    r"\b(?:more|taller|higher|longer|older|heavier|faster|increased?|rose|gained|profit)\b|[多增升涨高盈]"
)
_LESS = re.compile(
    r"\b(?:fewer|less|shorter|lower|younger|lighter|slower|decreased?|fell|dropped|lost|loss)\b|[少减降跌低亏]"
)
_UNIT_LETTER = re.compile(r"([-+]?\d[\d.,]{0,20})\s?[KM]$")  # kelvin and mol/L, or a thousand and a million
_LETTERS_ASKED = re.compile(r"\bkelvins?\b|\bmolar|\bconcentration|开尔文|摩尔浓度")
_DIFFERENCE = re.compile(r"\bdifference\b|相差|差值")
_ROUGH = re.compile(
    r"\W{0,3}(?:it(?:'s| is) )?(?:about|around|roughly|approximately|approx\.?|nearly|almost|大?约|~)", re.I
)
_ACCOUNTING = re.compile(r"\(\s{0,4}([$€£¥]?\s?\d[\d,]*(?:\.\d{1,60})?)\s{0,4}\)$")
_SIGN_LAST = re.compile(r"(\d{1,2})\s?([+-])$")  # the charge of an ion
_CHARGED = re.compile(r"\bcharged?\b|\bions?\b|\boxidation|\bvalen|电荷|化合价|离子")


Read = tuple[Reading, tuple[str, ...]]  # a number and the words that nothing explains
_MAX_KNOWN = 256


@dataclass(frozen=True, slots=True)
class Number:
    """A reference that is a number. What the question says is read once, when it is compiled."""

    measure: Measure
    cues: Cues
    lettered: Fraction | None = None  # 300 of `300 K`
    kind: str = "number"
    _known: dict[str, Read | Ruling] = field(default_factory=dict, repr=False, compare=False)

    def compare(self, answer: str) -> Ruling:
        """Compare the answer's only number with the reference, with everything attached to both."""
        if self.cues.ratio() and (found := _TWO_TERMS.match(answer)) is not None and int(found[2]):
            return self.measure.judge(Reading(Fraction(found[1]) / int(found[2]), None, "fraction"))
        try:
            if (quantity := read_quantity(answer)) is not None:
                return self._settled(quantity, (), answer)
            if "≈" in answer and (both := self._approximated(answer)) is not None:
                return both
            mathematical = self._as_mathematics(answer)
            return self._compare_written(answer) if mathematical is None else mathematical
        except algebra.Unbounded:
            return beyond(str(self.measure.reading.value), answer)

    def normal(self, answer: str) -> str | None:
        """Return the number in SI units: `150 mm` and `15 cm` are equal."""
        try:
            read = self._read(answer)
        except algebra.Unbounded:
            return None
        if isinstance(read, Ruling):
            return None
        value, unit = read[0].value, read[0].unit or self.measure.reading.unit or self.cues.unit()
        if unit is not None:
            value = value * unit.factor + unit.offset
        if read[0].percent and not (self.measure.reading.percent or self.cues.percent()):
            value = value / 100
        return str(value) if value.denominator < 10**9 or value > 10**300 else repr(float(value))

    def show(self) -> str:
        return shown(self.measure.reading)

    def _as_mathematics(self, answer: str) -> Ruling | None:
        """`\\binom{16}{2}`, `|-10|`, `e^{iπ}`, `2i`: an answer that as a whole is an expression beyond roots and π."""
        if _EXPRESSION.search(answer) is None or self._guard(answer, answer.lower()) is not None:
            return None
        try:
            node = read_value(answer)
        except algebra.Unreadable:
            return None
        if algebra.symbols(node) == {"I"}:  # as computer algebra writes the root of -1
            node = renamed(node, {"I": "i"})
        if not algebra.symbols(node):
            reading = closed_value(node)
            return different(Rule.NUMBER) if reading is None else self.measure.judge(reading)
        reading = self.measure.reading
        plain = reading.unit is None and not reading.percent
        return correct(Rule.NUMBER) if plain and same_function(node, number(reading.value)) else None

    def _compare_written(self, answer: str) -> Ruling:
        low = answer.lower()
        if (accounted := _ACCOUNTING.match(answer)) is not None:  # `(64)` is 64, in a balance -64
            plain, negative = (self.compare(sign + accounted.group(1)) for sign in ("", "-"))
            return ambiguous(negative.rule) if negative.outcome == "correct" else plain
        if (charge := _SIGN_LAST.match(answer)) is not None:
            return self.compare(charge[2] + charge[1]) if self.cues.has(_CHARGED) else ambiguous(Rule.BOUND)
        main, cut = guards.without_contrast(answer)
        if cut and mentions(plain_numbers(main)):
            return self._compare_written(main)
        if cut:  # `最小值不是-4` says no other value
            return ambiguous(Rule.NEGATED)
        if (rest := guards.corrected(answer)) is not None:
            ruling = self._compare_written(rest)
            return ambiguous(Rule.NEGATED) if ruling.outcome == "correct" else ruling
        guarded = self._guard(answer, low)
        if guarded is not None:
            return guarded
        read = self._read(answer)
        if isinstance(read, Ruling):
            return read
        return self._settled(*read, answer)

    def _settled(self, reading: Reading, rest_words: tuple[str, ...], answer: str) -> Ruling:
        """Return the ruling of the answer's only reading, given the rest of the answer."""
        ruling = self.measure.judge(reading)
        if ruling.outcome != "correct":
            if (lettered := _UNIT_LETTER.match(answer)) is not None and self.compare(lettered[1]).outcome == "correct":
                return correct(Rule.UNIT) if self.cues.has(_LETTERS_ASKED) else ambiguous(Rule.UNIT)
            if reading.value == self.lettered:
                return ambiguous(Rule.UNIT_MISSING)
            turned = reading.value == -self.measure.reading.value
            signed = turned and (self.cues.has(_DIFFERENCE) or _DIRECTION.search(answer.lower()) is not None)
            return ambiguous(ruling.rule) if signed or self._roughly(reading, answer) else ruling
        if self._turned(answer):
            return ambiguous(Rule.NUMBER_REST)
        if self.cues.silent and reading.unit is not None and _GLUED.search(answer) is not None:
            return ambiguous(Rule.UNIT)
        if rest_words and self.cues.silent and _counted(answer, rest_words):
            rest_words = ()
        if rest_words or self._counts(answer, reading):
            return ambiguous(Rule.NUMBER_REST)
        return ambiguous(Rule.SOFT) if guards.soft(answer.lower()) else ruling

    def _turned(self, answer: str) -> bool:
        """Whether the answer compares the other way round than the question: `5 fewer` where it asks how many more."""
        said, asked = _HOW_MUCH.sub("", answer.lower()), _HOW_MUCH.sub("", self.cues.low)
        for one, other in ((_MORE, _LESS), (_LESS, _MORE)):
            if other.search(said) is not None and one.search(said) is None:
                return one.search(asked) is not None and other.search(asked) is None
        return False

    def _roughly(self, reading: Reading, answer: str) -> bool:
        """Whether `about 8` is right for 8.4: within a twentieth, if the answer says that it is approximate."""
        wanted = self.measure.reading.value
        return _ROUGH.match(answer) is not None and abs(reading.value - wanted) * 20 <= abs(wanted)

    def _approximated(self, answer: str) -> Ruling | None:
        """Compare `5\\sqrt{2} ≈ 7.07`: either side may be the reference, if neither is wrong."""
        exact, _, approximate = answer.rpartition("≈")
        last = _EQUALS.split(exact)[-1].strip()
        if read_closed(plain_numbers(last)) is None and not is_value(last):
            return None
        found = [self.compare(side.strip()) for side in (exact, approximate)]
        right = [ruling for ruling in found if ruling.outcome == "correct"]
        if all(ruling.outcome == "incorrect" for ruling in found) and read_simple(approximate.strip()) is not None:
            return different(Rule.NUMBER)
        return right[0] if right and all(ruling.outcome != "incorrect" for ruling in found) else None

    def _counts(self, answer: str, got: Reading) -> bool:
        """Whether the number counts things: `62 students` are not 62 % and not $62, whatever the question asks."""
        reference = self.measure.reading
        if not (reference.percent and not got.percent) and not (reference.currency and got.currency is None):
            return False
        found = re.search(r"\d\s{1,4}([a-z]{1,40})", answer.lower())
        return found is not None and found.group(1) not in FILLER and found.group(1) not in _SCALE_WORDS

    def explains(self, answer: str) -> bool:
        """Whether the answer has one number, and otherwise only words of the question or words without meaning."""
        try:
            read = self._read(answer)
        except algebra.Unbounded:
            return False
        return not isinstance(read, Ruling) and not read[1]

    def _guard(self, answer: str, low: str) -> Ruling | None:
        if guards.harmless(low):
            return None
        if guards.says_none(low, self.cues.low):
            if not self.cues.count() and not (self.cues.silent and self.measure.reading.value == 0):
                return ambiguous(Rule.NUMBER_NONE)
            return correct(Rule.NUMBER_NONE) if self.measure.reading.value == 0 else different(Rule.NUMBER_NONE)
        if guards.refuses(low):
            return ambiguous(Rule.REFUSAL) if self._mentioned(answer) else incorrect(Rule.REFUSAL)
        if guards.bounded(low, self.cues.low):
            return incorrect(Rule.BOUND)
        if guards.alternatives(low):
            return self._either(answer)
        if guards.negated(low, self.cues.low):
            return incorrect(Rule.NEGATED)
        return None

    def _mentioned(self, answer: str) -> bool:
        return any(m.reading.value == self.measure.reading.value for m in mentions(plain_numbers(answer)))

    def _either(self, answer: str) -> Ruling:
        """Whether alternatives are one value: `3/4 or 0.75` is written twice; `5 or 6` is not."""
        found = mentions(plain_numbers(answer))
        if len(found) > 1 and all(self.measure.judge(m.reading).outcome == "correct" for m in found):
            return correct(Rule.NUMBER)
        return incorrect(Rule.SEVERAL)

    def _read(self, answer: str) -> Read | Ruling:
        """Return the only reading of the answer and the unexplained words, or the reason if there is none."""
        if (found := self._known.get(answer)) is None:  # the gate asks again whether it was all understood
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[answer] = self._read_anew(answer)
        return found

    def _read_anew(self, answer: str) -> Read | Ruling:
        simple = read_simple(answer)
        if simple is not None:
            return simple, ()
        explained = not answer.isascii() or not _TAIL_WORDS.isdisjoint(latin_words(answer))
        text = _TAIL.sub("", answer) if explained else answer
        text = _LEAD.sub("", _COUNTED.sub(r"\1", text) if ": " in text else text).strip()
        if self.cues.count() and "out of" in text:
            text = _OUT_OF.sub(r"\1", text)
        sentence = _SENTENCE.search(text)
        if sentence is not None and any(c.isdigit() for c in plain_numbers(text[: sentence.start()])):
            text = text[: sentence.start()]
        if (comma := _COMMA_DECIMAL.match(text)) is not None and re.fullmatch(r"[ a-zA-Z%°]*", comma.group(3)):
            return self._decimal_comma(comma)
        if _DOTTED_THOUSANDS.match(text) is not None:
            return ambiguous(Rule.NUMBER_COMMA)
        text = plain_numbers(text)
        chained = self._last_side(text)
        if isinstance(chained, Ruling):
            return chained
        return self._read_main(chained)

    def _decimal_comma(self, comma: re.Match[str]) -> Ruling:
        value = Fraction(f"{comma.group(1)}.{comma.group(2)}")
        if value != self.measure.reading.value:
            return incorrect(Rule.NUMBER)
        return correct(Rule.NUMBER) if self.measure.reading.decimals else ambiguous(Rule.NUMBER_COMMA)

    def _last_side(self, text: str) -> str | Ruling:
        """Turn `6 + 5 + 2 = 13` into `13`; the sides before must be a label or equal the last side."""
        if "=" not in text and "≈" not in text:
            return text
        sides = _EQUALS.split(text)
        last = sides[-1].strip()
        if not last:
            return text
        values = [read_closed(side) or (read_simple(side.strip()) and True) for side in sides[:-1]]
        final = read_closed(last)
        for side, value in zip(sides[:-1], values, strict=True):
            if isinstance(value, Mention) and (other := final.reading if final else _first(last)) is not None:
                whole = value.end >= len(side.rstrip())
                if (
                    whole
                    and not same(value.reading, other)
                    and "≈" not in text
                    and not algebra.alike(value.reading.value, other.value, relative=5e-3)
                ):
                    return (
                        ambiguous(Rule.NUMBER_REST)
                        if self.measure.judge(other).outcome == "correct"
                        else incorrect(Rule.NUMBER)
                    )
        return last

    def _read_main(self, text: str) -> Read | Ruling:
        closed = read_closed(_GLOSS.sub(" ", text) if text[:1].isdigit() and " (" in text else text)
        if closed is not None and self._is_closed(text, closed):
            return closed.reading, self._unexplained(text[closed.end :])
        spoken = _SPOKEN.match(text) if closed is None else None
        if spoken is not None and (closed := read_closed(spoken.group(2))) is not None:
            tail = spoken.group(2)[closed.end :]
            if self._is_closed(tail, Mention(0, 0, closed.reading)) and closed.reading.form != "plain":
                return closed.reading, self._unexplained(spoken.group(1) + " " + tail)
        glosses = _GLOSS.findall(text)
        main = _GLOSS.sub(" ", text) if glosses else text
        found = mentions(main)
        if not found and glosses:
            main, glosses, found = text, [], mentions(text)
        if not found:
            return self._place(main.strip())
        if len(found) > 1:
            return self._several(main, found)
        return self._single(main, found[0], glosses)

    def _place(self, text: str) -> Ruling:
        """Compare a place in an order: `the third column` is 3, unless the question counts things."""
        place = compile_roman(text, self.cues, forced=False)
        if place is None:
            return ambiguous(Rule.NUMBER_NONE) if says_place(text) else incorrect(Rule.NUMBER_NONE)
        if self.cues.count() or self.measure.reading != Reading(self.measure.reading.value):
            return ambiguous(Rule.ROMAN)
        return correct(Rule.ROMAN) if self.measure.reading.value == place.value else different(Rule.ROMAN)

    def _is_closed(self, text: str, closed: Mention) -> bool:
        """Whether a closed form counts: it is more than a first number, and nothing numeric follows it."""
        return not any(c.isdigit() for c in text[closed.end :])

    def _several(self, text: str, found: tuple[Mention, ...]) -> Read | Ruling:
        first = found[0].reading
        if all(same(first, m.reading) for m in found[1:]):
            return first, self._unexplained(text[: found[0].start] + " " + text[found[-1].end :])
        if guards.ranged(text.lower()):
            return incorrect(Rule.SEVERAL)
        fresh = [m for m in found if not _stands_in(text[m.start : m.end], self.cues.low)]
        # `3 of the 12 eggs`, `the 3 by 4 rectangle has an area of 12`: the question says the others
        if len(fresh) == 1 and _NO_LIST.search(text) is not None:
            return fresh[0].reading, self._unexplained(text[: fresh[0].start] + " " + text[fresh[0].end :])
        outcomes = [self.measure.judge(m.reading).outcome for m in found]
        if all(outcome == "correct" for outcome in outcomes):
            return first, ()
        return incorrect(Rule.SEVERAL)

    def _single(self, main: str, found: Mention, glosses: list[str]) -> Read | Ruling:
        for gloss in glosses:
            low = gloss.lower()
            if guards.negated(low) or guards.soft(low) or guards.bounded(low):
                return (
                    ambiguous(Rule.SEVERAL)
                    if self.measure.judge(found.reading).outcome == "correct"
                    else incorrect(Rule.NUMBER)
                )
            if not self._gloss_agrees(gloss, found.reading):
                return (
                    ambiguous(Rule.SEVERAL)
                    if self.measure.judge(found.reading).outcome == "correct"
                    else incorrect(Rule.NUMBER)
                )
        if found.reading.form == "both":
            return incorrect(Rule.SEVERAL)
        return found.reading, self._unexplained(main[: found.start] + " " + main[found.end :])

    def _gloss_agrees(self, gloss: str, reading: Reading) -> bool:
        if _ROUNDING_GLOSS.search(gloss) is not None:
            return True
        sides = _EQUALS.split(plain_numbers(gloss))
        closed = read_closed(sides[-1])
        if closed is not None and closed.end >= len(sides[-1].rstrip()):
            return same(closed.reading, reading)
        found = mentions(sides[-1])
        if not found or re.search(r"[+*×/]|\band\b|,", gloss) is not None:
            return True
        return any(same(m.reading, reading) or self.measure.judge(m.reading).outcome == "correct" for m in found)

    def _unexplained(self, rest: str) -> tuple[str, ...]:
        """Return words that are neither in the question nor common to all answers: `red` in `13 red marbles`."""
        low = _PER.sub(" per ", rest.lower()).replace("\\", " ")
        if not low.strip(" .,:;!?-()[]{}'\"|"):
            return ()
        if self.cues.count() and not self.cues.words().isdisjoint(_OF_PEOPLE):
            low = _PEOPLE.sub(" ", low)
        return tuple(
            word
            for word in _WORD.findall(low)
            if word not in FILLER
            and word not in self.cues.words()
            and singular(word) not in self.cues.words()
            and stem(word) not in self.cues.words()
        )


def _counted(answer: str, rest: tuple[str, ...]) -> bool:
    """Whether it is a number and the noun that it counts, nothing else: `33 eggs`."""
    found = re.fullmatch(r"[-+]?[\d.,]{1,20}\s([a-z]{3,20}s)\W{0,2}", answer)
    return found is not None and rest == (found[1],) and any(sense.startswith("n") for sense in senses(found[1]))


def _stands_in(literal: str, question: str) -> bool:
    number = re.search(r"\d{1,60}(?:[.,]\d{1,60})*", literal)
    return number is not None and re.search(rf"(?<![\d.]){re.escape(number.group())}(?![\d.]*\d)", question) is not None


def _first(text: str) -> Reading | None:
    found = mentions(text)
    return found[0].reading if len(found) == 1 else None


_ONE_UNIT_REFERENCE = re.compile(r"^(?:there (?:are|is|were|was) )?(?:≈|~|about |approximately )?\s{0,4}", re.I)


def compile_number(text: str, cues: Cues, *, relative_tolerance: float | None, forced: bool) -> Number | None:
    """Compile the reference as a number; None if it is not only a number, unless `forced` allows words next to it.

    Raises:
        algebra.Unbounded: the reference is too large.
    """
    if cues.has(_CHARGED):
        text = _SIGN_LAST.sub(r"\2\1", text)
    reading = read_simple(text) or _reference_reading(_ONE_UNIT_REFERENCE.sub("", text), cues, forced=forced)
    if reading is None or (reading.form == "both" and not forced) or _NO_NUMBER.match(text) is not None:
        return None
    letter = _UNIT_LETTER.match(text)
    plain = None if letter is None else read_simple(letter[1])
    return Number(Measure(reading, cues, relative_tolerance), cues, None if plain is None else plain.value)


def _known(word: str, cues: Cues) -> bool:
    return word in FILLER or word in cues.words()


# `0,111` has a decimal comma, if anything; `9月` is a month.
_NO_NUMBER = re.compile(r"[-+]?0,\d|\(\d{1,3},\d{3}\)$|\d{1,2}\s{0,4}[月日号]$")
_HYPHENATED = re.compile(r"^\d{1,60}+(?:\s{0,4}-\s{0,4}\d{1,60}+)+$")  # a phone number or a range, not a difference


def _reference_reading(text: str, cues: Cues, *, forced: bool) -> Reading | None:
    plain = plain_numbers(text).strip()
    if not any(c.isdigit() or c == "π" for c in plain) or _HYPHENATED.match(plain) is not None:
        return None
    closed = read_closed(plain)
    if closed is not None and not plain[closed.end :].strip():
        return closed.reading
    found = mentions(plain)
    if len(found) != 1:
        return None
    rest = (plain[: found[0].start] + " " + plain[found[0].end :]).strip(" .,")
    if not rest:
        return found[0].reading
    words = _WORD.findall(rest.lower())
    if re.search(r"[-+*/^=<>]", rest) is not None and not forced:  # `1 - x` is not 1
        return None
    if cues.count() and len(words) <= 2 and not plain[: found[0].start].strip():
        return found[0].reading  # `2 dogs`, where the question asks how many
    if plain[: found[0].start].strip() or not words:
        return found[0].reading if forced else None
    return (
        found[0].reading
        if forced or (len(words) <= 3 and all(_known(w, cues) or _known(singular(w), cues) for w in words))
        else None
    )
