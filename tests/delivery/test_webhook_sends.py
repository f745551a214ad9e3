"""The whole engine with a webhook: pushes accepted into a real database, and a company's own API that is called."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from delivery.outflow import OutflowOptions
from delivery.providers.credentials import parse_credential
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.delivery.providers.company import LOOPBACK, Company, Said, a_company, webhook_params
from tests.delivery.world import METHODS, OPTIONS, MakeContext, World, ledger

REACHING = msgspec.structs.replace(OPTIONS, outflow=OutflowOptions(allowed=LOOPBACK))
WEBHOOK = {"payload": {"text": "hi"}}


@pytest.fixture
async def company() -> AsyncIterator[Company]:
    async with a_company() as running:
        yield running


@pytest.fixture
async def world(database: Database, vault: Vault, context: MakeContext, company: Company) -> World:
    await credentials.put(database, vault, parse_credential(webhook_params(company)))
    return World(database, vault, context)


async def put(world: World, company: Company, **changes: Any) -> None:
    await credentials.put(world.database, world.vault, parse_credential(webhook_params(company, **changes)))


def tokens_of(company: Company) -> Counter[str]:
    bodies = company.bodies
    listed = [r["token"] for body in bodies for r in body.get("recipients", [])]
    return Counter(listed + [body["recipient"]["token"] for body in bodies if "recipient" in body])


async def test_a_device_by_any_name_is_reached_through_the_companys_api(world: World, company: Company) -> None:
    name = 'Ann\'s {"tablet"}, küche'
    await world.call("device_register", provider="webhook", token=name, platform="android", user="ann")
    async with world.worker(REACHING):
        uid = await world.send(recipient={"users": ["ann"]}, notification={"title": "Hi", "webhook": WEBHOOK})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 1, "accepted": 1}
    (body,) = company.bodies
    assert body["recipient"]["token"] == name
    assert body["push"] == uid
    assert body["payload"] == {"title": "Hi", "text": "hi"}


async def test_every_device_is_called_once_and_the_dead_are_taken_out(world: World, company: Company) -> None:
    await world.registered(60, "test", "webhook")
    [dead, bad, *_] = [row[0] for row in await world.database.values(b"select token from devices", {})]
    company.tokens = {dead: Said(410), bad: Said(422)}
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"webhook": WEBHOOK})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 60, "accepted": 58, "failed": 2}
    assert set(tokens_of(company).values()) == {1}
    assert await world.database.values(b"select token from devices where state = 'dead'", {}) == [(dead,)]


async def test_a_batch_that_failed_in_part_is_settled_for_each(world: World, company: Company) -> None:
    await put(world, company, batched=True)
    await world.registered(25, "test", "webhook")
    names = [row[0] for row in await world.database.values(b"select token from devices order by id", {})]
    failed = [{"token": names[0], "reason": "Gone", "dead": True}, {"token": names[1], "reason": "Muted"}]
    company.answers = [Said(200, msgspec.json.encode({"failed": failed}))] * 3
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"webhook": WEBHOOK})
        status = await world.reached(uid, "done")
    assert ledger(status) == {"planned": 25, "accepted": 23, "failed": 2}
    assert sorted(reason["reason"] for reason in status["reasons"]) == ["Gone", "Muted"]
    assert len(company.requests) == 3  # the planner cuts batches of ten
    assert await world.database.values(b"select token from devices where state = 'dead'", {}) == [(names[0],)]


async def test_what_a_receiver_could_not_take_is_sent_again_under_the_same_name(world: World, company: Company) -> None:
    await world.call("device_register", provider="webhook", token="one", platform="android", user="ann")
    company.answers = [Said(503, b"", "retry-after: 0\r\n")]
    async with world.worker(REACHING):
        uid = await world.send(recipient={"users": ["ann"]}, notification={"webhook": WEBHOOK})
        assert ledger(await world.reached(uid, "done")) == {"planned": 1, "accepted": 1}
    assert len({request.headers["x-tocsin-delivery"] for request in company.requests}) == 1
    assert len(company.requests) == 2


async def test_a_refused_signature_pauses_until_the_secret_is_right(world: World, company: Company) -> None:
    company.answers = [Said(401)] * 50
    await world.registered(30, "test", "webhook")
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"webhook": WEBHOOK})
        status = await world.reached(uid, "paused")
        assert status["paused"][0]["reason"] == "HTTP_401"
        assert ledger(status) == {"planned": 30, "pending": 30}
        await world.quiet()
        company.answers = []
        await world.call("provider_put", **webhook_params(company))
        assert ledger(await world.reached(uid, "done")) == {"planned": 30, "accepted": 30}


async def test_a_private_url_pauses_the_credential_and_nothing_is_called(world: World, company: Company) -> None:
    await world.registered(3, "test", "webhook")
    async with world.worker():
        uid = await world.send(recipient={"channels": ["test"]}, notification={"webhook": WEBHOOK})
        status = await world.reached(uid, "paused")
    assert status["paused"][0]["reason"] == "AddressNotAllowed"
    assert not company.requests


async def test_a_url_that_calls_every_device_gone_is_not_believed_for_long(world: World, company: Company) -> None:
    await put(world, company, max_connections=1)
    await world.registered(400, "test", "webhook")
    company.answers = [Said(404)] * 400
    async with world.worker(REACHING):
        uid = await world.send(recipient={"channels": ["test"]}, notification={"webhook": WEBHOOK})
        status = await world.reached(uid, "paused")
    assert status["paused"][0]["reason"] == "HTTP_404"
    assert ledger(status)["pending"] > 200


async def test_a_check_obeys_what_the_settings_allow(world: World, company: Company, context: MakeContext) -> None:
    verdicts = []
    for ctx in (context(), replace(context(), private_hosts=LOOPBACK)):
        method = METHODS["provider_check"]
        result = await method.handler(ctx, method.decoder.decode(b'{"provider_id":"own"}'))
        verdicts.append(msgspec.to_builtins(result)["verdict"])
    assert verdicts == ["failed", "ok"]
    assert company.bodies == [{"check": True}]


async def test_a_device_by_a_name_that_looks_like_json_is_found_by_it(world: World) -> None:
    name = '{"customer": 4711}'
    await world.call("device_register", provider="webhook", token=name, platform="android", user="ann")
    await world.call("device_remove", users=["ann"], tokens=[name])
    assert await world.database.values(b"select 1 from devices", {}) == []
