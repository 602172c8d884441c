from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmpr.run import ChunkCensus, plan_shards

# (pairs, bytes) of one question after the other
questions = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=60)


def _censuses(weights: list[tuple[int, int]], size: int) -> list[ChunkCensus]:
    parts = [weights[first : first + size] for first in range(0, len(weights), size)]
    return [
        ChunkCensus(chunk, tuple(p for p, _ in part), tuple(n for _, n in part), {}, ())
        for chunk, part in enumerate(parts)
    ]


def _contents(weights: list[tuple[int, int]], size: int, shard_bytes: int) -> list[list[int]]:
    """The questions with pairs of each shard, by number in the source."""
    plan = plan_shards(iter(_censuses(weights, size)), shard_bytes=shard_bytes)
    places = [[s.chunk * size + place for s in shard.slices for place in range(s.first, s.stop)] for shard in plan]
    return [[place for place in shard if weights[place][0]] for shard in places]


@given(questions, st.integers(1, 9), st.integers(1, 200))
def test_every_paired_question_is_in_one_shard_and_in_source_order(
    weights: list[tuple[int, int]], size: int, shard_bytes: int
) -> None:
    shards = _contents(weights, size, shard_bytes)
    assert [place for shard in shards for place in shard] == [i for i, (pairs, _) in enumerate(weights) if pairs]


@given(questions, st.integers(1, 9), st.integers(1, 200))
def test_a_shard_passes_its_limit_only_for_one_question(
    weights: list[tuple[int, int]], size: int, shard_bytes: int
) -> None:
    for shard in _contents(weights, size, shard_bytes):
        assert len(shard) <= 1 or sum(weights[place][1] for place in shard) <= shard_bytes


@given(questions, st.integers(1, 9), st.integers(1, 9), st.integers(1, 200))
def test_shards_do_not_depend_on_how_the_source_was_chunked(
    weights: list[tuple[int, int]], size: int, other_size: int, shard_bytes: int
) -> None:
    assert _contents(weights, size, shard_bytes) == _contents(weights, other_size, shard_bytes)


def test_a_run_without_a_pair_has_one_empty_shard() -> None:
    (shard,) = plan_shards([])
    assert shard.path == "data/train-00000-of-00001.parquet"
    assert shard.slices == ()
