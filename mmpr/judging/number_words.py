"""Rewrite numbers in English or Chinese words as digits."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from mmpr.judging.clean import latin_words

_UNITS_TEXT = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_UNITS = {word: value for value, word in enumerate(_UNITS_TEXT.split())}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
} | {"fourty": 40}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS_TEXT = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
"""
ORDINALS = {word: value for value, word in enumerate(_ORDINALS_TEXT.split(), start=1)}
_PARTS = {word: value for word, value in ORDINALS.items() if 3 <= value <= 10} | {"twelfth": 12, "hundredth": 100}
_PARTS |= {name + "s": part for name, part in (_PARTS | {"quarter": 4}).items()} | {
    "quarter": 4,
    "half": 2,
    "halves": 2,
}

_WORD = "|".join(sorted((*_UNITS, *_TENS, *_SCALES, "hundred"), key=len, reverse=True))
_RUN = re.compile(
    rf"\b(?:an?\s{{1,4}}(?=(?:hundred|thousand|million|billion|trillion)\b))?(?:{_WORD})(?:(?:[\s-]+|\s{{1,4}}and\s{{1,4}})"
    rf"(?:{_WORD}))*\b",
    re.I,
)
_DOZEN = re.compile(
    r"\b(half\s{1,4}a|half-a|a|one|two|three|four|five|\d{1,60})?\s{0,4}dozens?\b(\s{1,4}and\s{1,4}a\s{1,4}half\b)?",
    re.I,
)
_DOZENS = {None: 12, "half a": 6, "half-a": 6, "a": 12, "one": 12, "two": 24, "three": 36, "four": 48, "five": 60}
_PART = re.compile(
    rf"\b(\d{{1,60}}|an?)[\s-]+({'|'.join(sorted(_PARTS, key=len, reverse=True))})\b(?!\s{{0,4}}(?:past|to)\b)", re.I
)
_HALF = re.compile(r"(?:^|(?<=\bis )|(?<=: ))half\b(?! past)", re.I)  # not the second half of a match
_AND_A_HALF = re.compile(r"\b(\d{1,60})\s{1,4}and\s{1,4}(\d{1,60}/\d{1,60})\b")
_POINT = re.compile(r"\b(\d{1,60})\s{1,4}point\s{1,4}((?:\d\s?)*\d)\b", re.I)
_SIGN = re.compile(r"\b(?:negative|minus)\s{1,4}(?=[\d(.$π√\\])", re.I)
_NUMBER_WORDS = frozenset(
    (*_UNITS, *_TENS, *_SCALES, *_PARTS, "hundred", "dozen", "dozens", "negative", "minus", "point")
)


def _value(run: str) -> list[int]:
    """Return the numbers in one run of words: `one hundred five` is one number, `one two` is two."""
    numbers: list[int] = []
    total = current = 0
    last = 10**15  # the size of the previous word: the next word must be smaller, or a multiplier
    for word in re.split(r"[\s-]+", run.lower()):
        if word in ("and", "a", "an"):
            continue
        if word == "hundred":
            current, last = max(1, current) * 100, 100
        elif word in _SCALES:
            total, current, last = total + max(1, current) * _SCALES[word], 0, 1000
        else:
            size = _UNITS.get(word, _TENS.get(word, 0))
            if not _follows(word, last):
                numbers.append(total + current)
                total = current = 0
            current += size
            last = 1 if word in _UNITS else 10
    return [*numbers, total + current]


def _follows(word: str, last: int) -> bool:
    """Whether a simple word may follow a word of size `last`: `twenty five` yes, `five twenty` no."""
    if word in _TENS or _UNITS.get(word, 0) >= 10 or word == "zero":
        return last >= 100
    return last >= 10


def _spelled(found: re.Match[str]) -> str:
    if found.group().lower() == "one" and re.match(r"\s{1,4}(?:of|another|who|that)\b", found.string[found.end() :]):
        return found.group()
    first = found.group().split()[0].lower()
    if first in (*_SCALES, "hundred") and re.search(r"[\d.]\s{0,4}$", found.string[: found.start()]) is not None:
        return found.group()  # `2.5 million`: the scale is read with its number
    return " ".join(map(str, _value(found.group())))


def _dozen(found: re.Match[str]) -> str:
    head = found.group(1)
    key = " ".join(head.lower().split()) if head else None
    count = 12 * int(key) if key and key.isdigit() else _DOZENS.get(key, 12)
    return f" {count + 6 if found.group(2) else count}"


def _part(found: re.Match[str]) -> str:
    count = found.group(1).lower()
    return f"{1 if count in ('a', 'an') else int(count)}/{_PARTS[found.group(2).lower()]}"


@lru_cache(maxsize=256)
def english_digits(text: str) -> str:
    """Turn `thirty-five percent` into `35 percent`, `three quarters` into `3/4`, `half a dozen` into `6`."""
    if _NUMBER_WORDS.isdisjoint(latin_words(text)):
        return text
    text = _DOZEN.sub(_dozen, text)
    text = _RUN.sub(_spelled, text)
    text = _PART.sub(_part, text)
    text = _HALF.sub("1/2", text)
    text = _AND_A_HALF.sub(r"\1 \2", text)
    text = _POINT.sub(lambda m: m.group(1) + "." + re.sub(r"\s", "", m.group(2)), text)
    return _SIGN.sub("-", text)


