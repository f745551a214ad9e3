"""Which node of a Redis Cluster a key is at."""

from collections.abc import Sequence
from typing import NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ResponseError

from delivery.queues.redis_address import HostPort, RedisAddress
from delivery.queues.redis_facts import facts
from delivery.queues.redis_node import Maker, Node
from delivery.queues.redis_routes import NewNode, Route, ask_all

_MOST_ASKED = 6  # nodes that are asked at once where the slots are


class _View(NamedTuple):
    """What a node of the cluster knows of it."""

    whole: bool  # it takes part: it is not cut off with a minority
    slots: Sequence[tuple[int, int, HostPort]]  # first, last, master


class ClusterRoute(Route):
    """The masters of a cluster, each of some slots."""

    def __init__(self, address: RedisAddress, new: NewNode, maker: Maker, timeout_seconds: float) -> None:
        super().__init__(address, new)
        self._maker = maker
        self._timeout = timeout_seconds / 2
        self._known: dict[HostPort, Node] = {}
        self._slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS

    async def refresh(self) -> bool:
        """Ask some nodes at once, known ones first; one that is cut off with a minority is not believed."""
        hosts = list(dict.fromkeys([*self._known, *self._address.hosts]))[:_MOST_ASKED]
        views = await ask_all([self._ask(each) for each in hosts], self._timeout, lambda found: found[-1].whole)
        if not views[-1].slots:
            raise RedisConnectionError("the cluster has no slots yet")
        return await self._take(views[-1])

    async def _ask(self, host: HostPort) -> _View:
        info, slots = await self._maker.ask(host, [("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")], signed_in=True)
        for each in (info, slots):
            if isinstance(each, ResponseError):
                raise each
        read = [(each[0], each[1], _named(each[2][0], each[2][1], host)) for each in slots]
        return _View(facts(info).get("cluster_state") == "ok", read)

    async def _take(self, view: _View) -> bool:
        before = set(self._known)
        hosts = {host for _, _, host in view.slots}
        self._slots = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, host in view.slots:
            self._slots[first : last + 1] = [self._get(host)] * (last + 1 - first)
        for host in before - hosts:
            await self._known.pop(host).close()
        return before != hosts

    def _get(self, host: HostPort) -> Node:
        if host not in self._known:
            self._known[host] = self._new(host)
        return self._known[host]

    def node(self, key: str | None) -> Node:
        """Return the master of the key's slot; ConnectionError while it has none."""
        found = next(iter(self._known.values())) if key is None else self._slots[key_slot(key.encode())]
        if found is None:
            raise RedisConnectionError("a part of the cluster has no server")
        return found

    def masters(self) -> Sequence[Node]:
        """Return the masters that have slots."""
        return tuple({id(each): each for each in self._slots if each is not None}.values())

    def moved(self, error: MovedError, by: Node) -> None:
        """Take note of a slot's new master."""
        self._slots[error.slot_id] = self.at(error.node_addr, by)

    def at(self, host: HostPort, by: Node) -> Node:
        """Return the node of this address, which may be new to us."""
        return self._get(_named(host[0], host[1], by.host))

    async def close(self) -> None:
        """Close the connections to all nodes."""
        for node in self._known.values():
            await node.close()


def _named(host: bytes | str | None, port: int, said_by: HostPort) -> HostPort:
    """Read an address of a node; without a host, it is that of the node that said so."""
    text = host.decode() if isinstance(host, bytes) else host
    return (text if text and text != "?" else said_by[0]), port
