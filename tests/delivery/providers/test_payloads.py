"""What is refused of a payload when a push is accepted, and where the error points."""

import pytest

from delivery.providers.contract import PayloadError
from delivery.providers.payloads import check, explicit_topic

APNS = "notification.apns"
FCM = "notification.fcm"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("[]", APNS),
        ("{}", APNS),
        ('{"payload":3}', f"{APNS}.payload"),
        ('{"payload":{"aps":[]}}', f"{APNS}.payload.aps"),
        ('{"payload":{"x":"%s"}}' % ("x" * 4096), f"{APNS}.payload"),
        ('{"payload":{},"headers":{"apns-priority":10}}', f"{APNS}.headers[...]"),
        ('{"payload":{},"headers":{"authorization":"x"}}', f"{APNS}.headers"),
        ('{"payload":{},"headers":{"apns-priority":"7"}}', f"{APNS}.headers.apns-priority"),
        ('{"payload":{},"headers":{"apns-topic":"a\\r\\nb"}}', f"{APNS}.headers.apns-topic"),
        ('{"payload":{},"headers":{"apns-topic":"a","APNS-Topic":"b"}}', f"{APNS}.headers.apns-topic"),
        ('{"payload":{},"headers":{"apns-expiration":"tomorrow"}}', f"{APNS}.headers.apns-expiration"),
        ('{"payload":{},"headers":{"apns-push-type":"loud"}}', f"{APNS}.headers.apns-push-type"),
        ('{"payload":{},"headers":{"apns-id":"7"}}', f"{APNS}.headers.apns-id"),
        ('{"payload":{},"headers":{"apns-collapse-id":"%s"}}' % ("x" * 65), f"{APNS}.headers.apns-collapse-id"),
        ('{"payload":{},"headers":{"apns-channel-id":"x"}}', f"{APNS}.headers.apns-channel-id"),
        (
            '{"payload":{},"headers":{"apns-push-type":"background","apns-priority":"10"}}',
            f"{APNS}.headers.apns-priority",
        ),
        ('{"payload":{},"headers":{"apns-push-type":"voip","apns-topic":"a.b"}}', f"{APNS}.headers.apns-topic"),
        ('{"payload":{"aps":{}},"headers":{"apns-push-type":"liveactivity"}}', f"{APNS}.payload.aps"),
    ],
)
def test_what_apns_cannot_take_is_named(raw: str, path: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check("apns", raw.encode())
    assert caught.value.path == path


@pytest.mark.parametrize(
    "raw",
    [
        '{"payload":{"aps":{"alert":"x"}}}',
        '{"payload":{},"headers":null}',
        '{"payload":{"x":"%s"},"headers":{"apns-push-type":"voip"}}' % ("x" * 5000),
        '{"payload":{"aps":{"timestamp":1,"event":"end"}},"headers":{"apns-push-type":"liveactivity"}}',
        '{"payload":{"aps":{"content-available":1}},"headers":{"Apns-Priority":"5","apns-new-thing":"1"}}',
    ],
)
def test_what_apns_takes_passes(raw: str) -> None:
    check("apns", raw.encode())


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("[]", FCM),
        ('{"message":3}', f"{FCM}.message"),
        ('{"message":{},"validate_only":true}', FCM),
        ('{"message":{"token":"x"}}', f"{FCM}.message.token"),
        ('{"topic":"x"}', f"{FCM}.topic"),
        ('{"data":{"a":1}}', f"{FCM}.data[...]"),
        ('{"data":{"from":"a"}}', f"{FCM}.data"),
        ('{"android":{"data":{"google.a":"1"}}}', f"{FCM}.android.data"),
        ('{"android":{},"android_v2":{}}', f"{FCM}.android_v2"),
        ('{"android":{"ttl":"3600"}}', f"{FCM}.android.ttl"),
        ('{"android":{"ttl":"2419201s"}}', f"{FCM}.android.ttl"),
        ('{"android":{"priority":"loud"}}', f"{FCM}.android.priority"),
        ('{"apns":{"headers":{"apns-priority":5}}}', f"{FCM}.apns.headers[...]"),
        ('{"apns":{"payload":"x"}}', f"{FCM}.apns.payload"),
        ('{"webpush":{"data":{"a":true}}}', f"{FCM}.webpush.data[...]"),
        ('{"notification":{"title":1}}', f"{FCM}.notification.title"),
        ('{"webpush":{"fcm_options":{"analytics_label":"no spaces"}}}', f"{FCM}.webpush.fcm_options.analytics_label"),
        ('{"message":{"data":{"a":"%s"}}}' % ("x" * 4096), f"{FCM}.message"),
    ],
)
def test_what_fcm_cannot_take_is_named(raw: str, path: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check("fcm", raw.encode())
    assert caught.value.path == path


@pytest.mark.parametrize(
    "raw",
    [
        "{}",
        '{"message":{}}',
        '{"message":{"token":null,"data":{"a":"1"},"a_field_of_tomorrow":[1]}}',
        '{"android":{"ttl":"0s","priority":"high","collapse_key":"k"},"apns":{"headers":{"apns-priority":"5"}}}',
        '{"data":{"a":"%s"}}' % ("\\u00e9" * 1500),
    ],
)
def test_what_fcm_takes_passes(raw: str) -> None:
    check("fcm", raw.encode())


def test_a_topic_takes_half_the_size() -> None:
    raw = b'{"data":{"a":"%b"}}' % (b"x" * 2048)
    check("fcm", raw)
    with pytest.raises(PayloadError, match="2048 at most for a topic"):
        check("fcm", raw, "topic")


def test_no_error_repeats_the_payload() -> None:
    with pytest.raises(PayloadError) as caught:
        check("fcm", b'{"data":{"account":17}}')
    assert "17" not in str(caught.value)
    assert "account" not in str(caught.value)


def test_a_payload_nested_too_deeply_is_refused_and_not_followed() -> None:
    with pytest.raises(PayloadError):
        check("apns", b'{"payload":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}")


def test_a_provider_without_rules_takes_any_object() -> None:
    check("another", b' {"message":{}}')
    with pytest.raises(PayloadError):
        check("another", b"[]")


@pytest.mark.parametrize(
    ("raw", "topic"),
    [
        (b'{"headers":{"Apns-Topic":"a.b"},"payload":{}}', "a.b"),
        (b'{"headers":{"apns-priority":5},"payload":{}}', ""),
        (b'{"payload":{}}', ""),
        (b'{"headers":{"apns-topic":3}}', ""),
        (b"[]", ""),
    ],
)
def test_the_topic_that_a_payload_names_is_found(raw: bytes, topic: str) -> None:
    assert explicit_topic(raw) == topic
