"""What a browser would read of payloads, subscriptions by the thousand, and messages that wait."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.counters import Arrival
from emulators.deliveries import Delivery
from emulators.webpush import WebpushEmulator
from emulators.webpush_decryption import UndecryptableError, decrypt
from emulators.webpush_messages import MAX_MESSAGES, Message, Messages
from emulators.webpush_subscriptions import SubscriptionOrder, Subscriptions, packed, point_of, unpacked
from tests.emulators.pushing import PushSender, encrypted
from tests.emulators.wire import connected

ORIGIN = "https://localhost:1"


@pytest.fixture
async def sender(webpush: WebpushEmulator) -> AsyncIterator[PushSender]:
    async with connected(webpush, authorization="") as client:
        yield PushSender(webpush, client)


def test_the_example_of_rfc_8291_is_read() -> None:
    private = ec.derive_private_key(
        int.from_bytes(unpacked("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")), ec.SECP256R1()
    )
    body = (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
        "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    plain = decrypt(unpacked(body), private, point_of(private), unpacked("BTBZMqHH6r4Tts7J_aSIgg"))
    assert plain == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda body: body[:20], "the header is cut off"),
        (lambda body: body[:90], "no key id of 65 bytes"),
        (lambda body: body[:20] + b"\x10" + body[21:], "not encrypted for this|no key id"),
        (lambda body: body[:16] + b"\0\0\0\x11" + body[20:], "below 18"),
        (lambda body: body[:16] + b"\0\0\0\x12" + body[20:], "more than one record"),
        (lambda body: body[:21] + b"\x05" + body[22:], "no point"),
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), "not encrypted for this"),
        (lambda body: bytes(16) + body[16:], "not encrypted for this"),
    ],
)
def test_a_damaged_payload_is_not_read(damage: object, why: str) -> None:
    subscriptions = Subscriptions(b"seed")
    [created] = subscriptions.create(SubscriptionOrder(), ORIGIN)
    found = subscriptions.find(created.id)
    assert found is not None
    assert callable(damage)
    with pytest.raises(UndecryptableError, match=why):
        found.decrypt(damage(encrypted(b"hello there", created)))


def test_a_payload_of_several_records_is_not_read() -> None:
    subscriptions = Subscriptions(b"seed")
    [created] = subscriptions.create(SubscriptionOrder(), ORIGIN)
    found = subscriptions.find(created.id)
    assert found is not None
    with pytest.raises(UndecryptableError, match="more than one record"):
        found.decrypt(encrypted(b"x" * 100, created, rs=50))


async def test_what_no_browser_could_read_is_taken_and_counted(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created, other] = webpush.subscribe(2)
    assert (await sender.push(created, encrypted(b"secret", other))).status == 201
    [recorded] = webpush.requests()
    assert (recorded.payload, recorded.error) == (None, "the record is not encrypted for this subscription")
    assert webpush.counters().undecryptable == 1
    await sender.push(created, b"junk", content_encoding=None)
    assert webpush.counters().undecryptable == 1


def test_the_first_of_several_records_is_not_the_last() -> None:
    subscriptions = Subscriptions(b"seed")
    [created] = subscriptions.create(SubscriptionOrder(), ORIGIN)
    found = subscriptions.find(created.id)
    assert found is not None
    with pytest.raises(UndecryptableError, match="this is the last record"):
        found.decrypt(encrypted(b"x" * 100, created, rs=50)[: 86 + 50])


def test_subscriptions_are_known_by_their_name_alone() -> None:
    [created] = Subscriptions(b"seed").create(SubscriptionOrder(label="ann"), ORIGIN)
    found = Subscriptions(b"seed").find(created.id)
    assert found is not None
    assert found.decrypt(encrypted(b"hello", created)) == b"hello"
    assert Subscriptions(b"another seed").find(created.id) is None


def test_subscriptions_share_their_keys_when_asked_to() -> None:
    created = Subscriptions(b"seed").create(SubscriptionOrder(count=1000, shared_keys=True), ORIGIN)
    assert len({each.subscription.endpoint for each in created}) == 1000
    assert len({each.subscription.keys["p256dh"] for each in created}) == 1


def test_subscriptions_have_keys_of_their_own_otherwise() -> None:
    created = Subscriptions(b"seed").create(SubscriptionOrder(count=10), ORIGIN)
    assert len({each.subscription.keys["p256dh"] for each in created}) == 10
    private = ec.derive_private_key(int.from_bytes(unpacked(created[0].private_key)), ec.SECP256R1())
    assert packed(point_of(private)) == created[0].subscription.keys["p256dh"]


async def test_the_control_port_makes_subscriptions(webpush: WebpushEmulator) -> None:
    async with httpx.AsyncClient(base_url=webpush.control_url, trust_env=False) as control:
        [made] = (await control.post("/subscriptions", content=b"")).json()
        assert sorted(made) == ["id", "private_key", "subscription"]
        assert sorted(made["subscription"]) == ["endpoint", "expirationTime", "keys"]
        assert made["subscription"]["endpoint"] == f"{webpush.url}/wpush/v2/{made['id']}"
        wrong = [{"count": 0}, {"count": 10_001}, {"label": "a b"}, {"vapid_public_key": "AAAA"}, {"of": 1}]
        assert [(await control.post("/subscriptions", json=each)).status_code for each in wrong] == [400] * 5
        described = (await control.get("/")).json()
    assert (described["kind"], described["url"]) == ("webpush", f"https://localhost:{webpush.port}")


async def test_subscriptions_are_at_the_name_it_is_given(keys_folder: Path) -> None:
    async with WebpushEmulator(data_dir=keys_folder, name="push.test") as emulator:
        endpoint = emulator.subscribe()[0].subscription.endpoint
        assert endpoint.startswith(f"https://push.test:{emulator.port}/wpush/v2/")
        tls = emulator.authority.client_context()
        _, writer = await asyncio.open_connection("127.0.0.1", emulator.port, ssl=tls, server_hostname="push.test")
        writer.transport.abort()


async def test_keys_and_subscriptions_outlive_the_emulator(tmp_path: Path) -> None:
    async with WebpushEmulator(data_dir=tmp_path) as first:
        pair, [created] = first.vapid_pair(), first.subscribe()
    async with WebpushEmulator(data_dir=tmp_path, port=first.port) as second, connected(second, "") as client:
        assert second.vapid_pair() == pair
        assert (await PushSender(second, client).push(created)).status == 201


async def test_a_message_waits_until_another_of_its_topic_comes(webpush: WebpushEmulator, sender: PushSender) -> None:
    one, two = webpush.subscribe(2)
    for number, created, topic in ((1, one, "score"), (2, one, None), (3, two, "score"), (4, one, "score")):
        await sender.push(created, encrypted(json.dumps(number).encode(), created), topic=topic)
    waiting = webpush.messages(one.subscription.endpoint)
    assert [(message.payload, message.topic, message.replaced) for message in waiting] == [(2, "", 0), (4, "score", 1)]
    async with httpx.AsyncClient(base_url=webpush.control_url, trust_env=False) as control:
        shown = (await control.get("/messages", params={"endpoint": two.id})).json()
    assert [message["payload"] for message in shown] == [3]


async def test_a_message_without_time_to_live_does_not_wait(webpush: WebpushEmulator, sender: PushSender) -> None:
    [created] = webpush.subscribe()
    await sender.push(created, topic="score")
    await sender.push(created, topic="score", ttl="0")
    assert webpush.messages() == []


async def test_what_arrived_twice_is_found_by_what_it_says(webpush: WebpushEmulator, sender: PushSender) -> None:
    one, two = webpush.subscribe(2)
    for created in (one, two, one):
        await sender.push(created)
    assert webpush.counters().duplicate_deliveries == 1
    arrivals = webpush.arrivals(duplicates_only=True)
    endpoint, message_id = one.subscription.endpoint, webpush.requests()[0].message_id
    assert arrivals.deliveries == [Delivery(endpoint, message_id, 2)]
    assert arrivals.tokens == {endpoint: Arrival(2, 2)}


def test_no_more_than_two_thousand_messages_wait() -> None:
    messages = Messages()
    for number in range(MAX_MESSAGES + 1):
        messages.put(Message(str(number), "https://localhost/a", "", "normal", 60, 1000.0, None))
    waiting = messages.waiting(None, 1001.0, MAX_MESSAGES + 1)
    assert [waiting[0].id, len(waiting)] == ["1", MAX_MESSAGES]
    assert messages.waiting(None, 1060.0, 1) == []
