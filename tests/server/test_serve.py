"""`tocsin serve` from end to end, in processes of its own."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import orjson
import pytest
import pytest_asyncio

from server import VERSION
from server.data_directory import DataDirectory
from storage import migrations
from storage.database import Database
from tests.server.running import Running, environment, gone, running

Beside = tuple[Running, dict[str, str]]
_SHARED = pytest.mark.asyncio(loop_scope="module")


async def _info(server: Running, key: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post("/api", headers={"X-API-Key": key}, json={"method": "info"})


async def _told(command: str, environ: dict[str, str]) -> tuple[int | None, str]:
    async with running(command, environ) as program:
        out, _ = await program.process.communicate()
        return program.process.returncode, out.decode()


@pytest.fixture
def data(ground: Path) -> Path:
    """A data directory of this test's own."""
    return ground / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first() -> AsyncIterator[Beside]:
    """A server on an empty machine, for tests that leave it as it is; and the environment for commands beside it."""
    with TemporaryDirectory(prefix="tocsin-tests-", ignore_cleanup_errors=True) as directory:
        environ = environment(Path(directory) / "data")
        async with running("serve", environ) as server:
            await server.ready()
            yield server, {**environ, "TOCSIN_URL": server.url}


@_SHARED
async def test_an_empty_machine_gets_a_database_a_key_and_emulated_providers(first: Beside) -> None:
    server, _ = first
    answer = (await _info(server, server.key)).json()["result"]
    assert sorted(answer["emulators"]) == ["apns", "fcm", "hms", "webpush"]
    assert "EMULATED PROVIDERS" in server.greeting


@_SHARED
@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_a_server_that_says_so_is_ready(first: Beside, path: str) -> None:
    async with httpx.AsyncClient(base_url=first[0].url) as client:
        assert (await client.get(path)).status_code == 200


@_SHARED
async def test_call_finds_the_key_and_prints_the_result(first: Beside) -> None:
    code, out = await _told("call info", first[1])
    assert code == 0
    assert orjson.loads(out)["version"] == VERSION


@_SHARED
async def test_call_prints_an_error_and_exits_with_1(first: Beside) -> None:
    code, out = await _told("call dance", first[1])
    assert code == 1
    assert orjson.loads(out)["error"]["code"] == 104


@_SHARED
async def test_commands_use_the_embedded_database_of_the_server_that_runs(first: Beside) -> None:
    code, out = await _told("key list", first[1])
    assert code == 0
    assert out.startswith("first ")


@_SHARED
async def test_a_second_server_on_the_same_data_directory_is_refused(first: Beside) -> None:
    server, environ = first
    async with running("serve", environ) as second:
        assert await second.ended() == 1
        assert f"in use by process {server.process.pid}" in await second.rest()


async def test_a_signal_ends_every_process(data: Path) -> None:
    async with running("serve", environment(data)) as server:
        await server.ready()
        await server.logged("a process runs", child="sender-1")
        assert sorted(server.pids) == ["api-1", "emulators", "postgres", "sender-1"]
        assert await server.stop(signal.SIGINT) == 0
        for pid in server.pids.values():
            await gone(pid)
        assert not (data / "postgres" / "postmaster.pid").exists()


async def test_a_killed_server_takes_its_processes_along_and_starts_again(data: Path) -> None:
    async with running("serve", environment(data)) as server:
        await server.ready()
        await server.stop(signal.SIGKILL)
        for pid in server.pids.values():
            await gone(pid)
        key = server.key
    async with running("serve", environment(data)) as server:
        await server.ready()
        assert server.key == ""
        assert (await _info(server, key)).status_code == 200
        assert await server.stop() == 0


