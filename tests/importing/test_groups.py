"""Grouping and joining by hashes, compared with loops over lists."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmpr.importing.rollout_groups import _by_first
from mmpr.run.joined_questions import _joined, _of_chunk


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_rows_are_together_by_question_and_questions_are_in_the_order_of_their_first_rows(keys):
    order, starts = _by_first(np.array(keys, dtype=np.uint64))
    groups = [order[first:stop].tolist() for first, stop in itertools.pairwise(starts)]
    expected: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        expected.setdefault(key, []).append(row)
    assert groups == list(expected.values())


# By part and chunk, what the questions ask.
RUNS = st.lists(st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=3), min_size=1, max_size=4)


@given(RUNS)
def test_a_question_is_kept_by_the_first_run_that_has_it_and_taken_once_from_each_other(runs):
    rows = [
        (part, chunk, place, asked)
        for part, chunks in enumerate(runs)
        for chunk, questions in enumerate(chunks)
        for place, asked in enumerate(questions)
    ]
    prints = np.array([row[3] for row in rows], dtype=np.uint64)
    kept, moved = _joined(prints, np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3))
    expected = set()
    for asked in {row[3] for row in rows}:
        firsts = {}
        for row in rows:
            if row[3] == asked:
                firsts.setdefault(row[0], row[:3])
        keeper = min(firsts)
        expected |= {(firsts[keeper], firsts[part]) for part in firsts if part != keeper}
    found = [(tuple(one), tuple(other)) for one, other in zip(kept.tolist(), moved.tolist(), strict=True)]
    assert set(found) == expected and len(found) == len(expected)
    ordered = moved[np.lexsort(moved.T[::-1])]
    for part, chunks in enumerate(runs):
        for chunk in range(len(chunks)):
            here = ordered[_of_chunk(ordered, part, chunk)].tolist()
            assert sorted(here) == sorted([*other] for _, other in expected if other[:2] == (part, chunk))
