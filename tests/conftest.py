"""Fixtures for every test: an embedded PostgreSQL for the session, a clone of its migrated template for a test."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from delivery.queues.hints import Hints
from methods.context import Caller, Context, ServerFacts
from server.embedded import Embedded
from storage import migrations
from storage.database import Database
from storage.vault import Vault
from tests.clones import Clones
from tests.redis_fixtures import (  # noqa: F401  # fixtures
    cluster,
    cluster_of_session,
    old_redis,
    old_redis_of_session,
    old_redis_url,
    redis,
    redis_of_session,
    redis_url,
    watched,
)

_FOR_TESTS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_senders": "0"}
_FOR_TESTS |= {"wal_level": "minimal", "shared_buffers": "64MB", "autovacuum_naptime": "1d", "max_connections": "300"}


class Server:
    """A PostgreSQL for the tests; `url(name)` is the address of a database on it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def execute(self, statement: str) -> None:
        """Run a statement outside any test's database, in a session of its own."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def new_database(self, template: str = "template0") -> Iterator[str]:
        """Make a database, yield its URL, drop it whoever is still connected."""
        name = f"test_{uuid4().hex}"
        self.execute(f"create database {name} template {template} strategy file_copy")  # twice as fast as wal_log
        try:
            yield self.url(name)
        finally:
            self.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of TOCSIN_TEST_DATABASE_URL, else an embedded one of this session's own."""
    if given := os.environ.get("TOCSIN_TEST_DATABASE_URL"):
        yield Server(given)
        return
    with ExitStack() as stack:
        directory = tempfile.mkdtemp(prefix="tocsin-tests-")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        embedded = Embedded(Path(directory) / "postgres", _FOR_TESTS)
        embedded.prepare()
        log = stack.enter_context(embedded.open_log())
        process = subprocess.Popen(embedded.command(), **embedded.process_options(log))
        stack.callback(process.wait)
        stack.callback(process.send_signal, embedded.STOP_SIGNAL)
        while not embedded.accepts():
            assert process.poll() is None, embedded.last_words()
            time.sleep(0.02)
        yield Server(embedded.url("postgres"))


@pytest.fixture(scope="session")
def template(postgres: Server) -> Iterator[str]:
    """The name of a database with all migrations, to clone: nobody may be connected to it."""
    with postgres.new_database() as url:
        asyncio.run(_migrate(url))
        yield urlsplit(url).path.strip("/")


@pytest.fixture(scope="session")
def clones(postgres: Server, template: str) -> Iterator[Clones]:
    """Databases with all migrations."""
    with Clones(lambda: postgres.new_database(template)) as lender:
        yield lender


async def _migrate(url: str) -> None:
    async with Database(url, max_connections=1) as database:
        await migrations.apply(database)


@pytest.fixture
def empty_database_url(postgres: Server) -> Iterator[str]:
    """The URL of a database of this test's own, without any migration."""
    with postgres.new_database() as url:
        yield url


@pytest.fixture
def database_url(clones: Clones) -> Iterator[str]:
    """The URL of a database of this test's own, with all migrations and without rows."""
    with clones.one() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's database."""
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture
def vault() -> Vault:
    return Vault(b"a secret key of the tests, 32 b.")


@pytest.fixture
async def hints(database: Database) -> AsyncIterator[Hints]:
    async with Hints(database) as running:
        yield running


@pytest.fixture
def facts() -> ServerFacts:
    return ServerFacts(version="0.0.0", name="tests", started_at=1_700_000_000.0)


@pytest.fixture
def context(database: Database, vault: Vault, hints: Hints, facts: ServerFacts) -> Callable[..., Context]:
    """Make the Context of a call: `context(body=b'{…}', key_name="…")`."""

    def make(body: bytes = b"{}", key_name: str = "tests") -> Context:
        return Context(database, vault, hints, facts, Caller(key_name), body)

    return make
