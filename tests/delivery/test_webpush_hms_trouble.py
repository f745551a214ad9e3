"""Web Push and HMS in trouble: what is malformed, lost, cancelled or changed under way, and what is never told."""

import asyncio
import json
import logging

import msgspec
import pytest

from delivery.providers.credentials import parse_credential
from delivery.queues.opening import QueueOptions
from emulators.hms import HmsEmulator
from emulators.webpush import WebpushEmulator
from storage import credentials
from tests.delivery import test_webpush_hms_sends as sends
from tests.delivery.test_webpush_hms_sends import HELLO, REACHING, subscribed
from tests.delivery.world import World, ledger
from tests.redis_server import RedisServer

browsers, others, huawei, world = sends.browsers, sends.others, sends.huawei, sends.world  # fixtures
FAULTS = (
    {"status": 400},
    {"status": 401},
    {"status": 403},
    {"status": 404},
    {"status": 410},
    {"status": 413},
    {"status": 500},
    {"status": 503},
)


async def test_subscriptions_that_nothing_can_be_made_of_fail_alone(world: World, browsers: WebpushEmulator) -> None:
    good = await subscribed(world, browsers, 2)
    bad = await subscribed(world, browsers, 6)
    origin = browsers.url
    changes = (
        ("token", f"{origin}/p?x=1&y=%20", "webpush_keys", '{"p256dh": "", "auth": ""}'),
        ("token", f"{origin}/q", "webpush_keys", '{"p256dh": "AAAA", "auth": "x y"}'),
        ("token", f"{origin}:x/q", "webpush_keys", None),
        ("token", "HTTPS://LOCALHOST/x", "webpush_keys", None),
        ("token", "https://ünï.example/x", "webpush_keys", None),
        ("token", "https://user:secret@localhost/x", "webpush_keys", None),
    )
    for before, (_, token, _, keys) in zip(bad, changes, strict=True):
        await world.database.execute(
            b"update devices set token = %(token)s, webpush_keys = coalesce(%(keys)s::jsonb, webpush_keys)"
            b" where token = %(before)s",
            {"token": token, "keys": keys, "before": before},
        )
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 8, "accepted": 2, "failed": 6}
    assert sorted(request.token for request in browsers.requests()) == sorted(good)


async def test_a_browser_whose_keys_are_gone_meanwhile_does_not_hold_up_the_others(
    world: World, browsers: WebpushEmulator
) -> None:
    endpoints = await subscribed(world, browsers, 3)
    browsers.set_faults([{"match": {"count": 3}, "action": {"status": 503, "delay_ms": 200}}])
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        while browsers.counters().requests < 3:
            await world.call("push_status", uid=uid)
        await world.database.execute(
            b"update devices set webpush_keys = null where token = %(token)s", {"token": endpoints[1]}
        )
        while not await world.database.values(b"select 1 from batches where claimed_by is null", {}):
            pass
        await world.database.execute(b"update batches set due_at = now()", {})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 3, "accepted": 3}
    assert browsers.counters().requests == 6, "a line of the batch for each"


async def test_a_browser_without_keys_is_no_recipient(world: World, browsers: WebpushEmulator) -> None:
    endpoints = await subscribed(world, browsers, 3)
    for endpoint, keys in zip(endpoints, (None, '{"p256dh": "x"}'), strict=False):
        await world.database.execute(
            b"update devices set webpush_keys = %(keys)s::jsonb where token = %(token)s",
            {"keys": keys, "token": endpoint},
        )
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 1, "accepted": 1}
    assert {each["reason"]: each["count"] for each in status["reasons"]} == {"NoToken": 2}


@pytest.mark.parametrize("provider", ["webpush", "hms"])
async def test_an_answer_that_is_lost_is_not_asked_for_twice_of_a_push_that_goes_at_most_once(
    world: World, browsers: WebpushEmulator, huawei: HmsEmulator, provider: str
) -> None:
    emulator = browsers if provider == "webpush" else huawei
    if provider == "webpush":
        await subscribed(world, browsers, 4)
    else:
        await world.registered(4, "test", "hms")
    emulator.set_faults([{"action": {"drop_connection": True}}])
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO, delivery="at_most_once")
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 4, "failed": 4}
    assert emulator.counters().requests <= 4


async def test_of_a_request_that_is_taken_in_part_only_its_own_tokens_are_refused(
    world: World, huawei: HmsEmulator
) -> None:
    """The answer names one of them twice, and two that nobody sent to."""
    await world.registered(5, "test", "hms")
    [bad, *_] = sorted(row[0] for row in await world.database.values(b"select token from devices", {}))
    huawei.set_faults([{"action": {"reason": "80100000", "details": [bad, bad, "another", ""]}}])
    async with world.worker(REACHING):
        status = await world.reached(await world.send(recipient={"channels": ["test"]}, notification=HELLO), "done")
    assert ledger(status) == {"planned": 5, "accepted": 4, "failed": 1}
    assert await world.database.values(b"select token from devices where state = 'dead'", {}) == [(bad,)]


