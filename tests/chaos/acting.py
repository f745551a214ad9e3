"""Plays a script against the API: calls are repeated until they are answered, and what was answered when is kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from tests.chaos.script import Change, Device, Kill, Push, Script, Storm
from tests.chaos.world import API_KEY, World

_PATIENCE_SECONDS = 120.0
_CALL_SECONDS = 5.0
_AGAIN_SECONDS = 0.2
_LATER = {100, 111}  # the API's own words for "come again"
_PUSHERS, _CHANGERS, _REGISTERERS, _KILLERS = 8, 4, 8, 4


class Changed(msgspec.Struct):
    """A change of a device: it took hold between these two times (Unix seconds)."""

    verb: str
    started_at: float
    answered_at: float = float("inf")


class Sent(msgspec.Struct):
    """A push as it went: times are Unix seconds; `refused` when the API would not have it."""

    push: Push
    started_at: float
    answered_at: float = float("inf")
    send_at: int | None = None
    expire_at: int | None = None
    refused: str = ""
    calls: int = 0
    cancel_started_at: float = float("inf")
    cancelled_at: float = float("inf")


class History(msgspec.Struct):
    """What was done: changes by device, pushes by uid, storms that were played, calls that had to be repeated."""

    changes: dict[str, list[Changed]] = {}
    pushes: dict[str, Sent] = {}
    storms: dict[str, int] = {}
    repeated_calls: int = 0


class _Timed(Protocol):
    at: float


T = TypeVar("T", bound=_Timed)


class Actor:
    """Plays one script on one world; `history` fills meanwhile."""

    def __init__(self, script: Script, world: World) -> None:
        self.history = History()
        self._script = script
        self._world = world
        self._started = 0.0
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(
            base_url=world.api_url,
            headers={"X-API-Key": API_KEY},
            timeout=_CALL_SECONDS,
            limits=limits,
            trust_env=False,
        )
        self._control = httpx.AsyncClient(timeout=_CALL_SECONDS, trust_env=False)

    async def populate(self) -> None:
        """Register the devices that are there from the start."""
        await self._share(self._script.first, self._change, _REGISTERERS, by=lambda change: change.device)

    async def play(self) -> None:
        """Everything at its time; returns when all is answered and no fault is left."""
        self._started = time.monotonic()
        script = self._script
        async with asyncio.TaskGroup() as group:
            group.create_task(self._share(script.changes, self._change, _CHANGERS, by=lambda change: change.device))
            group.create_task(self._share(script.pushes, self._push, _PUSHERS, by=lambda push: push.uid))
            group.create_task(self._share(script.kills, self._world.kill, _KILLERS, by=_weapon))
            group.create_task(self._share(script.storms, self._storm, 1, by=lambda storm: ""))
        for provider in self._world.side.control:
            await self._calm(provider)
        await self._world.healthy()

    async def close(self) -> None:
        """Close the clients."""
        await self._http.aclose()
        await self._control.aclose()

    async def call(self, method: str, params: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Call until there is an answer; the answer and the number of calls. An error of the API is an answer."""
        body = msgspec.json.encode({"method": method, "params": params})
        async with asyncio.timeout(_PATIENCE_SECONDS):
            calls = 0
            while True:
                calls += 1
                answer = await self._once(body)
                if answer is not None and answer.get("error", {}).get("code") not in _LATER:
                    return answer, calls
                self.history.repeated_calls += 1
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _once(self, body: bytes) -> dict[str, Any] | None:
        try:
            answer = await self._http.post("/api", content=body, headers={"content-type": "application/json"})
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        return found if "result" in found or "error" in found else None

    async def _share(
        self, events: Sequence[T], act: Callable[[T], Awaitable[None]], workers: int, by: Callable[[T], str]
    ) -> None:
        """Act on each at its time; events of one key keep their order."""
        lists: list[list[T]] = [[] for _ in range(workers)]
        numbers: dict[str, int] = {}
        for event in events:
            lists[numbers.setdefault(by(event), len(numbers)) % workers].append(event)

        async def work(mine: list[T]) -> None:
            for event in mine:
                if event.at:
                    await asyncio.sleep(self._started + event.at - time.monotonic())
                await act(event)

        async with asyncio.TaskGroup() as group:
            for mine in lists:
                group.create_task(work(mine))

    async def _change(self, change: Change) -> None:
        done = Changed(change.verb, time.time())
        self.history.changes.setdefault(change.device, []).append(done)
        answer, _ = await self.call(*_call_of(change, self._script.devices[change.device]))
        if "error" in answer:
            raise RuntimeError(f"{change.verb} was refused: {answer}")
        done.answered_at = time.time()

    async def _push(self, push: Push) -> None:
        sent = self.history.pushes[push.uid] = Sent(push, time.time())
        now = int(sent.started_at)
        sent.send_at = now + push.send_in if push.send_in is not None else None
        sent.expire_at = now + push.expire_in if push.expire_in is not None else None
        answer, sent.calls = await self.call("send_push_notification", _params_of(sent))
        sent.answered_at = time.time()
        sent.refused = answer.get("error", {}).get("message", "")
        if push.cancel_after is not None and not sent.refused:
            await asyncio.sleep(push.cancel_after)
            sent.cancel_started_at = time.time()
            await self.call("cancel_push", {"uid": push.uid})
            sent.cancelled_at = time.time()

    async def _storm(self, storm: Storm) -> None:
        self.history.storms[storm.name] = self.history.storms.get(storm.name, 0) + 1
        control = self._world.side.control[storm.provider]
        (await self._control.post(f"{control}/faults", content=msgspec.json.encode(storm.rules))).raise_for_status()
        if storm.order:
            order = await self._control.post(f"{control}/connections", content=msgspec.json.encode(storm.order))
            order.raise_for_status()
        await asyncio.sleep(storm.seconds)
        await self._calm(storm.provider)

    async def _calm(self, provider: str) -> None:
        control = self._world.side.control[provider]
        (await self._control.post(f"{control}/faults", content=b"[]")).raise_for_status()
        order = b'{"shrink_settings":{"max_concurrent_streams":100}}'
        (await self._control.post(f"{control}/connections", content=order)).raise_for_status()