_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2, "壹": 1}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
_HAN = "零〇一二两俩三四五六七八九十百千万亿壹拾佰仟"
_HAN_RUN = re.compile(rf"[{_HAN}]+(?:点[{_HAN}]+)?")
# Words that contain a numeral's character and are no number.
_HAN_WORDS = re.compile(
    rf"(?<![{_HAN}])(?:一共|一定|一样|一些|一起|一般|一直|一下|一致|一侧|一边|万一|千万别)|统一|唯一|(?<!分)之一|百分点"
)
_HAN_PERCENT = re.compile(rf"(?<![{_HAN}])百分之([负]?[{_HAN}\d.]+(?:点[{_HAN}]+)?)")
_HAN_PART = re.compile(rf"([{_HAN}\d]{{1,40}})分之([{_HAN}\d]{{1,40}})")
_HAN_HALF = re.compile(r"(?<![\w])一半")


_HAN_BELOW = re.compile(rf"(?:零下|负)\s?(?=[{_HAN}\d])")
_HAN_ABOVE = re.compile(rf"零上\s?(?=[{_HAN}\d])")
_HAN_AND_A_HALF = re.compile(rf"([{_HAN}\d]{{0,9}})个?半(?:个)?(?=小时|钟头|月)")  # `一个半小时`, `半小时`
_HAN_METRES = re.compile(r"(\d)米(\d{2})(?![\d分厘毫.])")  # `一米七五`


def _and_half(found: re.Match[str]) -> str:
    whole = _HAN_RUN.sub(_han_run, found[1]) or "0"
    return f"{whole}.5" if whole.isdigit() else found.group()


_MAX_HAN = 40  # characters of the longest number that people write in words


def han_value(run: str) -> Fraction | None:
    """Return the value of `一百零五` (105), `三点五` (3.5), `二零一六` (2016); None if it is no number."""
    if len(run) > _MAX_HAN:
        return None
    whole, _, decimals = run.partition("点")
    if decimals:
        value = han_value(whole)
        if value is None or any(char not in _HAN_DIGITS for char in decimals):
            return None
        return value + Fraction(int("".join(str(_HAN_DIGITS[c]) for c in decimals)), 10 ** len(decimals))
    if all(char in _HAN_DIGITS for char in whole):
        return Fraction(int("".join(str(_HAN_DIGITS[char]) for char in whole)))
    return Fraction(_han_scaled(whole))


def _han_scaled(run: str) -> int:
    for char, scale in (("亿", 10**8), ("万", 10**4)):
        if char in run:
            head, _, tail = run.rpartition(char)
            return (_han_scaled(head) if head else 1) * scale + (_han_scaled(tail) if tail else 0)
    total = digit = 0
    for char in run:
        if char in _HAN_SCALES:
            total, digit = total + max(1, digit) * _HAN_SCALES[char], 0
        else:
            digit = _HAN_DIGITS.get(char, 0)
    return total + digit


def _shown(value: Fraction | None, fallback: str) -> str:
    if value is None:
        return fallback
    return str(value.numerator) if value.denominator == 1 else repr(float(value))


def _han_run(found: re.Match[str]) -> str:
    run = found.group()
    if run in "万亿千百":  # `12万`: the scale is read with its number
        return run
    if len(run) > 1 and run[0] in "万亿千百" and found.start() and found.string[found.start() - 1].isdigit():
        return run
    return _shown(han_value(run), run)


def chinese_digits(text: str) -> str:
    """Turn `十二平方厘米` into `12平方厘米`, `百分之三十五` into `35%`, `三分之二` into `2/3`."""
    if text.isascii():
        return text
    text = _HAN_WORDS.sub(" ", text)
    text = _HAN_HALF.sub("1/2", text)
    text = _HAN_PERCENT.sub(lambda m: _HAN_RUN.sub(_han_run, m.group(1).replace("负", "-")) + "%", text)
    text = _HAN_PART.sub(lambda m: f"{_HAN_RUN.sub(_han_run, m.group(2))}/{_HAN_RUN.sub(_han_run, m.group(1))}", text)
    text = _HAN_ABOVE.sub("", _HAN_BELOW.sub("-", text))
    text = _HAN_RUN.sub(_han_run, _HAN_AND_A_HALF.sub(_and_half, text))
    return _HAN_METRES.sub(r"\1.\2米", text)


def digits(text: str) -> str:
    """Replace every number in words by digits."""
    return chinese_digits(english_digits(text))


_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN = re.compile(r"(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})$")


def roman_value(text: str) -> int | None:
    """Return the value of `XIV` (14); only well-formed capital numerals."""
    if _ROMAN.match(text) is None:
        return None
    total = 0
    for char, following in zip(text, text[1:] + " ", strict=True):
        value = _ROMAN_VALUES[char]
        total += -value if value < _ROMAN_VALUES.get(following, 0) else value
    return total
