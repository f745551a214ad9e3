"""What the emulated FCM accepts and refuses, and in what words."""

import json
import time
from typing import Any

import pytest

from emulators.fcm import FcmEmulator
from emulators.fcm_quota import ProjectQuota
from emulators.oauth import Account
from tests.emulators.wire import Response, WireClient, connected

SEND = "/v1/projects/tocsin-emulator/messages:send"


async def send(client: WireClient, message: object, path: str = SEND, **more: Any) -> Response:
    headers = {name: value for name, value in more.items() if name in {"authorization", "without_authority", "host"}}
    body = {"message": message} | {name: value for name, value in more.items() if name not in headers}
    return await client.request(path, json.dumps(body).encode(), **headers)


def details(response: Response) -> dict[str, Any]:
    """The details of an error by the last word of their type."""
    return {item["@type"].rsplit(".", 1)[-1]: item for item in response.json["error"].get("details", [])}


def violations(response: Response) -> list[str]:
    return [violation["field"] for violation in details(response)["BadRequest"]["fieldViolations"]]


ACCEPTED: list[dict[str, Any]] = [
    {"token": "abc"},
    {"fid": "abc"},
    {"topic": "news"},
    {"condition": "'a' in topics && !('b' in topics || 'c' in topics)"},
    {"token": "abc", "data": {"k": "v"}},
    {"token": "abc", "notification": {"title": "t", "body": "b", "image": "i"}},
    {"token": "abc", "android": {"priority": "high", "ttl": "3.5s", "collapse_key": "k", "direct_boot_ok": True}},
    {"token": "abc", "android": {"collapseKey": "k", "restrictedPackageName": "p", "notification": {"channelId": "c"}}},
    {"token": "abc", "android_v2": {"remote_notification": {"title": "t"}}},
    {"token": "abc", "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {}}, "live_activity_token": "t"}},
    {"token": "abc", "webpush": {"headers": {"TTL": "1"}, "data": {}, "fcm_options": {"link": "l"}}},
    {"token": "abc", "fcmOptions": {"analyticsLabel": "l~1"}},
    {"token": "abc", "data": {"k": "x" * 4000}},
]


@pytest.mark.parametrize("message", ACCEPTED)
async def test_a_right_message_is_accepted(sender: WireClient, message: dict[str, Any]) -> None:
    response = await send(sender, message)
    assert response.status == 200
    assert response.json["name"].startswith("projects/tocsin-emulator/messages/0:")


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["message"]),
    ({"token": "abc", "topic": "news"}, ["message"]),
    ({"token": "not a token"}, ["message.token"]),
    ({"token": 5}, ["message.token", "message.token"]),
    ({"topic": "/topics/news"}, ["message.topic"]),
    ({"condition": "'a' in topics &&& 5"}, ["message.condition"]),
    ({"token": "abc", "data": {"k": 1}}, ["message.data[k]"]),
    ({"token": "abc", "data": {"from": "x"}}, ["message.data"]),
    ({"token": "abc", "data": {"google.x": "x"}}, ["message.data"]),
    ({"token": "abc", "data": {"gcm.notification.x": "x"}}, ["message.data"]),
    ({"token": "abc", "data": []}, ["message.data"]),
    ({"token": "abc", "android": {"data": {"k": True}}}, ["message.android.data[k]"]),
    ({"token": "abc", "android": {"ttl": "5"}}, ["message.android.ttl"]),
    ({"token": "abc", "android": {"ttl": "-5s"}}, ["message.android.ttl"]),
    ({"token": "abc", "android": {"ttl": 5}}, ["message.android.ttl"]),
    ({"token": "abc", "android": {"ttl": "2419201s"}}, ["message.android.ttl"]),
    ({"token": "abc", "android": {"priority": "urgent"}}, ["message.android.priority"]),
    ({"token": "abc", "android": {}, "android_v2": {}}, ["message.android_v2"]),
    ({"token": "abc", "android": "loud"}, ["message.android"]),
    ({"token": "abc", "notification": {"title": 5}}, ["message.notification.title"]),
    ({"token": "abc", "notification": {"badge": "5"}}, ["message.notification"]),
    ({"token": "abc", "apns": {"headers": {"apns-priority": 5}}}, ["message.apns.headers[apns-priority]"]),
    ({"token": "abc", "apns": {"payload": "{}"}}, ["message.apns.payload"]),
    ({"token": "abc", "surprise": 1}, ["message"]),
    ({"token": "abc", "fcm_options": {"analytics_label": "not ok"}}, ["message.fcm_options.analytics_label"]),
]


