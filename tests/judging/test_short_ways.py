"""The short ways of the judge say what its long ways say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.case_files import FILES, cases
from mmpr.judging import guards
from mmpr.judging.extract import extract, searched

GUARDS = sorted(name for name, value in vars(guards).items() if hasattr(value, "pattern"))
GUARDS = [name for name in GUARDS if name not in ("_UNSUSPECTED", "_WORDS", "_SPLIT_OR")]


@pytest.mark.parametrize("name", GUARDS)
@given(data=st.data())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_what_any_guard_looks_for_is_never_harmless(name: str, data: st.DataObject) -> None:
    pattern = getattr(guards, name)
    found = data.draw(st.from_regex(pattern)).lower()
    if pattern.search(found) is None or (name == "_RANGE" and "-" in found):  # a hyphen is looked at apart
        return
    assert not guards.harmless(found)


def test_plain_answers_are_harmless_and_guarded_ones_are_not() -> None:
    for text in ("13", "13 blue marbles", "$4.50", "The Eiffel Tower", "x = 2", "60°", "(B) cat", "[1, 2]"):
        assert guards.harmless(text)
    for text in ("not 13", "13 or 14", "about 13?", "don't know", "5 < x", "大约13", "between 3 and 5", "14+"):
        assert not guards.harmless(text)


@pytest.mark.parametrize("name", FILES)
def test_a_plain_last_line_is_read_as_the_search_reads_it(name: str) -> None:
    for case in cases(name):
        for form in ("final", "boxed", "any"):
            text = case.response[-20_000:].rstrip()
            assert extract(case.response, form=form) == searched(text, form, thought="</think>" in text)


PIECES_TEXT = """
Final answer|final answer|**|: |:|13| cm|$5|(B)|B. |yes|your answer|is| or |{|\\boxed{4}|####|The answer|答案|最终答案
：|选C|<think>|</think>|“|½|x=|null|N/A|...|Paris|-|*|#|ans: 3|Option|°|%|!|2^3|\"|(|)
"""
PIECES = st.sampled_from(["\n", *PIECES_TEXT.strip().replace("\n", "|").split("|")])


@given(
    st.lists(PIECES, max_size=8).map("".join),
    st.sampled_from(["Final answer: ", "**Final Answer:** ", "### Final Answer\n", "答案: ", ""]),
)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_last_line_is_read_as_the_search_reads_it(rest: str, opening: str) -> None:
    for text in ((opening + rest).rstrip(), (rest + "\n" + opening + "13 cm").rstrip()):
        assert extract(text) == searched(text, "final", thought="</think>" in text)
