"""Where two texts part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmpr.reporting.diff import differing_runs

WORDY = st.lists(st.sampled_from(["a ", "the ", "红", "\n", "cat ", "x²", "."]), max_size=30).map("".join)


@given(st.one_of(st.text(max_size=80), WORDY), st.one_of(st.text(max_size=80), WORDY))
def test_runs_joined_are_the_texts(chosen, rejected):
    left, right = differing_runs(chosen, rejected)
    assert "".join(text for _, text in left) == chosen
    assert "".join(text for _, text in right) == rejected
    assert [text for differs, text in left if not differs] == [text for differs, text in right if not differs]


def test_only_what_one_side_has_is_marked():
    left, right = differing_runs("I count one, two. Answer: 3", "I count one, two. Answer: 4")
    assert [text for differs, text in left if differs] == ["3"]
    assert [text for differs, text in right if differs] == ["4"]


def test_very_long_texts_are_compared_from_both_ends():
    middle = "x " * 5000
    left, _ = differing_runs(f"same {middle}end", f"same {middle}other end")
    assert left[0] == (False, f"same {middle}")


def test_equal_texts_have_nothing_marked():
    assert differing_runs("so", "so") == ([(False, "so")], [(False, "so")])
    assert differing_runs("", "") == ([], [])
