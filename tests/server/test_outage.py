"""The API while the database is away, out of reach or busy: it says so at once, and recovers by itself."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx

from tests.contract.serving import Served, in_process, served
from tests.server.relay import relayed

_PATIENCE_SECONDS = 30.0
_UNAVAILABLE = {"code": 100, "message": "internal server error", "data": {"retry_after": 1.0}}
_DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}


async def _call(client: httpx.AsyncClient, server: Served, method: str, **params: Any) -> httpx.Response:
    return await client.post(f"/api/{method}", headers={"X-API-Key": server.key}, json=params)


async def _recovered(client: httpx.AsyncClient, server: Served) -> None:
    """Call until it is answered."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        answer: dict[str, Any] = {"error": {}}
        while "error" in answer:
            answer = (await _call(client, server, "device_register", **_DEVICE)).json()
            await asyncio.sleep(0)  # a call that fails at once lets nobody else run


async def test_a_database_that_is_away_is_told_with_the_time_to_try_again_and_comes_back(database_url: str) -> None:
    async with (
        relayed(database_url) as relay,
        served(relay.url, wait_seconds=0.05, fail_fast=True) as server,
        in_process(server.app) as client,
    ):
        assert "result" in (await _call(client, server, "device_register", **_DEVICE)).json()
        await relay.cut()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not server.database.away:
                answer = await _call(client, server, "device_register", **_DEVICE)
                assert answer.json() == {"error": _UNAVAILABLE}
        answer = await _call(client, server, "device_list")
        assert (answer.json(), answer.headers["retry-after"]) == ({"error": _UNAVAILABLE}, "1")
        assert (await client.get("/ready")).json()["ready"] is False
        await relay.restore()
        await _recovered(client, server)
        assert len((await _call(client, server, "device_list")).json()["result"]["items"]) == 1


async def test_a_call_waits_for_nothing_while_the_database_is_known_to_be_away(database_url: str) -> None:
    async with (
        relayed(database_url) as relay,
        served(relay.url, wait_seconds=0.05, fail_fast=True) as server,
        in_process(server.app) as client,
    ):
        await relay.cut()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not server.database.away:
                await _call(client, server, "device_list")
            relay.freeze()
            await relay.restore()  # now a call would wait for an answer that does not come
            answers = await asyncio.gather(*(_call(client, server, "device_list") for _ in range(100)))
        assert all(each.json() == {"error": _UNAVAILABLE} for each in answers)


async def test_a_network_that_falls_silent_is_noticed_although_a_call_hangs(database_url: str) -> None:
    async with (
        relayed(database_url) as relay,
        served(relay.url, wait_seconds=0.05, fail_fast=True) as server,
        in_process(server.app) as client,
        asyncio.timeout(_PATIENCE_SECONDS),
    ):
        relay.freeze()
        hanging = asyncio.create_task(_call(client, server, "device_register", **_DEVICE))
        await relay.stuck.wait()
        while not server.database.away:
            answer = (await _call(client, server, "device_list")).json()
            assert answer["error"]["data"]["retry_after"] == 1.0
        relay.thaw()
        assert (await hanging).status_code == 200
        await _recovered(client, server)


async def test_calls_that_find_every_connection_in_use_are_told_to_come_again(database_url: str) -> None:
    async with served(database_url, wait_seconds=0.05) as server, in_process(server.app) as client:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(server.database.connection())
            answer = await _call(client, server, "device_list")
        assert answer.json()["error"] == {
            "code": 111,
            "message": "too many requests",
            "data": {"detail": "the database is busy", "retry_after": 1.0},
        }
        assert answer.headers["retry-after"] == "1"
        assert "result" in (await _call(client, server, "device_list")).json()
