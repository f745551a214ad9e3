"""The payloads of HMS: what is refused when a push is accepted, and how recipients are put into the rest."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.contract import PayloadError
from delivery.providers.hms_message import HmsMessage, Requests, parts_of, recipients
from delivery.providers.hms_payload import read
from tests.delivery.providers.huawei import DATA, MESSAGE, batch

TEXTS = {"title": "a", "body": "b"}
ACTION = "android.notification.click_action"


def raw(**message: Any) -> bytes:
    return json.dumps({"message": message}).encode()


def notification(click_action: Any = None, **android: Any) -> bytes:
    shown = {} if click_action is None else {"click_action": click_action}
    return raw(notification=TEXTS, android={"notification": shown} | android)


def message_of(text: bytes) -> HmsMessage:
    return HmsMessage(read(text))


def body(text: bytes, expire_at: float | None = None) -> dict[str, Any]:
    message = message_of(text)
    found: dict[str, Any] = msgspec.json.decode(message.body(b'"token":["t"]', message.ttl(expire_at, 1_000.0)))
    assert found["message"].pop("token") == ["t"]
    kept: dict[str, Any] = found.pop("message")
    assert not found
    return kept


@pytest.mark.parametrize(
    "text",
    [
        MESSAGE,
        DATA,
        b' {"data":"x"} ',
        b'{"validate_only":false,"message":{"data":""}}',
        raw(android={"data": "x"}),
        raw(apns={"payload": {}}),
        raw(notification={"title": "a"}, webpush={"notification": {}}),
        raw(data="x", token=None, topic=None, android=None),
        raw(android={"notification": TEXTS | {"click_action": {"type": 3}}}),
        raw(notification={"title": "a"}, android={"notification": {"body_loc_key": "k", "click_action": {"type": 3}}}),
        notification({"type": 1, "intent": "intent://a"}),
        notification({"type": 1, "action": "a.b"}),
        notification({"type": 2, "url": "https://a"}),
        notification({"type": 3}, collapse_key=-1, urgency="HIGH", ttl="1s", bi_tag="x", fast_app_target=2),
        notification({"type": 3}, collapse_key=100, urgency="NORMAL", ttl="1296000s", category="IM", receipt_id="r"),
        notification({"type": 4, "rich_resource": "https://a/b.zip"}),
    ],
)
def test_what_huawei_takes_is_taken(text: bytes) -> None:
    read(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"[]", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b'{"message":[]}', "message"),
        (b'{"message":{}}', "message"),
        (b"{}", ""),
        (b'{"mesage":{"data":"x"}}', ""),
        (raw(data={"a": "b"}), "message.data"),
        (raw(data="x", andriod={}), "message"),
        (raw(data="x", token=["a"]), "message.token"),
        (raw(data="x", topic="a"), "message.topic"),
        (raw(data="x", condition="a"), "message.condition"),
        (b'{"validate_only":true,"message":{"data":"x"}}', ""),
        (raw(notification={"title": 1}), "message.notification.title"),
        (raw(notification={"title": "a"}), "message.notification.body"),
        (raw(notification={"body": "a"}), "message.notification.title"),
        (raw(android={"notification": {"click_action": {"type": 3}}}), "message.notification.title"),
        (raw(notification=TEXTS), f"message.{ACTION}"),
        (raw(notification=TEXTS, android={}), f"message.{ACTION}"),
        (raw(notification=TEXTS, android={"notification": {}}, apns={}), f"message.{ACTION}"),
        (b'{"notification":{"title":"a","body":"b"}}', ACTION),
        (notification({}), f"message.{ACTION}"),
        (notification({"type": 0}), f"message.{ACTION}.type"),
        (notification({"type": 5}), f"message.{ACTION}.type"),
        (notification({"type": "3"}), f"message.{ACTION}.type"),
        (notification({"type": 1}), f"message.{ACTION}"),
        (notification({"type": 2}), f"message.{ACTION}.url"),
        (notification({"type": 2, "url": "http://a"}), f"message.{ACTION}.url"),
        (notification({"type": 4}), f"message.{ACTION}"),
        (notification({"type": 3}, collapse_key=-2), "message.android.collapse_key"),
        (notification({"type": 3}, collapse_key=101), "message.android.collapse_key"),
        (notification({"type": 3}, collapse_key="a"), "message.android.collapse_key"),
        (notification({"type": 3}, urgency="high"), "message.android.urgency"),
        (notification({"type": 3}, fast_app_target=3), "message.android.fast_app_target"),
        (notification({"type": 3}, ttl=60), "message.android.ttl"),
        (notification({"type": 3}, ttl="60"), "message.android.ttl"),
        (notification({"type": 3}, ttl="1.5s"), "message.android.ttl"),
        (notification({"type": 3}, ttl="-1s"), "message.android.ttl"),
        (notification({"type": 3}, ttl="0s"), "message.android.ttl"),
        (notification({"type": 3}, ttl="١s"), "message.android.ttl"),
        (notification({"type": 3}, ttl="1296001s"), "message.android.ttl"),
    ],
)
def test_what_huawei_refuses_is_refused_by_field(text: bytes, path: str) -> None:
    with pytest.raises(PayloadError) as caught:
        read(text)
    assert caught.value.path == f"notification.hms.{path}".rstrip(".")
    assert not caught.value.too_large


def test_the_size_is_that_of_the_message_without_its_recipients() -> None:
    fixed = len(b'{"data":"","android":{"ttl":"86400s"}}')
    fits = b'{"message": {"data": "%b", "android": {"ttl": "86400s"}}}'
    assert len(read(fits % (b"x" * (4096 - fixed)))) == 4096
    with pytest.raises(PayloadError, match="4097 bytes") as caught:
        read(fits % (b"x" * (4097 - fixed)))
    assert caught.value.too_large


@pytest.mark.parametrize(
    "empty", [b'{"data":"%b"}', b'{"android":{},"data":"%b"}', b'{"android":{"bi_tag":"a"},"data":"%b"}']
)
def test_there_is_room_for_the_ttl_of_the_push(empty: bytes) -> None:
    sizes = []
    for size in range(4000, 4097):
        try:
            message = message_of(empty % (b"x" * size))
        except PayloadError:
            continue
        ttl = message.ttl(4_000_000_000.0, 1_000.0)
        sizes.append(len(message.body(b"", ttl)) - len(b'{"message":}'))
    assert 4094 <= max(sizes) <= 4096


def test_escapes_count_as_the_letters_they_stand_for() -> None:
    text = json.dumps({"data": "ü" * 2000, "android": {"ttl": "1s"}}).encode()
    assert len(text) > 12_000
    assert len(read(text)) < 4096


def test_a_message_is_sent_letter_for_letter_but_for_spaces() -> None:
    text = b'{ "message" : {"android": {"bi_tag": "a", "more": {"x": 1.50}}, "data": "\\u00e9"} }'
    sent = message_of(text).body(b'"token":["t"]', None)
    assert sent == (b'{"message":{"data":"\\u00e9","android":{"bi_tag":"a","more":{"x":1.50}},"token":["t"]}}')


def test_a_ttl_ends_with_the_push_unless_it_ends_before() -> None:
    assert body(DATA) == {"data": "{}"}
    assert body(DATA, 1_000.4) == {"data": "{}", "android": {"ttl": "1s"}}
    assert body(DATA, 1_060.2)["android"] == {"ttl": "61s"}
    assert body(DATA, 500.0)["android"] == {"ttl": "1s"}
    assert body(raw(data="x", android={"ttl": "30s"}), 1_060.0)["android"] == {"ttl": "30s"}
    assert body(raw(data="x", android={"ttl": "90s", "bi_tag": "a"}), 1_060.0)["android"] == {
        "bi_tag": "a",
        "ttl": "60s",
    }
    assert body(raw(data="x", android={"ttl": "90s"}))["android"] == {"ttl": "90s"}
    assert body(raw(data="x", android={}))["android"] == {}


def test_a_message_for_other_platforms_gets_no_android_part() -> None:
    assert body(raw(apns={"headers": {}}), 1_060.0) == {"apns": {"headers": {}}}


def test_null_says_nothing() -> None:
    assert body(raw(data="x", token=None, notification=None, android=None)) == {"data": "x"}
    assert body(raw(data="x", android={"ttl": None, "notification": None})) == {"data": "x", "android": {}}


def test_equal_messages_are_equal() -> None:
    one, same, other = message_of(DATA), message_of(b'{"data": "{}"}'), message_of(raw(data="x"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert message_of(raw(data="x", android={"ttl": "1s"})) != message_of(raw(data="x", android={"ttl": "2s"}))
    assert message_of(raw(data="x", android={})) != other
    assert parts_of("token", 3, [one, other, same]) == [[0, 2], [1]]


@given(st.lists(st.text(min_size=1), min_size=1), st.sampled_from(["token", "topic", "condition"]))
def test_a_recipient_cannot_break_out_of_its_string(names: list[str], target: str) -> None:
    addresses = [name.encode("utf-8", "replace") for name in names]
    named = recipients(target, addresses if target == "token" else addresses[:1])
    found = msgspec.json.decode(message_of(DATA).body(named, None))["message"]
    expected = [address.decode() for address in addresses]
    assert found == {"data": "{}", target: expected if target == "token" else expected[0]}


def test_requests_are_made_when_they_are_asked_for() -> None:
    now = [1_000.0]
    of_all = batch(3, expire_at=1_100.0)
    requests = Requests(of_all, [[0, 2], [1]], [message_of(DATA)], clock=lambda: now[0])
    now[0] = 1_040.0
    (first, second) = (msgspec.json.decode(each)["message"] for each in requests)
    assert first == {"data": "{}", "android": {"ttl": "60s"}, "token": ["IQAAAACy0h-0", "IQAAAACy0h-2"]}
    assert second["token"] == ["IQAAAACy0h-1"]
    assert requests[0:2] == [requests[0], requests[1]]
    assert repr(requests) == "<2 requests>"


def test_what_is_left_of_the_time_is_told_by_the_clock_of_the_push() -> None:
    """A host that is an hour ahead of the database, by which pushes expire."""
    of_all = batch(1, expire_at=1_100.0)
    of_all.ahead_seconds = 3_600.0
    requests = Requests(of_all, [[0]], [message_of(DATA)], clock=lambda: 4_640.0)
    assert msgspec.json.decode(requests[0])["message"]["android"] == {"ttl": "60s"}
