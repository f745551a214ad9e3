"""A server for tests: the application on a database of its own, in process or live on a loopback port."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from starlette.types import ASGIApp

from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from methods.all import TABLE
from methods.context import ServerFacts
from methods.method import Method
from server.addresses import Addresses
from server.app import Limits, create_app
from server.auth import KeyRing
from server.dispatcher import Resources
from server.door import Rules, Server
from server.readiness import checks_of
from storage import api_keys
from storage.database import Database
from storage.vault import Vault


@dataclass(frozen=True)
class Served:
    """An application, the resources behind it, a key that it takes, and one that may call device_list only."""

    app: ASGIApp
    database: Database
    key: str
    limited: str


@asynccontextmanager
async def served(
    database_url: str,
    limits: Limits | None = None,
    table: Mapping[str, Method] = TABLE,
    max_queue: int = 100_000,
    *,
    wait_seconds: float = 10.0,
    fail_fast: bool = False,
    addresses: Addresses | None = None,
    demo: bool = False,
) -> AsyncIterator[Served]:
    """Build the application over this database."""
    facts = ServerFacts(version="0.0.0", name="tests", started_at=time.time())
    async with (
        Database(database_url, wait_seconds=wait_seconds, fail_fast=fail_fast) as database,
        Hints(database) as hints,
    ):
        key = await api_keys.create(database, "tests")
        limited = await api_keys.create(database, "limited", ["device_list"])
        vault = Vault(b"a secret key of the tests, 32 b.")
        async with KeyRing(database, vault=vault) as keys, Gate(database, max_queue) as gate:
            resources = Resources(database, vault, hints, facts, gate)
            checks = checks_of(database)
            app = create_app(resources, keys, checks, limits=limits, table=table, addresses=addresses, demo=demo)
            yield Served(app, database, key, limited)


@asynccontextmanager
async def in_process(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application without a network."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@asynccontextmanager
async def listening(app: ASGIApp, rules: Rules | None = None) -> AsyncIterator[int]:
    """Serve the application as it is served in production; yields its port on loopback."""
    server = Server(app, rules or Rules())
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it every answer waits 40 ms
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def live(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application over real HTTP."""
    async with listening(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
