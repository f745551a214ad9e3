"""How deliveries reach their webhooks: signed, again until they are taken, none held up by another."""

import asyncio
import hashlib
import hmac

import msgspec
import pytest

from delivery.guard import Allowed
from storage import credentials, webhooks
from storage.database import Database
from storage.ids import new_id
from storage.vault import Vault
from storage.webhooks import Deliveries
from tests.delivery.recording import add_outcome, add_push
from tests.delivery.webhooks.receiver import Received, receiving
from tests.delivery.webhooks.telling import QUICK, SECRET, Teller


def is_signed(request: Received, secret: str = SECRET) -> bool:
    text = request.headers["x-tocsin-timestamp"].encode() + b"." + request.body
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return request.headers.get("x-tocsin-signature") == f"v1={digest}"


async def test_the_events_of_a_push_arrive_signed(database: Database, teller: Teller) -> None:
    async with receiving() as app, teller.delivering():
        push_id = await add_push(database, "hello", webhook=teller.hook(app.url))
        await add_outcome(database, 1, push_id=push_id)
        await teller.write()
        (request,) = await app.got(1)
        assert await teller.ended() == []
    assert request.target == "/outcomes"
    assert request.headers["content-type"] == "application/json"
    assert is_signed(request)
    assert [(event["push"], event["outcome"]) for event in request.events] == [("hello", "accepted")]


async def test_without_a_secret_nothing_is_signed(database: Database, teller: Teller) -> None:
    async with receiving() as app, teller.delivering():
        await add_outcome(
            database, 1, push_id=await add_push(database, "hello", webhook=teller.hook(app.url, secret=None))
        )
        await teller.write()
        (request,) = await app.got(1)
    assert "x-tocsin-signature" not in request.headers


async def test_a_credential_signs_with_the_secret_it_has_now(database: Database, teller: Teller) -> None:
    async with receiving() as app:
        await teller.put_credential("ours", app.url, SECRET)
        await add_outcome(database, 1, credential="ours")
        await teller.write()
        await teller.put_credential("ours", app.url, "another secret of it")
        async with teller.delivering():
            (request,) = await app.got(1)
    assert is_signed(request, "another secret of it")


async def test_a_delivery_is_sent_again_until_it_is_taken(teller: Teller) -> None:
    async with receiving(500, 404, 302, 429) as app, teller.delivering():
        (delivery,) = await teller.add(app.url)
        requests = await app.got(5)
        assert await teller.ended() == []
    assert [request.delivery for request in requests] == [delivery] * 5
    assert len({request.body for request in requests}) == 1


async def test_a_webhook_that_is_gone_is_asked_once(teller: Teller) -> None:
    async with receiving(410) as app, teller.delivering():
        await teller.add(app.url)
        (letter,) = await teller.ended()
    assert len(app.requests) == 1
    assert (letter.url, letter.attempts, letter.last_status, letter.last_error) == (app.url, 1, 410, "Gone")


async def test_what_is_not_taken_in_its_time_becomes_a_dead_letter(database: Database, teller: Teller) -> None:
    async with receiving(*[503] * 100) as app:
        await teller.add(app.url)
        async with teller.delivering():
            await app.got(2)
            assert await teller.waiting() == 1
            await database.execute(b"update webhook_deliveries set retry_until = now()", {})
            (letter,) = await teller.ended()
    assert (letter.last_status, letter.last_error) == (503, "Refused")
    assert letter.attempts == len(app.requests) >= 2


async def test_a_dead_letter_that_is_sent_again_arrives(database: Database, teller: Teller) -> None:
    async with receiving(410, 410) as app, teller.delivering():
        first, second = await teller.add(app.url, 2)
        await teller.ended()
        assert await webhooks.retry(database, [first], None) == 1
        await app.got(3)
        assert [letter.id for letter in await teller.ended()] == [second]
        assert await webhooks.retry(database, None, app.url) == 1
        await app.got(4)
        assert await teller.ended() == []


async def test_a_url_that_does_not_answer_holds_up_no_other(teller: Teller) -> None:
    async with receiving(held=True) as stuck, receiving() as sound:
        await teller.add(stuck.url, 50)
        await teller.add(sound.url, 50)
        async with teller.delivering():
            await sound.got(50)
            await stuck.got(1)
            assert stuck.most_at_once <= QUICK.each
            assert sound.most_at_once <= QUICK.each


async def test_a_url_in_trouble_gets_one_at_a_time(teller: Teller) -> None:
    async with receiving(*[500] * 1000) as broken, teller.delivering():
        await teller.add(broken.url)
        await broken.got(2)
        broken.most_at_once = 0
        await teller.add(broken.url, 20)
        await broken.got(30)
    assert broken.most_at_once == 1


