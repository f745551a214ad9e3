"""A worker's way to Redis or Valkey: scripts in one trip, and what a failure there means."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, TryAgainError

from delivery.queues import redis_address
from delivery.queues.redis_address import HostPort
from delivery.queues.redis_cluster import ClusterRoute
from delivery.queues.redis_errands import Errand, good, is_lost, send
from delivery.queues.redis_errors import RedisScriptError, RedisUnavailableError, unavailable
from delivery.queues.redis_facts import facts
from delivery.queues.redis_node import Maker, Node, Word
from delivery.queues.redis_routes import Route, SentinelRoute
from delivery.queues.redis_script import Call, Script

_LOG = logging.getLogger(__name__)
_ROUNDS = 8
_ROUND_SECONDS = 0.02
_SCAN_COUNT = 500


class RedisLink:
    """The way to a server, to the master of sentinels, or to a cluster; `async with RedisLink(url)`.

    A server that is away is no error until something is asked of it. Every call ends within `timeout_seconds`, by
    RedisUnavailableError if it must. `max_connections` is for each server.
    """

    def __init__(
        self,
        url: str,
        *,
        tls_ca: str = "",
        timeout_seconds: float = 2.0,
        max_connections: int = 4,
        name: str = "tocsin",
    ) -> None:
        self.address = redis_address.parse(url)
        self._timeout = timeout_seconds
        tls = redis_address.tls_context(tls_ca) if self.address.tls else None
        self._maker = Maker(self.address, tls, timeout_seconds, name)
        self._max_connections = max_connections
        self._route = self._new_route()
        self._routing = asyncio.Lock()
        self._routed_at = float("-inf")
        self._suspect = True  # the servers are looked for before the next call
        self._disturbed = False
        self._generation = 0

    def __repr__(self) -> str:
        return f"RedisLink({self.address})"

    @property
    def generation(self) -> int:
        """A number that rises when a connection was lost and made anew, or a server is another than it was.

        What was asked before may be lost then.
        """
        return self._generation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._route.close()

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Carry out scripts, each by itself, in one trip for each server; their answers in order, strings as bytes.

        The order in which they are carried out is not promised. Raises RedisUnavailableError, though some of them may
        have been carried out; RedisScriptError when one is wrong.
        """
        errands = [
            Errand(("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args), call.keys[0], call.script)
            for call in calls
        ]
        async with self._watched():
            await self._run(errands)
        return [each.answer for each in errands]

    async def command(self, *words: Word) -> Any:
        """Carry out one command; its answer as RESP2 gives it."""
        errand = Errand(words)
        async with self._watched():
            await self._run([errand])
        return errand.answer

    async def info(self) -> list[tuple[str, dict[str, str]]]:
        """Return what each server that holds keys says of itself, by its address."""
        async with self._watched():
            await self._find_servers()
            found = []
            for node in self._route.masters():
                (said,) = good(await node.exchange([("INFO",)]))
                found.append((f"{node.host[0]}:{node.host[1]}", facts(said)))
            return found

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Yield the keys like this pattern on all servers; one may come twice, or not when it is made meanwhile."""
        async with self._watched():
            await self._find_servers()
        for node in self._route.masters():
            cursor = b"0"
            while True:
                async with self._watched():
                    answers = await node.exchange([("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)])
                    ((cursor, keys),) = good(answers)
                for key in keys:
                    yield key.decode()
                if cursor == b"0":
                    break

    async def _run(self, errands: Sequence[Errand]) -> None:
        """Bring errands to where they belong; each ends with an answer that is no error."""
        await self._find_servers()
        waiting = list(errands)
        for again in range(_ROUNDS):
            await self._send(waiting)
            lost = next((each.answer for each in waiting if is_lost(each.answer)), None)
            if lost is not None:
                self._suspect = True
                if again or not await self._find_servers():
                    raise lost
                continue
            waiting = [each for each in waiting if not self._is_done(each)]
            if not waiting:
                break
            if any(isinstance(each.answer, TryAgainError) for each in waiting):
                await asyncio.sleep(_ROUND_SECONDS * (again + 1))
        else:
            raise waiting[0].answer
        self._generation += self._disturbed
        self._disturbed = False

    async def _send(self, errands: Sequence[Errand]) -> None:
        """Send each to its server and take note of its answer, or of why there is none."""
        parts: dict[Node, list[Errand]] = {}
        for each in errands:
            parts.setdefault(each.node or self._route.node(each.key), []).append(each)
        if len(parts) == 1:
            await send(*parts.popitem())
            return
        async with asyncio.TaskGroup() as group:
            for node, part in parts.items():
                group.create_task(send(node, part))

    def _is_done(self, errand: Errand) -> bool:
        """See whether the answer is one; else send the errand on to where it should go."""
        answer = errand.answer
        if not isinstance(answer, Exception):
            return True
        by = errand.node or self._route.node(errand.key)
        errand.missing = isinstance(answer, NoScriptError)
        if errand.missing and errand.script is not None:
            return False
        errand.node, errand.asking = None, False
        if isinstance(answer, MovedError):
            self._route.moved(answer, by)
            errand.node = self._route.at(answer.node_addr, by)
            self._suspect = self._suspect or errand.key is not None  # there may be more to know of
        elif isinstance(answer, AskError):
            errand.node, errand.asking = self._route.at(answer.node_addr, by), True
        elif not isinstance(answer, TryAgainError):
            raise errand.failed(answer)
        return False

    async def _find_servers(self) -> bool:
        """Look for the servers when that is due; whether they are others than before."""
        if not self._is_due():
            return False
        async with self._routing:
            if not self._is_due():
                return True  # somebody else did meanwhile
            first = self._routed_at < 0
            try:
                changed = await self._route.refresh()
            except (RedisError, OSError, TimeoutError):
                if first:
                    raise
                changed = False  # those who would know do not answer: what was known may hold
            self._disturbed |= changed and not first
            self._suspect = False
            self._routed_at = time.monotonic()
            return changed

    def _is_due(self) -> bool:
        believed = self._route.believed_seconds
        return self._suspect or bool(believed and time.monotonic() - self._routed_at > believed)

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return self._watched_for(self._timeout)

    @asynccontextmanager
    async def _watched_for(self, seconds: float | None) -> AsyncIterator[None]:
        """Bound what is done inside; what goes wrong becomes an error of ours."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            reason = unavailable(error)
            if not reason:
                raise RedisScriptError(str(error)) from error
            self._suspect = self._disturbed = True
            raise RedisUnavailableError(reason) from error

    def _new_route(self) -> Route:
        if self.address.kind == "server":
            return Route(self.address, self._new_node)
        if self.address.kind == "sentinel":
            return SentinelRoute(self.address, self._new_node, self._maker, self._timeout)
        return ClusterRoute(self.address, self._new_node, self._maker, self._timeout)

    def _new_node(self, host: HostPort) -> Node:
        return Node(self._maker, host, self._max_connections, self._note_change)

    def _note_change(self) -> None:
        self._disturbed = True


__all__ = ["Call", "RedisLink", "RedisScriptError", "RedisUnavailableError", "Script"]
