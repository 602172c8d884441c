"""Who gets which chunk, over engines that are only counted: makespans, deaths and the question that kills."""

import heapq
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.pool import Lease
from mmpr.pool.lease_book import LeaseBook, LeaseHolder, shares

ROOM = 3


def simulate(n_engines, chunks, *, rows=64, lost=(), deadly=frozenset(), restart_s=5.0):
    """Run chunks over engines that each work on three at a time; returns when all were done, deaths, quarantined.

    Each chunk takes a second of each of its engine's three lanes. `lost` are (second, engine): a node that never comes
    back. A deadly (chunk, row) ends an engine half-way through the group that asks it.
    """
    book = LeaseBook()
    book.open(Lease(i, None) for i in range(chunks))
    held, down, deaths, quarantined, done = {i: {} for i in range(n_engines)}, set(), 0, [], 0
    events = [(second, n, "lost", engine, None) for n, (second, engine) in enumerate(lost)]
    heapq.heapify(events)
    now, number = 0.0, len(events)

    def plan(engine, lease):
        nonlocal number
        left_out = {row for row, _ in lease.quarantined}
        groups = (
            lease.groups(range(rows)) if lease.alone else [tuple(row for row in range(rows) if row not in left_out)]
        )
        asked, n_groups = 0.0, len(groups)
        for group in groups:
            if any((lease.chunk, row) in deadly for row in group):
                end, what = now + asked + 0.5 / n_groups, ("dies", engine, (lease, group))
                break
            asked += 1 / n_groups
        else:
            end, what = now + 1, ("done", engine, (lease, ()))
        number += 1
        heapq.heappush(events, (end, number, *what))
        held[engine][lease.chunk] = lease

    while done < chunks:
        book.look_ahead(n_engines * ROOM)
        holders = [
            LeaseHolder(i, len(own), any(one.alone for one in own.values())) for i, own in held.items() if i not in down
        ]
        for engine, lease in book.hand_out(holders, ROOM):
            plan(engine, lease)
        now, _, what, engine, about = heapq.heappop(events)
        if what == "back":
            down.discard(engine)
        elif what == "lost":
            down.add(engine)
            book.take_back(list(held[engine].values()), "lost", from_outside=True, announced=lambda _: ())
            held[engine].clear()
        elif held[engine].get(about[0].chunk) is about[0]:
            lease, group = about
            if what == "done":
                del held[engine][lease.chunk]
                done += 1
                quarantined += [(lease.chunk, row) for row, _ in lease.quarantined]
            else:
                deaths += 1
                down.add(engine)
                number += 1
                heapq.heappush(events, (now + restart_s, number, "back", engine, None))
                book.take_back(
                    list(held[engine].values()), "died", from_outside=False, announced=lambda _, group=group: group
                )
                held[engine].clear()
    return now, deaths, quarantined


@pytest.mark.parametrize("at_s", [0.5, 4.5, 9.5])
def test_eight_nodes_lost_of_sixty_four_cost_the_others_only_the_work_itself(at_s):
    chunks = 64 * ROOM * 40
    took, deaths, _ = simulate(64, chunks, lost=[(at_s, engine) for engine in range(8)])
    redone = 8 * ROOM * (at_s % 1)
    before = math.floor(at_s) * 64 * ROOM
    ideal = at_s + (chunks - before - (64 * ROOM * (at_s % 1)) + redone) / (56 * ROOM)
    assert deaths == 0
    assert ideal / took >= 0.95, (took, ideal)


@given(st.integers(2, 300), st.integers(0, 10_000), st.integers(1, 16))
def test_a_row_that_kills_is_found_in_five_deaths_and_no_other_is_left_out(rows, place, n_engines):
    bad = (3, place % rows)
    _, deaths, quarantined = simulate(n_engines, 24, rows=rows, deadly=frozenset({bad}))
    assert quarantined == [bad]
    assert deaths <= 5


def test_several_rows_that_kill_are_each_found_and_the_run_goes_on_meanwhile():
    bad = frozenset({(3, 7), (40, 1), (40, 60), (90, 33)})
    took, deaths, quarantined = simulate(16, 16 * ROOM * 8, rows=64, deadly=bad)
    assert sorted(quarantined) == sorted(bad)
    assert deaths <= 5 * len(bad)
    assert took < 8 + 4 * 5 * 5 / ROOM


def test_a_node_lost_again_and_again_blames_nobody():
    book = LeaseBook()
    book.open([Lease(0, None)])
    book.look_ahead(1)
    for _ in range(5):
        ((_, lease),) = book.hand_out([LeaseHolder(0, 0)], ROOM)
        assert not lease.alone
        book.take_back([lease], "its node has died", from_outside=True, announced=lambda _: ())


def test_suspects_go_to_several_engines_at_once():
    book = LeaseBook()
    book.open([])
    twice = [Lease(chunk, None) for chunk in range(6)]
    for _ in range(2):
        book.take_back(twice, "died", from_outside=False, announced=lambda _: ())
        list(book.hand_out([LeaseHolder(0, 0)], 99))
    book.take_back(twice, "died", from_outside=False, announced=lambda _: ())
    engines = [number for number, lease in book.hand_out([LeaseHolder(i, 0) for i in range(12)], ROOM) if lease.alone]
    assert len(set(engines)) == len(engines) >= 6


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
