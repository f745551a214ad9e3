"""What one neutral field becomes at each provider."""

from typing import Any

import msgspec
import pytest

from delivery.rendering.build import Defaults, build
from delivery.rendering.neutral import Neutral, Sound
from tests.delivery.rendering.building import DATA_MESSAGES, SENT_AT, built, message


def test_an_alert_says_its_push_type() -> None:
    assert built("apns", title="a", body="b", subtitle="c") == {
        "headers": {"apns-push-type": "alert"},
        "payload": {"aps": {"alert": {"title": "a", "subtitle": "c", "body": "b"}}},
    }


@pytest.mark.parametrize(("priority", "number"), [("high", "10"), ("normal", "5")])
def test_a_priority_is_a_number_at_apns_and_no_interruption_level(priority: str, number: str) -> None:
    made = built("apns", title="a", priority=priority)
    assert made["headers"]["apns-priority"] == number
    assert "interruption-level" not in made["payload"]["aps"]


@pytest.mark.parametrize("fields", [{"background": True}, {"data": {"a": "b"}, "priority": "high"}])
def test_what_shows_nothing_is_a_background_push(fields: dict[str, Any]) -> None:
    background = {"apns-push-type": "background", "apns-priority": "5"}
    made = built("apns", **fields)
    assert made["headers"] == background
    assert made["payload"]["aps"] == {"content-available": 1}
    assert message("fcm", **fields)["apns"] == {"headers": background, "payload": {"aps": {"content-available": 1}}}


@pytest.mark.parametrize(
    ("ttl", "apns", "fcm", "hms", "webpush"),
    [
        (0, "0", "0s", "1s", "0"),
        (60, "1795305660", "60s", "60s", "60"),
        (10**30, "1797897600", "2419200s", "1296000s", "2419200"),
    ],
)
def test_a_ttl_ends_where_each_provider_ends_it(ttl: int, apns: str, fcm: str, hms: str, webpush: str) -> None:
    assert built("apns", title="a", ttl=ttl)["headers"]["apns-expiration"] == apns
    of_fcm = message("fcm", title="a", ttl=ttl)
    assert of_fcm["android"]["ttl"] == fcm
    assert of_fcm["apns"]["headers"]["apns-expiration"] == apns
    assert of_fcm["webpush"]["headers"]["TTL"] == webpush
    assert message("hms", title="a", ttl=ttl)["android"]["ttl"] == hms
    assert built("webpush", title="a", ttl=ttl)["headers"]["TTL"] == webpush


def test_a_web_push_without_a_ttl_is_kept_for_four_weeks() -> None:
    assert built("webpush", title="a")["headers"] == {"TTL": "2419200"}


@pytest.mark.parametrize("key", ["chat-7", "x" * 33, "chat 7", "чат", " a", "ж" * 32])
def test_a_collapse_key_fits_every_header_and_names_one_subject(key: str) -> None:
    def names(key: str) -> tuple[str, str]:
        of_apns = built("apns", title="a", collapse_key=key)["headers"]["apns-collapse-id"]
        of_web = built("webpush", title="a", collapse_key=key)["headers"]["Topic"]
        of_fcm = message("fcm", title="a", collapse_key=key)
        assert of_fcm["apns"]["headers"]["apns-collapse-id"] == of_apns
        assert of_fcm["webpush"]["headers"]["Topic"] == of_web
        assert of_fcm["android"]["collapse_key"] == of_fcm["android"]["notification"]["tag"] == key
        return of_apns, of_web

    assert len(names(key)[1]) <= 32
    assert names(key) == names(key)
    assert not set(names(key)) & set(names(key[:-1] + "y"))


def test_a_collapse_key_that_fits_is_not_changed() -> None:
    assert built("apns", title="a", collapse_key="a b~c")["headers"]["apns-collapse-id"] == "a b~c"
    assert built("webpush", title="a", collapse_key="a_b-C9")["headers"]["Topic"] == "a_b-C9"


def test_a_collapse_key_with_template_text_is_left_for_its_rendering() -> None:
    made = build("webpush", Neutral(title="a", collapse_key="c {{ device.id }}"), None, sent_at=SENT_AT)
    assert msgspec.json.decode(made or b"")["headers"]["Topic"] == "c {{ device.id }}"


