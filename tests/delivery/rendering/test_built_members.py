"""What each provider gets that no other one gets."""

from typing import Any

import msgspec
import pytest

from delivery.providers.payloads import check
from delivery.rendering.neutral import Sound
from tests.delivery.rendering.building import DATA_MESSAGES, built, message


def test_fcm_says_a_text_once() -> None:
    assert message("fcm", title="a", body="b", sound="c", priority="high", thread_id="t", category="k") == {
        "notification": {"title": "a", "body": "b"},
        "android": {"priority": "HIGH", "notification": {"sound": "c"}},
        "apns": {
            "headers": {"apns-priority": "10"},
            "payload": {"aps": {"sound": "c", "thread-id": "t", "category": "k"}},
        },
        "webpush": {"headers": {"Urgency": "high"}},
    }


def test_a_subtitle_exists_at_apple_only() -> None:
    made = message("fcm", title="a", subtitle="s")
    assert made == {
        "notification": {"title": "a"},
        "apns": {"payload": {"aps": {"alert": {"title": "a", "subtitle": "s"}}}},
    }


def test_a_data_message_carries_what_the_app_needs_to_show_it() -> None:
    fields: dict[str, Any] = {"title": "a", "body": "b", "badge": 3, "sound": Sound(critical=True), "thread_id": "t"}
    made = message("fcm", **fields, data={"x": "y"}, options=DATA_MESSAGES)
    shown = {"title": "a", "body": "b", "badge": "3", "sound": "default", "thread_id": "t"}
    assert made["data"] == shown | {"x": "y"}
    assert made["android"] == {"priority": "HIGH"}
    assert made["apns"]["payload"]["aps"]["alert"] == {"title": "a", "body": "b"}
    assert not {"notification", "webpush"} & set(made)


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://example.com/", {"fcm_options": {"link": "https://example.com/"}}),
        ("http://example.com/", None),
        ("myapp:open", None),
    ],
)
def test_fcm_links_to_https_only(url: str, link: dict[str, Any] | None) -> None:
    made = message("fcm", title="a", url=url)
    assert made["data"] == {"url": url}
    assert made.get("webpush") == link


def test_hms_says_what_a_tap_does() -> None:
    def tap(**fields: Any) -> Any:
        return message("hms", title="a", **fields)["android"]["notification"]["click_action"]

    assert tap() == {"type": 3}
    assert tap(url="https://example.com/") == {"type": 2, "url": "https://example.com/"}
    assert tap(url="myapp:open") == {"type": 3}


@pytest.mark.parametrize("fields", [{"title": "a"}, {"body": "a"}, {"title": "a", "body": "a"}])
def test_hms_gets_a_title_and_a_body_whatever_was_given(fields: dict[str, Any]) -> None:
    assert message("hms", **fields)["notification"] == {"title": "a", "body": "a"}


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "a"},
        {"body": "b", "url": "https://example.com/", "ttl": 10**9, "priority": "high"},
        {"title": "a", "image": "https://example.com/a.png", "sound": "ding.wav", "collapse_key": "k", "badge": 3},
        {"data": {"a": "b"}, "priority": "high", "ttl": 0},
        {"background": True},
    ],
)
def test_what_is_built_for_hms_is_what_hms_takes(fields: dict[str, Any]) -> None:
    check("hms", msgspec.json.encode(built("hms", **fields)))


def test_an_hms_data_message_has_data_as_text_and_may_be_urgent() -> None:
    assert message("hms", data={"a": 'b"c'}, priority="high") == {
        "data": '{"a":"b\\"c"}',
        "android": {"urgency": "HIGH"},
    }
    assert message("hms", background=True) == {"data": "{}", "android": {"urgency": "NORMAL"}}
    assert "urgency" not in message("hms", title="a", priority="high")["android"]


@pytest.mark.parametrize(
    ("fields", "urgency"),
    [
        ({"title": "a", "priority": "high"}, "high"),
        ({"title": "a", "priority": "normal"}, "normal"),
        ({"background": True, "priority": "normal"}, "low"),
        ({"title": "a"}, None),
    ],
)
def test_a_web_push_is_as_urgent_as_its_priority(fields: dict[str, Any], urgency: str | None) -> None:
    assert built("webpush", **fields)["headers"].get("Urgency") == urgency


def test_a_web_push_is_declarative_when_there_are_a_title_and_a_page() -> None:
    assert built("webpush", title="a", url="https://example.com/", mutable=True, badge=2)["payload"] == {
        "web_push": 8030,
        "notification": {"title": "a", "navigate": "https://example.com/"},
        "app_badge": 2,
        "mutable": True,
    }


@pytest.mark.parametrize(
    "fields", [{"title": "a"}, {"body": "b", "url": "https://example.com/"}, {"title": "a", "url": "myapp:open"}]
)
def test_any_other_web_push_is_for_a_service_worker(fields: dict[str, Any]) -> None:
    payload = built("webpush", **fields, data={"x": "y"})["payload"]
    assert set(payload) == {"notification"}
    assert payload["notification"]["data"] == {"x": "y"}


def test_a_web_push_that_shows_nothing_has_its_data_at_the_top() -> None:
    payload = built("webpush", background=True, url="https://example.com/", data={"x": "y"})["payload"]
    assert payload == {"url": "https://example.com/", "data": {"x": "y"}}


def test_a_webhook_gets_the_fields_under_their_own_names() -> None:
    fields: dict[str, Any] = {"body": "b", "sound": Sound("s", critical=True), "data": {"a": "b"}, "ttl": 5}
    assert built("webhook", {"payload": {"more": 1}}, **fields)["payload"] == {
        "body": "b",
        "sound": {"name": "s", "critical": True},
        "data": {"a": "b"},
        "ttl": 5,
        "more": 1,
    }
