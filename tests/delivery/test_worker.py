"""The engine as a whole: pushes accepted into a real database, sent to the emulators over HTTP/2 and TLS, settled."""

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from emulators.control import ConnectionsOrder
from emulators.exchange import Answer, Request
from emulators.fcm import FcmEmulator
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.sending import apns_params, fcm_params
from tests.delivery.world import APNS, FCM, METHODS, MakeContext, World, ledger


@pytest.fixture
def apns(apns_emulator: ApnsEmulator) -> ApnsEmulator:
    return apns_emulator


@pytest.fixture
def fcm(fcm_emulator: FcmEmulator) -> FcmEmulator:
    return fcm_emulator


class Recorder(ApnsEmulator):
    """An APNs that keeps the bytes of each body."""

    bodies: list[bytes]

    def process(self, request: Request) -> Answer:
        self.bodies = [*getattr(self, "bodies", []), bytes(request.body)]
        return super().process(request)


@pytest.fixture
async def world(database: Database, vault: Vault, context: MakeContext, apns: ApnsEmulator, fcm: FcmEmulator) -> World:
    for params in (apns_params(apns), fcm_params(fcm)):
        await credentials.put(database, vault, parse_credential(params))
    return World(database, vault, context)


async def test_a_broadcast_reaches_each_device_once(world: World, apns: ApnsEmulator, fcm: FcmEmulator) -> None:
    await world.registered(130, "test")
    await world.registered(70, "test", "fcm")
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS, "fcm": FCM})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 200, "accepted": 200}
    assert (apns.counters().requests, fcm.counters().requests) == (130, 70)
    tokens = {request.token for request in apns.requests(limit=1000)} | {r.token for r in fcm.requests(limit=1000)}
    stored = {row[0] for row in await world.database.values(b"select token from devices", {})}
    assert tokens >= stored


async def test_payload_bytes_arrive_as_they_were_given(world: World, emulator_folder: Path) -> None:
    text = '{"aps" : {"alert":"h\\u00e9"},"n":1.50,"a":1e2}'
    body = b'{"recipient":{"apns_tokens":["ab12"]},"notification":{"apns":{"payload":%b}}}' % text.encode()
    async with Recorder(data_dir=emulator_folder) as apns, asyncio.timeout(20):
        await credentials.put(world.database, world.vault, parse_credential(apns_params(apns)))
        async with world.worker():
            method = METHODS["send_push_notification"]
            result = await method.handler(world._context(body=body), method.decoder.decode(body))
            await world.reached(msgspec.to_builtins(result)["uid"], "done")
    assert apns.bodies == [text.encode()]


async def test_a_transient_error_is_tried_again(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults(
        [{"match": {"count": 1}, "action": {"status": 503, "reason": "ServiceUnavailable", "retry_after": 0}}]
    )
    async with world.worker():
        uid = await world.send(recipient={"apns_tokens": ["ab12"]}, notification={"apns": APNS})
        assert ledger(await world.reached(uid, "done")) == {"planned": 1, "accepted": 1}
    rows = await world.database.values(b"select attempt, reasons from outcomes order by attempt", {})
    assert rows == [(1, ["ServiceUnavailable"]), (2, [])]


async def test_a_dead_token_takes_its_device_out(world: World, apns: ApnsEmulator) -> None:
    await world.registered(3, "test")
    [token, *_] = [row[0] for row in await world.database.values(b"select token from devices", {})]
    now = int(time.time() * 1000)
    apns.set_tokens({token: {"state": "unregistered", "timestamp_ms": now}})
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 3, "accepted": 2, "failed": 1}
    [reason] = status["reasons"]
    assert (reason["outcome"], reason["reason"], reason["count"]) == ("failed", "Unregistered", 1)
    assert len(reason["examples"]) == 1
    dead = await world.database.values(b"select token from devices where state = 'dead'", {})
    assert dead == [(token,)]