@pytest.mark.parametrize(
    ("sound", "name", "of_apple"),
    [
        ("chime.caf", "chime.caf", "chime.caf"),
        (Sound(), "default", "default"),
        (Sound("siren", critical=True), "siren", {"critical": 1, "name": "siren", "volume": 1.0}),
        (Sound(critical=True, volume=0.0), "default", {"critical": 1, "name": "default", "volume": 0.0}),
    ],
)
def test_a_sound_is_critical_only_at_apple(sound: Any, name: str, of_apple: Any) -> None:
    assert built("apns", title="a", sound=sound)["payload"]["aps"]["sound"] == of_apple
    of_fcm = message("fcm", title="a", sound=sound)
    assert of_fcm["apns"]["payload"]["aps"] == {"sound": of_apple}
    assert of_fcm["android"]["notification"] == {"sound": name}


@pytest.mark.parametrize(
    ("sound", "fields"),
    [
        ("default", {"default_sound": True}),
        ("chime.caf", {"sound": "/raw/chime"}),
        ("/raw/shake", {"sound": "/raw/shake"}),
    ],
)
def test_a_sound_is_a_resource_at_hms(sound: str, fields: dict[str, Any]) -> None:
    notification = message("hms", title="a", sound=sound)["android"]["notification"]
    assert notification == {"click_action": {"type": 3}} | fields


def test_an_automatic_badge_is_what_the_caller_of_build_counted() -> None:
    made = build("apns", Neutral(title="a", badge="auto"), None, sent_at=SENT_AT, badge=4)
    assert msgspec.json.decode(made or b"")["payload"]["aps"]["badge"] == 4
    made = build("webhook", Neutral(title="a", badge="auto"), None, sent_at=SENT_AT, badge=None)
    assert made == b'{"payload":{"title":"a"}}'


def test_a_badge_of_its_own_is_not_counted() -> None:
    made = build("apns", Neutral(badge=0), None, sent_at=SENT_AT, badge=4)
    assert msgspec.json.decode(made or b"")["payload"]["aps"] == {"badge": 0}


def test_a_badge_of_zero_is_said_where_zero_clears_it() -> None:
    assert built("webpush", badge=0)["payload"] == {"app_badge": 0}
    of_fcm = message("fcm", title="a", badge=0)
    assert of_fcm["apns"]["payload"]["aps"] == {"badge": 0}
    assert "android" not in of_fcm


def test_an_image_makes_the_content_mutable_unless_the_caller_says_no() -> None:
    image = "https://example.com/a.png"
    assert built("apns", title="a", image=image)["payload"] == {
        "aps": {"alert": {"title": "a"}, "mutable-content": 1},
        "image": image,
    }
    assert "mutable-content" not in built("apns", title="a", image=image, mutable=False)["payload"]["aps"]
    of_fcm = message("fcm", title="a", image=image)
    assert of_fcm["notification"]["image"] == image
    assert of_fcm["apns"] == {"payload": {"aps": {"mutable-content": 1}}, "fcm_options": {"image": image}}


def test_a_credentials_defaults_go_with_every_alert_and_with_no_background_push() -> None:
    options = Defaults(content_available=True, mutable_content=True)
    aps = built("apns", title="a", options=options)["payload"]["aps"]
    assert aps == {"alert": {"title": "a"}, "mutable-content": 1, "content-available": 1}
    assert built("apns", background=True, options=options)["payload"]["aps"] == {"content-available": 1}
    assert "mutable-content" not in built("apns", title="a", mutable=False, options=options)["payload"]["aps"]


def test_a_key_of_data_goes_before_a_field_of_the_same_name() -> None:
    data = {"url": "own", "title": "own"}
    fields: dict[str, Any] = {"title": "a", "url": "https://example.com/", "data": data}
    assert built("apns", **fields)["payload"] == {"aps": {"alert": {"title": "a"}}} | data
    assert message("fcm", **fields)["data"] == data
    assert message("fcm", **fields, options=DATA_MESSAGES)["data"] == data
    assert msgspec.json.decode(message("hms", **fields)["data"]) == data
