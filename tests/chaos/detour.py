"""A way to a server on loopback that can be cut, and can fall silent."""

import asyncio
from contextlib import suppress

_HOST = "127.0.0.1"
_BYTES = 65536


class Detour:
    """Passes bytes between a port of its own and one of a server."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    async def open(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Cut every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Pass nothing on; connections are taken all the same."""
        self._passing.clear()

    def speak(self) -> None:
        """Pass on what came meanwhile."""
        self._passing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):  # the server is away, or either end is
                there, back = await asyncio.open_connection(_HOST, self.target)
                self._writers.add(back)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pass(reader, back))
                        group.create_task(self._pass(there, writer))
                finally:
                    self._writers.discard(back)
                    back.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()  # and with it what goes the other way
