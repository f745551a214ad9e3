"""What the emulated HMS takes and refuses, recipient by recipient."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.control import ConnectionsOrder
from emulators.deliveries import Delivery
from emulators.faults import Goaway
from emulators.hms import APP_ID, HmsEmulator
from tests.emulators.wire import Response, WireClient, connected

SEND = f"/v1/{APP_ID}/messages:send"
CLICK = {"type": 3}
NOTIFICATION = {"title": "Hello", "body": "Ann"}
ANDROID = {"notification": {**NOTIFICATION, "click_action": CLICK}}


@pytest.fixture
async def sender(hms: HmsEmulator) -> AsyncIterator[WireClient]:
    async with connected(hms) as client:
        yield client


async def sent(client: WireClient, *tokens: str, **message: Any) -> Response:
    """Send a data message, or what is given, to these tokens."""
    content = message or {"data": "hello"}
    return await posted(client, {"message": content | ({"token": list(tokens)} if tokens else {})})


async def posted(client: WireClient, body: object, path: str = SEND, **headers: Any) -> Response:
    return await client.request(path, json.dumps(body).encode(), **headers)


def code(response: Response) -> str:
    return str(response.json["code"])


async def test_a_message_to_many_is_taken(hms: HmsEmulator, sender: WireClient) -> None:
    response = await sent(sender, "a", "b", "c")
    assert (response.status, code(response), response.json["msg"]) == (200, "80000000", "Success")
    assert response.json["requestId"].isdigit()
    counters = hms.counters()
    assert (counters.requests, counters.recipients, counters.accepted_recipients) == (1, 3, 3)
    [recorded] = hms.requests("b")
    assert (recorded.token, recorded.tokens, recorded.refused) == ("a", ("a", "b", "c"), [])


async def test_illegal_tokens_are_named_and_the_rest_is_taken(hms: HmsEmulator, sender: WireClient) -> None:
    hms.set_tokens({"b": {"state": "illegal"}})
    response = await sent(sender, "a", "b", " c")
    assert (response.status, code(response)) == (200, "80100000")
    assert json.loads(response.json["msg"]) == {"success": 1, "failure": 2, "illegal_tokens": ["b", " c"]}
    assert hms.counters().accepted_recipients == 1
    tokens = hms.arrivals().tokens
    assert {token: (each.arrived, each.accepted) for token, each in tokens.items()} == {
        "a": (1, 1),
        "b": (1, 0),
        " c": (1, 0),
    }
    assert hms.requests("b")[0].refused == [" c", "b"]


async def test_illegal_tokens_alone_have_a_code_of_their_own(hms: HmsEmulator, sender: WireClient) -> None:
    hms.set_registry([{"token_prefix": "old", "state": "illegal"}])
    assert code(await sent(sender, "old-1", "old-2")) == "80300007"
    assert hms.counters().accepted == 0


async def test_tokens_of_another_app_are_illegal(hms: HmsEmulator, sender: WireClient) -> None:
    hms.set_registry([{"token_prefix": "", "app_ids": ["200000002"]}])
    hms.set_tokens({"ours": {"app_ids": [APP_ID]}})
    assert code(await sent(sender, "theirs")) == "80300007"
    assert code(await sent(sender, "ours")) == "80000000"
    hms.reset()
    assert code(await sent(sender, "theirs")) == "80000000"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"data": "x"}, "80300010"),
        ({"data": "x", "token": []}, "80300010"),
        ({"data": "x", "token": ["t"] * 1001}, "80300010"),
        ({"data": "x", "token": "t"}, "80100003"),
        ({"data": "x", "token": ["t", 1]}, "80100003"),
        ({"data": "x", "token": ["t"], "topic": "news"}, "80100003"),
        ({"data": "x", "topic": "no spaces"}, "80100001"),
        ({"data": "x", "condition": "'a' in topics &&& 'b' in topics"}, "80100001"),
        ({"data": "x", "condition": " || ".join(f"'{name}' in topics" for name in "abcdef")}, "80100001"),
        ({"token": ["t"]}, "80100003"),
        ({"token": ["t"], "data": {"a": "b"}}, "80100003"),
        ({"token": ["t"], "android": "x", "data": "x"}, "80100003"),
        ({"token": ["t"], "data": "x", "android": {"collapse_key": 101}}, "80100013"),
        ({"token": ["t"], "data": "x", "android": {"collapse_key": "1"}}, "80100013"),
        ({"token": ["t"], "data": "x", "android": {"ttl": "16d"}}, "80100004"),
        ({"token": ["t"], "data": "x", "android": {"ttl": "1296001s"}}, "80100004"),
        ({"token": ["t"], "data": "x", "android": {"ttl": 60}}, "80100004"),
        ({"token": ["t"], "data": "x", "android": {"urgency": "LOW"}}, "80100001"),
        ({"token": ["t"], "data": "x", "android": {"fast_app_target": 3}}, "80100001"),
        ({"token": ["t"], "data": "x", "android": {"bi_tag": 1}}, "80100001"),
        ({"token": ["t"], "notification": NOTIFICATION}, "80100003"),
        ({"token": ["t"], "android": {"notification": {"title": "x", "click_action": CLICK}}}, "80100003"),
        ({"token": ["t"], "android": {"notification": NOTIFICATION | {"click_action": {"type": 5}}}}, "80100001"),
        ({"token": ["t"], "android": {"notification": NOTIFICATION | {"click_action": {"type": 1}}}}, "80100001"),
        ({"token": ["t"], "android": {"notification": NOTIFICATION | {"click_action": {"type": 2}}}}, "80100001"),
        (
            {"token": ["t"], "android": ANDROID, "notification": NOTIFICATION | {"image": "http://example.com/a.png"}},
            "80100022",
        ),
        ({"token": ["t"], "data": "x" * 4096}, "80300008"),
    ],
)
async def test_a_wrong_message_is_refused_with_a_code(
    hms: HmsEmulator, sender: WireClient, message: dict[str, Any], expected: str
) -> None:
    response = await posted(sender, {"message": message})
    assert (response.status, code(response)) == (200, expected)
    assert hms.counters().accepted_recipients == 0


@pytest.mark.parametrize(
    "message",
    [
        {"token": ["t"] * 1000, "data": "x" * 4080},
        {"token": ["t"], "notification": NOTIFICATION, "android": {"notification": {"click_action": CLICK}}},
        {
            "token": ["t"],
            "android": ANDROID | {"ttl": "1296000s", "collapse_key": -1, "urgency": "HIGH", "bi_tag": "x"},
        },
        {"topic": "news", "data": "x"},
        {"condition": "'a' in topics && ('b' in topics || !('c' in topics))", "data": "x"},
        {"token": ["t"], "data": "x", "receipt_id": "unknown fields are ignored"},
    ],
)
async def test_a_sound_message_is_taken(sender: WireClient, message: dict[str, Any]) -> None:
    assert code(await posted(sender, {"message": message})) == "80000000"


async def test_a_body_that_is_no_message_is_refused(sender: WireClient) -> None:
    assert code(await sender.request(SEND, b"[1")) == "80100003"
    assert code(await posted(sender, {"messager": {"token": ["t"]}})) == "80300010"
    assert code(await posted(sender, {"validate_only": "yes", "message": {}})) == "80100001"


async def test_what_is_only_to_be_checked_is_delivered_to_nobody(hms: HmsEmulator, sender: WireClient) -> None:
    body = {"validate_only": True, "message": {"token": ["t"], "data": "x"}}
    assert code(await posted(sender, body)) == "80000000"
    assert hms.counters().accepted_recipients == 0


async def test_urgency_high_can_be_forbidden(keys_folder: Path) -> None:
    async with HmsEmulator(data_dir=keys_folder, high_priority=False) as emulator, connected(emulator) as client:
        assert code(await sent(client, token=["t"], data="x", android={"urgency": "HIGH"})) == "80300011"
        assert code(await sent(client, token=["t"], data="x", android={"urgency": "NORMAL"})) == "80000000"


async def test_topics_and_conditions_are_shown_as_their_target(hms: HmsEmulator, sender: WireClient) -> None:
    await sent(sender, topic="news", data="x")
    await sent(sender, condition="'a' in topics", data="x")
    assert [request.token for request in hms.requests()] == ["'a' in topics", "/topics/news"]
    assert hms.counters().recipients == 2


async def test_access_tokens_expire_and_are_for_one_app(keys_folder: Path) -> None:
    async with HmsEmulator(data_dir=keys_folder, app_ids=[APP_ID, "2"]) as emulator, connected(emulator) as client:
        body = {"message": {"token": ["t"], "data": "x"}}
        missing = await posted(client, body, authorization=None)
        foreign = await posted(client, body, path="/v1/2/messages:send")
        emulator.expire_access_tokens()
        expired = await posted(client, body)
    found = [(response.status, code(response)) for response in (missing, foreign, expired)]
    assert found == [(401, "80200001"), (401, "80200001"), (401, "80200003")]


async def test_access_tokens_expire_by_the_services_clock(hms: HmsEmulator, sender: WireClient) -> None:
    hms.clock_offset = 7200
    assert code(await sent(sender, "t")) == "80200003"


async def test_paths_and_methods_that_do_not_exist_have_no_code(sender: WireClient) -> None:
    assert (await posted(sender, {}, path="/v9/1/messages:send")).status == 404
    assert (await posted(sender, {}, method="PUT")).status == 405


async def test_flow_control_counts_recipients(keys_folder: Path) -> None:
    async with HmsEmulator(data_dir=keys_folder, rate_per_minute=5) as emulator, connected(emulator) as client:
        assert (await sent(client, "a", "b", "c", "d")).status == 200
        assert (await sent(client, "a", "b")).status == 503
        emulator.reset()
        assert (await sent(client, "a", "b")).status == 200


async def test_a_message_that_a_token_got_twice_is_found(hms: HmsEmulator, sender: WireClient) -> None:
    await sent(sender, "a", "b")
    hms.set_tokens({"a": {"state": "illegal"}})
    await sent(sender, "c", "b", "a")
    await sent(sender, "b", data="another")
    assert hms.counters().duplicate_deliveries == 1
    message_id = hms.requests("c")[0].message_id
    assert hms.arrivals().deliveries == [Delivery("b", message_id, 2)]


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        ({"reason": "80300037"}, 200, "80300037"),
        ({"reason": "81000001"}, 500, "81000001"),
        ({"reason": "80200001", "status": 200}, 200, "80200001"),
        ({"reason": "89999999", "status": 400}, 400, "89999999"),
        ({"status": 200}, 200, "80000000"),
    ],
)
async def test_a_rule_names_a_code(
    hms: HmsEmulator, sender: WireClient, action: dict[str, Any], status: int, expected: str
) -> None:
    hms.set_faults([{"action": action}])
    response = await sent(sender, "t")
    assert (response.status, code(response)) == (status, expected)


@pytest.mark.parametrize("action", [{"status": 503, "retry_after": 2}, {"html": True, "status": 502}])
async def test_the_gateways_answers_have_no_code(hms: HmsEmulator, sender: WireClient, action: dict[str, Any]) -> None:
    hms.set_faults([{"action": action}])
    response = await sent(sender, "t")
    assert response.status == action["status"]
    assert response.body.startswith(b"<html>")
    assert response.headers.get("retry-after") == ("2" if "retry_after" in action else None)


async def test_a_rule_makes_tokens_illegal_once(hms: HmsEmulator, sender: WireClient) -> None:
    partly = {"reason": "80100000"}
    hms.set_faults(
        [
            {"match": {"count": 1, "token_prefix": "c"}, "action": partly | {"details": ["b", "c", "d"]}},
            {"match": {"count": 2}, "action": partly},
        ]
    )
    answers = [await sent(sender, "a", "b", "c"), await sent(sender, "a", "b"), await sent(sender, "a")]
    assert [json.loads(each.json["msg"])["illegal_tokens"] for each in answers[:2]] == [["b", "c"], ["a"]]
    assert code(answers[2]) == "80300007"
    assert hms.counters().accepted_recipients == 2


async def test_a_rule_with_an_unknown_code_wants_a_status(hms: HmsEmulator) -> None:
    with pytest.raises(ValueError, match="status is needed"):
        hms.set_faults([{"action": {"reason": "1"}}])


async def test_the_faults_of_all_emulators_work_here(hms: HmsEmulator, sender: WireClient) -> None:
    hms.set_faults(
        [
            {"match": {"count": 1}, "action": {"rst_stream": "REFUSED_STREAM"}},
            {"match": {"count": 1}, "action": {"stall": True}},
            {"match": {"count": 1}, "action": {"split_body": True, "delay_ms": 1}},
        ]
    )
    assert (await sent(sender, "t")).reset is not None
    sender.send(SEND, b'{"message":{"token":["t"],"data":"x"}}')
    assert len((await sent(sender, "t")).frames) == 2
    hms.order_connections(ConnectionsOrder(goaway=Goaway(reason="enough")))
    await sender.until(lambda: sender.goaways)
    assert hms.counters().unanswered == {"rst_stream": 1, "stall": 1}


async def test_a_rule_has_a_body_of_its_own(hms: HmsEmulator, sender: WireClient) -> None:
    hms.set_faults([{"action": {"status": 200, "body": "not JSON"}}])
    assert (await sent(sender, "t")).body == b"not JSON"


async def test_any_access_token_can_be_taken(keys_folder: Path) -> None:
    async with HmsEmulator(data_dir=keys_folder, accept_any_token=True) as emulator, connected(emulator) as client:
        body = {"message": {"token": ["t"], "data": "x"}}
        assert code(await posted(client, body, authorization="Bearer of-somebody-else")) == "80000000"
        assert code(await posted(client, body, authorization=None)) == "80200001"


async def test_the_control_port_shows_whose_tokens_are(hms: HmsEmulator) -> None:
    rules = [{"token_prefix": "a", "state": "illegal"}, {"token_prefix": "", "app_ids": [APP_ID]}]
    async with httpx.AsyncClient(base_url=hms.control_url, trust_env=False) as control:
        assert (await control.post("/registry", json=rules)).json() == {"rules": 2}
        assert (await control.get("/registry")).json() == rules
        assert (await control.post("/registry", json=[{"token_prefix": "a", "state": "dead"}])).status_code == 400
