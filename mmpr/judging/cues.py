"""Read what the question says about its answer: percent, rounding, unit, year, order. Used to compile a reference."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from mmpr.judging.clean import fold
from mmpr.judging.number_words import english_digits
from mmpr.judging.tables import meanings
from mmpr.judging.units import DIMENSIONS, UNIT, Dimension, Unit, read_unit

_WORD = re.compile(r"[a-z]{1,40}(?:'[a-z]{1,40})?|[\u3400-\u9fff]")
_PERCENT = re.compile(r"\bper\s?cent|percentage|%|百分(?!点)|百分比|占比")
_COUNT = re.compile(
    r"\bhow many\b|\bpopulation\b|\bnumber of\b|\bcount\b|多少(?:个|只|条|人|位|辆|本|张|棵|朵|名|头|匹|把|块)"
    r"|几[\u3400-\u9fff]|个数|数量"
)
_SCALE = re.compile(
    r"\bin\s{1,4}(?:[a-z.$€£]{1,10}\s{1,4}){0,3}(thousand|million|billion|trillion)s?\b"
    r"|(?:单位[^\n]{0,4}|[(（])(百万|千万|[千万亿])"
)
_MONEY = re.compile(
    r"[$€£¥₹]|\bhow much (?:is|are|does|do|did|was|were|will|would|should)\b"
    r"|\b(?:cost|price|dollars?|euros?|pounds?|revenue|profit|salary|income|expens\w{1,40}|budget|pay|paid"
    r"|money|cash|sales|earn\w{0,40}|worth|fee|tax|bill|total amount|spend\w{0,40}|spent|usd|eur|yuan|cents?)\b|元|价格"
    r"|金额|多少钱|费用|收入"
)
_YEAR = re.compile(r"\b(?:which|what) (?:\w{1,40} )?year\b|\byears?\b.*\?|\bwhen\b|哪(?:一)?年|什么时候|年份|何时")
_AGE = re.compile(r"\bhow many years|\bhow old|years old|\bage\b|多大|几岁|年龄|年纪")
_DECIMALS = re.compile(
    r"(\d{1,60})[\s-](?:decimal|d\.?p\b|places)|(?:保留|精确到|取)(?:小数点后)?\s{0,4}([一两二三四五六\d])\s{0,4}位"
)
_NEAREST = re.compile(
    r"nearest\s{1,4}(?:whole|integer|one\b|unit|(tenth|hundredth|thousandth)|(10|100|1000|ten|hundred|thousand)\b)?|整数"
)
_ROUND = re.compile(r"\bround|\bapproximat|\bestimate|\bnearest|四舍五入|保留|精确到|大约|约为")
_ANGLE = re.compile(r"\bangle|\bdegrees?\b|°|\bm\s?∠|∠|角|度数|\barc\b")
_ORDERED = re.compile(
    r"\border(?:ed)? (?:of|the|these|them|from|by)\b|\bordered\b"
    r"|\b(?:in|correct|right|what|[a-z]{3,12}(?:al|ing)) (?:[a-z]{1,12} )?order\b(?! (?:to|number)\b)"
    r"|\bascending|\bdescending|\bsmallest to|\blargest to|\bleast to|\bgreatest to"
    r"|\blowest to|\bhighest to|\bfrom left|\bfrom top"
    r"|\bsequence\b|\bcoefficients\b|\brank|\bsort|\bfirst to last|\bin turn|\bstep by step order"
    r"|顺序|系数|从小到大|从大到小|依次"
    r"|从左到右|排列|排序"
)
_INTERVAL = re.compile(
    r"[≤≥]|[a-z)|]\s{0,4}[<>]=?\s{0,4}-?\d|\d\s{0,4}[<>]"
    r"|\binterval|\bdomain\b|\brange\b|\binequalit|\bsolution set|\b(?:which|what) values? of\b"
    r"|\bincreasing|\bdecreasing|定义域|值域|区间|不等式|取值范围|解集"
)
_POINT = re.compile(
    r"\bcoordinates?\b|\bpoint\b|\bvertex|\bordered pair|\bmidpoint|\bcent(?:er|re)\b|\bintersect|坐标|顶点"
)
_TIME = re.compile(r"\btime\b|\bclock|\bwatch\b|\bo'clock|\bwhen\b|几点|时间|时钟|钟表")
_RATIO = re.compile(r"\bratio\b|\bproportion|\bscale\b|比例|之比|比值|比是")
_BOX = re.compile(r"\bbounding box|\bbbox|\bbox\b.*\[|x1\b|\bxmin|\blocate\b.*\bbox|边界框|包围框|检测框|坐标框")
_CODE = re.compile(
    r"\b(?:invoice|serial|licen[sc]e|plate|order|phone|telephone|tracking|account|flight|ticket|model|part|reference|"
    r"room|id|zip|postal|registration|product|receipt|card|bib|jersey|contact|fax|po|case|document) (?:number"
    r"|no\b|code|#|id)|\be-?mail|\burl\b|\bwebsite|\bcode\b|"
    r"\bwhat (?:does|do) .{0,80} (?:say|read)\b|\bwhat is written|(?<!\\)\btext\b|\bwritten on|\bprinted on"
    r"|\blicen[sc]e plate|\bphone\b|\baddress\b|\bpassword|\busername|"
    r"编号|号码|车牌|邮箱|网址|写着|写的|文字|发票号|电话"
)
_TRANSCRIBE = re.compile(
    r"\bwhat (?:does|do) .{0,80} (?:say|read)\b|\bwritten\b|\bwhat (?:is the )?text\b|\bprinted\b|\btranscribe|写着"
    r"|写的|文字"
)
_MEASURED = (
    (re.compile(r"\barea\b|面积"), "area"),
    (re.compile(r"\bvolume\b|\bcapacity\b|体积|容积"), "volume"),
    (
        re.compile(
            r"\b(?:perimeter|circumference|radius|diameter|hypotenuse|length|height|width|distance)\b|周长|半径|直径|长度|高度"
        ),
        "length",
    ),
)
# Words that confirm a unit but exclude none: work is energy or a job, power is in watts or an exponent.
_MAY_MEASURE = tuple(
    (re.compile(rf"\b(?:{words})\b"), dimension)
    for words, dimension in (
        ("how (?:long|tall|high|wide|deep|far|thick)|depth|thickness|altitude|wavelength|side|base", "length"),
        ("how (?:fast|quick)|speed|velocity|pace", "speed"),
        ("how heavy|weigh|weighs|weight|mass|load", "mass"),
        ("how (?:long|old)|time|duration|period|age|delay", "time"),
        ("temperature|how (?:hot|warm|cold)", "temperature"),
        ("force|tension|weight|thrust|load", "force"),
        ("energy|work|heat|torque", "energy"),
        ("power|wattage", "power"),
        ("pressure|stress", "pressure"),
        ("voltage|potential|emf|battery", "voltage"),
        ("current", "current"),
        ("resistance|resistor|impedance", "resistance"),
        ("frequency", "frequency"),
        ("how big|size|capacity|volume", "volume"),
        ("how big|size|area", "area"),
    )
)
_RATE = re.compile(
    r"\b(?:rates?|share|accuracy|probability|chances?|likelihood|efficiency|humidity|discount|inflation|unemployment"
    r"|growth|margin|purity|turnout|prevalence|coverage|proportion)\b|概率|比率|增长率|准确率|利率"
)
_ORDINAL = re.compile(
    r"\broman|\bquadrant|\bordinal|\bchapter|\btype\b|\bstage\b|\bphase\b|\bgroup\b|\bclass\b|象限|罗马"
)
_YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|might)\b|是否|吗[?？]?$|对吗|是不是|有没有|能不能|会不会|对不对"
)
_UNIT_NAMED = re.compile(
    r"\b(?:(?i:how many|number of)(?:\s{1,4}(?:more|fewer|less|total|extra|additional|full|whole|complete))?"
    r"|in|measured in|expressed in|[uU]nits?:?)\s{1,4}\(?(?:the\s{1,4})?(?:nearest\s{1,4})?"
    r"|\(\s{0,4}(?:in\s{1,4})?|多少(?:个)?|单位(?:是|为|:)?\s{0,4}\(?|几|[,，]\s{0,4}in\s{1,4}"
)


# Words of a question that is in the image or in an earlier turn: `Find the answer to the question in the image.`
_SILENT_TEXT = """
a an the is are was were what which it this that these those of to in on for with by at and or as from your you i
please find give show tell answer answers question questions problem exercise expression solve compute evaluate
calculate simplify determine value result solution final correct shown image picture figure following below above
directly according s based
"""
_SILENT = frozenset(_SILENT_TEXT.split())
_IMAGE_MARK = re.compile(r"<image\s{0,4}\d{0,4}>|image\s{0,4}\d{1,2}")


@dataclass(frozen=True)
class Cues:
    """The question's folded text in lower case, and as given. Values read from it are cached; many are never needed."""

    low: str
    text: str
    _said: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _words(self) -> frozenset[str]:
        found = set(_WORD.findall(self.low))
        return frozenset(found.union(map(stem, found), map(singular, found)))

    @cached_property
    def _unit(self) -> Unit | None:
        return self._named_unit()

    @cached_property
    def _rounding(self) -> int | None:
        return self._asked_decimals()

    def has(self, pattern: re.Pattern[str]) -> bool:
        key = id(pattern)  # its hash is computed over all its code each time
        if (said := self._said.get(key)) is None:
            said = self._said[key] = pattern.search(self.low) is not None
        return said

    def words(self) -> frozenset[str]:
        """The words of the question, and each without its plural s."""
        return self._words

    @cached_property
    def silent(self) -> bool:
        """Whether the question says nothing about its answer, because the actual question is elsewhere."""
        return all(word in _SILENT for word in _WORD.findall(_IMAGE_MARK.sub(" ", self.low)))

    def percent(self) -> bool:
        return self.has(_PERCENT)

    def count(self) -> bool:
        return self.has(_COUNT)

    def money(self) -> bool:
        return self.has(_MONEY)

    def year(self) -> bool:
        return self.has(_YEAR) and not self.has(_AGE)

    def angle(self) -> bool:
        return self.has(_ANGLE)

    def ordered(self) -> bool:
        return self.has(_ORDERED)

    def interval(self) -> bool:
        return self.has(_INTERVAL)

    def point(self) -> bool:
        return self.has(_POINT)

    def time(self) -> bool:
        return self.has(_TIME)

    def ratio(self) -> bool:
        return self.has(_RATIO)

    def box(self) -> bool:
        return self.has(_BOX)

    def code(self) -> bool:
        return self.has(_CODE)

    def transcribes(self) -> bool:
        return self.has(_TRANSCRIBE)

    def dimension(self) -> Dimension | None:
        """The dimension that the question measures, if it says so: an area, a volume or a length."""
        return next((DIMENSIONS[name] for pattern, name in _MEASURED if self.has(pattern)), None)

    def may_measure(self, dimension: Dimension) -> bool:
        """Whether a word of the question names what a unit of this dimension measures: `how fast` and km/h."""
        return any(dimension == DIMENSIONS[one] and self.has(pattern) for pattern, one in (*_MEASURED, *_MAY_MEASURE))

    def rate(self) -> bool:
        """Whether the question asks for what people give in per cent, and for no unit."""
        return self.has(_RATE) and self.unit() is None and not self.money() and not self.count()

    def ordinal(self) -> bool:
        return self.has(_ORDINAL)

    def yes_no(self) -> bool:
        return self.has(_YES_NO)

    def rounding(self) -> int | None:
        """The number of decimals that the question asks for, negative for tens; None if it asks for none."""
        return self._rounding

    def unit(self) -> Unit | None:
        """The unit that the question names for its answer: `in meters`, `多少平方厘米`."""
        return self._unit

    def _asked_decimals(self) -> int | None:
        low = english_digits(self.low)
        if (found := _DECIMALS.search(low)) is not None:
            asked = found.group(1) or found.group(2)
            return int(asked) if asked.isdigit() else "零一二三四五六".find(asked.replace("两", "二"))
        if (found := _NEAREST.search(low)) is not None:
            fine = {"tenth": 1, "hundredth": 2, "thousandth": 3}.get(found.group(1) or "", 0)
            return -{"10": 1, "100": 2, "1000": 3}.get(found.group(2) or "", 0) or fine
        return None

    def scale(self) -> int | None:
        """The power of ten that the question counts in: 6 for `in million U.S. dollars`."""
        if not self.has(_SCALE) or (found := _SCALE.search(self.low)) is None:
            return None
        return int(meanings("scales")[found[1] or found[2]])

    def rounds(self) -> bool:
        return self.has(_ROUND)

    def _named_unit(self) -> Unit | None:
        if self.has(_AGE):
            return read_unit("years")
        for found in _UNIT_NAMED.finditer(self.text):
            match = UNIT.match(self.text, found.end())
            if match is None:
                continue
            named = match.group().strip().removesuffix(" in")  # `how many meters in a mile` asks for no metre-inches
            if (unit := read_unit(named)) is not None:
                return unit
        return None