def _weapon(kill: Kill) -> str:
    """What is killed waits for nothing but the same: the database's kills follow each other, a freeze is beside."""
    return {"postgres": "database", "stall": "database", "cut": "database"}.get(kill.kind, kill.kind)


def _call_of(change: Change, device: Device) -> tuple[str, dict[str, Any]]:
    if change.verb == "remove":
        return "device_remove", {"ids": [device.id]}
    if change.verb == "leave":
        return "device_topic_update", {"device_id": device.id, "op": "set", "topics": []}
    whole: dict[str, Any] = {
        "id": device.id,
        "provider": device.provider,
        "platform": "ios" if device.provider == "apns" else "android",
        "token": change.token,
        "user": device.user,
        "topics": device.topics,
    }
    return "device_register", whole


def _params_of(sent: Sent) -> dict[str, Any]:
    push = sent.push
    recipients: dict[str, dict[str, Any]] = {
        "devices": {"device_ids": push.recipients},
        "users": {"users": push.recipients},
        "topic": {"channels": push.recipients},
        "filter": {"filter": {"topics": push.recipients, "platforms": ["ios", "android"]}},
        "raw": {f"{push.provider}_tokens": push.recipients},
    }
    notification: dict[str, Any] = {
        "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"alert": "x"}, "chaos": push.uid}},
        "fcm": {"message": {"data": {"chaos": push.uid}}},
    }
    if push.provider:
        notification = {push.provider: notification[push.provider]}
    params: dict[str, Any] = {"uid": push.uid, "recipient": recipients[push.kind], "notification": notification}
    params["delivery"] = "at_most_once" if push.at_most_once else "at_least_once"
    wanted = {"send_at": sent.send_at, "expire_at": sent.expire_at}
    return params | {name: value for name, value in wanted.items() if value is not None}
