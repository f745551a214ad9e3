"""Topic subscriptions at the emulated FCM, by the new API and the old."""

import json
from typing import Any

import pytest

from emulators.fcm import FcmEmulator
from emulators.fcm_topics import Topics
from tests.emulators.wire import Response, WireClient

REGISTRATION = "/v1/projects/tocsin-emulator/registrations/abc/topicSubscriptions"


async def call(client: WireClient, method: str, path: str) -> Response:
    return await client.answer(client.send(path, b"{}" if method == "POST" else b"", method=method))


async def old(client: WireClient, verb: str, body: Any, **headers: Any) -> Response:
    sent = {"access_token_auth": None, "more": [("access_token_auth", "true")]} | headers
    return await client.request(f"/iid/v1:batch{verb}", json.dumps(body).encode(), **sent)


async def test_a_subscription_is_made_listed_and_removed(fcm: FcmEmulator, sender: WireClient) -> None:
    assert (await call(sender, "POST", REGISTRATION + "?topic_name=news")).json["topicName"] == "news"
    listed = (await call(sender, "GET", REGISTRATION)).json
    assert [row["topicName"] for row in listed["topicSubscriptions"]] == ["news"]
    assert (await call(sender, "DELETE", REGISTRATION + "/news")).status == 200
    assert fcm.topics_of("abc") == []
    assert fcm.counters().requests == 0


async def test_a_second_subscription_exists_already(sender: WireClient) -> None:
    await call(sender, "POST", REGISTRATION + "?topic_name=news")
    response = await call(sender, "POST", REGISTRATION + "?topic_name=news")
    assert (response.status, response.json["error"]["status"]) == (409, "ALREADY_EXISTS")


async def test_removing_what_is_missing_is_allowed_on_request(sender: WireClient) -> None:
    assert (await call(sender, "DELETE", REGISTRATION + "/news")).status == 404
    assert (await call(sender, "DELETE", REGISTRATION + "/news?allow_missing=true")).status == 200


async def test_a_list_comes_in_pages(sender: WireClient) -> None:
    for topic in "abc":
        await call(sender, "POST", f"{REGISTRATION}?topic_name={topic}")
    first = (await call(sender, "GET", REGISTRATION + "?page_size=2")).json
    rest = (await call(sender, "GET", f"{REGISTRATION}?page_size=2&page_token={first['nextPageToken']}")).json
    assert [len(first["topicSubscriptions"]), len(rest["topicSubscriptions"])] == [2, 1]
    assert "nextPageToken" not in rest


@pytest.mark.parametrize("query", ["", "?topic_name=", "?topic_name=a%2Fb"])
async def test_a_bad_topic_name_is_refused(sender: WireClient, query: str) -> None:
    assert (await call(sender, "POST", REGISTRATION + query)).status == 400


async def test_a_dead_registration_subscribes_to_nothing(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_tokens({"abc": {"state": "unregistered"}})
    assert (await call(sender, "POST", REGISTRATION + "?topic_name=news")).status == 404


async def test_topic_calls_need_an_access_token(sender: WireClient) -> None:
    assert (await sender.request(REGISTRATION + "?topic_name=news", authorization=None)).status == 401


async def test_other_methods_are_not_supported(sender: WireClient) -> None:
    assert (await call(sender, "PATCH", REGISTRATION)).status == 405


async def test_the_old_api_adds_and_removes_many(fcm: FcmEmulator, sender: WireClient) -> None:
    fcm.set_tokens({"dead": {"state": "unregistered"}})
    body = {"to": "/topics/news", "registration_tokens": ["abc", "dead", "def"]}
    assert (await old(sender, "Add", body)).json == {"results": [{}, {"error": "NOT_FOUND"}, {}]}
    assert fcm.topics_of("def") == ["news"]
    assert (await old(sender, "Remove", body)).json == {"results": [{}, {"error": "NOT_FOUND"}, {}]}
    assert fcm.topics_of("def") == []


BAD_BATCHES: list[tuple[Any, dict[str, Any], int]] = [
    ({"to": "news", "registration_tokens": ["a"]}, {}, 400),
    ({"to": "/topics/news", "registration_tokens": []}, {}, 400),
    ({"to": "/topics/news", "registration_tokens": ["a"] * 1001}, {}, 400),
    ({"to": "/topics/news"}, {}, 400),
    ({"to": "/topics/news", "registration_tokens": ["a"]}, {"more": []}, 401),
]


@pytest.mark.parametrize(("body", "headers", "status"), BAD_BATCHES)
async def test_a_bad_batch_is_refused(sender: WireClient, body: Any, headers: dict[str, Any], status: int) -> None:
    assert (await old(sender, "Add", body, **headers)).status == status


def test_a_device_has_2000_topics_at_most() -> None:
    topics = Topics()
    assert {topics.add("abc", str(number)) for number in range(2000)} == {""}
    assert topics.add("abc", "one more") == "TOO_MANY_TOPICS"
