"""An API process: the HTTP door on a listening socket that it inherits."""

import asyncio
import socket

from delivery.guard import Allowed
from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from methods.webpush_origins import BROWSERS, read_origins
from server.addresses import Addresses
from server.app import Limits, create_app
from server.auth import KeyRing
from server.dispatcher import Resources
from server.door import Rules, Server, most_connections
from server.process import Announce, ApiOrders, run
from server.readiness import checks_of
from server.settings import Settings
from storage.database import Database
from storage.vault import Vault

_WAIT_SECONDS = 1.0  # for a database connection; a client hears sooner that there is none than from its own timeout


def rules_of(settings: Settings) -> Rules:
    """Return what the settings say about clients; the connections are bounded by the open files, too."""
    return Rules(
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        bytes_per_second=settings.bytes_per_second,
        write_seconds=settings.write_seconds,
        idle_seconds=settings.keep_alive_seconds,
        max_connections=most_connections(settings.max_connections),
        max_requests=settings.max_requests,
        shutdown_seconds=settings.shutdown_seconds,
        backlog=settings.backlog,
    )


async def work(orders: ApiOrders, stop: asyncio.Event, announce: Announce) -> None:
    """Answer requests until `stop`; then no new connection is taken, and open requests are finished."""
    settings = orders.settings
    vault = Vault(settings.secret_key.encode())
    addresses = Addresses.parse(settings.allowed_addresses, settings.trusted_proxies)
    async with (
        Database(
            settings.database_url,
            max_connections=settings.api_connections,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            application=f"tocsin {orders.name}",
            wait_seconds=_WAIT_SECONDS,
            fail_fast=True,
        ) as database,
        Hints(database) as hints,
        KeyRing(database, settings_key=settings.api_key or None, vault=vault) as keys,
        Gate(database, settings.max_queue) as gate,
    ):
        resources = Resources(
            database,
            vault,
            hints,
            orders.facts,
            gate,
            settings.batch_size,
            private_hosts=Allowed.parse(settings.private_hosts_allowed),
            webpush_origins=BROWSERS + read_origins(settings.webpush_origins),
        )
        limits = Limits(max_body_bytes=settings.max_body_bytes)
        app = create_app(resources, keys, checks_of(database), limits=limits, addresses=addresses, demo=orders.demo)
        server = Server(app, rules_of(settings), lambda: announce(b"ready"))
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_stop(server, stop))
            await server.serve(sockets=[socket.socket(fileno=orders.socket)])
            watch.cancel()


async def _stop(server: Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


if __name__ == "__main__":
    run(ApiOrders, work)
