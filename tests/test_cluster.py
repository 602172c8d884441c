"""Several nodes on this machine (Ray's own test cluster, with GPUs that only Ray counts): engines come and go."""

import os
import sys
from collections import Counter

import pytest
import ray
from ray import cloudpickle
from ray._private.internal_api import get_memory_info_reply, get_state_from_address
from ray.cluster_utils import Cluster

from mmpr import pool
from mmpr.engines.protocol import Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import EngineStartError
from mmpr.pool import Beat, Died, Done, Lease, Placement, Pool
from mmpr.types import Message, Prompt, Stage

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module


@pytest.fixture(scope="module")
def head():
    at_once = {"free_objects_period_milliseconds": 0}  # else Ray gathers for a second what it frees
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "_system_config": at_once})
    try:
        with pool.connected(started.address):
            yield started
    finally:
        started.shutdown()


@pytest.fixture
def cluster(head):
    """The head's node alone; what a test adds goes with it."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)


async def slow_engine():
    return ScriptedEngine(seconds_per_token=0.003)


async def ask(engine, lease, bench):
    (response,) = await engine.generate(Prompt("q", Stage.SAMPLE, (Message("user", "?"),)), Sampling())
    return await bench.beside(len, response.text)


def test_an_engine_that_comes_late_joins_and_one_whose_node_goes_loses_nothing(cluster):
    chunks, events, done = iter(range(10_000)), [], False
    engines = Pool(slow_engine, ask, Placement(gpus=1, leases_in_flight=2, wait_s=60, pause_s=0.01))
    handed, late = [], None

    def leases():
        while not done:
            handed.append(next(chunks))
            yield Lease(handed[-1], None)

    try:
        for event in engines.run(leases()):
            events.append(event)
            if isinstance(event, Done) and late is None:
                late = cluster.add_node(num_cpus=1, num_gpus=1)
            elif isinstance(event, Beat) and len(event.pulses) == 2 and late in cluster.worker_nodes:
                cluster.remove_node(late)
            elif isinstance(event, Died):
                done = True
    finally:
        engines.close()
    (died,) = [event for event in events if isinstance(event, Died)]
    assert died.engine == 1
    assert Counter(event.lease.chunk for event in events if isinstance(event, Done)) == Counter(handed)


# -- placement --------------------------------------------------------------------------------------------------------


async def where(engine, lease, bench):
    """Where the engine runs, on which GPUs, and where its judge would."""
    context = ray.get_runtime_context()
    return context.get_node_id(), tuple(context.get_accelerator_ids()["GPU"]), await bench.beside(_node)


def _node():
    return ray.get_runtime_context().get_node_id()


def places(placement, wanted):
    """Run until each of `wanted` engines has done a lease while all of them were up: engine's number -> its place."""
    found, all_up, chunks = {}, False, iter(range(10_000))
    engines = Pool(slow_engine, where, placement)

    def leases():
        while len(found) < wanted or not all_up:
            yield Lease(next(chunks), None)

    try:
        for event in engines.run(leases()):
            if isinstance(event, Beat):
                all_up = all_up or len(event.pulses) == wanted
                assert len(event.pulses) + event.starting <= wanted
            elif isinstance(event, Done):
                node, gpus, beside = event.report
                assert beside == node
                found[node, gpus] = event
    finally:
        engines.close()
    return set(found)


def test_nodes_of_different_sizes_are_filled_with_whole_engines_and_none_shares_a_gpu(cluster):
    sizes = {cluster.head_node.node_id: 1}
    for n_gpus in (2, 8, 3):
        sizes[cluster.add_node(num_cpus=2, num_gpus=n_gpus).node_id] = n_gpus
    assert [pool.n_engines(Placement(gpus=gpus)) for gpus in (1, 2, 4, 8, 9)] == [14, 6, 2, 1, 0]
    found = places(Placement(gpus=2, leases_in_flight=1, wait_s=60), wanted=6)
    assert Counter(sizes[node] for node, _ in found) == {2: 1, 8: 4, 3: 1}
    for node in sizes:
        held = [gpu for of, gpus in found if of == node for gpu in gpus]
        assert len(held) == len(set(held)) == sizes[node] // 2 * 2


def test_an_engine_is_placed_on_the_type_of_gpu_that_is_named(cluster):
    wanted = cluster.add_node(num_cpus=1, num_gpus=2, resources={"accelerator_type:A100": 1}).node_id
    placement = Placement(gpus=1, accelerator="A100", leases_in_flight=1, wait_s=60)
    assert pool.n_engines(placement) == 2
    assert {node for node, _ in places(placement, wanted=2)} == {wanted}
    with pytest.raises(EngineStartError, match=r"1 H100 GPU\(s\) on one node"):
        list(Pool(slow_engine, where, Placement(engines=1, gpus=1, accelerator="H100", wait_s=1)).run([Lease(0, None)]))


# -- the object store -------------------------------------------------------------------------------------------------

_CHUNK_BYTES = 4_000_000


async def big(engine, lease, bench):
    """A chunk's answers on their way to the judge."""
    return await bench.beside(len, os.urandom(_CHUNK_BYTES))


def used_bytes():
    """What all object stores hold now, and what was ever spilled to disk."""
    reply = get_memory_info_reply(get_state_from_address(ray.get_runtime_context().gcs_address))
    return reply.store_stats.object_store_bytes_used, reply.store_stats.spilled_bytes_total


def test_the_object_stores_hold_chunks_in_flight_alone_however_many_pass(cluster):
    for _ in range(3):
        cluster.add_node(num_cpus=1, num_gpus=1)
    in_flight, chunks, most = 2, 60, 0
    engines = Pool(slow_engine, big, Placement(gpus=1, leases_in_flight=in_flight, wait_s=60))
    try:
        for event in engines.run([Lease(chunk, None) for chunk in range(chunks)]):
            if isinstance(event, Beat):
                most = max(most, used_bytes()[0])
    finally:
        engines.close()
    held = 4 * in_flight * _CHUNK_BYTES
    assert most <= 1.5 * held < chunks * _CHUNK_BYTES  # a chunk is freed a moment after its engine has the next one
    assert used_bytes() == (0, 0)
