"""Registering and finding Web Push subscriptions."""

import base64
import json

import pytest

from methods.errors import BadRequestError
from methods.tokens import check_token
from tests.methods.device_calls import Call, point, register, subscription


async def web(call: Call, token: str) -> object:
    return await register(call, token, provider="webpush", platform="web")


async def test_the_endpoint_is_the_token_and_the_keys_are_shown_when_asked_for(call: Call) -> None:
    token = subscription()
    await web(call, token)
    listed = (await call("device_list"))["items"][0]
    assert (listed["token"], "webpush_keys" in listed) == ("https://fcm.googleapis.com/fcm/send/abc", False)
    shown = (await call("device_list", include_webpush_keys=True))["items"][0]
    assert shown["webpush_keys"] == json.loads(token)["keys"]


async def test_padding_of_keys_is_tolerated_and_dropped(call: Call) -> None:
    p256dh, auth = point(), base64.urlsafe_b64encode(b"\xfb" * 16).decode()
    await web(call, subscription(p256dh=p256dh + "=", auth=auth))
    shown = (await call("device_list", include_webpush_keys=True))["items"][0]
    assert shown["webpush_keys"] == {"p256dh": p256dh, "auth": auth.rstrip("=")}


async def test_a_renewed_subscription_of_one_endpoint_is_the_same_device(call: Call) -> None:
    await web(call, subscription())
    await web(call, subscription())
    assert len((await call("device_list"))["items"]) == 1


async def test_the_draft_means_web_push_when_the_token_is_a_subscription(call: Call) -> None:
    device = (await call("device_register", platform="web", token=subscription()))["device"]
    assert device["provider"] == "webpush"


async def test_it_is_found_by_subscription_and_by_endpoint(call: Call) -> None:
    token = subscription()
    await web(call, token)
    for given in (token, "https://fcm.googleapis.com/fcm/send/abc"):
        assert len((await call("device_list", tokens=[given]))["items"]) == 1
    await call("device_remove", tokens=[token])
    assert (await call("device_list"))["items"] == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/x",
        "https://jmt17.google.googleapis.com/x",
        "https://web.push.apple.com:443/x",
        "https://db5p.notify.windows.com/w/?token=x",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
    ],
)
def test_endpoints_of_the_push_services_are_taken(endpoint: str) -> None:
    assert check_token("webpush", subscription(endpoint)).token == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "https://googleapis.com/x",
        "https://evilgoogleapis.com/x",
        "https://example.com/x",
        "https://fcm.googleapis.com.example.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com:99999/x",
        "https://user@fcm.googleapis.com/x",
        "https://example.com\\.googleapis.com/x",
        "https://example.com/\\@fcm.googleapis.com/x",
        "https://fcm.googleapis.com/\u0000",
        "https://fcm.googleapis.com/a b",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://2130706433/x",
        "https:///x",
        "https://fcm.googleapis.com",
        "https://fcm.googleapis.com?x",
        "https://fcm.googleapis.com:/x",
        "https://fcm.googleapis.com:0443/x",
        "https://FCM.googleapis.com/x",
        "HTTPS://fcm.googleapis.com/x",
        "fcm.googleapis.com",
        "",
    ],
)
def test_other_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(BadRequestError):
        check_token("webpush", subscription(endpoint))


def test_addresses_are_refused_even_if_the_allow_list_names_them() -> None:
    for host in ("127.0.0.1", "0x7f.1", "2130706433"):
        with pytest.raises(BadRequestError):
            check_token("webpush", subscription(f"https://{host}/x"), [host])


def test_the_allow_list_can_name_a_host_and_a_port() -> None:
    assert check_token("webpush", subscription("https://push.local:9443/x"), ["push.local:9443"])


@pytest.mark.parametrize(
    "keys",
    [
        {"auth": "AAAA"},
        {"auth": "not base64!"},
        {"p256dh": "AAAA"},
        {"p256dh": base64.urlsafe_b64encode(b"\x04" + bytes(64)).decode()},
        {"p256dh": base64.urlsafe_b64encode(b"\x02" + bytes(64)).decode()},
        {"p256dh": "é"},
    ],
)
def test_unsound_keys_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        check_token("webpush", subscription(**keys))


async def test_what_is_no_subscription_is_refused_and_found_nowhere(call: Call) -> None:
    deep = '{"a":' + "[" * 8000
    for token in ("t1", "{}", '{"endpoint":"https://fcm.googleapis.com/x"}', deep, '{"x":"\\ud800"}'):
        with pytest.raises(BadRequestError):
            await web(call, token)
        assert (await call("device_list", tokens=[token]))["items"] == []


async def test_a_nul_character_inside_the_subscription_finds_nothing(call: Call) -> None:
    token = subscription("https://fcm.googleapis.com/\u0000")
    assert (await call("device_list", tokens=[token]))["items"] == []
    await call("device_remove", tokens=[token])


def test_a_refusal_and_a_checked_token_do_not_repeat_the_token() -> None:
    assert "secret" not in repr(check_token("fcm", "secret"))
    with pytest.raises(BadRequestError) as refused:
        check_token("apns", "secret")
    assert "secret" not in refused.value.detail
