"""Which server of Redis a key is at: the one server, or the master that the sentinels name."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from redis.exceptions import AuthenticationError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from delivery.queues.redis_address import HostPort, RedisAddress
from delivery.queues.redis_node import Command, Maker, Node

NewNode = Callable[[HostPort], Node]
Answer = TypeVar("Answer")


class Route:
    """One server, always the same."""

    believed_seconds = 0.0  # how long what `refresh` found is believed; 0: until something fails

    def __init__(self, address: RedisAddress, new: NewNode) -> None:
        self._address = address
        self._new = new
        self._master = new(address.hosts[0])

    async def refresh(self) -> bool:
        """Look for the servers; whether they are others than before. Raises when nobody can say."""
        return False

    def node(self, key: str | None) -> Node:
        """Return the server of this key; any, without a key."""
        return self._master

    def masters(self) -> Sequence[Node]:
        """Return every server that holds keys."""
        return (self._master,)

    def moved(self, error: MovedError, by: Node) -> None:
        """Take note of a slot that is elsewhere, as `by` said."""
        raise RedisConnectionError("it is a node of a cluster: TOCSIN_QUEUE_URL must begin with redis+cluster://")

    def at(self, host: HostPort, by: Node) -> Node:
        """Return the server of this address that `by` named."""
        return self._master

    async def close(self) -> None:
        """Close every connection."""
        await self._master.close()


class SentinelRoute(Route):
    """The master that most sentinels name."""

    def __init__(self, address: RedisAddress, new: NewNode, maker: Maker, timeout_seconds: float) -> None:
        super().__init__(address, new)  # until they are asked, the first of them is in the master's place
        self._maker = maker
        self._timeout = timeout_seconds / 2
        self.believed_seconds = timeout_seconds  # a master that was deposed takes writes until it learns of it

    async def refresh(self) -> bool:
        """Ask all sentinels at once: one may be away, or behind the others."""
        hosts = self._address.hosts
        votes = await ask_all(
            [self._ask(each) for each in hosts],
            self._timeout,
            lambda votes: Counter(votes).most_common(1)[0][1] * 2 > len(hosts),
        )
        ((named, _),) = Counter(votes).most_common(1)
        before = self._master
        if before.host == named:
            return False
        self._master = self._new(named)
        await before.close()
        return True

    async def _ask(self, host: HostPort) -> HostPort:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master)
        try:
            return await self._asked(host, [question])
        except AuthenticationError:  # sentinels have a password of their own, if any: try that of the server
            if not self._maker.sign_in:
                raise
            return await self._asked(host, [self._maker.sign_in, question])

    async def _asked(self, host: HostPort, questions: Sequence[Command]) -> HostPort:
        answer = (await self._maker.ask(host, questions))[-1]
        if isinstance(answer, ResponseError):
            raise answer
        if not answer:
            raise RedisConnectionError(f"the sentinels know no master {self._address.master}")
        return answer[0].decode(), int(answer[1])


async def ask_all(
    questions: Iterable[Coroutine[Any, Any, Answer]], timeout_seconds: float, enough: Callable[[list[Answer]], bool]
) -> list[Answer]:
    """Ask all at once; return the answers once they are enough, or all that came in time; raise when none did."""
    tasks = [asyncio.create_task(each, name="redis route") for each in questions]
    found: list[Answer] = []
    failures: list[Exception] = []
    try:
        for each in asyncio.as_completed(tasks, timeout=timeout_seconds):
            try:
                found.append(await each)
            except (RedisError, OSError, TimeoutError) as error:
                failures.append(error)
            if found and enough(found):
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not found:
        raise failures[0]
    return found
