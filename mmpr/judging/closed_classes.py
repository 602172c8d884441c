"""Closed classes of words: two different members are two different things, which is proof. Other words are none."""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache

from mmpr.judging.cues import singular
from mmpr.judging.number_words import digits
from mmpr.judging.tables import meanings

# The basic colours; teal, beige or gold are shades of one of them, so they prove nothing.
_COLOURS_TEXT = """
black 黑色 黑|white 白色 白|red 红色 红|green 绿色 绿|yellow 黄色 黄|blue 蓝色 蓝|brown 棕色 褐色 棕|orange 橙色 橘色 橙
pink 粉色 粉红色 粉|purple 紫色 紫|gray 灰色 灰
"""
_COLOURS = {
    word: names.split()[0] for names in _COLOURS_TEXT.strip().replace("\n", "|").split("|") for word in names.split()
}
# Only opposites exclude each other: the top may be the left, north may be northeast.
_OPPOSITES_TEXT = """
left right|top bottom|up down|upper lower|above below|over under|north south|east west|front back|inside outside
northeast southwest|northwest southeast|clockwise counterclockwise|horizontal vertical|male female|man woman|boy girl
day night|open closed|on off|positive negative|increase decrease|increasing decreasing|odd even|true false|hot cold
左 右|上 下|里 外|东 西|南 北|前 后|增大 减小|增加 减少|变大 变小
升高 降低|男 女|顺时针 逆时针
increased decreased|increases decreases
"""
_OPPOSITES = {
    frozenset(pair.split()) for line in _OPPOSITES_TEXT.strip().splitlines() for pair in line.split("|") if pair.strip()
}
# Shapes of one line may be the same, such as a diamond and a square; shapes of two lines differ.
_SHAPES_TEXT = """
circle 圆 圆形
triangle 三角形
square rectangle diamond rhombus parallelogram trapezoid 正方形 长方形 矩形 菱形 梯形 平行四边形
pentagon 五边形
hexagon 六边形
octagon 八边形
heart 心形 爱心
cross 十字 十字形
"""
_SHAPES = {name: line.split()[0] for line in _SHAPES_TEXT.strip().splitlines() for name in line.split()}
_INFINITE = {
    **dict.fromkeys(("infinity", "∞", "+infinity", "+∞", "positive infinity", "plus infinity", "正无穷"), math.inf),
    **dict.fromkeys(("-infinity", "-∞", "negative infinity", "minus infinity", "负无穷"), -math.inf),
}
_NUMBER = re.compile(r"[-+]?\d{1,60}(?:\.\d{1,60})?$")
# Regions that contain others, or that share their name with a smaller place.
_NO_COUNTRY = frozenset(("world", "europe", "asia", "africa", "americas", "oceania", "european union", "eurozone"))


@cache
def _territories() -> dict[str, str]:
    """Return countries in English and Chinese by two-letter code, as CLDR names them."""
    from babel import Locale

    names: dict[str, str] = {}
    for language in ("en", "zh"):
        for code, name in Locale(language).territories.items():
            if len(code) == 2 and code.isalpha():
                words = re.sub(r"[.,'’()]+", " ", name.casefold()).replace("&", "and")
                names[" ".join(words.split())] = code
    return {
        **{name: code for name, code in names.items() if name not in _NO_COUNTRY},
        **meanings("short names of countries"),
    }


@cache
def _calendar() -> dict[str, tuple[str, int]]:
    """Return months and weekdays in English and Chinese, in full and abbreviated."""
    from babel import Locale

    names: dict[str, tuple[str, int]] = {}
    for language in ("en", "zh"):
        locale = Locale(language)
        for what, widths in (("month", locale.months["format"]), ("weekday", locale.days["format"])):
            for width in ("wide", "abbreviated"):
                names.update({str(n).casefold(): (what, index) for index, n in widths[width].items()})
    return {**names, "sept": ("month", 9), "tues": ("weekday", 1), "thurs": ("weekday", 3)}


_ON_DAY = re.compile(r"(?:in |on |during )?(?:the month of |month of )?(?=[a-z])")


@lru_cache(maxsize=512)
def member(words: str) -> tuple[str, object] | None:
    """Return the closed class of a phrase and its member in it, or None.

    Args:
        words: in the form of `prose.core`.
    """
    if words in _COLOURS:
        return "colour", _COLOURS[words]
    if len(words) == 1 and "a" <= words <= "z":
        return "letter", words
    if words in _INFINITE:
        return "number", _INFINITE[words]
    number = digits(words)
    if _NUMBER.match(number) is not None:
        return "number", float(number)
    if words in _calendar():
        return _calendar()[words]
    if (found := _ON_DAY.match(words)) is not None and words[found.end() :] in _calendar():
        return _calendar()[words[found.end() :]]
    code = _territories().get(words.removeprefix("the "))
    return None if code is None else ("country", code)


def is_territory(words: str) -> bool:
    """Whether a phrase is a country's name."""
    return words in _territories()


def same_member(a: str, b: str) -> bool:
    """Whether two phrases name one member: `法国` and `France`, `Sept` and `September`."""
    first = member(a)
    return first is not None and first[0] != "letter" and first == member(b)


def opposed(a: str, b: str) -> bool:
    """Whether two words are opposites: `open` and `closed`."""
    return frozenset((a, b)) in _OPPOSITES


def excluded(a: str, b: str) -> bool:
    """Whether two phrases are different members of one closed class, or opposites."""
    if opposed(a, b):
        return True
    first, second = member(a), member(b)
    if first is not None and second is not None:
        return first[0] == second[0] and first[1] != second[1]
    shapes = [_SHAPES.get(singular(words)) for words in (a, b)]
    return None not in shapes and shapes[0] != shapes[1]
