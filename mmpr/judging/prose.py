"""Compare short texts: words with words, never with a number parser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from mmpr.judging import guards
from mmpr.judging.closed_classes import excluded, is_territory, same_member
from mmpr.judging.cues import Cues, singular, stem
from mmpr.judging.number_words import chinese_digits, english_digits
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different, incorrect
from mmpr.judging.tables import groups

HAN = re.compile(r"[\u3400-\u9fff]")
# Words with the same meaning, in the form of `spelled`.
ALIASES = {name: names[0] for names in groups("aliases") for name in names}
_CLASSIFIERS_HAN = re.compile(
    r"^(?:一|这|那|两|三|几)(?:只|个|条|匹|头|辆|本|张|棵|朵|位|名|把|块|台|架|艘|座|栋|双|件|根|片|群|种|杯"
    r"|碗|瓶|盘|颗|粒|幅|支|枝)"
)
_ARTICLE = re.compile(r"^(?:an?|the|some|one)\s{1,4}")
_PREPOSITION = re.compile(
    r"^(on top of|next to|in front of|to the (?:left|right) of|on the (?:left|right) of|inside of|on|in|at"
    r"|under|underneath|beneath|below|above|over|behind|beside|near|by|inside|outside|between|against|from"
    r"|around|across|along|through|into|onto|within)\s{1,4}"
)
_SAME_PLACE = {
    "underneath": "under",
    "beneath": "under",
    "below": "under",
    "beside": "next to",
    "over": "above",
    "on top of": "on",
    "inside": "in",
    "inside of": "in",
    "within": "in",
}
_NEUTRAL = frozenset(("on", "in", "at", "inside", "from", "by"))
_OPENING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|yes|well)[,\s]+)*(?:(?:the )?(?:correct |right |final )?answer(?: is|:)\s{0,4}|i "
    r"(?:think|believe)(?: that)?\s{1,4}|it(?:'s| is| was| looks like)\s{1,4}|this is\s{1,4}|that is\s{1,4}"
    r"|these are\s{1,4}|"
    r"they(?:'re| are)\s{1,4}|there (?:is|are)\s{1,4}|he(?:'s| is)\s{1,4}|she(?:'s| is)\s{1,4}|it's\s{1,4}"
    r"|called\s{1,4}|named\s{1,4}"
    r"|known as\s{1,4}|a kind of\s{1,4})+"
)
_OPENING_HAN = re.compile(
    r"^(?:答案(?:是|为)?|这(?:是|个是|里是)|它(?:是|们是)|那是|图(?:片)?中(?:的)?(?:动物|物体|人)?(?:是|为)?"
    r"|是|为|应该是|属于|叫(?:做)?)[::]?"
)
_LABEL = re.compile(r"^([^:]{1,60}):\s{0,4}(.+)$")
_COPULA = re.compile(
    r"^(.{1,80}?)\s{1,4}(?:is|are|was|were|reads?|says?|would be|appears? to be)\s{1,4}(?:called\s{1,4}|named\s{1,4}"
    r"|labell?ed\s{1,4}|known as\s{1,4})?(.+)$"
)
_WHICH = re.compile(r"\b(?:which|who)\b")
_MEASURED = re.compile(
    r"(?:,?\s(?:with|at)\s(?:(?:an?|about|around|approximately|only|the) )?(?:[a-z]{4,12} of )?|:\s)"
    r"[$€£]?\d[^,;]{0,40}$"
)
_COPULA_HAN = re.compile(r"^(.{1,30}?)(?:是|为|叫做?|写着)[::]?(.+)$")
_PUNCTUATION = re.compile(r"[\"'`.,;:!?()\[\]{}“”‘’。,、;!?《》「」*_]+")
_DIGIT = re.compile(r"\d")
_QUOTING = re.compile(r"[\"`;!?。、;!?《》「」*_]+|,(?=\s)")
_DASH = re.compile(r"(?<=\w)-(?=\w)")
_SPELLING = (
    (re.compile(r"\b(col|fav|flav|hon|lab|neighb|harb|behavi|hum|rum|arm|vap|od)our"), r"\1or"),
    (re.compile(r"\bgrey\b"), "gray"),
    (re.compile(r"(?<=[a-z]{3})is(e|ed|ing|ation)\b"), r"iz\1"),
    (re.compile(r"\b(cent|theat|met|lit|fib)re(s?)\b"), r"\1er\2"),
    (
        re.compile(r"\b(jewell|travell|modell|labell|cancell)(er|ed|ing)y?\b"),
        lambda m: m.group()[: m.group().index("ll") + 1] + m.group()[m.group().index("ll") + 2 :],
    ),
    (re.compile(r"\baluminium\b"), "aluminum"),
    (re.compile(r"\btyre(s?)\b"), r"tire\1"),
    (re.compile(r"\bmoustache\b"), "mustache"),
    (re.compile(r"\bdoughnut"), "donut"),
    (re.compile(r"\byoghurt"), "yogurt"),
    (re.compile(r"\bpyjamas\b"), "pajamas"),
    (re.compile(r"\bsulph"), "sulf"),
    (re.compile(r"\baeroplane"), "airplane"),
    (re.compile(r"\bco-?operat"), "cooperat"),
)
# Characters that any of these patterns needs: most texts contain none.
_BRITISH = re.compile(
    r"our|grey|is(?:e|ing|ation)|res?\b|ll(?:er|ed|ing)|alumin|tyre|moust|ough|pyj|sulph|aerop|operat"
)
_HAN_FILLER = frozenset("是在有了这那的图中里为个只叫它他她们正着")
STOP_TEXT = """
they he she we their his her a an the is are was were of to and it its in on at this that there be by with for from as
"""
STOP = frozenset(STOP_TEXT.split())
_TRAILING_REASON = re.compile(
    r"\s{0,4}(?:[,;]\s{0,4}(?:since|because|as|which|who|where|so|due to|based on|given)\b|\s(?:because|since)\b|[,]?"
    r"(?:因为|由于)|\s\((?!\s?(?:or|not|maybe|perhaps|possibly|and)\b)(?=[^()]{0,400}(?:\)\W{0,4})?$)).*$"
)
_MAYBE_REASON = re.compile(r"[,;(因由]|\s(?:bec|sin)")
_COMPANY = re.compile(r"[,\s]{1,4}(?:inc|corp|corporation|ltd|llc|co|company|gmbh|plc|incorporated|limited)$")
_TITLE = re.compile(r"^(?:mr|mrs|ms|dr|prof|sir|president|king|queen|st|saint)\s{1,4}")


@lru_cache(maxsize=512)
def spelled(text: str) -> str:
    """Return lower case without punctuation, in American spelling, with single blanks."""
    text = text.casefold().replace(" & ", " and ")
    if text.replace(" ", "").isalpha():
        text = " ".join(text.split())
    elif _DIGIT.search(text) is not None:  # `2.5` is not 25, `[-2, 3)` is not `(-2, 3]`
        text = " ".join(_QUOTING.sub(" ", text).split()).rstrip(".,")
    else:
        text = _DASH.sub(" ", text)
        text = " ".join(_PUNCTUATION.sub(" ", text.replace("'s", "s").replace("’s", "s")).split())
    if _BRITISH.search(text) is not None:
        for pattern, replacement in _SPELLING:
            text = pattern.sub(replacement, text)
    return text


_DIRECTION_HAN = re.compile(r"(?:向|往|朝|在)?([左右上下前后东西南北里外])(?:边|侧|面|方|部|移动|方向)?$")
_SEX_HAN = re.compile(r"([男女])(?:性|人|的|生|士|孩)$")
_DAY_HAN = re.compile(r"(?:星期|礼拜|周)([一二三四五六日天])$")


def _plain_han(text: str) -> str:
    """Turn `红色的` into `红色`, `往左边` into `左`, `礼拜天` into `星期日`, `九月份` into `9月`."""
    text = text.rstrip(" .。!！,，")
    text = text[:-1] if len(text) > 2 and text.endswith(("的", "市", "省")) else text
    if (sex := _SEX_HAN.match(text)) is not None:
        return sex[1]
    if (direction := _DIRECTION_HAN.match(text)) is not None:
        return direction[1]
    if (day := _DAY_HAN.match(text)) is not None:
        return "星期" + day[1].replace("天", "日")
    return chinese_digits(text[:-1] if text.endswith("月份") else text) if text.endswith(("月", "月份")) else text


@lru_cache(maxsize=512)
def core(text: str) -> str:
    """Turn `It is a small cat.` into `small cat`: without opening words, articles and closing reasons."""
    low = text.casefold().strip()
    if (opening := _OPENING.match(low)) is not None:
        low = low[opening.end() :]
    if HAN.search(low) is not None:
        low = _plain_han(_CLASSIFIERS_HAN.sub("", _OPENING_HAN.sub("", low)))
    if _MAYBE_REASON.search(low) is not None:
        low = _TRAILING_REASON.sub("", low) or low
    words = spelled(low)
    while (found := _ARTICLE.match(words)) is not None and found.end() < len(words):
        words = words[found.end() :]
    return words


def head(text: str) -> tuple[str, str]:
    """Return the leading preposition and the rest: `on the couch` -> (`on`, `couch`)."""
    found = _PREPOSITION.match(text)
    if found is None:
        return "", text
    return found.group(1), _ARTICLE.sub("", text[found.end() :])


def same_words(a: str, b: str) -> bool:
    """Whether texts are equal except for a final plural, number words, aliases and a company's legal form."""
    if a == b:
        return True
    if a.replace(" ", "") == b.replace(" ", "") and len(a) > 2 and _DIGIT.search(a) is None:
        return True
    return bool(_forms(a) & _forms(b))