async def test_workers_at_once_never_send_the_same(teller: Teller) -> None:
    async with receiving() as app:
        sent = await teller.add(app.url, 100)
        async with teller.delivering(), teller.delivering(), teller.delivering():
            assert await teller.ended() == []
    assert sorted(request.delivery for request in app.requests) == sorted(sent)


async def test_a_worker_that_stops_gives_back_what_is_in_flight(database: Database, teller: Teller) -> None:
    async with receiving(held=True) as app:
        await teller.add(app.url, 2)
        async with teller.delivering():
            await app.got(2)
            held = await database.values(b"select count(*) from webhook_deliveries where claimed_by is not null", {})
        free = await database.values(
            b"select count(*) from webhook_deliveries where claimed_by is null and due_at <= now()", {}
        )
    assert (held, free) == ([(2,)], [(2,)])


async def test_what_a_dead_worker_held_is_sent_when_its_lease_is_over(database: Database, teller: Teller) -> None:
    async with receiving() as app:
        await teller.add(app.url)
        dead = Deliveries(database, new_id(), lease_seconds=0.0)
        (claimed,) = await dead.claim(10, 4, {})
        async with teller.delivering():
            assert await teller.ended() == []
        assert not await dead.delivered(claimed.id)
        assert await dead.refused(claimed.id, seconds=0.0, status=0, error="", final=True) is None
    assert len(app.requests) == 1


async def test_a_private_address_is_not_reached(teller: Teller) -> None:
    async with receiving() as app, teller.delivering(Allowed()):
        await teller.add(app.url)
        async with asyncio.timeout(10):
            while not await teller.database.values(
                b"select 1 from webhook_deliveries where last_error = 'AddressNotAllowed'", {}
            ):
                pass
    assert app.requests == []


async def test_an_answer_that_takes_too_long_counts_as_none(teller: Teller) -> None:
    quick = msgspec.structs.replace(QUICK, total_seconds=0.05)
    async with receiving(held=True) as app, teller.delivering(options=quick):
        await teller.add(app.url)
        await app.got(2)
        rows = await teller.database.values(b"select last_error, last_status from webhook_deliveries", {})
    assert rows == [("Timeout", 0)]


async def test_nothing_is_sent_unsigned_for_a_credential_that_is_gone(teller: Teller) -> None:
    async with receiving() as app, teller.delivering():
        await teller.put_credential("ours", app.url)
        await credentials.remove(teller.database, "ours")
        await teller.add(app.url, credential="ours")
        (letter,) = await teller.ended()
    assert (letter.last_error, app.requests) == ("CredentialRemoved", [])


async def test_nothing_is_sent_unsigned_when_the_secret_does_not_open(database: Database, teller: Teller) -> None:
    async with receiving() as app:
        other = Teller(database, Vault(b"another secret key, 32 bytes of it"))
        await add_outcome(database, 1, push_id=await add_push(database, "p", webhook=other.hook(app.url)))
        await teller.write()
        async with teller.delivering():
            (letter,) = await teller.ended()
    assert (letter.last_error, app.requests) == ("SecretKeyChanged", [])


async def test_a_webhook_may_ask_for_time(database: Database, teller: Teller) -> None:
    async with receiving(429, extra="retry-after: 120\r\n") as app, teller.delivering():
        await teller.add(app.url)
        async with asyncio.timeout(10):
            while not await database.values(b"select 1 from webhook_deliveries where last_status = 429", {}):
                pass
        due = await database.values(b"select due_at > now() + interval '100 seconds' from webhook_deliveries", {})
    assert due == [(True,)]


async def test_old_dead_letters_leave(database: Database, teller: Teller) -> None:
    old, new = await teller.add("https://gone.example/", 2)
    await database.execute(
        b"update webhook_deliveries set"
        b" failed_at = now() - make_interval(days => case when id = %(old)s then 31 else 1 end),"
        b" id = case when id = %(old)s then '01900000-0000-7000-8000-000000000000' else id end",
        {"old": old},
    )
    assert await webhooks.remove_old(database, 30) == 1
    assert [letter.id for letter in await webhooks.failures(database, None, None, 10)] == [new]


@pytest.mark.parametrize("url", [None, "https://b.example/"])
async def test_dead_letters_are_listed_page_by_page(database: Database, teller: Teller, url: str | None) -> None:
    ids = await teller.add("https://a.example/", 3) if url is None else []
    ids += await teller.add("https://b.example/", 3)
    await database.execute(b"update webhook_deliveries set failed_at = now()", {})
    found: list[str] = []
    while page := await webhooks.failures(database, url, found[-1] if found else None, 2):
        found += [letter.id for letter in page]
    assert found == ids