async def test_a_second_signal_ends_what_does_not_end_by_itself(data: Path, database_url: str) -> None:
    environ = environment(data, database_url=database_url, workers="0", emulators="off", shutdown_seconds="600")
    async with running("serve", environ) as server:
        await server.ready()
        os.kill(server.pids["api-1"], signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        await server.logged("stopping")
        assert await server.stop() == 1
        await gone(server.pids["api-1"])


async def test_a_postgresql_that_was_killed_is_started_again(data: Path) -> None:
    async with running("serve", environment(data, workers="0", emulators="off")) as server:
        await server.ready()
        os.kill(server.pids["postgres"], signal.SIGKILL)
        await server.logged("a process runs again", child="postgres")
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/health")).status_code == 200
        assert await server.stop() == 0


async def test_the_first_key_is_kept_for_its_owner_alone(data: Path, database_url: str) -> None:
    async with running("serve", environment(data, database_url=database_url, workers="0", emulators="off")) as server:
        await server.ready()
        assert DataDirectory(data).api_key() == server.key
        assert DataDirectory(data).open_files() == []


async def test_a_second_start_keeps_the_key_and_does_not_print_it(data: Path, database_url: str) -> None:
    environ = environment(data, database_url=database_url, workers="0", emulators="off")
    async with running("serve", environ) as server:
        await server.ready()
        key = server.key
        assert await server.stop() == 0
    async with running("serve", environ) as server:
        await server.ready()
        assert key not in server.greeting
        assert (await _info(server, key)).status_code == 200


async def test_with_a_key_in_the_settings_none_is_made(data: Path, database_url: str) -> None:
    settings = {"database_url": database_url, "api_key": "a-key-of-the-settings", "workers": "0", "emulators": "off"}
    async with running("serve", environment(data, **settings)) as server:
        await server.ready()
        assert server.key == ""
        assert (await _info(server, "a-key-of-the-settings")).status_code == 200
        assert DataDirectory(data).api_key() == ""


async def test_an_empty_database_is_migrated(data: Path, empty_database_url: str) -> None:
    settings = {"database_url": empty_database_url, "workers": "0", "emulators": "off"}
    async with running("serve", environment(data, **settings)) as server:
        await server.ready()
    async with Database(empty_database_url) as database:
        assert await migrations.pending(database) == []


@pytest.mark.parametrize("child", ["api-1", "sender-1"])
async def test_a_process_that_was_killed_is_started_again(data: Path, database_url: str, child: str) -> None:
    async with running("serve", environment(data, database_url=database_url, emulators="off")) as server:
        await server.ready()
        await server.logged("a process runs", child="sender-1")
        killed = server.pids[child]
        os.kill(killed, signal.SIGKILL)
        again = await server.logged("a process runs again", child=child)
        assert again["pid"] != killed
        assert (await _info(server, server.key)).status_code == 200


async def test_two_api_processes_share_the_port(data: Path, database_url: str) -> None:
    settings = {"database_url": database_url, "workers": "0", "emulators": "off", "api_processes": "2"}
    async with running("serve", environment(data, **settings)) as server:
        await server.ready()
        await server.logged("a process runs", child="api-2")
        os.kill(server.pids["api-1"], signal.SIGSTOP)
        try:
            assert (await _info(server, server.key)).status_code == 200
        finally:
            os.kill(server.pids["api-1"], signal.SIGCONT)


async def test_workers_alone_run_until_a_signal(data: Path, database_url: str) -> None:
    environ = environment(data, database_url=database_url, secret_key="k" * 32, workers="2")
    async with running("work", environ) as server:
        await server.logged("sending", processes=2)
        assert sorted(server.pids) == ["sender-1", "sender-2"]
        assert await server.stop() == 0


async def test_commands_start_the_embedded_database_when_no_server_runs(data: Path) -> None:
    code, out = await _told("migrate", environment(data))
    assert code == 0
    assert out.startswith("applied 0001")
    assert not (data / "postgres" / "postmaster.pid").exists()


async def test_a_server_that_starts_is_stopped_by_a_signal(data: Path) -> None:
    async with running("serve", environment(data)) as server:
        await server.logged("a process runs", child="postgres")
        assert await server.stop() in {0, 1}
        for pid in server.pids.values():
            await gone(pid)
