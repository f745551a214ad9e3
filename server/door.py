"""The HTTP door of an API process: uvicorn's server over our connections, and the rules that bound its clients."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from server.connection import Connection
from server.exchange import Exchange

_LOG = logging.getLogger(__name__)
_MOST_FILES = 1 << 20
_OTHER_FILES = 256  # of a process, beside the connections of its clients
_TURNED_AWAY = 1000  # connections over the limit that are told so; those beyond are cut
_SWEEP_TICKS = 3  # uvicorn's server ticks ten times a second
_SAY_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a client may take of a process, in bytes and seconds.

    A request's headers must be complete within `header_seconds` of its first byte (the first one's: of the
    connection), its body within `body_seconds` and what it takes at `bytes_per_second`; an answer must be read within
    `write_seconds` and what that takes at the same rate.
    """

    header_seconds: float = 10.0
    header_bytes: int = 32 << 10
    header_count: int = 100
    body_seconds: float = 20.0
    bytes_per_second: int = 16 << 10
    write_seconds: float = 30.0
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    linger_bytes: int = 8 << 20
    max_connections: int = 20_000
    max_requests: int = 1000
    shutdown_seconds: float = 20.0
    backlog: int = 2048


class Door:
    """What the connections of a process have in common."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.rules = rules
        self.connections: set[Connection] = set()
        self._app = app
        self._state = ServerState()
        self._loop = asyncio.get_running_loop()
        self._dated: list[tuple[bytes, bytes]] = []
        self._date = b""
        self._said_at = float("-inf")
        self._admitted = 0

    def connect(self, config: object, server_state: ServerState, app_state: object, _loop: object = None) -> Connection:
        """Make the protocol of a new connection, as uvicorn asks for it."""
        self._state = server_state
        self.connections = server_state.connections  # type: ignore[assignment]  # of uvicorn's own protocols
        return Connection(self)

    def now(self) -> float:
        """Return the time of the loop's clock."""
        return self._loop.time()

    def date(self) -> bytes:
        """Return the line with the date."""
        if self._dated is not self._state.default_headers:
            self._dated = self._state.default_headers
            self._date = b"".join(name + b": " + value + b"\r\n" for name, value in self._dated)
        return self._date

    def admit(self, connection: Connection) -> bool:
        """Take up a connection; False when there are too many and it is to be turned away, which counts for none."""
        self.connections.add(connection)
        if self._admitted < self.rules.max_connections:
            self._admitted += 1
            return True
        self._say("too many connections", self._admitted)
        if len(self.connections) - self._admitted > _TURNED_AWAY:
            connection.abort()
        return False

    def forget(self, connection: Connection, *, admitted: bool) -> None:
        """Note that a connection is gone, and whether it was taken up."""
        self.connections.discard(connection)
        self._admitted -= admitted

    def serve(self, exchange: Exchange) -> None:
        """Have a request answered in a task of its own; 503 when too many are being answered."""
        tasks, app = self._state.tasks, self._app
        if len(tasks) >= self.rules.max_requests:
            self._say("too many requests at once", len(tasks))
            app = _busy
        task = self._loop.create_task(exchange.run(app))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        self._state.total_requests += 1

    def sweep(self) -> None:
        """End what took too long on any connection."""
        now = self._loop.time()
        for connection in [each for each in self.connections if each.due < now]:
            connection.expire()

    def _say(self, message: str, count: int) -> None:
        if self.now() - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = self.now()
            _LOG.warning(message, extra={"count": count})


class Server(uvicorn.Server):
    """Uvicorn over a Door, without its signal handlers, and with a word when it takes requests."""

    def __init__(self, app: ASGIApp, rules: Rules, started: Callable[[], None] = lambda: None) -> None:
        self._door = Door(app, rules)
        protocol: Any = self._door.connect
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=rules.backlog,
                timeout_graceful_shutdown=int(rules.shutdown_seconds),
            )
        )
        self._tell = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs this server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._tell()

    async def on_tick(self, counter: int) -> bool:
        """Do what is to be done ten times a second."""
        if counter % _SWEEP_TICKS == 0:
            self._door.sweep()
        return await super().on_tick(counter)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"too many requests at once"})


def open_files() -> int:
    """Let this process have as many open files as it may; how many that are, of which a connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft


def most_connections(wanted: int) -> int:
    """Bound a limit on connections by what is left of the open files."""
    most = max(16, open_files() - _OTHER_FILES)
    if wanted > most:
        _LOG.warning("fewer connections than the settings say: see `ulimit -n`", extra={"count": most})
    return min(wanted, most)
