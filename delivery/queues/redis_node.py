"""One server of Redis: a few connections to it, and commands in one trip over one of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from delivery.queues.redis_address import HostPort, RedisAddress
from delivery.queues.redis_facts import facts, unfit

Word = str | int | float | bytes
Command = Sequence[Word]


class Maker:
    """Makes connections that carry the URL's password, to whichever host is asked for."""

    def __init__(self, address: RedisAddress, tls: ssl.SSLContext | None, timeout_seconds: float, name: str) -> None:
        self._address = address
        self._tls = tls
        self._timeout = timeout_seconds
        self._name = name

    def __repr__(self) -> str:
        return f"Maker({self._address})"

    def connection(self, host: HostPort, *, signed_in: bool = True) -> Connection:
        """Return a connection that is not made yet; without `signed_in`, none of the URL's user and database."""
        options: dict[str, Any] = {
            "host": host[0],
            "port": host[1],
            "driver_info": None,  # CLIENT SETINFO, which old servers refuse
            "protocol": 2,
            "socket_timeout": None,  # whoever uses it keeps the time
            "socket_connect_timeout": self._timeout,
            "socket_keepalive": True,
        }
        if signed_in:
            options |= {"username": self._address.user or None, "password": self._address.password or None}
            options |= {"db": self._address.db, "client_name": self._name}
        if self._tls is None:
            return Connection(**options)
        secured = SSLConnection(**options)
        secured.ssl_context.context = self._tls
        return secured

    async def ask(self, host: HostPort, questions: Sequence[Command], *, signed_in: bool = False) -> list[Any]:
        """Ask on a connection that is for these questions only."""
        connection = self.connection(host, signed_in=signed_in)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            return await exchange(connection, questions)
        finally:
            await connection.disconnect(nowait=True)

    @property
    def sign_in(self) -> Command:
        """The command that tells user and password; empty without a password."""
        told = (self._address.user, self._address.password) if self._address.user else (self._address.password,)
        return ("AUTH", *told) if self._address.password else ()


class Node:
    """A server, with at most `most` connections to it.

    `changed` is called when a new connection finds another process than the connection before: what that one held in
    memory is gone.
    """

    def __init__(self, maker: Maker, host: HostPort, most: int, changed: Callable[[], None]) -> None:
        self.host = host
        self._maker = maker
        self._changed = changed
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(most)
        self._closed = False
        self._run_id = ""

    def __repr__(self) -> str:
        return f"Node({self.host[0]}:{self.host[1]})"

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all, then read all answers, in order; an error that a command alone has is its answer.

        Raises what redis-py raises for a connection that is lost or refused. Takes as long as it takes.
        """
        async with self._lent() as connection:
            return await exchange(connection, commands)

    async def close(self) -> None:
        """Close the connections, those in use once they are not; a later exchange has one of its own."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        async with self._places:
            connection = await self._open()
            try:
                yield connection
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            if self._closed:
                await connection.disconnect(nowait=True)
            else:
                self._idle.append(connection)

    async def _open(self) -> Connection:
        """Take an idle connection that is still good, the last used first, or make one."""
        while self._idle:
            connection = self._idle.pop()
            if not await connection.can_read():  # nothing was asked: there is something to read when it was closed
                return connection
            await connection.disconnect(nowait=True)
        connection = self._maker.connection(self.host)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await self._look(connection)
        except ResponseError as error:  # of what a new connection asks for: the database's number, say
            await connection.disconnect(nowait=True)
            raise RedisConnectionError(str(error)) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _look(self, connection: Connection) -> None:
        """See whether it is the process that was there before, and whether it will do."""
        answers = await exchange(connection, [("INFO", "server"), ("INFO", "memory")])
        said = facts(b"\r\n".join(each for each in answers if isinstance(each, bytes)))  # it may be forbidden to us
        if trouble := unfit(said):
            raise RedisConnectionError(trouble)
        run_id = said.get("run_id", "")
        if self._run_id and run_id != self._run_id:
            self._changed()
        self._run_id = run_id


async def exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """Send all on this connection, then read all answers, in order; a refusal is an answer."""
    await connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
    return [await _answer(connection) for _ in commands]


def _packed(command: Command) -> bytes:
    """Write a command as RESP has it: redis-py's own way takes several times as long for thousands of words."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