# A question asks at its start or its end; between may be a passage of any length.
_MAX_PART_CHARS = 10_000


def read_cues(question: str) -> Cues:
    """Return the cues of a question's text."""
    if len(question) > 2 * _MAX_PART_CHARS:
        question = question[:_MAX_PART_CHARS] + "\n" + question[-_MAX_PART_CHARS:]
    text = fold(question)
    return Cues(text.lower(), text)


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """Return a word's stem: `playing`, `played`, `plays` -> `play`. Used to see if a word restates the question."""
    word = singular(_PAST.get(word, word))
    for suffix in ("ing", "ed"):
        if word.endswith(suffix) and len(word) > len(suffix) + 2:
            return word[: -len(suffix)].rstrip("e")
    return word.rstrip("e") if len(word) > 4 else word


_KEEP_S = ("ss", "us", "is")


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """Return the singular: `cats` -> `cat`, `boxes` -> `box`, `glass` stays. Good enough to compare two words."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(_KEEP_S):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes", "oes")):
        return word[:-2]
    return word[:-1]


_PAST_TEXT = """
spent spend grew grow sold sell bought buy made make won win ran run took take had have went go ate eat paid pay
rose rise fell fall got get saw see held hold wrote write drew draw drove drive left leave lost lose sat sit
stood stand met meet shown show seen see given give taken take written write built build flew fly swam swim
rode ride wore wear chose choose
gave give began begin came come found find kept keep sang sing threw throw
"""
_PAST = dict(zip(_PAST_TEXT.split()[::2], _PAST_TEXT.split()[1::2], strict=True))
_IRREGULAR_TEXT = """
people person persons person men man women woman children child kids child kid child mice mouse geese goose feet foot
teeth tooth leaves leaf knives knife wolves wolf shelves shelf loaves loaf wives wife lives life halves half oxen ox
vertices vertex axes axis buses bus lenses lens
"""
_UNCHANGED_TEXT = """
bus canvas atlas pajamas bias christmas texas kansas dallas scissors pants jeans news gas lens series species
"""
_IRREGULAR = {
    **dict(zip(_IRREGULAR_TEXT.split()[::2], _IRREGULAR_TEXT.split()[1::2], strict=True)),
    **{word: word for word in _UNCHANGED_TEXT.split()},
}
