"""device_pushes and device_stats: what they say of a device's pushes, and of devices that are gone."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from delivery.outcomes import Kind, Outcome
from methods.context import Context
from methods.device_record import DevicePushesParams, device_pushes, device_stats
from methods.errors import BadRequestError
from methods.method import NoParams
from storage import pushes
from storage.database import Database
from storage.ids import new_id
from storage.upkeep import Retention, upkeep
from tests.methods.explaining import RETRY_LATER, add_credentials, add_device, push_to, work

Pushes = Callable[..., Awaitable[Any]]


@pytest.fixture
async def pushes_of(database: Database, context: Callable[..., Context]) -> Pushes:
    """What calls device_pushes; there are credentials."""
    await add_credentials(database)

    async def call(device_id: str, **params: Any) -> Any:
        result = await device_pushes(context(), DevicePushesParams(device_id, **params))
        return json.loads(msgspec.json.encode(result))

    return call


async def test_pushes_are_told_newest_first_with_what_became_of_them(database: Database, pushes_of: Pushes) -> None:
    device = await add_device(database)
    uids = []
    for outcome in (None, Outcome(Kind.FAILED, "BadTopic", 400), RETRY_LATER):
        uids.append(await push_to(database, device))
        await work(database, outcome)
    answer = await pushes_of(device)
    assert [item["uid"] for item in answer["items"]] == uids[::-1]
    assert [item["outcome"] for item in answer["items"]] == ["pending", "failed", "accepted"]
    failed, accepted = answer["items"][1:]
    assert (failed["reason"], failed["status"], failed["attempts"]) == ("BadTopic", 400, 1)
    assert (accepted["provider_id"], accepted["message_id"]) == ("apns", "id-0")
    assert "has_more" not in answer


async def test_a_push_that_was_cancelled_between_attempts_is_cancelled(database: Database, pushes_of: Pushes) -> None:
    device = await add_device(database)
    uid = await push_to(database, device)
    await work(database, RETRY_LATER)
    await pushes.cancel(database, uid)
    assert [item["outcome"] for item in (await pushes_of(device))["items"]] == ["cancelled"]


async def test_a_device_is_found_among_a_few_and_among_many(database: Database, pushes_of: Pushes) -> None:
    devices = [await add_device(database) for _ in range(60)]
    uids = []
    for count in (1, 2, 50, 51, 60):
        uids.append(await push_to(database, *devices[:count]))
        await work(database)
    assert [item["uid"] for item in (await pushes_of(devices[0]))["items"]] == uids[::-1]
    assert [item["uid"] for item in (await pushes_of(devices[50]))["items"]] == uids[:2:-1]


async def test_pages_follow_each_other(database: Database, pushes_of: Pushes) -> None:
    device = await add_device(database)
    uids = [await push_to(database, device) for _ in range(5)]
    await work(database)
    first = await pushes_of(device, limit=2)
    second = await pushes_of(device, limit=2, cursor=first["next_cursor"])
    third = await pushes_of(device, limit=2, cursor=second["next_cursor"])
    assert [item["uid"] for page in (first, second, third) for item in page["items"]] == uids[::-1]
    assert [page.get("has_more", False) for page in (first, second, third)] == [True, True, False]


async def test_a_device_without_pushes_has_none(pushes_of: Pushes) -> None:
    assert await pushes_of(new_id()) == {"items": []}


@pytest.mark.parametrize("params", [{"device_id": "x"}, {"device_id": new_id(), "cursor": "x"}])
async def test_what_is_no_id_is_an_error(pushes_of: Pushes, params: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        await pushes_of(**params)


async def _stats(context: Callable[..., Context]) -> Any:
    return json.loads(msgspec.json.encode(await device_stats(context(), NoParams())))


async def test_before_devices_were_counted_there_is_nothing_to_tell(context: Callable[..., Context]) -> None:
    assert await _stats(context) == {"items": []}


async def test_what_is_probably_gone_is_told_with_the_setting_that_removes_it(
    database: Database, context: Callable[..., Context]
) -> None:
    day = 86_400
    for days in (1, 61, 271, 300):
        await add_device(database, provider="fcm", age=days * day)
    await database.execute(b"update devices set platform = 'android'", {})
    await add_device(database, provider="apns", age=400 * day)
    await upkeep(database, Retention())
    answer = await _stats(context)
    assert answer["devices"] == 5
    expired, gone = answer["advice"]
    assert expired.startswith("2 FCM devices on Android did not register for 270 days")
    assert "TOCSIN_STALE_DEVICE_DAYS=270" in expired
    assert gone.startswith("1 other FCM devices did not register for 60 days")


async def test_too_many_failing_devices_speak_against_their_credential(
    database: Database, context: Callable[..., Context]
) -> None:
    for state in ("failing", "failing", "active", "active", "active", "dead"):
        await add_device(database, state=state)
    await upkeep(database, Retention())
    [advice] = (await _stats(context))["advice"]
    assert advice.startswith("2 of the 5 devices of the default apns credential are failing")


async def test_a_fifth_of_failing_devices_is_no_advice(database: Database, context: Callable[..., Context]) -> None:
    for state in ("failing", "active", "active", "active", "active"):
        await add_device(database, state=state)
    await upkeep(database, Retention())
    assert "advice" not in await _stats(context)
