"""The way to a cluster: every key at its node, and slots that move."""

import asyncio

import pytest
from redis.crc import key_slot

from delivery.queues.redis_link import Call, RedisLink, RedisUnavailableError, Script
from tests.delivery.queues.link_waiting import until
from tests.redis_deployments import Cluster
from tests.redis_server import RedisServer

COUNT = Script("count", "return redis.call('INCR', KEYS[1])")
BOTH = Script("both", "return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}")
MANY = [f"{{{number}}}" for number in range(60)]


def held(node: RedisServer) -> int:
    size: int = node.command("DBSIZE")
    return size


def slot_owner(cluster: Cluster, slot: int) -> RedisServer:
    return cluster.nodes[slot * len(cluster.nodes) // 16384]


def refused(node: RedisServer) -> int:
    """Count the calls that the node could not carry out."""
    calls: int = node.command("INFO", "commandstats")["cmdstat_evalsha"]["rejected_calls"]
    return calls


class Moving:
    """A slot on its way from one node to another, in the steps that an operator's tool takes."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster = cluster
        self.slot = key_slot(key.encode())
        self.source = slot_owner(cluster, self.slot)
        self.target = next(each for each in cluster.nodes if each is not self.source)

    def begin(self) -> None:
        self.target.command("CLUSTER SETSLOT", self.slot, "IMPORTING", self._id(self.source))
        self.source.command("CLUSTER SETSLOT", self.slot, "MIGRATING", self._id(self.target))

    def take(self, *keys: str) -> None:
        self.source.command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)

    def end(self) -> None:
        self._give(self.target)

    def undo(self) -> None:
        """Give the slot back, without its keys, for the next test."""
        self.source.command("FLUSHALL")
        self.target.command("FLUSHALL")
        self._give(self.source)

    def _give(self, node: RedisServer) -> None:
        for each in (node, *(each for each in self._cluster.nodes if each is not node)):
            each.command("CLUSTER SETSLOT", self.slot, "NODE", self._id(node))

    def _id(self, node: RedisServer) -> str:
        name: bytes = node.command("CLUSTER MYID")
        return name.decode() if isinstance(name, bytes) else name


async def test_calls_are_spread_over_the_nodes_of_their_keys(cluster: Cluster) -> None:
    async with RedisLink(cluster.url) as link:
        assert await link.run([Call(COUNT, [key], []) for key in MANY]) == [1] * len(MANY)
        assert await link.run([Call(BOTH, [f"{key}a", f"{key}b"], []) for key in MANY]) == [[1, 1]] * len(MANY)
        assert all(held(node) > 10 for node in cluster.nodes)
        assert link.generation == 0


async def test_a_script_that_one_node_forgot_is_loaded_there(cluster: Cluster) -> None:
    async with RedisLink(cluster.url) as link:
        await link.run([Call(COUNT, [key], []) for key in MANY])
        cluster.nodes[1].command("SCRIPT FLUSH")
        assert await link.run([Call(COUNT, [key], []) for key in MANY]) == [2] * len(MANY)


async def test_the_keys_of_all_nodes_are_found(cluster: Cluster) -> None:
    async with RedisLink(cluster.url) as link:
        await link.run([Call(COUNT, [key], []) for key in MANY])
        assert sorted([key async for key in link.scan("*")]) == sorted(MANY)


async def test_a_slot_that_moves_is_followed_at_every_step(cluster: Cluster) -> None:
    moving = Moving(cluster, "{m}")
    async with RedisLink(cluster.url) as link:
        assert await link.run([Call(BOTH, ["{m}a", "{m}b"], [])]) == [[1, 1]]
        moving.begin()
        assert await link.run([Call(BOTH, ["{m}a", "{m}b"], [])]) == [[2, 2]]  # all is still at the source
        moving.take("{m}a", "{m}b")
        assert await link.run([Call(BOTH, ["{m}a", "{m}b"], [])] * 2) == [[3, 3], [4, 4]]  # ASK
        moving.end()
        assert await link.run([Call(BOTH, ["{m}a", "{m}b"], [])]) == [[5, 5]]  # MOVED
        assert await link.command("GET", "{m}a") == b"5"
        assert link.generation == 0
        moving.undo()


async def test_keys_that_are_torn_apart_are_waited_for(cluster: Cluster) -> None:
    moving = Moving(cluster, "{t}")
    async with RedisLink(cluster.url) as link:
        await link.run([Call(BOTH, ["{t}a", "{t}b"], [])])
        moving.begin()
        moving.take("{t}a")
        with pytest.raises(RedisUnavailableError, match="moving"):
            await link.run([Call(BOTH, ["{t}a", "{t}b"], [])])
        before = refused(moving.source)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(link.run([Call(BOTH, ["{t}a", "{t}b"], [])]))
            await until(lambda: refused(moving.source) > before)
            moving.take("{t}b")
        assert await waiting == [[2, 2]]
        moving.end()
        moving.undo()


async def test_a_cluster_with_a_dead_node_is_unavailable_and_good_again_with_it(cluster: Cluster) -> None:
    dead = cluster.nodes[1]
    async with RedisLink(cluster.url, timeout_seconds=1) as link:
        await link.run([Call(COUNT, [key], []) for key in MANY])
        dead.kill()
        with pytest.raises(RedisUnavailableError):
            await link.run([Call(COUNT, [key], []) for key in MANY])
        dead.start()
        cluster.settle()
        assert set(await link.run([Call(COUNT, [key], []) for key in MANY])) >= {1}
        assert link.generation == 1


async def test_a_node_named_as_a_single_server_is_told(cluster: Cluster) -> None:
    async with RedisLink(cluster.nodes[0].url) as link:
        with pytest.raises(RedisUnavailableError, match=r"redis\+cluster"):
            await link.run([Call(COUNT, [key], []) for key in MANY])