@pytest.mark.parametrize(("message", "fields"), REFUSED)
async def test_a_wrong_message_names_its_fields(sender: WireClient, message: dict[str, Any], fields: list[str]) -> None:
    response = await send(sender, message)
    error = response.json["error"]
    assert (response.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert details(response)["FcmError"]["errorCode"] == "INVALID_ARGUMENT"
    assert violations(response) == fields


@pytest.mark.parametrize(
    "message",
    [{"token": "abc", "data": {"k": "x" * 4096}}, {"topic": "news", "data": {"k": "x" * 2048}}],
)
async def test_a_message_too_large_is_refused_without_details(sender: WireClient, message: dict[str, Any]) -> None:
    response = await send(sender, message)
    assert (response.status, response.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert details(response) == {}


async def test_a_body_that_is_no_json_is_refused_without_details(sender: WireClient) -> None:
    response = await sender.request(SEND, b"{oops")
    assert (response.status, details(response)) == (400, {})


async def test_an_unknown_field_of_the_request_is_refused(sender: WireClient) -> None:
    assert (await send(sender, {"token": "abc"}, dry_run=True)).status == 400


async def test_a_dry_run_checks_and_sends_nothing(sender: WireClient) -> None:
    response = await send(sender, {"token": "abc"}, validate_only=True)
    assert response.json == {"name": "projects/tocsin-emulator/messages/fake_message_id"}
    assert (await send(sender, {}, validateOnly=True)).status == 400
    assert (await send(sender, {"token": "abc"}, validate_only="yes")).status == 400


async def test_a_success_ends_with_an_empty_frame(sender: WireClient) -> None:
    response = await send(sender, {"token": "abc"})
    assert len(response.frames) == 2
    assert response.frames[1] == b""


async def test_message_names_differ(sender: WireClient) -> None:
    names = {(await send(sender, {"token": "abc"})).json["name"] for _ in range(20)}
    assert len(names) == 20


STATES: list[tuple[str, int, str, str]] = [
    ("unregistered", 404, "NOT_FOUND", "UNREGISTERED"),
    ("invalid", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    ("sender_id_mismatch", 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    ("third_party_auth_error", 401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    ("quota_exceeded", 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
]


@pytest.mark.parametrize(("state", "status", "name", "code"), STATES)
async def test_a_token_answers_by_its_state_at_fcm(
    fcm: FcmEmulator, sender: WireClient, state: str, status: int, name: str, code: str
) -> None:
    fcm.set_tokens({"abc": {"state": state}})
    response = await send(sender, {"token": "abc"})
    assert (response.status, response.json["error"]["status"]) == (status, name)
    assert details(response)["FcmError"]["errorCode"] == code
    assert (await send(sender, {"token": "other"})).status == 200


async def test_an_invalid_token_names_the_field(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_tokens({"abc": {"state": "invalid"}})
    assert violations(await send(sender, {"token": "abc"})) == ["message.token"]


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic abc", "Bearer "])
async def test_a_bad_access_token_is_unauthenticated(sender: WireClient, authorization: str | None) -> None:
    response = await send(sender, {"token": "abc"}, authorization=authorization)
    assert (response.status, response.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert details(response) == {}


async def test_an_access_token_expires(keys_folder: Any) -> None:
    async with FcmEmulator(data_dir=keys_folder, token_lifetime=-1) as fcm, connected(fcm) as client:
        assert (await send(client, {"token": "abc"})).status == 401


async def test_a_revoked_access_token_is_unauthenticated(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.revoke_access_tokens()
    assert (await send(sender, {"token": "abc"})).status == 401


async def test_any_bearer_can_be_accepted(keys_folder: Any) -> None:
    async with FcmEmulator(data_dir=keys_folder, accept_any_token=True) as fcm, connected(fcm, "Bearer x") as client:
        assert (await send(client, {"token": "abc"})).status == 200


async def test_an_unknown_project_is_not_found(sender: WireClient) -> None:
    response = await send(sender, {"token": "abc"}, "/v1/projects/nowhere/messages:send")
    assert (response.status, response.json["error"]["status"], details(response)) == (404, "NOT_FOUND", {})


async def test_another_project_is_denied(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.register_account(Account("someone@other", "", "other"))
    response = await send(sender, {"token": "abc"}, "/v1/projects/other/messages:send")
    assert (response.status, response.json["error"]["status"], details(response)) == (403, "PERMISSION_DENIED", {})


async def test_an_unknown_path_is_an_html_404(sender: WireClient) -> None:
    response = await sender.request("/fcm/send", b"{}")
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")


async def test_a_get_is_not_supported(sender: WireClient) -> None:
    assert (await sender.answer(sender.send(SEND, b"", method="GET"))).status == 405


async def test_the_authority_is_required(sender: WireClient) -> None:
    response = await send(sender, {"token": "abc"}, without_authority=True, host="fcm.googleapis.com")
    assert response.status == 400


async def test_a_project_over_its_quota_waits(keys_folder: Any) -> None:
    async with FcmEmulator(data_dir=keys_folder, rate_per_minute=2) as fcm, connected(fcm) as client:
        statuses = [(await send(client, {"token": "abc"})).status for _ in range(2)]
        refused = await send(client, {"token": "abc"})
        assert [*statuses, refused.status] == [200, 200, 429]
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert set(details(refused)) == {"FcmError", "QuotaFailure"}


def test_a_quota_refills_evenly_and_for_each_project_apart() -> None:
    quota = ProjectQuota(60)
    assert [quota.take("a", 0.0) for _ in range(61)] == [None] * 60 + [1]
    assert quota.take("b", 0.0) is None
    assert quota.take("a", 1.0) is None
    assert quota.take("a", 1.0) == 1


FAULTS: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"reason": "UNREGISTERED"}, 404, "NOT_FOUND", "UNREGISTERED"),
    ({"status": 404}, 404, "NOT_FOUND", None),
    ({"reason": "SENDER_ID_MISMATCH"}, 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    ({"reason": "PERMISSION_DENIED"}, 403, "PERMISSION_DENIED", None),
    ({"reason": "THIRD_PARTY_AUTH_ERROR"}, 401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    ({"status": 401}, 401, "UNAUTHENTICATED", None),
    ({"status": 429}, 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    ({"status": 500}, 500, "INTERNAL", "INTERNAL"),
    ({"status": 503, "retry_after": 3}, 503, "UNAVAILABLE", "UNAVAILABLE"),
]


@pytest.mark.parametrize(("action", "status", "name", "code"), FAULTS)
async def test_every_error_can_be_forced(
    fcm: FcmEmulator, sender: WireClient, action: dict[str, Any], status: int, name: str, code: str | None
) -> None:
    fcm.set_faults([{"match": {"token_prefix": "ab"}, "action": action}])
    response = await send(sender, {"token": "abc"})
    assert (response.status, response.json["error"]["status"]) == (status, name)
    assert details(response).get("FcmError", {}).get("errorCode") == code
    assert response.headers.get("retry-after") == (str(action["retry_after"]) if "retry_after" in action else None)


async def test_details_can_be_given(fcm: FcmEmulator, sender: WireClient) -> None:
    given = [{"@type": "type.googleapis.com/x.Y", "z": 1}]
    fcm.set_faults([{"action": {"status": 400, "details": given}}])
    assert (await send(sender, {"token": "abc"})).json["error"]["details"] == given


async def test_a_502_is_html(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_faults([{"action": {"html": True}}])
    response = await send(sender, {"token": "abc"})
    assert (response.status, response.headers["content-type"]) == (502, "text/html; charset=UTF-8")


async def test_sends_are_recorded_by_token_and_body(fcm: FcmEmulator, sender: WireClient) -> None:
    before = time.time()
    await send(sender, {"token": "abc", "data": {"k": "v"}})
    await send(sender, {"token": "abc", "data": {"k": "v"}})
    await send(sender, {"topic": "news"})
    recorded = fcm.requests("abc")[0]
    assert recorded.payload == {"message": {"token": "abc", "data": {"k": "v"}}}
    assert before <= recorded.received_at <= time.time()
    arrivals = fcm.arrivals()
    assert {key: row.accepted for key, row in arrivals.tokens.items()} == {"abc": 2, "/topics/news": 1}
    assert sorted(row.arrived for row in arrivals.messages.values()) == [1, 2]