async def test_a_bad_credential_pauses_and_goes_on_when_it_is_mended(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults([{"action": {"status": 403, "reason": "InvalidProviderToken"}}])
    await world.registered(30, "test")
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        status = await world.reached(uid, "paused")
        assert status["paused"][0]["reason"] == "InvalidProviderToken"
        assert ledger(status) == {"planned": 30, "pending": 30}
        await world.quiet()
        apns.set_faults([])
        await world.database.execute(b"update pauses set next_probe_at = now()", {})
        assert ledger(await world.reached(uid, "done")) == {"planned": 30, "accepted": 30}
    assert await world.database.values(b"select 1 from pauses", {}) == []


async def test_a_changed_credential_is_used_without_restart(
    world: World, apns: ApnsEmulator, emulator_folder: Path
) -> None:
    async with world.worker(), ApnsEmulator(data_dir=emulator_folder) as other:
        uid = await world.send(recipient={"apns_tokens": ["aa"]}, notification={"apns": APNS})
        await world.reached(uid, "done")
        await credentials.put(world.database, world.vault, parse_credential(apns_params(other)))
        world._context().hints.credentials()
        async with asyncio.timeout(15):
            while not other.counters().requests:
                uid = await world.send(recipient={"apns_tokens": ["bb"]}, notification={"apns": APNS})
                await world.reached(uid, "done")


async def test_stopping_gives_back_what_was_not_sent(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults([{"action": {"stall": True}}])
    await world.registered(40, "test")
    async with world.worker() as stop:
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        async with asyncio.timeout(15):
            while not apns.counters().requests:
                await world.reached(uid, "sending", "planning")
        stop.set()
    status = await world.call("push_status", uid=uid)
    assert ledger(status) == {"planned": 40, "pending": 40}
    rows = await world.database.values(b"select count(*) from batches where claimed_by is not null", {})
    assert rows == [(0,)], "nothing is left claimed"
    apns.set_faults([])
    await world.database.execute(b"update batches set due_at = now()", {})
    async with world.worker():
        assert ledger(await world.reached(uid, "done")) == {"planned": 40, "accepted": 40}


async def test_cancelling_stops_a_running_broadcast(world: World, apns: ApnsEmulator) -> None:
    apns.set_faults([{"match": {"skip": 5}, "action": {"stall": True}}])
    await world.registered(200, "test")
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        async with asyncio.timeout(15):
            while apns.counters().requests < 6:
                await world.reached(uid, "sending", "planning")
        await world.call("cancel_push", uid=uid)
        apns.order_connections(ConnectionsOrder(drop=True))
        async with asyncio.timeout(15):
            while (await world.call("push_status", uid=uid))["ledger"]["pending"]:
                pass
        status = await world.call("push_status", uid=uid)
    assert status["state"] == "cancelled"
    found = ledger(status)
    assert found["cancelled"]
    assert found["cancelled"] + found.get("accepted", 0) + found.get("failed", 0) == found["planned"]


async def test_two_workers_share_a_broadcast_without_doubling(world: World, apns: ApnsEmulator) -> None:
    await world.registered(300, "test")
    async with world.worker(), world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        assert ledger(await world.reached(uid, "done")) == {"planned": 300, "accepted": 300}
    assert apns.counters().requests == 300


async def test_a_scheduled_push_is_sent_when_it_is_due(world: World, apns: ApnsEmulator) -> None:
    at = int(time.time()) + 1
    async with world.worker():
        uid = await world.send(recipient={"apns_tokens": ["aa"]}, notification={"apns": APNS}, send_at=at)
        status = await world.reached(uid, "done")
    assert status["finished_at"] >= at
    assert apns.counters().requests == 1


async def test_the_batches_of_a_removed_credential_end(world: World, apns: ApnsEmulator) -> None:
    uid = await world.send(recipient={"apns_tokens": ["aa"]}, notification={"apns": APNS})
    await world.database.execute(b"delete from credentials where provider = 'apns'", {})
    async with world.worker():
        status = await world.reached(uid, "done")
    assert status["reasons"][0]["reason"] == "CredentialRemoved"
    assert apns.counters().requests == 0


async def test_a_wrong_credential_stops_by_itself_and_costs_no_device(world: World, apns: ApnsEmulator) -> None:
    await world.registered(200, "test")
    apns.set_faults([{"action": {"status": 400, "reason": "BadDeviceToken"}}])
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        status = await world.reached(uid, "paused", "done")
        dead = await world.database.values(b"select 1 from devices where state = 'dead'", {})
        assert dead == []
        if status["state"] == "paused":
            assert status["paused"][0]["reason"] == "BadDeviceToken"
        await world.quiet()
        assert await world.database.values(b"select 1 from pauses", {})
        apns.set_faults([])
        await credentials.put(world.database, world.vault, parse_credential(apns_params(apns)))
        world._context().hints.credentials()
        await world.reached(uid, "done")
        again = await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS})
        assert ledger(await world.reached(again, "done")) == {"planned": 200, "accepted": 200}


async def test_a_push_that_expires_while_it_waits_is_counted_whole(world: World, apns: ApnsEmulator) -> None:
    await world.registered(50, "test")
    uid = await world.send(
        recipient={"channels": ["test"]}, notification={"apns": APNS}, expire_at=int(time.time()) + 3600
    )
    await world.database.execute(b"update pushes set expire_at = now() - interval '1 second'", {})
    async with world.worker():
        assert ledger(await world.reached(uid, "done")) == {"planned": 50, "expired": 50}
    assert apns.counters().requests == 0


async def test_a_batch_that_cannot_be_sent_by_a_defect_ends_alone(world: World, apns: ApnsEmulator) -> None:
    """A token that no registration lets through stands for any defect: the multiplexer refuses such a path."""
    bad = await world.device("not a token", topic="bad")
    await world.registered(5, "test")
    async with world.worker():
        first = await world.send(recipient={"channels": ["bad"]}, notification={"apns": APNS})
        while not await world.database.values(b"select 1 from outcomes", {}):
            pass
        status = await world.reached(
            await world.send(recipient={"channels": ["test"]}, notification={"apns": APNS}), "done"
        )
    assert ledger(status) == {"planned": 5, "accepted": 5}
    told = await world.call("push_explain", uid=first, device_id=bad)
    assert "InternalError" in json.dumps(told)