async def test_a_push_that_is_cancelled_while_it_is_encrypted_adds_up(world: World, browsers: WebpushEmulator) -> None:
    await subscribed(world, browsers, 120)
    options = msgspec.structs.replace(
        REACHING, planner=msgspec.structs.replace(REACHING.planner, page_size=200, batch_size=200)
    )
    browsers.set_faults([{"action": {"delay_ms": 20}}])
    async with world.worker(options):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        while not browsers.counters().requests:
            await world.call("push_status", uid=uid)
        await world.call("cancel_push", uid=uid)
        await world.quiet()
        status = await world.call("push_status", uid=uid)
    found = ledger(status)
    assert found["planned"] == 120
    assert found.get("accepted", 0) == len({request.token for request in browsers.requests(limit=1000)})


async def test_a_credential_that_is_changed_under_way_keeps_every_recipient(
    world: World, browsers: WebpushEmulator
) -> None:
    await subscribed(world, browsers, 60)
    browsers.set_faults([{"action": {"delay_ms": 30}}])
    pair = browsers.vapid_pair()
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO)
        for subject in ("mailto:a@example.com", "mailto:b@example.com"):
            seen = browsers.counters().requests
            while browsers.counters().requests == seen < 60:
                await world.call("push_status", uid=uid)
            fields = {"provider_id": "web", "provider": "webpush", "default": True, "tls_ca": browsers.authority.ca_pem}
            fields |= {"private_key": pair.private_key, "subject": subject}
            await credentials.put(world.database, world.vault, parse_credential(fields))
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 60, "accepted": 60}
    assert browsers.counters().undecryptable == 0


async def test_nothing_that_is_told_or_logged_holds_an_address_or_a_secret(
    world: World,
    browsers: WebpushEmulator,
    huawei: HmsEmulator,
    redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every kind of trouble, with all that our own loggers say, and those of the libraries at their usual level."""
    caplog.set_level(logging.DEBUG)
    endpoints = await subscribed(world, browsers, 16)
    await world.registered(8, "test", "hms")
    private = {row[0] for row in await world.database.values(b"select token from devices", {})}
    for row in await world.database.values(
        b"select webpush_keys ->> 'p256dh', webpush_keys ->> 'auth' from devices where provider = 'webpush'", {}
    ):
        private |= set(row)
    browsers.set_faults(
        [
            {"match": {"token_prefix": endpoint}, "action": fault}
            for endpoint, fault in zip(endpoints, FAULTS, strict=False)
        ]
        + [{"match": {"token_prefix": endpoints[9]}, "action": {"drop_connection": True}}]
    )
    await world.database.execute(
        b'update devices set webpush_keys = \'{"p256dh": "badkeybadkey", "auth": "badauth"}\' where token = %(token)s',
        {"token": endpoints[10]},
    )
    [(phone,)] = await world.database.values(b"select token from devices where provider = 'hms' limit 1", {})
    huawei.set_tokens({phone: {"state": "illegal"}})
    options = msgspec.structs.replace(REACHING, queue=QueueOptions(redis.url))
    devices = [row[0] for row in await world.database.values(b"select id::text from devices", {})]
    async with world.worker(options):
        uid = await world.send(recipient={"channels": ["test"]}, notification=HELLO | {"title": "a secret title"})
        async with asyncio.timeout(15):
            while len(await world.database.values(b"select unnest(outcomes) from outcomes", {})) < 8:
                pass
        await world.call("push_status", uid=uid)
        told = [await world.call("push_explain", uid=uid, device_id=device) for device in devices]
        told.append(await world.call("push_status", uid=uid))
        told.append(await world.call("push_stats"))
        told += [await world.call("device_pushes", device_id=device) for device in devices]
        await world.call("cancel_push", uid=uid)
    said = "\n".join(
        f"{record.getMessage()} {vars(record)}" for record in caplog.records if not record.name.startswith("emulators")
    )
    pair = browsers.vapid_pair()
    private |= {
        pair.private_key,
        huawei.app_secret(),
        "a secret title",
        "badkeybadkey",
        "badauth",
        "vapid t=",
        "Bearer ",
    }
    assert [word for word in private if word in said] == []
    assert [word for word in private if word in json.dumps(told)] == []


async def test_each_browser_is_told_its_own_as_far_as_it_fits(world: World, browsers: WebpushEmulator) -> None:
    """3993 bytes fit, one more is too much for that browser alone."""
    endpoints = await subscribed(world, browsers, 3)
    for endpoint, length in zip(endpoints, (1, 3984, 3985), strict=True):
        await world.database.execute(
            b"update devices set meta = jsonb_build_object('text', repeat('x', %(length)s)) where token = %(token)s",
            {"length": length, "token": endpoint},
        )
    notification = {"webpush": {"payload": {"t": "{{device.meta.text}}"}}}
    async with world.worker(REACHING):
        uid = await world.send(
            recipient={"channels": ["test"]}, notification=notification, use_templating=True, use_meta=True
        )
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 3, "accepted": 2, "failed": 1}
    assert [each["reason"] for each in status["reasons"]] == ["PayloadTooLarge"]
    told = {request.token: request.payload for request in browsers.requests()}
    assert told == {endpoints[0]: {"t": "x"}, endpoints[1]: {"t": "x" * 3984}}
