"""Who takes the last chunks."""

from hypothesis import given
from hypothesis import strategies as st

from mmpr.pool.tail import shares

engines = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0.5, 8, allow_nan=False)), min_size=1, max_size=6
)  # chunks held, seconds a chunk


def ends(held, paces, taken):
    return [(n + more) * pace for n, pace, more in zip(held, paces, taken, strict=True)]


def test_of_two_chunks_an_engine_at_half_the_speed_takes_none():
    assert shares(2, held=[1, 1, 1], paces=[1.0, 2.0, 1.0]) == [1, 0, 1]


def test_what_is_held_counts():
    assert shares(1, held=[2, 0, 1], paces=[1.0, 1.0, 1.0]) == [0, 1, 0]


def test_a_slow_engine_takes_its_part_of_many():
    assert shares(9, held=[0, 0], paces=[1.0, 2.0]) == [6, 3]


def test_no_engines_take_nothing():
    assert shares(3, held=[], paces=[]) == []


@given(st.integers(0, 40), engines)
def test_every_chunk_is_taken_and_none_would_end_earlier_elsewhere(chunks, some):
    held, paces = [n for n, _ in some], [pace for _, pace in some]
    taken = shares(chunks, held, paces)
    assert sum(taken) == chunks
    done = ends(held, paces, taken)
    for i, n in enumerate(taken):
        if n:  # its last chunk, given to another one instead, would end no earlier
            assert all(done[i] <= (held[j] + taken[j] + 1) * paces[j] * (1 + 1e-9) for j in range(len(some)))


@given(st.integers(0, 40), st.integers(1, 6))
def test_equal_engines_take_equal_parts(chunks, n):
    taken = shares(chunks, [0] * n, [1.0] * n)
    assert max(taken) - min(taken) <= 1
