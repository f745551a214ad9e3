"""The credential of an HMS app: what is accepted, and what may be shown of it."""

from typing import Any

import msgspec
import pytest

from delivery.providers.credentials import CredentialError, UnsupportedCredentialError, parse_credential
from delivery.providers.hms import CONNECTIONS, HmsProvider
from delivery.providers.hms_credential import HmsSecrets, HmsSettings
from tests.delivery.providers.sending import stored

PARAMS = {"provider_id": "app", "provider": "hms", "app_id": "104729863", "app_secret": "s3cret/+=="}


def settings(**changes: Any) -> HmsSettings:
    return msgspec.json.decode(parse_credential(PARAMS | changes).settings, type=HmsSettings)


def test_id_and_secret_are_enough() -> None:
    new = parse_credential(PARAMS)
    found = settings()
    assert (found.app_id, found.token_url) == ("104729863", "https://oauth-login.cloud.huawei.com/oauth2/v3/token")
    assert (found.way.transport, found.way.quota_per_minute, found.way.endpoint) == ("httpx", 0, "")
    assert new.environment == ""
    assert b"s3cret" not in new.settings
    assert msgspec.json.decode(new.secrets, type=HmsSecrets).app_secret == "s3cret/+=="
    assert "s3cret" not in repr(msgspec.json.decode(new.secrets, type=HmsSecrets))


def test_both_services_may_be_elsewhere() -> None:
    found = settings(token_url=" http://127.0.0.1:8000/token?a=1 ", endpoint="https://push.test/base/")
    assert (found.token_url, found.way.endpoint) == ("http://127.0.0.1:8000/token?a=1", "https://push.test/base")


def test_space_around_a_field_is_not_part_of_it() -> None:
    new = parse_credential(PARAMS | {"app_id": " 17\n", "app_secret": " s\n"})
    assert msgspec.json.decode(new.settings, type=HmsSettings).app_id == "17"
    assert msgspec.json.decode(new.secrets, type=HmsSecrets).app_secret == "s"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"app_id": None}, "app_id"),
        ({"app_id": ""}, "app_id"),
        ({"app_id": "app"}, "app_id"),
        ({"app_id": "1" * 21}, "app_id"),
        ({"app_id": "١٢"}, "app_id"),
        ({"app_secret": None}, "app_secret"),
        ({"app_secret": "two words"}, "app_secret"),
        ({"app_secret": "x" * 513}, "app_secret"),
        ({"token_url": "ftp://a"}, "token_url"),
        ({"token_url": "https://user@a/token"}, "token_url"),
        ({"token_url": "https://a/token#part"}, "token_url"),
        ({"token_url": "https://a:0/token"}, "token_url"),
        ({"token_url": "https://a/" + "x" * 2048}, "token_url"),
        ({"endpoint": "https://a?b"}, "endpoint"),
        ({"service_account": {}}, "service_account"),
        ({"key_id": "a"}, "key_id"),
    ],
)
def test_what_cannot_be_used_is_refused_by_field(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential(PARAMS | changes)
    assert caught.value.path == path
    assert "two words" not in str(caught.value)


def test_httpx_is_the_transport_unless_told() -> None:
    assert settings().way.transport == settings(transport="httpx").way.transport == "httpx"
    assert settings(transport="http2").way.transport == "http2"
    with pytest.raises(UnsupportedCredentialError):
        parse_credential(PARAMS | {"transport": "aioapns"})


async def test_connections_bound_what_is_queued() -> None:
    async with HmsProvider(stored(PARAMS)) as provider:
        assert provider.free_requests() == 2 * CONNECTIONS
    async with HmsProvider(stored(PARAMS | {"max_connections": 3})) as provider:
        assert provider.free_requests() == 6
