"""Decide if two open texts may mean the same: texts that are akin by any test are never called wrong."""

from __future__ import annotations

import re
from functools import lru_cache

from mmpr.judging.cues import stem
from mmpr.judging.lexicon import related
from mmpr.judging.prose import HAN, STOP, core

_SQUEEZED = re.compile(r"[\s{}\-_$*`'\"“”‘’.,;:!?()\[\]\\/|~]+")
_WORD = re.compile(r"[a-z]{1,40}|\d{1,60}(?:\.\d{1,60})?|[\u3400-\u9fff]")
_NUMBERLIKE = re.compile(
    r"\d|\b(?:no|none|nothing|nobody|zero|one|once|twice|thrice|double|triple|half|both|pair|couple|dozen|single|all"
    r"|every|neither|few|several|first|second|third|last|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{3,5}teen|\w{3,5}ty"
    r"|hundred|thousand|million|billion|quarter|percent)\b|[零一二两三四五六七八九十百千万半双]"
)
_MATHEMATICAL = re.compile(r"[\\^_=<>≤≥+*/|∞√π∪∩∅]|\b[a-z]\b\s{0,4}[-+]|\w\(|\b(?:sqrt|sin|cos|tan|log|ln|exp)\b")


# Words that a lexical database distinguishes and people do not.
_KIN_TEXT = """
cat kitten kitty|dog puppy pup|cow bull calf cattle ox|horse pony foal mare stallion|sheep lamb ram ewe|pig piglet hog
chicken hen rooster chick|duck duckling|deer fawn doe|tv screen monitor display television|cup mug glass tumbler
man guy gentleman boy male|woman lady girl female|person people human|road street|ship boat|stone rock|mall store shop
jogging running|sitting seated|picture painting photo drawing|dinner supper meal lunch
sea ocean|smile happy|blond yellow
"""
_KIN = {
    word: group.split()[0]
    for line in _KIN_TEXT.strip().splitlines()
    for group in line.split("|")
    for word in group.split()
}


def numberless(text: str) -> bool:
    """Whether a text of words cannot mean a number: `Joe Biden`; `a dozen`, `none` and `a cat` can."""
    words = re.fullmatch(r"(?!\W{0,8}an?\b)[A-Za-z][A-Za-z' .,-]*", text, re.I)
    return words is not None and len(text) > 2 and _NUMBERLIKE.search(text.casefold()) is None


@lru_cache(maxsize=256)
def squeezed(text: str) -> str:
    """Remove blanks, braces, hyphens, punctuation, markup and case. Texts that are then equal may be the same."""
    return _SQUEEZED.sub("", text.casefold())


def contains(a: str, b: str) -> bool:
    """Whether one text occurs in the other as whole tokens; `15` does not contain 5."""
    return _held(a, b) or _held(b, a)


def shortened(a: str, b: str) -> bool:
    """Whether two texts may be one with some words in short: `120 Park Ave` and `120 Park Avenue`, `1998-99` and
    `1998-1999`, simplified and traditional characters."""
    words = [_WORD.findall(text.casefold()) for text in (a, b)]
    return len(words[0]) == len(words[1]) and all(
        x == y or _short_for(*sorted((x, y), key=len), phrase=" " in a.strip() and " " in b.strip())
        for x, y in zip(*words, strict=True)
    )


def _short_for(short: str, long: str, *, phrase: bool) -> bool:
    if not long.isascii():
        return not (_simplified(short) and _simplified(long))
    if long.isdigit():
        return len(short) == 2 and len(long) == 4 and long.endswith(short)
    at = -1
    return phrase and len(short) < 5 and all((at := long.find(c, at + 1)) >= 0 for c in short) and short[0] == long[0]


def _simplified(character: str) -> bool:
    try:
        return bool(character.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _held(whole: str, part: str) -> bool:
    whole_words, part_words = _WORD.findall(whole.casefold()), _WORD.findall(part.casefold())
    n = len(part_words)
    return n > 0 and any(whole_words[i : i + n] == part_words for i in range(len(whole_words) - n + 1))


def akin(a: str, b: str) -> bool:
    """Whether two open texts have anything in common that could make them one answer.

    Unreadable mathematics, other scripts, initials, a shared stem, a shared number and similar spelling all count.
    """
    if _MATHEMATICAL.search(a.casefold()) is not None or _MATHEMATICAL.search(b.casefold()) is not None:
        return True
    first, second = core(a), core(b)
    if not first or not second or contains(first, second):
        return True
    if bool(HAN.search(first)) != bool(HAN.search(second)):
        return True
    if bool(_NUMBERLIKE.search(first)) and bool(_NUMBERLIKE.search(second)):
        return True
    if HAN.search(first) is not None:
        return True  # our lexicon does not know that 土豆 is 马铃薯
    return _share_words(first, second) or _initials(first, second) or _similar(first, second)


def _share_words(a: str, b: str) -> bool:
    mine = [word for word in a.split() if word not in STOP]
    theirs = [word for word in b.split() if word not in STOP]
    if not mine or not theirs:
        return True
    return (
        related(a, b)
        or any(stem(x) == stem(y) or _same_root(x, y) or _same_root(stem(x), stem(y)) for x in mine for y in theirs)
        or any(_KIN.get(x, x) == _KIN.get(y, y) or related(x, y) for x in mine for y in theirs)
    )


def _same_root(a: str, b: str) -> bool:
    """Whether words share their root: `wood` and `wooden`; the first five letters, or all of a shorter word."""
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n >= 5 or (n >= 3 and n == min(len(a), len(b))) or (min(len(a), len(b)) >= 5 and (a in b or b in a))


def _initials(a: str, b: str) -> bool:
    """Whether one is the other's initials: `NYC` and `New York City`, `e. coli` and `Escherichia coli`."""
    for short, long in ((a, b), (b, a)):
        if any(len(word) == 1 and other.startswith(word) for word in short.split() for other in long.split()):
            return True  # `Albert T.` and `Turing`
        letters = short.replace(" ", "").replace(".", "")
        words = long.split()
        firsts = "".join(word[0] for word in words)
        telling = "".join(word[0] for word in words if word not in STOP)
        if 1 < len(letters) <= 6 and letters in (firsts, telling):
            return True
        if 3 <= len(letters) <= 6 and len(words) > 1 and firsts.startswith(letters[:-1]):  # `NYC` and `New York`
            return True
        if len(letters) <= 4 and all(c in long for c in letters) and long.startswith(letters[:1]):
            return True
    return False


def _similar(a: str, b: str) -> bool:
    """Whether words of five letters or more differ by one or two typos."""
    from rapidfuzz.fuzz import ratio

    a, b = a.replace(" ", ""), b.replace(" ", "")
    return min(len(a), len(b)) >= 4 and ratio(a, b) >= 75