@lru_cache(maxsize=512)
def _forms(text: str) -> frozenset[str]:
    forms = {text, _COMPANY.sub("", text), _TITLE.sub("", text), english_digits(text)}
    for form in list(forms):
        before, _, last = form.rpartition(" ")
        forms.add((before + " " + singular(last)).strip())
    forms |= {ALIASES[form] for form in list(forms) if form in ALIASES}
    before, _, last = text.rpartition(" ")
    if before and singular(last) in ALIASES:
        forms.add(before + " " + ALIASES[singular(last)])
    return frozenset(_ARTICLE.sub("", form) for form in forms)


@dataclass(frozen=True, slots=True)
class Text:
    """A reference that is a word or phrase."""

    text: str
    plain: str
    cues: Cues
    kind: str = "text"

    def compare(self, answer: str) -> Ruling:
        """Compare words; more or fewer words than the reference are undecided, different words are wrong."""
        low = answer.casefold()
        if low == self.text.casefold() or same_words(core(answer), self.plain):
            return correct(Rule.TEXT)
        if same_member(core(answer), self.plain):
            return correct(Rule.TEXT)
        if excluded(core(answer), self.plain):
            return different(Rule.TEXT)
        guarded = self._guard(answer, low)
        if guarded is not None:
            return guarded
        found = [self._against(reading) for reading in self._readings(answer)]
        for wanted in ("correct", "ambiguous"):
            for ruling in found:
                if ruling.outcome == wanted:
                    return ambiguous(Rule.SOFT) if wanted == "correct" and guards.soft(low) else ruling
        return found[0]

    def normal(self, answer: str) -> str | None:
        words = core(answer)
        return self.plain if same_words(head(words)[1], head(self.plain)[1]) else words

    def show(self) -> str:
        return self.plain

    def _guard(self, answer: str, low: str) -> Ruling | None:
        reference = self.text.casefold()
        if guards.refuses(low):
            if guards.refuses(reference):
                return correct(Rule.REFUSAL)
            return ambiguous(Rule.REFUSAL) if _contains(spelled(low), self.plain) else incorrect(Rule.REFUSAL)
        if guards.refuses(reference):
            return incorrect(Rule.REFUSAL)
        if (rest := guards.corrected(answer)) is not None:
            outcome = self.compare(rest).outcome
            return ambiguous(Rule.NEGATED) if outcome == "correct" else incorrect(Rule.NEGATED)
        main, cut = guards.without_contrast(answer)
        if cut and not guards.negated(reference):
            return self.compare(main)
        if guards.negated(low, self.cues.low) and not guards.negated(reference):
            return incorrect(Rule.NEGATED)
        if guards.negated(reference) and not guards.negated(low):
            return incorrect(Rule.NEGATED)
        if guards.alternatives(low) and not guards.alternatives(reference):
            return incorrect(Rule.SEVERAL)
        return None

    def _readings(self, answer: str) -> list[str]:
        """Return the whole answer, and the text after a label or verb if the question contains the words before it."""
        readings = [core(answer)]
        low = answer.casefold()
        for pattern in (_LABEL, _COPULA, _COPULA_HAN):
            found = pattern.match(low)
            if found is not None and self._restates(found.group(1)):
                readings.append(core(found.group(2)))
        said = _COPULA.match(low)
        if said is not None and self._asks(said.group(2)):  # `The plate is bigger than the cup`
            readings.append(core(said.group(1)))
        if _DIGIT.search(low) is not None and (measured := _MEASURED.search(low)) is not None:  # `Germany, with 14.2%`
            readings.append(core(low[: measured.start()]))
        return readings

    def _asks(self, predicate: str) -> bool:
        """Whether the question asks which one has a property: `Which is bigger?`."""
        known = self.cues.words() | STOP | {"than"}
        return (
            self.cues.has(_WHICH)
            and not guards.negated(self.cues.low)
            and all(word in known for word in spelled(predicate).split())
        )

    def _restates(self, subject: str) -> bool:
        words = spelled(subject).split()
        if HAN.search(subject) is not None:
            return True
        known = [w for w in words if w in STOP or w in self.cues.words() or stem(w) in self.cues.words()]
        return len(known) >= len(words) - 1

    def _against(self, words: str) -> Ruling:
        place, thing = head(words)
        true_place, true_thing = head(self.plain)
        if same_words(thing, true_thing):
            return self._placed(place, true_place)
        if HAN.search(self.plain) is not None or HAN.search(words) is not None:
            return self._han(words)
        return self._overlap(place, thing, true_place, true_thing)

    def _placed(self, place: str, true_place: str) -> Ruling:
        place, true_place = _SAME_PLACE.get(place, place), _SAME_PLACE.get(true_place, true_place)
        if place == true_place or (not place and true_place in _NEUTRAL) or (not true_place and place in _NEUTRAL):
            return correct(Rule.TEXT)
        if place in _NEUTRAL and true_place in _NEUTRAL:
            return ambiguous(Rule.TEXT_NEAR)
        return incorrect(Rule.TEXT) if true_place or place not in _NEUTRAL else ambiguous(Rule.TEXT_NEAR)

    def _han(self, words: str) -> Ruling:
        if not HAN.search(words) or not HAN.search(self.plain):
            return ambiguous(Rule.TEXT_SCRIPT) if not words.isdigit() else incorrect(Rule.TEXT)
        if words.endswith(self.plain) and all(
            c in self.cues.low or c in _HAN_FILLER for c in words.removesuffix(self.plain)
        ):
            return correct(Rule.TEXT)
        rest = words.removeprefix(self.plain)
        if rest != words and len(rest) > 1 and rest in self.cues.low:  # `氧元素`, where the question says 元素
            return correct(Rule.TEXT)
        if self.plain in words:
            return ambiguous(Rule.TEXT_EXTRA)
        return incorrect(Rule.TEXT)

    def _overlap(self, place: str, thing: str, true_place: str, true_thing: str) -> Ruling:
        if place and true_place and place != true_place:
            return incorrect(Rule.TEXT)
        got, wanted = _content(thing), _content(true_thing)
        extra = [w for w in got if w not in self.cues.words() and stem(w) not in self.cues.words()]
        named = [w for w in wanted if w not in self.cues.words() and stem(w) not in self.cues.words()]
        if extra and extra in (wanted, named):  # `Cuyahoga` for `Cuyahoga County`, where the question says county
            return correct(Rule.TEXT)
        if _ends_in_region(thing, true_thing):
            return correct(Rule.TEXT)
        if _contains(" ".join(got), " ".join(wanted)):
            return self._extra(got, wanted, goes_on=_goes_on(thing, true_thing))
        if got and len(got) < len(wanted) and got[-1] == wanted[-1]:
            return ambiguous(Rule.TEXT_NEAR)
        if set(got) == set(wanted) and len(got) > 1:
            return ambiguous(Rule.TEXT_NEAR)
        if len(wanted) >= 3 and len(set(got) & set(wanted)) * 3 >= 2 * len(wanted) and len(got) >= 2:
            return ambiguous(Rule.TEXT_NEAR)
        if near(thing, true_thing):
            return ambiguous(Rule.TEXT_NEAR)
        return incorrect(Rule.TEXT)

    def _extra(self, got: list[str], wanted: list[str], *, goes_on: bool) -> Ruling:
        """Whether more words change nothing: `a small gray cat` and `a cat on a mat` may be the cat, `cat food` not."""
        ends = got[-len(wanted) :] == wanted
        begins = got[: len(wanted)] == wanted
        if begins and not ends and not goes_on and len(got) <= len(wanted) + 1 and len(wanted) <= 2:
            return incorrect(Rule.TEXT_EXTRA)
        return ambiguous(Rule.TEXT_EXTRA)


