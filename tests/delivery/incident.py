"""A broadcast that meets an operator's mistake, step by step, with what must hold at each of them."""

import asyncio
import time
from collections import Counter
from typing import Any

from emulators.emulator import Emulator
from tests.delivery.world import APNS, FCM, World, ledger

DEVICES = 600
MOST_REQUESTS = 300  # before sending stops: what is claimed and in flight then, whatever the audience


class Incident:
    """A broadcast to several hundred devices through the credential `mine`, and what the services see of it."""

    def __init__(self, world: World, provider: str, *services: Emulator, topic: str = "") -> None:
        self._world = world
        self._provider = provider
        self._services = services
        self._notification = {"apns": APNS | {"headers": {"apns-topic": topic}} if topic else APNS, "fcm": FCM}
        self._uid = ""

    async def put(self, params: dict[str, Any]) -> None:
        """Write the credential as an operator does. One connection bounds what is in flight when the refusals begin."""
        await self._world.call("provider_put", **(params | {"provider_id": "mine", "max_connections": 1}))

    async def stops(self, reason: str, scope: str = "", most_requests: int = MOST_REQUESTS) -> None:
        """Send: it pauses for this reason, for all to see, after few requests, and every device is kept."""
        await self._world.registered(DEVICES, "test", self._provider)
        self._uid = await self._send()
        status = await self._world.reached(self._uid, "paused", "done")
        assert status["state"] == "paused", status
        await self._world.quiet()
        await self._shows(reason, scope)
        assert self._requests() <= most_requests
        assert len(await self._kept()) == DEVICES

    async def begins(self) -> None:
        """Send, and wait until several batches are in flight."""
        await self._world.registered(DEVICES, "test", self._provider)
        self._uid = await self._send()
        async with asyncio.timeout(15):
            while self._requests() < 50:
                await self._world.call("push_status", uid=self._uid)

    async def still_stops_after_a_probe(self, reason: str) -> None:
        """The next probe finds the mistake still there: it costs a request or two, and the pause goes on."""
        before = self._requests()
        await self.probe()
        await self._world.probed()
        await self._shows(reason, "")
        assert self._requests() - before <= 2
        assert len(await self._kept()) == DEVICES

    async def probe(self) -> None:
        """Make the next probe due."""
        await self._world.database.execute(b"update pauses set next_probe_at = now()", {})

    async def ends_well(self) -> None:
        """The rest arrives, each recipient once; the ledger sums, and the next push finds every device."""
        entries = ledger(await self._world.reached(self._uid, "done"))
        accepted = await self._accepted()
        refused = entries.get("failed", 0)
        assert set(accepted.values()) == {1}
        assert entries["accepted"] == len(accepted) == DEVICES - refused
        assert refused <= MOST_REQUESTS
        uid = await self._send()
        assert ledger(await self._world.reached(uid, "done")) == {"planned": DEVICES, "accepted": DEVICES}
        assert await self._accepted() - accepted == Counter(await self._kept())
        assert (await self._provider_item()).get("pauses", []) == []

    async def _send(self) -> str:
        return await self._world.send(recipient={"channels": ["test"]}, notification=self._notification)

    async def _shows(self, reason: str, scope: str) -> None:
        """provider_list and push_status say what is paused, why, and when it is tried again."""
        [part] = (await self._world.call("push_status", uid=self._uid))["paused"]
        [pause] = (item := await self._provider_item())["pauses"]
        assert (part["provider_id"], part["reason"], part.get("scope", "")) == ("mine", reason, scope)
        assert (pause["kind"], pause["reason"], pause["scope"]) == ("trouble", reason, scope)
        assert part["next_probe_at"] == pause["next_probe_at"] > time.time()
        assert item["state"] == ("active" if scope else "paused")

    async def _provider_item(self) -> dict[str, Any]:
        items = (await self._world.call("provider_list"))["items"]
        found: dict[str, Any] = next(item for item in items if item["provider_id"] == "mine")
        return found

    async def _kept(self) -> list[str]:
        """The tokens of devices that are there and not dead."""
        rows = await self._world.database.values(b"select token from devices where state <> 'dead'", {})
        return [row[0] for row in rows]

    def _requests(self) -> int:
        return sum(service.counters().requests for service in self._services)

    async def _accepted(self) -> Counter[str]:
        """How often each device accepted a push, by token, over all services."""
        kept = set(await self._kept())
        counts: Counter[str] = Counter()
        for service in self._services:
            rows = service.arrivals(limit=2 * DEVICES).tokens
            counts.update({token: row.accepted for token, row in rows.items() if row.accepted and token in kept})
        return counts
