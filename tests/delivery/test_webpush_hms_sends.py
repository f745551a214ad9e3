"""The whole engine with Web Push and HMS: pushes accepted into a real database, and emulated services for them."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from delivery.outflow import OutflowOptions
from delivery.providers.credentials import parse_credential
from emulators.hms import HmsEmulator
from emulators.webpush import WebpushEmulator
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.company import LOOPBACK
from tests.delivery.world import OPTIONS, MakeContext, World, ledger

REACHING = msgspec.structs.replace(OPTIONS, outflow=OutflowOptions(allowed=LOOPBACK))
HELLO = {"title": "Hello", "body": "How are you?", "url": "https://example.com/hello"}
KEYS = b"select token || ' ' || (webpush_keys ->> 'p256dh') || ' ' || (webpush_keys ->> 'auth') from devices"


@pytest.fixture
async def browsers() -> AsyncIterator[WebpushEmulator]:
    async with WebpushEmulator() as emulator:
        yield emulator


@pytest.fixture
async def others() -> AsyncIterator[WebpushEmulator]:
    async with WebpushEmulator(service="apple") as emulator:
        yield emulator


@pytest.fixture
async def huawei() -> AsyncIterator[HmsEmulator]:
    async with HmsEmulator() as emulator:
        yield emulator


@pytest.fixture
async def world(
    database: Database,
    vault: Vault,
    context: MakeContext,
    browsers: WebpushEmulator,
    others: WebpushEmulator,
    huawei: HmsEmulator,
) -> World:
    pair = browsers.vapid_pair()
    webpush = {"private_key": pair.private_key, "subject": "mailto:ops@example.com"}
    trusted = browsers.authority.ca_pem + others.authority.ca_pem
    for fields in (
        {"provider_id": "web", "provider": "webpush", "tls_ca": trusted, **webpush},
        {
            "provider_id": "hms",
            "provider": "hms",
            "app_id": huawei.app_id,
            "app_secret": huawei.app_secret(),
            "endpoint": huawei.url,
            "token_url": huawei.token_url,
            "tls_ca": huawei.authority.ca_pem,
        },
    ):
        await credentials.put(database, vault, parse_credential({**fields, "default": True}))
    origins = (browsers.url.removeprefix("https://"),)
    return World(database, vault, lambda **facts: replace(context(**facts), webpush_origins=origins))


async def subscribed(world: World, emulator: WebpushEmulator, count: int, topic: str = "test") -> list[str]:
    """Register browsers at this service, on a topic; their endpoints."""
    made = [each.subscription for each in emulator.subscribe(count)]
    rows = [{"token": each.endpoint, "keys": each.keys} for each in made]
    await world.database.execute(
        b"with d as (insert into devices (id, provider, platform, token, webpush_keys, created_at, registered_at)"
        b" select gen_random_uuid(), 'webpush', 'web', r.token, r.keys, now() - interval '1 hour',"
        b" now() - interval '1 hour' from jsonb_to_recordset(%(rows)s::jsonb) r (token text, keys jsonb) returning id)"
        b" insert into device_topics (topic, device_id) select %(topic)s, id from d",
        {"rows": json.dumps(rows), "topic": topic},
    )
    return [each.endpoint for each in made]


async def test_neutral_fields_reach_browsers_and_huawei_phones(
    world: World, browsers: WebpushEmulator, huawei: HmsEmulator
) -> None:
    endpoints = await subscribed(world, browsers, 30)
    await world.registered(25, "test", "hms")
    async with world.worker(REACHING):
        status = await world.reached(
            await world.send(recipient={"channels": ["test"]}, notification=HELLO, uid="all"), "done"
        )
    assert ledger(status) == {"planned": 55, "accepted": 55}
    assert browsers.counters().undecryptable == 0
    seen = {request.token: request for request in browsers.requests(limit=100)}
    assert sorted(seen) == sorted(endpoints)
    payload = seen[endpoints[0]].payload
    assert isinstance(payload, dict)
    assert payload["notification"]["title"] == "Hello"
    sends = [each.payload["message"]["token"] for each in huawei.requests(limit=100) if isinstance(each.payload, dict)]
    assert sum(map(len, sends)) == 25
    assert len(sends) < 5, "many tokens in a request"


async def test_browsers_of_several_services_are_reached_each_at_its_own(
    world: World, browsers: WebpushEmulator, others: WebpushEmulator
) -> None:
    await subscribed(world, browsers, 7)
    await subscribed(world, others, 5)
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 12, "accepted": 12}
    assert (len(browsers.requests()), len(others.requests())) == (7, 5)


async def test_a_service_that_asks_for_less_does_not_hold_up_another(
    world: World, browsers: WebpushEmulator, others: WebpushEmulator
) -> None:
    await subscribed(world, browsers, 3)
    await subscribed(world, others, 4)
    browsers.set_faults([{"action": {"status": 429, "retry_after": 300}}])
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        while len(others.requests()) < 4:
            await world.call("push_status", uid=uid)
        await world.quiet()
        pauses = await world.database.values(b"select credential, scope, kind from pauses", {})
    origin = browsers.url.removeprefix("https://")
    assert pauses == [("web", origin, "throttle")]


async def test_a_browser_that_unsubscribed_is_taken_out_and_one_that_came_back_is_not(
    world: World, browsers: WebpushEmulator
) -> None:
    gone, back = await subscribed(world, browsers, 2)
    browsers.set_tokens({gone: {"state": "gone"}, back: {"state": "gone"}})
    await world.database.execute(
        b"update devices set registered_at = now() + interval '1 hour' where token = %(token)s", {"token": back}
    )
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 2, "failed": 2}
    states = dict(await world.database.values(b"select token, state from devices", {}))
    assert states == {gone: "dead", back: "active"}


async def test_a_device_that_subscribed_anew_elsewhere_gets_the_push_there(
    world: World, browsers: WebpushEmulator, others: WebpushEmulator
) -> None:
    [old] = await subscribed(world, browsers, 1)
    new = others.subscribe()[0].subscription
    browsers.set_faults([{"action": {"status": 410, "delay_ms": 300}}])
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        while not browsers.counters().requests:
            await world.call("push_status", uid=uid)
        await world.database.execute(
            b"update devices set token = %(token)s, webpush_keys = %(keys)s, registered_at = now()",
            {"token": new.endpoint, "keys": json.dumps(new.keys)},
        )
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 1, "accepted": 1}
    assert [request.token for request in others.requests()] == [new.endpoint]
    assert old != new.endpoint


async def test_raw_subscriptions_are_sent_to_and_their_keys_are_not_kept(
    world: World, browsers: WebpushEmulator
) -> None:
    made = [each.subscription for each in browsers.subscribe(3)]
    tokens = [json.dumps({"endpoint": each.endpoint, "keys": each.keys}) for each in made]
    payload = {"webpush": {"headers": {"TTL": 60}, "payload": {"n": 1}}}
    async with world.worker(REACHING):
        uid = await world.send(recipient={"webpush_tokens": tokens}, notification=payload)
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 3, "accepted": 3}
    [(kept,)] = await world.database.values(b"select tokens from outcomes", {})
    assert sorted(kept.split("\n")) == sorted(each.endpoint for each in made)


async def test_illegal_tokens_of_huawei_are_not_sent_to_again(world: World, huawei: HmsEmulator) -> None:
    await world.registered(6, "test", "hms")
    [bad, *_] = sorted(row[0] for row in await world.database.values(b"select token from devices", {}))
    huawei.set_tokens({bad: {"state": "illegal"}})
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        status = await world.reached(uid, "done")
        again = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 6, "accepted": 5, "failed": 1}
    assert ledger(again) == {"planned": 5, "accepted": 5}


async def test_push_explain_tells_what_a_browsers_service_answered(world: World, browsers: WebpushEmulator) -> None:
    [endpoint] = await subscribed(world, browsers, 1)
    browsers.set_faults([{"match": {"count": 1}, "action": {"status": 503}}])
    [(device,)] = await world.database.values(b"select id::text from devices", {})
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        while not await world.database.values(b"select 1 from outcomes", {}):
            pass
        await world.database.execute(b"update batches set due_at = now()", {})
        await world.reached(uid, "done")
    told = await world.call("push_explain", uid=uid, device_id=device)
    text = json.dumps(told)
    assert "503" in text
    assert endpoint not in text


async def test_a_page_registers_and_is_reached(world: World, browsers: WebpushEmulator) -> None:
    made = browsers.subscribe(vapid_public_key=browsers.vapid_pair().public_key)[0].subscription
    token = json.dumps({"endpoint": made.endpoint, "expirationTime": None, "keys": made.keys})
    await world.call("device_register", provider="webpush", platform="web", token=token, user="ann", topics=["news"])
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"users": ["ann"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 1, "accepted": 1}
    assert [request.token for request in browsers.requests()] == [made.endpoint]


async def test_a_private_address_is_not_called_unless_the_settings_allow_it(
    world: World, browsers: WebpushEmulator
) -> None:
    await subscribed(world, browsers, 2)
    async with world.worker():
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 2, "failed": 2}
    assert [each["reason"] for each in status["reasons"]] == ["AddressNotAllowed"]
    assert browsers.counters().requests == 0
