"""A way to PostgreSQL that can be cut, and can fall silent: how a database that is away looks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Relay:
    """Passes bytes between a port on loopback and a database; `url` leads through it."""

    def __init__(self, url: str, address: str = "127.0.0.1") -> None:
        self._address = address
        self._database = conninfo_to_dict(url)
        self._url = url
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.stuck = asyncio.Event()  # something came that is not passed on

    @property
    def url(self) -> str:
        return make_conninfo(self._url, host=self._address, port=self._port)

    async def restore(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._connect, self._address, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Cut every connection, and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def freeze(self) -> None:
        """Pass nothing on; connections are taken all the same."""
        self._passing.clear()

    def thaw(self) -> None:
        """Pass on what came meanwhile."""
        self._passing.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._database.get("host", "127.0.0.1")), int(self._database.get("port") or 5432)
        if host.startswith("/"):
            there = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            there = await asyncio.open_connection(host, port)
        for one, other in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._pass(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self._passing.is_set():
                    self.stuck.set()
                    await self._passing.wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@asynccontextmanager
async def relayed(url: str, address: str = "127.0.0.1") -> AsyncIterator[Relay]:
    """A relay to this database, at an address on loopback."""
    relay = Relay(url, address)
    await relay.restore()
    try:
        yield relay
    finally:
        relay.thaw()
        await relay.cut()
