"""No regular expression of the package grows faster than its text: four times the text is about four times the work.

A pattern that is quadratic takes 16 times as long, one that is cubic 64 times. Every pattern meets all its attack
strings at a small size, where a linear one takes a millisecond or two and a quadratic one tens of them; only what is
not clearly fast is measured at two larger sizes. All times are the process's own, so that a busy machine changes none.
"""

from __future__ import annotations

import re
import signal
import time
from types import FrameType

import pytest

from judging.attack_strings import attacks, modules, patterns

SIZE, LARGER = 4_000, 16_000
FAST_S = 0.003  # of a search of SIZE characters; the quickest quadratic patterns take 10 ms
SLOW_S = 0.03  # of such a search; what is slower is measured at once, because other attack strings may take as long
MAX_GROWTH = 9.0  # for four times the text
HANGS_S = 0.3  # of one search; a linear one of LARGER characters takes milliseconds
FOUND = patterns(modules("mmpr.judging", "mmpr.dropout", "mmpr.prompts", "mmpr.sources"))


class _Hangs(Exception):
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Hangs


@pytest.fixture(autouse=True)
def alarm() -> object:
    before = signal.signal(signal.SIGVTALRM, _stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


def seconds(pattern: re.Pattern[str], text: str, *, limit: float = HANGS_S) -> float:
    """Processor time of a search, at least `limit` where it was stopped."""
    start = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        pattern.search(text)
    except _Hangs:
        return limit
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - start


def growth(pattern: re.Pattern[str], text: str) -> float:
    """The factor that four times the text costs; of several measurements the least, for noise only adds time."""
    small = max(FAST_S, min(seconds(pattern, text) for _ in range(6)))
    longer, larger = text[:-1] * (LARGER // SIZE) + text[-1:], float("inf")
    for _ in range(3):
        larger = min(larger, seconds(pattern, longer, limit=1.2 * MAX_GROWTH * small))
        if larger <= MAX_GROWTH * small:
            break
    return larger / small


def weakness(source: str, flags: int = 0) -> str | None:
    """An attack string that the pattern takes too long over, or None."""
    pattern = re.compile(source, flags)
    slow: list[tuple[float, str]] = []
    for text in attacks(source, flags, SIZE):
        taken = seconds(pattern, text)
        if taken >= HANGS_S or (taken > SLOW_S and growth(pattern, text) > MAX_GROWTH):
            return text
        if taken > FAST_S:
            slow.append((taken, text))
    return next((text for _, text in sorted(slow, reverse=True)[:4] if growth(pattern, text) > MAX_GROWTH), None)


def test_the_collection_finds_patterns_of_modules_tables_and_calls() -> None:
    places = " ".join(FOUND.values())
    assert len(FOUND) > 250
    assert "mmpr.judging.extract._COLON" in places and "mmpr.dropout._REFUSES" in places and "mmpr.judging." in places


@pytest.mark.parametrize(
    "source",
    r"""\w+:|||\s+$|||(?:a|b)*c|||x.*y.*z|||\d+(?:,\d+)*;|||^(?:\w+\s*)*=|||(a+)+$|||(?:[^\W\d]|[ π]){0,60}$
|||(?!.*and)[a-z.]{1,80}$|||[*_` ]*(?:is)?[*_` ]*[:]""".replace("\n", "").split("|||"),
)
def test_a_pattern_that_grows_too_fast_is_found(source: str) -> None:
    assert weakness(source) is not None


@pytest.mark.parametrize(
    "source", [r"\w{1,40}:", r"\s{0,4}$", r"(?<!\w)\w++:", r"a|b|c", r"^\s*+\w*+=", r"x[^y]{0,60}y"]
)
def test_a_linear_pattern_passes(source: str) -> None:
    assert weakness(source) is None


@pytest.mark.parametrize("letter", sorted({place.split(".")[2][:3] for place in FOUND.values()}))
def test_no_pattern_grows_faster_than_its_text(letter: str) -> None:
    ours = [(key, place) for key, place in FOUND.items() if place.split(".")[2][:3] == letter]
    weak = {place: text[:30] for (source, flags), place in ours if (text := weakness(source, flags)) is not None}
    assert not weak, weak
