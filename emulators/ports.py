"""The two ports of an emulator and every connection on them: opened together, closed together."""

import asyncio
from collections.abc import Callable
from ssl import SSLContext, SSLObject
from typing import cast

import msgspec

from emulators.counters import Journal
from emulators.exchange import Answer, Connection, Request
from emulators.http1_server import Http1Connection
from emulators.http2_server import Http2Connection
from emulators.http2_streams import Http2Limits

CONTROL_HOST = "127.0.0.1"
CONTROL_BODY_LIMIT = 16 * 1024 * 1024
STOP_SECONDS = 5


class Door(msgspec.Struct):
    """Who is called when something happens on the ports."""

    on_started: Callable[[Connection, asyncio.Transport], None]
    on_request: Callable[[Connection, Request], None]
    on_ended: Callable[[int], None]
    on_control: Callable[[Request], Answer]


class Ports:
    """A TLS port for push clients and a plain HTTP/1.1 control port on 127.0.0.1."""

    def __init__(self, limits: Http2Limits, journal: Journal, speaks_http1: bool, door: Door) -> None:
        self.connections: dict[int, Connection] = {}
        self._limits = limits
        self._journal = journal
        self._speaks_http1 = speaks_http1
        self._door = door
        self._control_journal = Journal(ring_size=1, arrivals_limit=1)
        self._control_connections: dict[int, Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._all_closed = asyncio.Event()
        self._next_id = 0

    async def open(self, host: str, port: int, control_port: int, tls: SSLContext) -> tuple[int, int]:
        """Listen on both; the port numbers. OSError when one is taken; then none is left open."""
        loop = asyncio.get_running_loop()
        try:
            pushes = await loop.create_server(lambda: _Negotiator(self), host, port, ssl=tls)
            self._servers.append(pushes)
            control = await loop.create_server(self._control_connection, CONTROL_HOST, control_port)
            self._servers.append(control)
        except OSError:
            await self.close()
            raise
        return _number(pushes), _number(control)

    async def close(self) -> None:
        """Stop listening and drop every connection; harmless when already closed."""
        for server in self._servers:
            server.close()
        everyone = [*self.connections.values(), *self._control_connections.values()]
        if everyone:
            self._all_closed.clear()
            for connection in everyone:
                connection.abort()
            async with asyncio.timeout(STOP_SECONDS):
                await self._all_closed.wait()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def push_connection(self, alpn: str | None, transport: asyncio.Transport) -> asyncio.Protocol:
        """The protocol for a client that chose this ALPN name; without one FCM speaks HTTP/1.1 and APNs HTTP/2."""
        self._next_id += 1
        connection: Http1Connection | Http2Connection
        on_request = self._door.on_request
        if self._speaks_http1 and alpn != "h2":
            limit = self._limits.body_limit
            connection = Http1Connection(self._next_id, limit, self._journal, on_request, self._push_closed)
        else:
            connection = Http2Connection(self._next_id, self._limits, self._journal, on_request, self._push_closed)
        self.connections[self._next_id] = connection
        self._door.on_started(connection, transport)
        return connection

    def _control_connection(self) -> asyncio.Protocol:
        self._next_id += 1
        connection = Http1Connection(
            self._next_id, CONTROL_BODY_LIMIT, self._control_journal, self._control_request, self._control_closed
        )
        self._control_connections[self._next_id] = connection
        return connection

    def _control_request(self, connection: Http1Connection, request: Request) -> None:
        connection.respond(request.stream_id, self._door.on_control(request))

    def _push_closed(self, connection: Connection) -> None:
        self.connections.pop(connection.connection_id, None)
        self._door.on_ended(connection.connection_id)
        self._check_all_closed()

    def _control_closed(self, connection: Connection) -> None:
        self._control_connections.pop(connection.connection_id, None)
        self._check_all_closed()

    def _check_all_closed(self) -> None:
        if not self.connections and not self._control_connections:
            self._all_closed.set()


class _Negotiator(asyncio.Protocol):
    """Stands in until the TLS handshake has said which protocol the client speaks."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done: hand over."""
        tls = cast(SSLObject, transport.get_extra_info("ssl_object"))
        chosen = self._ports.push_connection(tls.selected_alpn_protocol(), cast(asyncio.Transport, transport))
        transport.set_protocol(chosen)
        chosen.connection_made(transport)


def _number(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
