"""What a push says: neutral fields and payloads of the caller's own, templates in them, and what makes no sense."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from methods.all import TABLE
from methods.context import Context
from methods.errors import NotAvailableError
from storage.database import Database
from tests.methods.push_calls import APNS, Send, add_device, built, planned, put_credentials, refusal, sender

SEND_AT = 4_000_000_000
ANN = {"users": ["ann"]}
GERMAN = {"de": {"translations": {"greeting": "Hallo"}}}


@pytest.fixture
async def send(context: Callable[..., Context], database: Database) -> Send:
    await put_credentials(database)
    await add_device(database, "aa", user_id="ann", locale="de-AT", meta={"name": "Ann"})
    await add_device(database, "bb", user_id="ann", provider="fcm", platform="android", locale="de-AT")
    return sender(context)


async def members(send: Send, notification: object, **params: object) -> dict[str, Any]:
    """What each provider would be sent."""
    given: dict[str, object] = {"recipient": ANN, "send_at": SEND_AT, **params}
    answer = await send(notification=notification, dry_run=True, **given)
    assert not answer.get("problems"), answer["problems"]
    return {message["provider"]: message["notification"] for message in answer["messages"]}


async def test_neutral_fields_become_each_providers_payload(send: Send) -> None:
    found = await members(
        send, {"title": "Hi", "body": "there", "badge": 2, "data": {"n": "1"}, "url": "app:x", "ttl": 60}
    )
    assert found["apns"]["payload"] == {
        "aps": {"alert": {"title": "Hi", "body": "there"}, "badge": 2},
        "url": "app:x",
        "n": "1",
    }
    assert found["apns"]["headers"] == {"apns-push-type": "alert", "apns-expiration": str(SEND_AT + 60)}
    message = found["fcm"]["message"]
    assert message["notification"] == {"title": "Hi", "body": "there"}
    assert message["data"] == {"url": "app:x", "n": "1"}
    assert message["android"]["ttl"] == "60s"


async def test_message_is_another_name_of_body(send: Send) -> None:
    assert (await members(send, {"message": "hi"}))["apns"]["payload"]["aps"]["alert"] == {"body": "hi"}


async def test_a_providers_object_is_laid_over_the_fields(send: Send) -> None:
    own = {"payload": {"aps": {"alert": {"body": None, "title": "Apple"}, "sound": "bell"}, "more": 1}}
    found = await members(send, {"title": "Hi", "body": "there", "apns": own})
    assert found["apns"]["payload"] == {"aps": {"alert": {"title": "Apple"}, "sound": "bell"}, "more": 1}
    assert found["fcm"]["message"]["notification"] == {"title": "Hi", "body": "there"}


async def test_a_payload_without_fields_and_templates_is_not_touched(
    send: Send, context: Callable[..., Context]
) -> None:
    member = b'{ "payload":{"aps" : {"alert":"h\\u00e9 {{device.user}}"},"n":1.50,"a":1e2}}'
    body = b'{"recipient":{"users":["ann"]},"dry_run":true,"notification":{"apns":%b}}' % member
    method = TABLE["send_push_notification"]
    answer: Any = await method.handler(context(body), method.decoder.decode(body))
    assert [bytes(message.notification) for message in answer.messages] == [member]
    assert [part.skipped for part in answer.audience] == ["", "NoPayload"]


@pytest.mark.parametrize(
    ("params", "of_notification", "expire_at"),
    [
        ({}, {}, 0),
        ({}, {"ttl": 60}, SEND_AT + 60),
        ({}, {"ttl": 0}, SEND_AT + 30),
        ({"expire_at": SEND_AT + 50}, {"ttl": 60}, SEND_AT + 50),
        ({"expire_at": SEND_AT + 70}, {"ttl": 60}, SEND_AT + 60),
        ({}, {"expire_at": SEND_AT + 40}, SEND_AT + 40),
        ({"expire_at": SEND_AT + 50}, {"expire_at": SEND_AT + 40}, SEND_AT + 50),
    ],
)
async def test_a_ttl_counts_from_the_time_of_sending_and_the_earlier_end_holds(
    send: Send, params: dict[str, Any], of_notification: dict[str, Any], expire_at: int
) -> None:
    notification = {"title": "hi", **of_notification}
    uid = (await send(recipient=ANN, send_at=SEND_AT, notification=notification, **params))["uid"]
    assert (await send("push_status", uid=uid)).get("expire_at", 0) == expire_at


@pytest.mark.parametrize(
    ("ttl", "expire_at", "header"),
    [
        (0, None, "0"),
        (60, None, str(SEND_AT + 60)),
        (60, SEND_AT + 50, str(SEND_AT + 50)),
        (60 * 86_400, SEND_AT + 86_400, str(SEND_AT + 86_400)),
    ],
)
async def test_apple_is_told_when_the_push_ends(send: Send, ttl: int, expire_at: int | None, header: str) -> None:
    found = await members(send, {"title": "hi", "ttl": ttl}, expire_at=expire_at)
    assert found["apns"]["headers"]["apns-expiration"] == header


@pytest.mark.parametrize("fields", [{"ttl": 60}, {"collapse_key": "a", "priority": "high"}, {"title": ""}])
async def test_fields_that_say_nothing_alone_reach_only_whom_an_object_is_given_for(
    send: Send, database: Database, fields: dict[str, Any]
) -> None:
    await send(recipient=ANN, notification={**fields, "apns": APNS})
    assert await built(database) == {"apns": ["aa"]}


async def test_data_alone_reaches_everyone(send: Send, database: Database) -> None:
    await send(recipient=ANN, notification={"data": {"n": "1"}, "apns": APNS})
    assert await built(database) == {"apns": ["aa"], "fcm": ["bb"]}


async def test_what_is_too_large_for_another_provider_does_not_matter_to_raw_tokens(send: Send) -> None:
    large = {"title": "hi", "body": "x" * 2000, "collapse_key": "a"}
    assert (await refusal(send, notification=large)).path == "notification.fcm.message"
    assert (await send(recipient={"apns_tokens": ["aa"]}, notification=large))["uid"]


async def test_templates_say_what_a_device_has(send: Send) -> None:
    notification = {
        "title": "{{ l10n.greeting }}, {{ device.meta.name | default('friend') }}",
        "data": {"u": "{{.device.user}}"},
    }
    found = await members(send, notification, localizations=GERMAN, use_meta=True)
    assert found["apns"]["payload"]["aps"]["alert"] == {"title": "Hallo, Ann"}
    assert found["fcm"]["message"]["notification"] == {"title": "Hallo, friend"}
    assert found["fcm"]["message"]["data"] == {"u": "ann"}


async def test_localizations_imply_templates_and_null_is_an_absent_translation(send: Send) -> None:
    given = {**GERMAN, "fr": {"translations": None}, "default": {"translations": {"greeting": "Hi"}}, "pt_BR": {}}
    found = await members(send, {"title": "{{l10n.greeting}}"}, localizations=given)
    assert found["apns"]["payload"]["aps"]["alert"] == {"title": "Hallo"}


async def test_a_template_may_stand_where_a_rule_is_about_what_it_says(send: Send, database: Database) -> None:
    notification = {
        "apns": {"headers": {"Apns-Priority": "{{l10n.p}}", "apns-collapse-id": "{{push.uid}}"}, **APNS},
        "fcm": {"message": {"android": {"ttl": "{{device.meta.ttl | default('9s')}}"}, "data": {"a": "b"}}},
    }
    priority = {"": {"translations": {"p": "5"}}}
    await send(recipient=ANN, notification=notification, localizations=priority, use_meta=True)
    assert await planned(database) == ["aa", "bb"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"notification": {"title": "a", "template": None, "ttl": -1}}, "notification.ttl"),
    ({"notification": {"title": "a", "ttl": 10**17}}, "notification.ttl"),
    ({"notification": {"title": "a", "expire_at": 10**17}}, "notification.expire_at"),
    ({"notification": {"body": "a", "message": "b"}}, "notification.message"),
    ({"notification": {"ttl": 60}}, "notification"),
    ({"notification": {"image": "https://example.com/a.png"}}, "notification.image"),
    ({"notification": {"title": "a", "image": "http://example.com/a.png"}}, "notification.image"),
    ({"notification": {"title": "a", "url": "index.html"}}, "notification.url"),
    ({"notification": {"title": "a", "background": True}}, "notification.title"),
    ({"notification": {"data": {"a": "b"}, "background": True, "priority": "high"}}, "notification.priority"),
    ({"notification": {"title": "a", "priority": "urgent"}}, "notification.priority"),
    ({"notification": {"title": "a", "badge": -1}}, "notification.badge"),
    ({"notification": {"title": "a", "data": {"google.x": "b"}}}, "notification.data"),
    ({"notification": {"title": "a", "data": {"n": 1}}}, "notification.data[...]"),
    ({"notification": {"title": "a", "data": {"n": None}}}, "notification.data[...]"),
    ({"notification": {"title": "a", "sound": {"name": "bell", "volume": 0.5}}}, "notification.sound"),
    ({"notification": {"title": "a", "collapse_key": "x" * 65}}, "notification.collapse_key"),
    ({"notification": {"title": "a", "apns": [1]}}, "notification.apns"),
    ({"notification": {"title": "a", "fcm": {"message": {"token": "x"}}}}, "notification.fcm.message.token"),
    ({"notification": {"body": "x" * 5000}}, "notification.fcm.message"),
    ({"localizations": {"not a locale!": {}}}, "localizations"),
    ({"localizations": {"de": None}}, "localizations[...]"),
]

BAD_TEMPLATES: list[tuple[dict[str, Any], str]] = [
    ({"title": "{{ device.user"}, "notification.title"),
    ({"title": "a", "data": {"k": "{{ device.name }}"}}, "notification.data.k"),
    ({"apns": {"payload": {"aps": {"alert": ["{{ 1 | shout }}"]}}}}, "notification.apns.payload.aps.alert[0]"),
    ({"title": "{{ vars.x }}"}, "notification"),
    ({"title": "a", "collapse_key": "{{ device.id }}"}, "notification.collapse_key"),
    ({"apns": {"headers": {"apns-collapse-id": "{{ device.id }}"}, **APNS}}, "notification.apns.headers"),
    ({"apns": {"headers": {"apns-topic": "{{ push.uid }}"}, **APNS}}, "notification.apns.headers.apns-topic"),
    ({"apns": {"headers": {"apns-push-type": "{{ push.uid }}"}, **APNS}}, "notification.apns.headers.apns-push-type"),
    (
        {"apns": {"headers": {"apns-priority": "7"}, "payload": {"a": "{{ device.id }}"}}},
        "notification.apns.headers.apns-priority",
    ),
    ({"apns": {"payload": {"a": "{{ device.id }}", "b": "x" * 5000}}}, "notification.apns.payload"),
    ({"apns": "{{ device.id }}"}, "notification.apns"),
    ({"fcm": {"message": {"topic": "{{ device.id }}"}}}, "notification.fcm.message.topic"),
]


@pytest.mark.parametrize(("params", "path"), REFUSED)
async def test_what_makes_no_sense_is_refused_where_it_stands(
    send: Send, database: Database, params: dict[str, Any], path: str
) -> None:
    assert (await refusal(send, **({"notification": {"title": "a"}} | params))).path == path
    assert await database.values(b"select 1 from pushes", {}) == []


@pytest.mark.parametrize(("notification", "path"), BAD_TEMPLATES)
async def test_a_template_that_can_never_be_sent_is_refused_where_it_stands(
    send: Send, notification: dict[str, Any], path: str
) -> None:
    assert (await refusal(send, notification=notification, use_templating=True)).path == path


async def test_meta_is_read_only_when_that_is_said(send: Send) -> None:
    notification = {"title": "{{ device.meta.name }}"}
    error = await refusal(send, notification=notification, use_templating=True)
    assert (error.path, "use_meta" in (error.detail or "")) == ("use_meta", True)
    recipient = {"filter": {"locales": ["de-AT"], "providers": ["apns"]}}
    found = await members(send, notification, recipient=recipient, use_templating=True, use_meta=True)
    assert found["apns"]["payload"]["aps"]["alert"] == {"title": "Ann"}


@pytest.mark.parametrize("target", [{"fcm_topic": "news"}, {"fcm_condition": "'a' in topics"}])
@pytest.mark.parametrize(
    "params",
    [
        {"notification": {"title": "{{ device.user }}"}, "use_templating": True},
        {"notification": {"title": "{{ l10n.greeting }}"}, "localizations": GERMAN},
        {"limit_strategy": {"time_limit": {"send_after_time": "09:00:00", "send_before_time": "10:00:00"}}},
        {"limit_strategy": {"rate_limit": {"policies": [{"rate": 1, "interval_ms": 1000}]}}},
    ],
)
async def test_fcm_topics_take_no_limits_and_nothing_about_a_device(
    send: Send, target: dict[str, str], params: dict[str, Any]
) -> None:
    error = await refusal(send, **({"notification": {"title": "a"}, "recipient": target} | params))
    assert error.path == "recipient"


async def test_a_push_to_an_fcm_topic_may_name_itself(send: Send, database: Database) -> None:
    notification = {"title": "{{ push.uid }}"}
    await send(recipient={"fcm_topic": "news"}, notification=notification, use_templating=True)
    assert await built(database) == {"fcm": ["news"]}


@pytest.mark.parametrize(
    ("strategy", "path"),
    [
        ({"time_limit": {"send_after_time": "9", "send_before_time": "10:00:00"}}, "time_limit.send_after_time"),
        ({"time_limit": {"send_after_time": "09:00:00"}}, "time_limit.send_before_time"),
        ({"time_limit": {"send_after_time": "09:00", "send_before_time": "09:00:00"}}, "time_limit.send_before_time"),
        ({"rate_limit": {"policies": []}}, "rate_limit.policies"),
        ({"rate_limit": {}}, "rate_limit.policies"),
        ({"rate_limit": {"policies": [{"rate": 0, "interval_ms": 1}]}}, "rate_limit.policies[0].rate"),
        ({"rate_limit": {"policies": [{"rate": 1, "interval_ms": 0}]}}, "rate_limit.policies[0].interval_ms"),
        ({"rate_limit": {"policies": [{"rate": 1}]}}, "rate_limit.policies[0].interval_ms"),
        ({"rate_limit": {"policies": [{"rate": 1, "interval_ms": 1}], "key": "x" * 256}}, "rate_limit.key"),
        ({"rate_limit": {"policies": [{"rate": 1, "interval_ms": 1}], "key": "{{device.meta.x}}"}}, "rate_limit.key"),
    ],
)
async def test_a_limit_that_means_nothing_is_refused(send: Send, strategy: object, path: str) -> None:
    error = await refusal(send, notification={"title": "a"}, limit_strategy=strategy)
    assert error.path == f"limit_strategy.{path}"


async def test_null_limits_are_absent(send: Send, database: Database) -> None:
    strategy = {"rate_limit": None, "time_limit": None}
    await send(recipient=ANN, notification={"title": "a", "sound": None}, limit_strategy=strategy, localizations=None)
    rows = await database.values(b"select needs from pushes", {})
    assert json.dumps(rows) == "[[[]]]"


async def test_a_push_for_one_provider_alone_needs_a_credential_of_it(send: Send) -> None:
    for name, member in {"hms": {"message": {"data": "x"}}, "webpush": {"payload": {}}}.items():
        with pytest.raises(NotAvailableError) as caught:
            await send(recipient=ANN, notification={name: member}, use_templating=True)
        assert (caught.value.path, caught.value.detail) == (
            "notification",
            f"no credential for {name}; see provider_put",
        )
