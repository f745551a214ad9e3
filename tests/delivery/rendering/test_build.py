"""What is built passes its provider's rules, and what becomes of an object of the caller's own."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.contract import PayloadError
from delivery.providers.payloads import check as check_payload
from delivery.rendering.build import Defaults, build
from delivery.rendering.neutral import Neutral
from tests.delivery.rendering.building import SENT_AT, built, message
from tests.delivery.rendering.neutral_fields import checked_ones

PROVIDERS = ("apns", "fcm", "hms", "webpush", "webhook")


@given(checked_ones, st.none() | st.integers(0, 99), st.floats(0, 4e9), st.booleans(), st.booleans())
def test_what_was_checked_is_built_for_every_provider_and_passes_its_rules(
    neutral: Neutral, badge: int | None, sent_at: float, first: bool, second: bool
) -> None:
    options = Defaults(include_notification=first, content_available=second, mutable_content=second)
    for provider in PROVIDERS:
        made = build(provider, neutral, None, sent_at=sent_at, badge=badge, options=options)
        assert made is not None
        check_payload(provider, made)
        assert build(provider, neutral, None, sent_at=sent_at, badge=badge, options=options) == made
        assert build(provider, neutral, b"{}", sent_at=sent_at, badge=badge, options=options) is not None


@given(checked_ones)
def test_headers_are_text_and_a_web_push_topic_is_one(neutral: Neutral) -> None:
    made = msgspec.json.decode(build("webpush", neutral, None, sent_at=SENT_AT) or b"")
    assert 0 <= int(made["headers"]["TTL"]) <= 28 * 86_400
    topic = made["headers"].get("Topic")
    assert topic is None or "{{" in topic or (len(topic) <= 32 and topic.isascii() and " " not in topic)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object_alone_stays_as_it_came(provider: str) -> None:
    own = b' {"payload" : {"n": 1.0, "n": null}} '
    assert build(provider, None, own, sent_at=SENT_AT) == own


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("own", [None, b"null", b" null "])
def test_nothing_makes_nothing(provider: str, own: bytes | None) -> None:
    assert build(provider, None, own, sent_at=SENT_AT) is None


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_null_object_beside_fields_is_absent(provider: str) -> None:
    neutral = Neutral(title="x")
    alone = build(provider, neutral, None, sent_at=SENT_AT)
    assert build(provider, neutral, b"null", sent_at=SENT_AT) == alone


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("own", [b"[]", b'"x"', b"{", b"7", b'{"payload":' + b'{"a":' * 70 + b"1" + b"}" * 71])
def test_what_cannot_be_laid_over_fields_is_named(provider: str, own: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        build(provider, Neutral(title="x"), own, sent_at=SENT_AT)
    assert caught.value.path == f"notification.{provider}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_the_callers_object_says_keeps_its_spelling(provider: str) -> None:
    own = b'{"message":{"data":{"n":"1"}},"payload":{"n":1.0,"list":[1e2, null]}}'
    made = build(provider, Neutral(title="x"), own, sent_at=SENT_AT) or b""
    assert b'"n":1.0,"list":[1e2, null]' in made


@pytest.mark.parametrize("own", [{"message": {"data": {"x": "y"}}}, {"data": {"x": "y"}}])
def test_both_forms_of_an_fcm_message_are_merged(own: dict[str, Any]) -> None:
    assert built("fcm", own, title="a") == {"message": {"notification": {"title": "a"}, "data": {"x": "y"}}}


def test_camel_case_of_an_fcm_message_meets_its_snake_case() -> None:
    own = {
        "android": {"collapseKey": "own", "notification": {"clickAction": "OPEN"}},
        "fcmOptions": {"analyticsLabel": "l"},
        "webpush": {"headers": {"urgency": "low"}, "notification": {"requireInteraction": True}},
        "apns": {"headers": {"APNS-Priority": "5"}, "payload": {"aps": {}, "aKey": {"innerKey": 1}}},
        "data": {"aKey": "v"},
    }
    made = message("fcm", own, title="a", collapse_key="k", priority="high")
    assert made["android"]["collapse_key"] == "own"
    assert made["android"]["notification"] == {"tag": "k", "click_action": "OPEN"}
    assert made["fcm_options"] == {"analytics_label": "l"}
    assert made["webpush"]["headers"] == {"Urgency": "low", "Topic": "k"}
    assert made["webpush"]["notification"]["requireInteraction"] is True
    assert made["apns"]["headers"]["apns-priority"] == "5"
    assert made["apns"]["payload"]["aKey"] == {"innerKey": 1}
    assert made["data"] == {"aKey": "v"}


def test_the_new_android_block_takes_the_place_of_the_old_one() -> None:
    made = message("fcm", {"androidV2": {"remote_notification": {}}}, title="a", ttl=5)
    assert "android" not in made
    assert made["android_v2"] == {"remote_notification": {}}


@pytest.mark.parametrize(
    "own", [{"notification": {"title": "x"}}, {"apns": {"payload": {"aps": {"alert": "x"}}}}], ids=["common", "apns"]
)
def test_data_beside_a_notification_of_the_callers_own_is_no_background_push(own: dict[str, Any]) -> None:
    assert "headers" not in message("fcm", own, data={"a": "b"}).get("apns", {})


def test_data_beside_an_alert_of_the_callers_own_is_an_alert() -> None:
    own = {"headers": {"APNS-Topic": "com.example.app"}, "payload": {"aps": {"alert": "x"}}}
    assert built("apns", own, data={"a": "b"}) == {
        "headers": {"apns-topic": "com.example.app"},
        "payload": {"aps": {"alert": "x"}, "a": "b"},
    }


@pytest.mark.parametrize(
    "headers", [{"apns-push-type": "voip"}, {"apns-topic": "com.example.app.voip"}], ids=["type", "topic"]
)
def test_data_beside_a_call_is_that_call(headers: dict[str, str]) -> None:
    own = {"headers": headers, "payload": {}}
    assert built("apns", own, data={"a": "b"}) == {"headers": headers, "payload": {"aps": {}, "a": "b"}}


def test_null_takes_away_what_the_fields_say() -> None:
    own = {"headers": {"APNS-Priority": None}, "payload": {"aps": {"sound": None}}}
    made = built("apns", own, title="a", sound="c", priority="high")
    assert made == {"headers": {}, "payload": {"aps": {"alert": {"title": "a"}}}}


def test_web_push_headers_meet_in_any_case() -> None:
    made = built("webpush", {"headers": {"ttl": "9", "TOPIC": None, "urgency": "low"}}, title="a", collapse_key="k")
    assert made["headers"] == {"TTL": "9", "Urgency": "low"}
