"""What `tocsin serve` emulates while there is no real credential takes pushes from end to end."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.server.running import environment, running


class _Caller:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self, method: str, **params: object) -> dict[str, Any]:
        answer = (await self._client.post("/api", json={"method": method, "params": params})).json()
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def done(self, uid: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while (status := await self("push_status", uid=uid))["state"] != "done":
                pass
        return status


async def _asked(control: str, path: str, body: object = None) -> Any:
    async with httpx.AsyncClient(base_url=control, trust_env=False) as client:
        response = await (client.get(path) if body is None else client.post(path, json=body))
        return response.raise_for_status().json()


async def test_a_push_reaches_browsers_and_huawei_devices_that_are_emulated(ground: Path, database_url: str) -> None:
    environ = environment(ground / "data", database_url=database_url)
    async with running("serve", environ) as server:
        await server.ready()
        headers = {"X-API-Key": server.key}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as client:
            call = _Caller(client)
            control = (await call("info"))["emulators"]
            [credential] = [row for row in (await call("provider_list"))["items"] if row["provider"] == "webpush"]
            order = {"vapid_public_key": credential["public_key"]}
            [made] = await _asked(control["webpush"], "/subscriptions", order)
            token = orjson.dumps(made["subscription"]).decode()
            await call("device_register", provider="webpush", platform="web", token=token, user="ann")
            await call("device_register", provider="hms", platform="android", token="of-ann", user="ann")
            notification = {"title": "Hello", "body": "Ann"}
            await call("send_push_notification", uid="one", recipient={"users": ["ann"]}, notification=notification)
            status = await call.done("one")
        [to_browser] = await _asked(control["webpush"], "/requests?limit=1")
        [to_device] = await _asked(control["hms"], "/requests?limit=1")
    assert status["ledger"]["accepted"] == 2
    assert to_browser["token"] == made["subscription"]["endpoint"]
    assert "Hello" in orjson.dumps(to_browser["payload"]).decode()
    assert to_device["tokens"] == ["of-ann"]
