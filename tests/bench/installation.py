"""The server under measurement: PostgreSQL with durable settings, and the server's own processes on it."""

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import msgspec
import psycopg

from delivery.providers.credentials import parse_credential
from delivery.queues.hints import Hints
from methods import pushes, sending
from methods.context import Caller, Context, ServerFacts
from methods.method import declare
from server.children import Child, together
from server.data_directory import DataDirectory
from server.embedded import Embedded
from server.postgres import run_embedded
from server.process import ApiOrders, WorkerOrders, program
from server.settings import Settings
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.bench.calls import API_KEY
from tests.bench.seeding import Seed, fill

_SECRET_KEY = "a secret key for benchmarks only"
_FACTS = ServerFacts(version="0", name="bench", started_at=0.0)
_METHODS = {method.__name__: declare(method) for method in (*sending.METHODS, *pushes.METHODS)}


class Postgres:
    """An embedded PostgreSQL as `tocsin serve` runs it: fsync and synchronous_commit are on."""

    def __init__(self, embedded: Embedded, pid: int) -> None:
        self._embedded = embedded
        self.pid = pid

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement outside any benchmark's database."""
        with psycopg.connect(self._embedded.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, name: str) -> str:
        """The address of a database."""
        return urlunsplit(urlsplit(self._embedded.url())._replace(path=f"/{name}"))

    @asynccontextmanager
    async def seeded(self, seed: Seed) -> AsyncIterator[str]:
        """A database of its own with these devices, copied from a template that is made once; its address."""
        await asyncio.to_thread(self._make_template, seed)
        name = f"bench_{uuid4().hex}"
        await asyncio.to_thread(self.execute, f"create database {name} template {seed.name} strategy file_copy")
        try:
            yield self.url(name)
        finally:
            await asyncio.to_thread(self.execute, f"drop database {name} with (force)")

    def remove_leftovers(self) -> None:
        """Drop the databases of runs that were killed; nobody else uses this PostgreSQL."""
        for (name,) in self.execute("select datname from pg_database"):
            if name.startswith("bench_"):
                self.execute(f"drop database {name} with (force)")

    def _make_template(self, seed: Seed) -> None:
        if (seed.name,) in self.execute("select datname from pg_database"):
            return
        started = time.monotonic()
        unfinished = f"{seed.name}_unfinished"
        self.execute(f"drop database if exists {unfinished}")
        self.execute(f"create database {unfinished}")
        asyncio.run(fill(self.url(unfinished), seed))
        self.execute(f"alter database {unfinished} rename to {seed.name}")
        print(f"seeded {seed.name} in {time.monotonic() - started:.0f} s", flush=True)


@asynccontextmanager
async def postgres(directory: str | None) -> AsyncIterator[Postgres]:
    """Run PostgreSQL in this directory, by default in one that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as temporary:
        data = DataDirectory(Path(directory or temporary))
        embedded = Embedded(data.postgres)

        def broken() -> None:
            raise SystemExit("PostgreSQL ended by itself")

        with data.locked():
            async with run_embedded(embedded, broken) as child:
                assert child.pid is not None
                made = Postgres(embedded, child.pid)
                await asyncio.to_thread(made.remove_leftovers)
                yield made


class Server:
    """The server's processes on one database, and its methods called in this process."""

    def __init__(self, database: Database, settings: Settings, hints: Hints) -> None:
        self.database = database
        self.settings = settings
        self._hints = hints
        self._vault = Vault(settings.secret_key.encode())

    async def put_credentials(self, params: Sequence[dict[str, Any]]) -> None:
        """Write credentials, as provider_put would."""
        for fields in params:
            await credentials.put(self.database, self._vault, parse_credential(fields))

    async def call(self, name: str, **params: object) -> Any:
        """Call a method as the door would, without the door."""
        body = msgspec.json.encode(params)
        context = Context(self.database, self._vault, self._hints, _FACTS, Caller("bench"), body)
        method = _METHODS[name]
        return msgspec.to_builtins(await method.handler(context, method.decoder.decode(body)))

    async def value(self, query: bytes, **params: object) -> Any:
        """The first value of a query."""
        return (await self.database.values(query, params))[0][0]

    @asynccontextmanager
    async def senders(self, count: int) -> AsyncIterator[list[int]]:
        """Run sender processes, as `tocsin serve` does; their process ids."""
        orders = [WorkerOrders(f"sender-{number + 1}", self.settings) for number in range(count)]
        children = [Child(program("worker_process", each), _child_broken) for each in orders]
        async with together(children):
            yield [child.pid for child in children if child.pid is not None]

    @asynccontextmanager
    async def api(self) -> AsyncIterator[tuple[int, int]]:
        """Run one API process, as `tocsin serve` does; its port and process id."""
        with _listener() as listener:
            orders = ApiOrders("api-1", self.settings, _FACTS, listener.fileno())
            async with Child(program("api_process", orders, pass_fds=[listener.fileno()]), _child_broken) as child:
                assert child.pid is not None
                yield listener.getsockname()[1], child.pid


@asynccontextmanager
async def server_on(url: str, **settings: Any) -> AsyncIterator[Server]:
    """Everything that the processes of a server share, with these settings beside the necessary ones."""
    chosen = Settings(database_url=url, secret_key=_SECRET_KEY, api_key=API_KEY, **settings)
    async with Database(url, max_connections=2, application="bench") as database, Hints(database) as hints:
        yield Server(database, chosen, hints)


@contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener


def _child_broken() -> None:
    raise SystemExit("a server process could not be kept running")
