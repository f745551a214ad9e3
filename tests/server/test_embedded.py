"""The embedded PostgreSQL: where it is, and what it refuses."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.data_directory import DataDirectory
from server.embedded import Embedded, EmbeddedError
from server.postgres import database_url, run_embedded
from storage.database import Database


def test_the_socket_of_a_long_path_is_elsewhere_and_always_there(ground: Path) -> None:
    long = ground / ("x" * 100)
    assert Embedded(long).socket_directory == Embedded(long).socket_directory
    assert len(str(Embedded(long).socket_directory)) < 60


def test_the_address_holds_no_password(ground: Path) -> None:
    assert Embedded(ground).url() == f"postgresql://tocsin@/tocsin?host={Embedded(ground).socket_directory}"


def test_data_of_another_version_is_refused_with_what_to_do(ground: Path) -> None:
    (ground / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 16.*pg_dump"):
        Embedded(ground).prepare()


@pytest.fixture
def embedded(ground: Path) -> Iterator[Embedded]:
    """A database cluster of this test's own; whatever runs on it is ended."""
    made = Embedded(ground / "postgres", {"fsync": "off"})
    made.prepare()
    yield made
    made.prepare()


@pytest.fixture
def orphan(embedded: Embedded) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that nobody of us looks after; it has its lock file."""
    with embedded.open_log() as log, subprocess.Popen(embedded.command(), **embedded.process_options(log)) as process:
        lock = embedded.directory / "postmaster.pid"
        while not lock.exists():
            assert process.poll() is None
        yield process


async def test_a_server_that_lost_its_parent_is_stopped_before_the_next_start(
    embedded: Embedded, orphan: "subprocess.Popen[bytes]"
) -> None:
    async with run_embedded(embedded, lambda: None) as child:
        assert orphan.wait() is not None
        assert child.pid is not None
        assert embedded.accepts_as(child.pid)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A program that has nothing to do with us; it ends when its input does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        yield other


async def test_a_lock_file_whose_process_id_is_another_programs_does_not_keep_it_from_starting(
    embedded: Embedded, orphan: "subprocess.Popen[bytes]", stranger: "subprocess.Popen[bytes]"
) -> None:
    orphan.kill()
    orphan.wait()
    lock = embedded.directory / "postmaster.pid"
    lock.write_text("\n".join([str(stranger.pid), *lock.read_text().split("\n")[1:]]))
    async with run_embedded(embedded, lambda: None) as child:
        assert child.pid is not None
        assert embedded.accepts_as(child.pid)
    assert stranger.poll() is None


async def test_nobody_else_may_enter_its_directory(ground: Path) -> None:
    async with database_url("", DataDirectory(ground)) as url, Database(url, max_connections=1) as database:
        assert (ground / "postgres").stat().st_mode & 0o077 == 0
        assert await database.values(b"select current_setting('listen_addresses')", {}) == [("",)]


async def test_the_log_of_the_server_holds_no_values(ground: Path) -> None:
    async with database_url("", DataDirectory(ground)) as url, Database(url, max_connections=1) as database:
        await database.execute(b"create table tokens (token text primary key)", {})
        insert = b"insert into tokens values (%(token)s)"
        await database.execute(insert, {"token": "hunter2"})
        with pytest.raises(Exception, match="duplicate key"):
            await database.execute(insert, {"token": "hunter2"})
    log = (ground / "postgres" / "log").read_text()
    assert "duplicate key" in log
    assert "hunter2" not in log
