"""What is told of each recipient."""

import hashlib

import pytest

from delivery.batches import Batch
from delivery.events import Event
from delivery.feed import Reader
from delivery.providers.apns_message import message_ids
from storage.database import Database
from tests.delivery.recording import (
    OPTIONS,
    Collector,
    add_device,
    add_outcome,
    add_push,
    add_receipt,
    device,
    read_all,
)


@pytest.fixture
def collector(database: Database) -> Collector:
    return Collector(database)


async def events(database: Database, collector: Collector) -> list[Event]:
    await read_all(Reader(database, collector, "outcomes", OPTIONS))
    return collector.events


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_an_event_says_what_the_record_knows(database: Database, collector: Collector) -> None:
    push_id = await add_push(database, "hello", analytics_uid="campaign")
    await add_outcome(
        database, 7, push_id=push_id, at=1_800_000_000.9, devices=[device(1)], message_ids=b"projects/p/messages/1"
    )
    assert await events(database, collector) == [
        Event(
            id="7-1-0",
            at=1_800_000_000,
            push="hello",
            analytics_uid="campaign",
            device_id=device(1),
            token_sha256=None,
            provider="fcm",
            provider_id="fcm",
            environment="",
            platform="android",
            attempt=1,
            outcome="accepted",
            reason="",
            status=200,
            message_id="projects/p/messages/1",
        )
    ]


async def test_every_recipient_has_an_event_of_its_own(database: Database, collector: Collector) -> None:
    exceptions = {0: ("failed", "TooBig", 413), 2: ("retry", "Timeout", 0)}
    devices = [device(number) for number in range(4)]
    await add_outcome(database, 7, devices=devices, exceptions=exceptions, message_ids=b"m1\nm3")
    told = [
        (each.device_id, each.outcome, each.reason, each.status, each.message_id)
        for each in await events(database, collector)
    ]
    assert told == [
        (device(0), "failed", "TooBig", 413, ""),
        (device(1), "accepted", "", 200, "m1"),
        (device(2), "retry", "Timeout", 0, ""),
        (device(3), "accepted", "", 200, "m3"),
    ]


async def test_what_was_given_back_untried_is_no_event(database: Database, collector: Collector) -> None:
    await add_outcome(
        database, 7, devices=[device(1), device(2)], exceptions={0: ("released", "Released", 0)}, message_ids=b"m"
    )
    assert [each.device_id for each in await events(database, collector)] == [device(2)]


async def test_a_raw_token_is_told_by_its_hash_alone(database: Database, collector: Collector) -> None:
    await add_outcome(database, 7, tokens="token-a\ntoken-b")
    told = await events(database, collector)
    assert [(each.device_id, each.token_sha256) for each in told] == [
        (None, sha256("token-a")),
        (None, sha256("token-b")),
    ]


async def test_a_device_that_is_dead_is_told_with_the_hash_of_its_token(
    database: Database, collector: Collector
) -> None:
    await add_device(database, device(1), "token-1", "dead")
    await add_device(database, device(2), "token-2", "active")
    dead = ("dead", "UNREGISTERED", 404)
    await add_outcome(database, 7, devices=[device(1), device(2), device(3)], exceptions=dict.fromkeys(range(3), dead))
    told = await events(database, collector)
    assert [each.outcome for each in told] == ["dead"] * 3
    assert [each.token_sha256 for each in told] == [sha256("token-1"), None, None], (
        "a device with another token is not dead"
    )


async def test_ids_that_were_not_stored_are_those_that_were_sent(database: Database, collector: Collector) -> None:
    push_id = await add_push(database, "hello")
    devices = [device(number) for number in range(3)]
    await add_outcome(
        database,
        7,
        push_id=push_id,
        provider="apns",
        attempt=2,
        devices=devices,
        exceptions={1: ("failed", "PayloadTooLarge", 413)},
    )
    sent = message_ids(
        Batch(7, push_id, "apns", "apns", "", "", "token", 1, 2, 0.0, 0.0, None, False, False, [b"t"] * 3)
    )
    told = [each.message_id for each in await events(database, collector)]
    assert told == [sent[0].decode(), "", sent[2].decode()]


async def test_a_receipt_names_its_push_where_that_is_certain(database: Database, collector: Collector) -> None:
    collector.streams = ("receipts",)
    await add_push(database, "one", analytics_uid="a1")
    for uid in ("two", "three"):
        await add_push(database, uid, analytics_uid="a2")
    for analytics_uid in ("a1", "a2", "a3"):
        await add_receipt(database, analytics_uid, "interacted", "d1")
    await read_all(Reader(database, collector, "receipts", OPTIONS))
    told = [(each.analytics_uid, each.push, each.outcome, each.device_id) for each in collector.events]
    assert told == [
        ("a1", "one", "interacted", "d1"),
        ("a2", "", "interacted", "d1"),
        ("a3", "", "interacted", "d1"),
    ]


async def test_an_event_told_again_has_its_id(database: Database) -> None:
    await add_outcome(database, 7, devices=[device(1), device(2)])
    first, second = Collector(database, name="first"), Collector(database, name="second")
    assert await events(database, first) == await events(database, second)
    assert len({each.id for each in first.events}) == 2
