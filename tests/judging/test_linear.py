"""No regular expression of the package grows faster than its text: four times the text is about four times the work.

A pattern that is quadratic takes 16 times as long, one that is cubic 64 times. Only what takes long at all is measured
again; a busy machine can slow one measurement, not three.
"""

from __future__ import annotations

import re
import signal
import time
from types import FrameType

import pytest

from judging.attack_strings import attacks, modules, patterns

SMALL, LARGE = 2_000, 8_000
FOUND = patterns(modules("mmpr.judging", "mmpr.dropout", "mmpr.prompts", "mmpr.sources"))
HANGS_S = 1.0  # of one search; a linear one of 8,000 characters takes milliseconds


class _Hangs(Exception):
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Hangs


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """How long a search takes, at least HANGS_S where it was stopped."""
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, HANGS_S)
    try:
        pattern.search(text)
    except _Hangs:
        return HANGS_S
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return time.perf_counter() - start


def grows(pattern: re.Pattern[str], unit: str) -> float:
    """The factor that four times the text costs, the least of three measurements."""
    small, large = unit[:SMALL] + unit[-1:], unit
    return min(seconds(pattern, large) / max(seconds(pattern, small), 1e-4) for _ in range(3))


@pytest.fixture(autouse=True)
def alarm() -> object:
    before = signal.signal(signal.SIGALRM, _stop)
    yield
    signal.signal(signal.SIGALRM, before)


def test_the_collection_finds_patterns_of_modules_tables_and_calls() -> None:
    places = " ".join(FOUND.values())
    assert len(FOUND) > 250
    assert "mmpr.judging.extract._COLON" in places and "mmpr.dropout._REFUSES" in places and "mmpr.judging." in places


@pytest.mark.parametrize("letter", sorted({place.split(".")[2][:3] for place in FOUND.values()}))
def test_no_pattern_grows_faster_than_its_text(letter: str) -> None:
    weak = {}
    for (source, flags), place in FOUND.items():
        if place.split(".")[2][:3] != letter:
            continue
        pattern = re.compile(source, flags)
        slow = [text for text in attacks(source, flags, LARGE) if seconds(pattern, text) > 0.02]
        if slow and (worst := max(grows(pattern, text) for text in slow[:4])) > 9:
            weak[place] = f"{worst:.0f} times for four times {slow[0][:30]!r}"
    assert not weak, weak
