"""Plays a script against the API: calls are repeated until they are answered, and what was answered when is kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from tests.chaos.calls import call_of, params_of
from tests.chaos.history import Changed, Held, History, Played, Sent
from tests.chaos.population import SANDBOX, Change
from tests.chaos.pushing import Push
from tests.chaos.script import REDIS, SWITCH, Kill, Script
from tests.chaos.storms import WRONG, Storm
from tests.chaos.subscribing import service_of, subscribe
from tests.chaos.world import API_KEY, World

_PATIENCE_SECONDS = 120.0
_CALL_SECONDS = 5.0
_ORDER_SECONDS = 30.0  # of the emulators: they answer when they come to it
_AGAIN_SECONDS = 0.2
_DEAD_WORDS = {"webpush": "gone", "hms": "illegal"}
_LATER = {100, 111}  # the API's own words for "come again"
_DISTANCE: list[dict[str, Any]] = [{"action": {"delay_ms": 60}}]  # as over a network: so there is more in flight
_ANSWERED_SECONDS = 0.2  # until what was delayed is answered
_PUSHERS, _CHANGERS, _REGISTERERS, _KILLERS = 8, 4, 8, 6


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
        self._subscriptions: dict[str, str] = {}
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(
            base_url=world.api_url,
            headers={"X-API-Key": API_KEY},
            timeout=_CALL_SECONDS,
            limits=limits,
            trust_env=False,
        )
        self._control = httpx.AsyncClient(timeout=_ORDER_SECONDS, trust_env=False)

    async def populate(self) -> None:
        """Register the devices that are there from the start."""
        for service in self._world.side.control:
            await self._calm(service)
        self._subscriptions = await subscribe(self._script, self._world.side)
        await self._share(self._script.first, self._change, _REGISTERERS, by=lambda change: change.device)

    async def play(self) -> None:
        """Everything at its time; returns when all is answered, no push is paused and no fault is left."""
        self._started = time.monotonic()
        script = self._script
        async with asyncio.TaskGroup() as group:

            async def push(each: Push) -> None:
                sent = await self._push(each)
                if not sent.refused:  # what is done to it meanwhile keeps no other push waiting
                    group.create_task(self._follow(sent))

            group.create_task(self._share(script.changes, self._change, _CHANGERS, by=lambda change: change.device))
            group.create_task(self._share(script.pushes, push, _PUSHERS, by=lambda push: push.uid))
            group.create_task(self._share(script.kills, self._world.kill, _KILLERS, by=_weapon))
            group.create_task(self._share(script.storms, self._storm, 1, by=lambda storm: ""))
        for service in self._world.side.control:
            await self._calm(service)
        await self._world.healthy()

    async def counters(self) -> dict[str, dict[str, Any]]:
        """What each push service counted."""
        control = self._world.side.control
        return {name: (await self._control.get(f"{url}/counters")).json() for name, url in control.items()}

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

    async def _must(self, method: str, params: dict[str, Any]) -> float:
        """Call what cannot be refused; the time of the answer."""
        answer, _ = await self.call(method, params)
        if "error" in answer:
            raise RuntimeError(f"{method} was refused: {answer}")
        return time.time()

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
        device = self._script.devices[change.device]
        done = Changed(change.verb, time.time(), token=change.token, proof=change.proof)
        changes = self.history.changes.setdefault(change.device, [])
        changes.append(done)
        if change.verb == "die":
            since = changes[0].started_at - 3600 if change.proof == "before" else time.time()
            await self._tell_token(device.provider, change.token, "unregistered", since)
            done.answered_at = time.time()
            return
        if change.verb == "revive":
            await self._tell_token(device.provider, change.token, "ok", time.time())
        done.answered_at = await self._must(*call_of(change, device, self._subscriptions))

    async def _tell_token(self, provider: str, token: str, state: str, since: float) -> None:
        """Tell the push service at which the token is at home what has become of it; only APNs says since when."""
        line: dict[str, Any] = {"state": _DEAD_WORDS.get(provider, state) if state == "unregistered" else state}
        if provider == "apns":
            line["timestamp_ms"] = int(since * 1000)  # by the true time, whatever its clock says just now
        service = "apns-sandbox" if token.startswith(SANDBOX) else provider
        if provider == "webpush":
            service = service_of(token, self._world.side.origins)
        await self._order(service, "/tokens", {token: line})

    async def _push(self, push: Push) -> Sent:
        sent = self.history.pushes[push.uid] = Sent(push, time.time())
        now = int(sent.started_at)
        sent.send_at = now + push.send_in if push.send_in is not None else None
        sent.expire_at = now + push.expire_in if push.expire_in is not None else None
        if push.window is not None:
            sent.window_opens_at = now + (push.send_in or 0) + push.window.opens_in
        answer, sent.calls = await self.call("send_push_notification", params_of(sent, self._subscriptions))
        sent.answered_at = time.time()
        sent.refused = answer.get("error", {}).get("message", "")
        return sent

    async def _follow(self, sent: Sent) -> None:
        """What is done to a push after it was taken: paused and resumed, cancelled, sent once more."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold(sent))
            group.create_task(self._cancel(sent))
        if sent.push.again:
            answer, _ = await self.call("send_push_notification", params_of(sent, self._subscriptions))
            sent.told_twice = msgspec.json.encode(answer).decode()

    async def _hold(self, sent: Sent) -> None:
        uid = {"uid": sent.push.uid}
        for after, seconds in sent.push.pauses:
            await asyncio.sleep(after)
            held = Held(time.time())
            sent.held.append(held)
            held.pause_answered_at = await self._must("push_pause", uid)
            await asyncio.sleep(seconds)
            held.resume_started_at = time.time()
            held.resume_answered_at = await self._must("push_resume", uid)

    async def _cancel(self, sent: Sent) -> None:
        if sent.push.cancel_after is None:
            return
        await asyncio.sleep(sent.push.cancel_after)
        sent.cancel_started_at = time.time()
        sent.cancelled_at = await self._must("cancel_push", {"uid": sent.push.uid})
        for _ in range(sent.push.cancels - 1):
            await self._must("cancel_push", {"uid": sent.push.uid})

    async def _storm(self, storm: Storm) -> None:
        played = Played(storm.name, storm.service, storm.loses_answers, time.time())
        self.history.storms.append(played)
        if storm.disowns:
            await self._order(storm.service, "/faults", [])
            await asyncio.sleep(_ANSWERED_SECONDS)
        await self._order(storm.service, "/faults", storm.rules + ([] if storm.disowns else _DISTANCE))
        for path, body in storm.orders:
            await self._order(storm.service, path, body)
        if storm.name == WRONG:
            await self._must("provider_put", self._world.side.wrong_credentials[storm.service])
        await asyncio.sleep(storm.seconds)
        await self._calm(storm.service)
        if storm.put_again:
            await self._must("provider_put", self._world.side.credentials[storm.service])
        played.ended_at = time.time()

    async def _calm(self, service: str) -> None:
        await self._order(service, "/faults", _DISTANCE)
        await self._order(service, "/connections", {"shrink_settings": {"max_concurrent_streams": 100}})
        await self._order(service, "/clock", {"offset_seconds": 0})

    async def _order(self, service: str, path: str, body: object) -> None:
        url = f"{self._world.side.control[service]}{path}"
        (await self._control.post(url, content=msgspec.json.encode(body))).raise_for_status()


def _weapon(kill: Kill) -> str:
    """What is killed waits for nothing but the same: the database's kills follow each other, a freeze is beside."""
    if kill.kind in ("sender", SWITCH):
        return f"sender {kill.number}"
    if kill.kind in REDIS:
        return "redis"
    return {"postgres": "database", "stall": "database", "cut": "database"}.get(kill.kind, kill.kind)
