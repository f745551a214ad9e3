"""Pushes to raw Web Push subscriptions, and to tokens, topics and conditions of HMS, down to the rows in the queue."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from methods.context import Context
from methods.errors import ApiError, BadRequestError, NotAvailableError, NotFoundError
from storage.database import Database
from tests.methods.device_calls import point, subscription
from tests.methods.push_calls import Send, planned, put_credentials, sender

HELLO = {"title": "Hi", "body": "there"}
MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2/"


@pytest.fixture
async def send(context: Callable[..., Context], database: Database) -> Send:
    await put_credentials(database)
    await database.execute(
        b"insert into credentials (provider_id, provider, is_default, source, settings, secrets) values"
        b" ('web', 'webpush', true, 'api', '{}', ''), ('other', 'webpush', false, 'api', '{}', ''),"
        b" ('huawei', 'hms', true, 'api', '{}', '')",
        {},
    )
    return sender(context)


async def refused(send: Send, error: type[ApiError] = BadRequestError, **params: object) -> ApiError:
    with pytest.raises(error) as caught:
        await send(**({"notification": HELLO} | params))
    assert caught.value.detail
    return caught.value


async def queued(database: Database) -> list[tuple[Any, ...]]:
    rows = await database.values(b"select credential, scope, target, tokens from batches order by 1, 2, 4", {})
    return [tuple(row) for row in rows]


def line(token: str) -> str:
    """What a batch holds of a subscription."""
    given = json.loads(token)
    return f"{given['endpoint']} {given['keys']['p256dh']} {given['keys']['auth']}"


async def test_subscriptions_are_queued_with_their_keys_a_batch_for_each_origin(send: Send, database: Database) -> None:
    chrome, firefox = subscription(), [subscription(f"{MOZILLA}{name}") for name in "ab"]
    await send(recipient={"webpush_tokens": [chrome, *firefox]}, notification=HELLO)
    assert await queued(database) == [
        ("web", "fcm.googleapis.com", "token", line(chrome)),
        ("web", "updates.push.services.mozilla.com", "token", "\n".join(map(line, firefox))),
    ]


async def test_a_subscription_is_taken_as_an_object_and_as_text(send: Send, database: Database) -> None:
    text, other = subscription(), subscription(f"{MOZILLA}b")
    await send(recipient={"webpush_tokens": [json.loads(text), other]}, notification=HELLO)
    assert [tokens for *_, tokens in await queued(database)] == [line(text), line(other)]


async def test_of_one_endpoint_the_last_subscription_counts(send: Send, database: Database) -> None:
    old, new = subscription(), subscription()
    await send(recipient={"webpush_tokens": [old, new]}, notification=HELLO)
    assert [tokens for *_, tokens in await queued(database)] == [line(new)]


async def test_a_credential_can_be_named_for_subscriptions(send: Send, database: Database) -> None:
    await send(recipient={"webpush_tokens": [subscription()], "provider_id": "other"}, notification=HELLO)
    assert [credential for credential, *_ in await queued(database)] == ["other"]
    recipient = {"webpush_tokens": [subscription()], "provider_id": "huawei"}
    assert (await refused(send, NotFoundError, recipient=recipient)).path == "recipient.provider_id"


async def test_a_scheduled_push_keeps_its_subscriptions(send: Send, database: Database) -> None:
    token = subscription()
    await send(recipient={"webpush_tokens": [token]}, notification=HELLO, send_at=1)
    assert await planned(database) == [line(token)]


@pytest.mark.parametrize(
    ("token", "path"),
    [
        ("t1", "recipient.webpush_tokens[1]"),
        ("{}", "recipient.webpush_tokens[1]"),
        (subscription("https://example.com/x"), "recipient.webpush_tokens[1]"),
        (subscription("https://127.0.0.1/x"), "recipient.webpush_tokens[1]"),
        (subscription("https://fcm.googleapis.com/a b"), "recipient.webpush_tokens[1]"),
        (subscription(auth="AAAA"), "recipient.webpush_tokens[1]"),
        (subscription(p256dh="AAAA"), "recipient.webpush_tokens[1]"),
        ({}, "recipient.webpush_tokens[1].endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/x"}, "recipient.webpush_tokens[1].keys"),
        (
            {"endpoint": "https://fcm.googleapis.com/x", "keys": {"auth": "A"}},
            "recipient.webpush_tokens[1].keys.p256dh",
        ),
        (json.loads(subscription(p256dh="AAAA")), "recipient.webpush_tokens[1]"),
        (7, "recipient.webpush_tokens[1]"),
    ],
)
async def test_a_malformed_subscription_is_named_by_its_place(send: Send, token: object, path: str) -> None:
    error = await refused(send, recipient={"webpush_tokens": [subscription(), token]})
    assert error.path.replace("[...]", "[1]") == path


async def test_a_push_service_of_the_settings_is_taken(send: Send, context: Callable[..., Context]) -> None:
    recipient = {"webpush_tokens": [subscription("https://push.internal:8443/x")]}
    await refused(send, recipient=recipient)

    def with_origin(body: bytes) -> Context:
        return replace(context(body), webpush_origins=("push.internal:8443",))

    assert await sender(with_origin)(recipient=recipient, notification=HELLO)


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ({"hms_tokens": ["B_x-1", "AKZ", "AKZ"]}, ("huawei", "", "token", "AKZ\nB_x-1")),
        ({"hms_topic": "news"}, ("huawei", "", "topic", "news")),
        (
            {"hms_condition": "'a' in topics && 'b' in topics"},
            ("huawei", "", "condition", "'a' in topics && 'b' in topics"),
        ),
        ({"hms_tokens": ["AKZ"], "provider_id": "huawei"}, ("huawei", "", "token", "AKZ")),
    ],
)
async def test_recipients_of_hms_are_queued_as_they_are(
    send: Send, database: Database, recipient: object, expected: tuple[str, ...]
) -> None:
    await send(recipient=recipient, notification=HELLO)
    assert await queued(database) == [expected]


@pytest.mark.parametrize(
    ("recipient", "path"),
    [
        ({"hms_tokens": []}, "recipient.hms_tokens"),
        ({"webpush_tokens": []}, "recipient.webpush_tokens"),
        ({"hms_tokens": ["a", ""]}, "recipient.hms_tokens[1]"),
        ({"hms_tokens": ["a\nb"]}, "recipient.hms_tokens[0]"),
        ({"hms_topic": ""}, "recipient.hms_topic[0]"),
        ({"hms_topic": "a", "hms_tokens": ["b"]}, "recipient"),
    ],
)
async def test_recipients_that_make_no_sense_are_refused(send: Send, recipient: object, path: str) -> None:
    assert (await refused(send, recipient=recipient)).path == path


async def test_a_topic_of_hms_is_told_nothing_about_devices(send: Send) -> None:
    error = await refused(
        send, recipient={"hms_topic": "news"}, notification={"title": "{{device.id}}"}, use_templating=True
    )
    assert error.path == "recipient"


@pytest.mark.parametrize(
    ("recipient", "provider"),
    [({"hms_tokens": ["a"]}, "hms"), ({"hms_topic": "a"}, "hms"), ({"webpush_tokens": [subscription()]}, "webpush")],
)
async def test_raw_recipients_need_a_payload_and_a_credential(
    send: Send, database: Database, recipient: object, provider: str
) -> None:
    error = await refused(send, recipient=recipient, notification={"apns": {"payload": {"aps": {"alert": "a"}}}})
    assert error.path == f"notification.{provider}"
    await database.execute(b"delete from credentials where provider in ('hms', 'webpush')", {})
    missing = await refused(send, NotAvailableError, recipient=recipient)
    assert missing.detail == f"no credential for {provider}; see provider_put"


async def test_a_dry_run_renders_what_browsers_and_huawei_devices_get(send: Send) -> None:
    web = {"provider": "webpush", "platform": "web", "token": subscription(), "user": "ann", "locale": "de"}
    huawei = {"provider": "hms", "platform": "android", "token": "AKZ", "user": "ann", "locale": "pt-BR"}
    for device in (web, huawei):
        await send("device_register", **device)
    answer = await send(
        recipient={"users": ["ann"]},
        notification={"title": "{{ l10n.hello }}, {{ device.user }}", "data": {"id": "{{ device.id }}"}, "ttl": 60},
        use_templating=True,
        localizations={"de": {"translations": {"hello": "Hallo"}}, "pt": {"translations": {"hello": "Oi"}}},
        dry_run=True,
    )
    assert not answer.get("problems")
    found = {message["provider"]: (message["device_id"], message["notification"]) for message in answer["messages"]}
    device, member = found["webpush"]
    assert member["headers"] == {"TTL": "60"}
    assert member["payload"]["notification"] == {"title": "Hallo, ann", "data": {"id": device}}
    device, member = found["hms"]
    assert member["message"]["notification"] == {"title": "Oi, ann", "body": "Oi, ann"}
    assert json.loads(member["message"]["data"]) == {"id": device}
    assert member["message"]["android"]["ttl"] == "60s"


async def test_a_dry_run_to_raw_subscriptions_shows_no_key(send: Send) -> None:
    tokens = [subscription(p256dh=point())]
    answer = await send(recipient={"webpush_tokens": tokens}, notification=HELLO, dry_run=True)
    assert answer["audience"] == [{"provider": "webpush", "recipients": 1}]
    assert json.loads(tokens[0])["keys"]["p256dh"] not in json.dumps(answer)


async def test_what_is_too_large_for_a_provider_alone_matters_where_it_has_a_credential(
    send: Send, database: Database
) -> None:
    quotes = {"data": {"a": '"' * 1100}}  # escaped twice for HMS, whose data is JSON text
    error = await refused(send, recipient={"users": ["ann"]}, notification=quotes)
    assert error.path == "notification.hms.message"
    await database.execute(b"delete from credentials where provider = 'hms'", {})
    assert await send(recipient={"users": ["ann"]}, notification=quotes)


@pytest.mark.parametrize(
    ("notification", "path"),
    [
        ({"webpush": {"payload": "x" * 3994}}, "notification.webpush.payload"),
        ({"hms": {"message": {"data": "x" * 4096}}}, "notification.hms.message"),
        ({"title": "a", "hms": {"message": {"data": "x" * 4096}}}, "notification.hms.message"),
        ({"title": "a", "body": "x" * 3960}, "notification.webpush.payload"),
    ],
)
async def test_sizes_are_checked_at_once(send: Send, notification: object, path: str) -> None:
    assert (await refused(send, recipient={"users": ["ann"]}, notification=notification)).path == path


async def test_templates_are_filled_in_where_huawei_and_browsers_have_rules(send: Send) -> None:
    own = {
        "hms": {
            "message": {
                "notification": {"title": "a", "body": "b"},
                "android": {
                    "urgency": "{{ l10n.urgency }}",
                    "notification": {"click_action": {"type": 2, "url": "{{ l10n.page }}"}},
                },
            }
        },
        "webpush": {"headers": {"Urgency": "{{ l10n.urgency }}"}, "payload": {"title": "{{ l10n.page }}"}},
    }
    texts = {"urgency": "HIGH", "page": "https://example.com"}
    answer = await send(
        recipient={"hms_tokens": ["AKZ"]},
        notification=own,
        use_templating=True,
        localizations={"default": {"translations": texts}},
        dry_run=True,
    )
    assert not answer.get("problems")
    android = answer["messages"][0]["notification"]["message"]["android"]
    assert (android["urgency"], android["notification"]["click_action"]["url"]) == ("HIGH", "https://example.com")


async def test_no_value_breaks_the_json_text_in_a_message_to_huawei(send: Send) -> None:
    await send("device_register", provider="hms", platform="android", token="AKZ", user="ann", meta={"n": 'A "q" \\'})
    answer = await send(
        recipient={"users": ["ann"]},
        notification={"data": {"name": "{{ device.meta.n }}"}},
        use_templating=True,
        use_meta=True,
        dry_run=True,
    )
    assert json.loads(answer["messages"][0]["notification"]["message"]["data"]) == {"name": 'A "q" \\'}
