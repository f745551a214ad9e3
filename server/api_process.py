"""An API process: the HTTP door on a listening socket that it inherits."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from server.app import Limits, create_app
from server.auth import KeyRing
from server.dispatcher import Resources
from server.process import Announce, ApiOrders, run
from server.readiness import checks_of
from server.settings import Settings
from storage.database import Database
from storage.vault import Vault


class _Server(uvicorn.Server):
    """Uvicorn, but for its signal handlers (ours tell it to stop) and with a word when it takes requests."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_requests,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )


async def work(orders: ApiOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Answer requests until `stop`; then no new connection is taken, and open requests are finished."""
    settings = orders.settings
    async with (
        Database(
            settings.database_url,
            max_connections=settings.api_connections,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            application=f"tocsin {orders.name}",
        ) as database,
        Hints(database) as hints,
        KeyRing(database, settings_key=settings.api_key or None) as keys,
    ):
        vault, gate = Vault(settings.secret_key.encode()), Gate(database, settings.max_queue)
        resources = Resources(database, vault, hints, orders.facts, gate, settings.batch_size)
        limits = Limits(max_body_bytes=settings.max_body_bytes)
        app = create_app(resources, keys, checks_of(database), limits=limits)
        server = _Server(_config(app, settings), lambda: announce(b"ready"))
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_stop(server, stop))
            await server.serve(sockets=[socket.socket(fileno=orders.socket)])
            watch.cancel()


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


if __name__ == "__main__":
    run(ApiOrders, work)