_STATES_TEXT = """
alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|florida|georgia|hawaii|idaho|illinois|indiana
iowa|kansas|kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska
nevada|new hampshire|new jersey|new mexico|new york|north carolina|north dakota|ohio|oklahoma|oregon|pennsylvania
rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|washington|west virginia|wisconsin
wyoming
"""
_STATES = frozenset(_STATES_TEXT.strip().replace("\n", "|").split("|"))


def _ends_in_region(got: str, wanted: str) -> bool:
    """Match `Dallas, Texas` with Dallas: a place followed by its state or country."""
    region = got.removeprefix(wanted).strip()
    return got.startswith(wanted + " ") and (region in _STATES or is_territory(region))


def _goes_on(text: str, part: str) -> bool:
    """Whether a preposition or the like follows the part: `Eiffel Tower in Paris`."""
    _, _, after = f" {text} ".partition(f" {part} ")
    following = after.split()
    return bool(following) and (
        following[0] in STOP or following[0] in _NEUTRAL or following[0] in ("near", "under", "behind")
    )


def _content(text: str) -> list[str]:
    return [singular(word) for word in text.split() if word not in STOP]


def _contains(text: str, part: str) -> bool:
    """Whether whole words occur, never letters: `bobcat` does not contain `cat`."""
    if HAN.search(part) is not None:
        return part in text
    return f" {part} " in f" {text} "


def near(a: str, b: str) -> bool:
    """Whether a long word has one typo, so that it is no other thing. `cat` and `car` are two things."""
    if min(len(a), len(b)) < 8 or any(c.isdigit() for c in a + b):
        return False
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(a, b, score_cutoff=1) <= 1


def compile_text(text: str, cues: Cues) -> Text:
    """Compile any reference as text."""
    return Text(text, core(text) or text.casefold(), cues)
