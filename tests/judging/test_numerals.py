"""Chinese numerals: every number that is written in words is read as itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.judging.number_words import chinese_digits

DIGITS = "零一二三四五六七八九"


def below_ten_thousand(value: int) -> str:
    words, skipped = "", False
    for size, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, size)
        words += ("零" if digit and skipped and words else "") + (DIGITS[digit] + name if digit else "")
        skipped = not digit
    return words


def in_words(value: int) -> str:
    """11000 -> 一万一千, 105 -> 一百零五, 12 -> 十二."""
    high, low = divmod(value, 10_000)
    words = below_ten_thousand(high) + "万" if high else ""
    words += ("零" if high and 0 < low < 1000 else "") + below_ten_thousand(low)
    return (words[1:] if words.startswith("一十") else words) or "零"


@given(st.integers(0, 99_999_999), st.sampled_from(("", "个", "人", "元")))
def test_a_number_in_words_is_read_as_itself(value: int, counted: str) -> None:
    assert chinese_digits(in_words(value) + counted) == f"{value}{counted}"


@given(st.integers(2, 99), st.data())
def test_a_fraction_in_words_is_read_as_itself(bottom: int, data: st.DataObject) -> None:
    top = data.draw(st.integers(1, bottom))
    assert chinese_digits(f"{in_words(bottom)}分之{in_words(top)}") == f"{top}/{bottom}"


@given(st.integers(0, 100))
def test_a_percentage_in_words_is_read_as_itself(value: int) -> None:
    assert chinese_digits(f"百分之{in_words(value)}") == f"{value}%"


@pytest.mark.parametrize("text", ["一共", "一定", "之一", "万一", "统一"])
def test_a_word_that_holds_a_numeral_is_no_number(text: str) -> None:
    assert not any(c.isdigit() for c in chinese_digits(text))
