"""send_push_notification, cancel_push, push_status, push_list, update_push_status, down to the rows in the queue."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from delivery.planner import Planner, PlannerOptions
from delivery.queues.gate import Gate
from methods.all import TABLE
from methods.context import Context
from methods.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotAvailableError,
    NotFoundError,
    TooManyRequestsError,
)
from storage.database import Database
from storage.ids import new_id
from tests.methods.push_calls import APNS, FCM, put_credentials

MakeContext = Callable[..., Context]
Call = Callable[..., Any]

METHODS = TABLE


@pytest.fixture
async def credentials(database: Database) -> None:
    await put_credentials(database)


@pytest.fixture
def call(context: MakeContext) -> Call:
    """Call a method with these parameters; its result as plain values."""

    async def run(name: str, **params: object) -> Any:
        body = json.dumps(params).encode()
        method = METHODS[name]
        result = await method.handler(context(body=body), method.decoder.decode(body))
        return msgspec.to_builtins(result)

    return run


async def register(database: Database, token: str, *topics: str, provider: str = "apns", user: str = "") -> str:
    device_id = new_id()
    await database.execute(
        b"with d as (insert into devices (id, provider, platform, token, user_id)"
        b" values (%(id)s, %(provider)s, 'ios', %(token)s, %(user)s) returning id)"
        b" insert into device_topics (topic, device_id) select t, id from d, unnest(%(topics)s::text[]) t",
        {"id": device_id, "provider": provider, "token": token, "user": user, "topics": list(topics)},
    )
    return device_id


async def queued(database: Database) -> list[tuple[Any, ...]]:
    rows = await database.values(b"select provider, target, lane, tokens from batches order by provider, tokens", {})
    return list(rows)


async def plan(database: Database) -> None:
    planner = Planner(database, PlannerOptions(), lambda: None)
    while await planner.plan_page():
        pass


pytestmark = pytest.mark.usefixtures("credentials")


async def test_devices_are_queued_while_accepting(call: Call, database: Database) -> None:
    devices = [await register(database, "aa"), await register(database, "bb", provider="fcm")]
    await call("send_push_notification", recipient={"device_ids": devices}, notification={"apns": APNS, "fcm": FCM})
    assert await queued(database) == [("apns", "token", 1, "aa"), ("fcm", "token", 1, "bb")]


async def test_users_are_queued_while_accepting(call: Call, database: Database) -> None:
    await register(database, "aa", user="ann")
    await register(database, "bb", user="bob")
    await call("send_push_notification", recipient={"users": ["ann"]}, notification={"apns": APNS})
    assert await queued(database) == [("apns", "token", 1, "aa")]


@pytest.mark.parametrize(
    "recipient",
    [
        {"channels": ["test"]},
        {"filter": {"topics": ["test"]}},
        {"filter": {"topics": ["test"], "platforms": ["ios"]}},
        {"filter": {"all": True}},
        {"users": [""]},
    ],
)
async def test_audiences_are_planned_in_the_bulk_lane(call: Call, database: Database, recipient: object) -> None:
    await register(database, "aa", "test")
    await call("send_push_notification", recipient=recipient, notification={"apns": APNS})
    assert await queued(database) == []
    await plan(database)
    assert await queued(database) == [("apns", "token", 2, "aa")]


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ({"apns_tokens": ["BB", "aa", "aa"]}, ("apns", "token", 1, "aa\nbb")),
        ({"fcm_tokens": ["x:Y_z-1"]}, ("fcm", "token", 1, "x:Y_z-1")),
        ({"fcm_topic": "news"}, ("fcm", "topic", 1, "news")),
        ({"fcm_condition": "'a' in topics"}, ("fcm", "condition", 1, "'a' in topics")),
    ],
)
async def test_raw_recipients_are_queued_as_they_are(
    call: Call, database: Database, recipient: object, expected: tuple[object, ...]
) -> None:
    await call("send_push_notification", recipient=recipient, notification={"apns": APNS, "fcm": FCM})
    assert await queued(database) == [expected]


@pytest.mark.parametrize(
    ("params", "error", "path"),
    [
        ({"recipient": {}}, BadRequestError, "recipient"),
        ({"recipient": {"channels": ["a"], "users": ["b"]}}, BadRequestError, "recipient"),
        ({"recipient": {"channels": []}}, BadRequestError, "recipient.channels"),
        ({"recipient": {"filter": {}}}, BadRequestError, "recipient.filter"),
        ({"recipient": {"filter": {"users": []}}}, BadRequestError, "recipient.filter"),
        ({"recipient": {"filter": {"all": True, "users": ["a"]}}}, BadRequestError, "recipient.filter"),
        ({"recipient": {"filter": {"all": False}}}, BadRequestError, "recipient.filter"),
        ({"recipient": {"apns_tokens": ["xyz"]}}, BadRequestError, "recipient.apns_tokens[0]"),
        ({"recipient": {"fcm_tokens": ["a b\n"]}}, BadRequestError, "recipient.fcm_tokens[0]"),
        ({"recipient": {"condition": "'a' in"}}, BadRequestError, "recipient.condition"),
        ({"recipient": {"users": ["a"], "provider_id": "x"}}, BadRequestError, "recipient.provider_id"),
        ({"recipient": {"apns_tokens": ["aa"], "provider_id": "x"}}, NotFoundError, "recipient.provider_id"),
        ({"recipient": {"apns_tokens": ["aa"], "provider_id": "fcm"}}, NotFoundError, "recipient.provider_id"),
        ({"recipient": {"fcm_tokens": ["aa"]}}, BadRequestError, "notification.fcm"),
        ({"notification": {}}, BadRequestError, "notification"),
        ({"notification": {"apns": None}}, BadRequestError, "notification"),
        ({"notification": {"hms": {"message": {"data": "x"}}}}, NotAvailableError, "notification"),
        ({"notification": {"webpush": {"payload": 1}}}, NotAvailableError, "notification"),
        ({"notification": {"webpush": {"payload": "x" * 3994}}}, BadRequestError, "notification.webpush.payload"),
        (
            {"notification": {"webpush": {"headers": {"Urgency": "now"}}}},
            BadRequestError,
            "notification.webpush.headers.Urgency",
        ),
        ({"notification": {"webhook": {"payload": {}}}}, NotAvailableError, "notification"),
        ({"notification": {"webhook": {}}}, BadRequestError, "notification.webhook"),
        ({"notification": {"subtitle": "hi"}}, BadRequestError, "notification.subtitle"),
        ({"notification": {"template": "welcome"}}, NotFoundError, "notification.template"),
        ({"expire_at": 1}, BadRequestError, "expire_at"),
        ({"send_at": 4_000_000_000, "expire_at": 3_999_999_999}, BadRequestError, "expire_at"),
    ],
)
async def test_a_push_that_makes_no_sense_is_refused_and_leaves_nothing(
    call: Call, database: Database, params: dict[str, object], error: type[ApiError], path: str
) -> None:
    valid: dict[str, object] = {"recipient": {"users": ["ann"]}, "notification": {"apns": APNS}}
    with pytest.raises(error) as caught:
        await call("send_push_notification", **(valid | params))
    assert caught.value.path == path
    assert caught.value.detail
    assert await database.values(b"select 1 from pushes", {}) == []


async def test_a_push_without_any_credential_for_it_is_refused(call: Call, database: Database) -> None:
    await database.execute(b"delete from credentials where provider = 'fcm'", {})
    with pytest.raises(NotAvailableError):
        await call("send_push_notification", recipient={"users": ["a"]}, notification={"fcm": FCM})
    with pytest.raises(NotAvailableError):
        await call("send_push_notification", recipient={"fcm_tokens": ["a"]}, notification={"fcm": FCM})


async def test_the_same_push_again_answers_the_first_result(call: Call, database: Database) -> None:
    await register(database, "aa", user="ann")
    push = {"uid": "order 1", "recipient": {"users": ["ann"]}, "notification": {"apns": APNS}}
    assert await call("send_push_notification", **push) == {"uid": "order 1"}
    assert await call("send_push_notification", **push) == {"uid": "order 1", "duplicate": True}
    turned = dict(reversed(push.items()))
    assert await call("send_push_notification", **turned) == {"uid": "order 1", "duplicate": True}
    assert len(await queued(database)) == 1


async def test_the_same_uid_with_other_content_is_a_conflict(call: Call) -> None:
    push = {"uid": "order 1", "recipient": {"users": ["ann"]}}
    await call("send_push_notification", **push, notification={"apns": {"payload": {"n": 1.0}}})
    for number in (1, 2, "1.0"):
        with pytest.raises(ConflictError):
            await call("send_push_notification", **push, notification={"apns": {"payload": {"n": number}}})


async def test_a_repetition_after_its_time_still_answers_the_first_result(call: Call, database: Database) -> None:
    soon = int(time.time()) + 1000
    push = {"uid": "a", "recipient": {"users": ["ann"]}, "notification": {"apns": APNS}, "expire_at": soon}
    await call("send_push_notification", **push)
    past = push | {"expire_at": 1}
    await database.execute(b"update pushes set digest = ''", {})
    with pytest.raises(ConflictError):
        await call("send_push_notification", **past)


async def test_a_scheduled_push_waits_and_can_be_cancelled(call: Call, database: Database) -> None:
    await register(database, "aa", user="ann")
    at = int(time.time()) + 3600
    push = {"uid": "later", "recipient": {"users": ["ann"]}, "notification": {"apns": APNS}, "send_at": at}
    await call("send_push_notification", **push)
    status = await call("push_status", uid="later")
    assert (status["state"], status["send_at"]) == ("scheduled", at)
    assert await call("cancel_push", uid="later") == {}
    assert (await call("push_status", uid="later"))["state"] == "cancelled"
    assert await call("cancel_push", uid="later") == {}, "cancelling again is fine"


async def test_cancelling_a_running_push_counts_the_rest_as_cancelled(call: Call, database: Database) -> None:
    await register(database, "aa", user="ann")
    await call("send_push_notification", uid="now", recipient={"users": ["ann"]}, notification={"apns": APNS})
    await call("cancel_push", uid="now")
    status = await call("push_status", uid="now")
    assert status["ledger"] == {
        "planned": 1,
        "accepted": 0,
        "failed": 0,
        "expired": 0,
        "cancelled": 1,
        "suppressed": 0,
        "dropped": 0,
        "pending": 0,
    }
    assert await queued(database) == []


@pytest.mark.parametrize("method", ["cancel_push", "push_status"])
async def test_an_unknown_push_is_not_found(call: Call, method: str) -> None:
    with pytest.raises(NotFoundError):
        await call(method, uid="nobody")


async def test_the_status_shows_pending_recipients_by_provider(call: Call, database: Database) -> None:
    devices = [await register(database, "aa"), await register(database, "bb", provider="fcm")]
    push = {"recipient": {"device_ids": devices}, "notification": {"apns": APNS, "fcm": FCM}}
    uid = (await call("send_push_notification", **push))["uid"]
    status = await call("push_status", uid=uid)
    assert (status["state"], status["priority"]) == ("sending", "normal")
    assert (status["ledger"]["planned"], status["ledger"]["pending"]) == (2, 2)
    assert {name: ledger["pending"] for name, ledger in status["providers"].items()} == {"apns": 1, "fcm": 1}


async def test_without_a_credential_the_providers_of_the_push_are_named(call: Call, database: Database) -> None:
    await database.execute(b"delete from credentials", {})
    notification = {"apns": APNS, "webpush": {"payload": {}}}
    with pytest.raises(NotAvailableError) as caught:
        await call("send_push_notification", recipient={"users": ["ann"]}, notification=notification)
    assert caught.value.detail == "no credential for apns, webpush; see provider_put"


async def test_a_push_to_nobody_is_done_at_once(call: Call) -> None:
    push = {"recipient": {"device_ids": ["not an id"]}, "notification": {"apns": APNS}}
    uid = (await call("send_push_notification", **push))["uid"]
    status = await call("push_status", uid=uid)
    assert (status["state"], status["ledger"]["planned"]) == ("done", 0)


async def test_a_paused_credential_shows_in_the_status(call: Call, database: Database) -> None:
    push = {"recipient": {"apns_tokens": ["aa"]}, "notification": {"apns": APNS}}
    uid = (await call("send_push_notification", **push))["uid"]
    await database.execute(
        b"insert into pauses values ('apns', '', 'trouble', 'InvalidProviderToken', now(), 1, now())", {}
    )
    status = await call("push_status", uid=uid)
    assert status["state"] == "paused"
    assert status["paused"][0]["reason"] == "InvalidProviderToken"


async def test_pushes_are_listed_newest_first_by_pages(call: Call) -> None:
    push = {"recipient": {"users": ["nobody"]}, "notification": {"apns": APNS}}
    uids = [(await call("send_push_notification", **push))["uid"] for _ in range(5)]
    first = await call("push_list", limit=3)
    second = await call("push_list", limit=3, cursor=first["next_cursor"])
    assert [item["uid"] for item in first["items"] + second["items"]] == uids[::-1]
    assert (first["has_more"], second.get("has_more", False)) == (True, False)
    assert (await call("push_list", states=["scheduled"]))["items"] == []


async def test_receipts_are_counted_once_a_device(call: Call) -> None:
    push = {"recipient": {"users": ["nobody"]}, "notification": {"apns": APNS}, "analytics_uid": "campaign"}
    uid = (await call("send_push_notification", **push))["uid"]
    for device in ("a", "a", "b"):
        await call("update_push_status", analytics_uid="campaign", status="delivered", device_id=device)
    await call("update_push_status", analytics_uid="campaign", status="interacted", device_id="a")
    status = await call("push_status", uid=uid)
    assert (status["delivered"], status["interacted"]) == (2, 1)


async def test_a_full_queue_turns_pushes_away(context: MakeContext, database: Database) -> None:
    body = json.dumps({"recipient": {"apns_tokens": ["aa"]}, "notification": {"apns": APNS}}).encode()
    method = METHODS["send_push_notification"]
    ctx = context(body=body)
    full = Context(ctx.database, ctx.vault, ctx.hints, ctx.facts, ctx.caller, body, Gate(database, 0))
    with pytest.raises(TooManyRequestsError) as caught:
        await method.handler(full, method.decoder.decode(body))
    assert caught.value.retry_after_seconds
    assert await queued(database) == []
