"""The public Python client of the API that this server speaks, PyPI `cent`, against the real server over real HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cent import AsyncClient, Client, dto
from cent.exceptions import CentApiResponseError, CentUnauthorizedError

from storage.database import Database
from storage.ids import as_id
from tests.contract.serving import Served, listening, served

# `await cent("device_list", DeviceListRequest())` with either of the two clients
Cent = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def waiting(url: str, key: str) -> AsyncIterator[Cent]:
    """The client that waits in a thread."""
    with Client(url, key) as client:

        async def cent(method: str, request: Any) -> Any:
            return await asyncio.to_thread(getattr(client, method), request)

        yield cent


@asynccontextmanager
async def awaiting(url: str, key: str) -> AsyncIterator[Cent]:
    """The client of asyncio."""
    async with AsyncClient(url, key) as client:

        async def cent(method: str, request: Any) -> Any:
            return await getattr(client, method)(request)

        yield cent


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Served]:
    """The application over a database that has credentials for FCM, APNs and HMS."""
    async with served(database_url) as running:
        await running.database.execute(
            b"insert into credentials (provider_id, provider, is_default, source, settings, secrets)"
            b" values ('apns', 'apns', true, 'api', '{}', ''), ('fcm', 'fcm', true, 'api', '{}', ''),"
            b" ('hms', 'hms', true, 'api', '{}', '')",
            {},
        )
        yield running


@pytest.fixture(params=[waiting, awaiting], ids=["Client", "AsyncClient"])
async def cent(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Cent]:
    """Either client, connected to the server."""
    async with listening(server.app) as port, request.param(f"http://127.0.0.1:{port}/api", server.key) as calling:
        yield calling


async def register(cent: Cent, token: str = "t1", **more: Any) -> str:  # noqa: S107
    given = {"provider": "fcm", "platform": "android", "token": token, **more}
    result = await cent("device_register", dto.DeviceRegisterRequest(**given))
    device_id: str = result.id
    return device_id


async def devices(cent: Cent, **chosen: Any) -> Any:
    chosen.setdefault("include_topics", True)
    return await cent("device_list", dto.DeviceListRequest(include_meta=True, **chosen))


async def refused(calling: Awaitable[Any]) -> int:
    with pytest.raises(CentApiResponseError) as error:
        await calling
    return error.value.code


async def test_device_register_returns_the_id_of_a_device_that_holds_all_it_said(cent: Cent) -> None:
    device_id = await register(
        cent, user="u", timezone="Europe/Lisbon", locale="pt-BR", meta={"k": "v"}, topics=["b", "a"]
    )
    assert as_id(device_id) == device_id
    (device,) = (await devices(cent)).items
    assert (device.id, device.provider, device.platform, device.token) == (device_id, "fcm", "android", "t1")
    assert (device.user, device.meta, device.topics) == ("u", {"k": "v"}, ["a", "b"])
    assert abs(device.created_at - time.time()) < 3600
    assert device.updated_at == device.created_at


async def test_device_register_again_is_the_same_device_and_clears_what_is_omitted(cent: Cent) -> None:
    device_id = await register(cent, user="u", meta={"k": "v"}, topics=["a"])
    assert await register(cent) == device_id
    assert await register(cent, "t2", id=device_id) == device_id
    (device,) = (await devices(cent)).items
    assert (device.token, device.user, device.meta, device.topics) == ("t2", "", None, None)


async def test_device_update_changes_what_it_names(cent: Cent) -> None:
    device_id = await register(cent, user="u", meta={"k": "v"}, topics=["a"])
    await cent(
        "device_update",
        dto.DeviceUpdateRequest(
            ids=[device_id],
            user_update=dto.DeviceUserUpdate(user="v"),
            timezone_update=dto.DeviceTimezoneUpdate(timezone="Asia/Tokyo"),
            locale_update=dto.DeviceLocaleUpdate(locale="ja"),
            topics_update=dto.DeviceTopicsUpdate(op="add", topics=["b"]),
        ),
    )
    await cent("device_update", dto.DeviceUpdateRequest(users=["v"], meta_update=dto.DeviceMetaUpdate(meta={})))
    (device,) = (await devices(cent)).items
    assert (device.user, device.topics, device.meta) == ("v", ["a", "b"], None)


async def test_device_remove_removes_by_id_and_by_user(cent: Cent) -> None:
    first = await register(cent, "t1", user="u")
    await register(cent, "t2", user="v")
    kept = await register(cent, "t3", user="w")
    await cent("device_remove", dto.DeviceRemoveRequest(ids=[first]))
    await cent("device_remove", dto.DeviceRemoveRequest(users=["v", "nobody"]))
    assert [device.id for device in (await devices(cent)).items] == [kept]


async def test_device_list_filters_and_pages(cent: Cent) -> None:
    ids = [await register(cent, f"t{n}", user="u", topics=["a"]) for n in range(3)]
    other = await register(cent, "ab", provider="apns", platform="ios")
    chosen = dto.DeviceFilter(ids=[*ids, other], users=["u"], topics=["a"], providers=["fcm"], platforms=["android"])
    first = await devices(cent, filter=chosen, limit=2, include_total_count=True)
    assert ([device.id for device in first.items], first.total_count) == (ids[:2], 3)
    last = await devices(cent, filter=chosen, limit=2, cursor=first.next_cursor)
    assert ([device.id for device in last.items], last.next_cursor) == (ids[2:], None)
    assert (await devices(cent, filter=dto.DeviceFilter(users=["nobody"]))).items == []


async def test_device_topic_update_and_list(cent: Cent) -> None:
    device_id = await register(cent, user="u", topics=["a"])
    for op, topics in (("add", ["b.1", "b.2"]), ("remove", ["a"])):
        await cent("device_topic_update", dto.DeviceTopicUpdateRequest(device_id=device_id, op=op, topics=topics))
    chosen = dto.DeviceTopicFilter(
        device_ids=[device_id], device_providers=["fcm"], device_platforms=["android"], device_users=["u"]
    )
    page = await cent("device_topic_list", dto.DeviceTopicListRequest(filter=chosen, limit=1, include_total_count=True))
    assert ([item.topic for item in page.items], page.total_count) == (["b.1"], 2)
    assert (page.items[0].device.id, page.items[0].device.token) == (device_id, "")
    chosen = dto.DeviceTopicFilter(topic_prefix="b.")
    rest = dto.DeviceTopicListRequest(filter=chosen, cursor=page.next_cursor, include_device=True)
    (item,) = (await cent("device_topic_list", rest)).items
    assert (item.topic, item.device.token, item.device.user) == ("b.2", "t1", "u")
    await cent("device_topic_update", dto.DeviceTopicUpdateRequest(device_id=device_id, op="set", topics=[]))
    assert (await cent("device_topic_list", dto.DeviceTopicListRequest())).items == []


async def test_user_topic_update_and_list(cent: Cent) -> None:
    await register(cent, user="u", topics=["own"])
    await cent("user_topic_update", dto.UserTopicUpdateRequest(user="u", op="set", topics=["a", "b"]))
    await cent("user_topic_update", dto.UserTopicUpdateRequest(user="", op="add", topics=["all"]))
    assert (await devices(cent)).items[0].topics == ["a", "b", "own"]
    chosen = dto.UserTopicFilter(users=["u"], topic_prefix="b")
    (item,) = (await cent("user_topic_list", dto.UserTopicListRequest(filter=chosen))).items
    assert (item.user, item.topic) == ("u", "b")
    page = await cent("user_topic_list", dto.UserTopicListRequest(limit=2, include_total_count=True))
    assert (len(page.items), page.total_count) == (2, 3)
    last = await cent("user_topic_list", dto.UserTopicListRequest(cursor=page.next_cursor))
    assert [(item.user, item.topic) for item in last.items] == [("", "all")]


def push(**recipient: Any) -> dict[str, Any]:
    notification = dto.PushNotification(
        fcm=dto.FcmPushNotification(message={"notification": {"title": "hi"}}),
        apns=dto.ApnsPushNotification(headers={"apns-priority": "10"}, payload={"aps": {"alert": "hi"}}),
        hms=dto.HmsPushNotification(message={"data": '{"hi":1}', "android": {"urgency": "NORMAL"}}),
        expire_at=int(time.time()) + 3600,
    )
    return {"recipient": dto.PushRecipient(**recipient), "notification": notification}


async def send(cent: Cent, uid: str | None = None, **more: Any) -> Any:
    return await cent("send_push_notification", dto.SendPushNotificationRequest(uid=uid, **more))


async def queued(database: Database) -> list[tuple[str, str]]:
    return [tuple(row) for row in await database.values(b"select provider, tokens from batches order by provider", {})]


async def test_send_push_notification_puts_the_devices_of_a_user_into_the_queue(cent: Cent, server: Served) -> None:
    await register(cent, "t1", user="u")
    await register(cent, "ab", user="u", provider="apns", platform="ios")
    await register(cent, "t3", user="v")
    result = await send(cent, "my uid", **push(filter=dto.DeviceFilter(users=["u"])), analytics_uid="campaign")
    assert result.uid == "my uid"
    assert await queued(server.database) == [("apns", "ab"), ("fcm", "t1")]


async def test_send_push_notification_takes_every_recipient_of_the_client(cent: Cent) -> None:
    await register(cent, topics=["a"])
    recipients: list[dict[str, Any]] = [
        {"filter": dto.DeviceFilter(topics=["a"])},
        {"filter": dto.DeviceFilter(platforms=["android"], providers=["fcm"])},
        {"fcm_tokens": ["t1", "t2"]},
        {"fcm_topic": "news"},
        {"fcm_condition": "'a' in topics && 'b' in topics"},
        {"apns_tokens": ["ab", "cd"]},
        {"hms_tokens": ["h1", "h2"]},
        {"hms_topic": "news"},
        {"hms_condition": "'a' in topics && 'b' in topics"},
    ]
    uids = [(await send(cent, **push(**recipient))).uid for recipient in recipients]
    assert len(set(uids)) == len(recipients)


async def test_send_push_notification_reaches_devices_and_tokens_of_hms(cent: Cent, server: Served) -> None:
    await register(cent, "AKZ", user="u", provider="hms", platform="android")
    await send(cent, **push(filter=dto.DeviceFilter(users=["u"])))
    await send(cent, **push(hms_tokens=["BKZ", "CKZ"]))
    assert sorted(await queued(server.database)) == [("hms", "AKZ"), ("hms", "BKZ\nCKZ")]


async def test_send_push_notification_with_a_known_uid_sends_nothing_twice(cent: Cent, server: Served) -> None:
    request = push(fcm_tokens=["t1"])
    assert [(await send(cent, "my uid", **request)).uid for _ in range(2)] == ["my uid", "my uid"]
    assert await refused(send(cent, "my uid", **push(fcm_tokens=["t2"]))) == 113
    assert await queued(server.database) == [("fcm", "t1")]


async def test_cancel_push_stops_a_scheduled_push(cent: Cent, server: Served) -> None:
    request = push(fcm_tokens=["t1"])
    request["notification"].expire_at = None
    await send(cent, "later", send_at=int(time.time()) + 3600, **request)
    for _ in range(2):
        await cent("cancel_push", dto.CancelPushRequest(uid="later"))
    assert [state for (state,) in await server.database.values(b"select state from pushes", {})] == ["cancelled"]
    assert await refused(cent("cancel_push", dto.CancelPushRequest(uid="unknown"))) == 104


async def test_update_push_status_counts_what_devices_report(cent: Cent, server: Served) -> None:
    device_id = await register(cent)
    await send(cent, "my uid", **push(filter=dto.DeviceFilter(ids=[device_id])))
    for status in ("delivered", "interacted", "delivered"):
        report = dto.UpdatePushStatusRequest(analytics_uid="my uid", status=status, device_id=device_id, msg_id="m")
        await cent("update_push_status", report)
    receipts = await server.database.values(b"select status, device_id, msg_id from receipts order by status", {})
    assert [tuple(row) for row in receipts] == [("delivered", device_id, "m"), ("interacted", device_id, "m")]


async def test_errors_reach_the_client_by_their_code(cent: Cent) -> None:
    unknown = dto.DeviceTopicUpdateRequest(device_id="unknown", op="add", topics=["a"])
    assert await refused(cent("device_topic_update", unknown)) == 104
    assert await refused(cent("device_remove", dto.DeviceRemoveRequest())) == 107
    assert await refused(register(cent, "not hex", provider="apns", platform="ios")) == 107
    assert await refused(send(cent, **push(filter=dto.DeviceFilter()))) == 107


async def test_a_wrong_key_is_unauthorized(server: Served) -> None:
    async with listening(server.app) as port:
        for client in (waiting, awaiting):
            async with client(f"http://127.0.0.1:{port}/api", "wrong") as cent:
                with pytest.raises(CentUnauthorizedError):
                    await devices(cent)
