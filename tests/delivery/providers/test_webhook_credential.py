"""What a webhook's credential may say, and how it is stored."""

from typing import Any

import msgspec
import pytest

from delivery.guard import Allowed
from delivery.providers.credentials import CredentialError, parse_credential
from delivery.providers.registry import build_provider
from delivery.providers.webhook import WebhookProvider
from delivery.providers.webhook_credential import WebhookSecrets, WebhookSettings
from delivery.providers.webhook_reactions import Refused
from tests.delivery.providers.sending import stored

WEBHOOK: dict[str, Any] = {
    "provider_id": "own",
    "provider": "webhook",
    "url": "https://api.company.example/push?app=1",
    "secret": "PRIVATE " * 2,
}


def settings(**changes: Any) -> WebhookSettings:
    return msgspec.json.decode(parse_credential(WEBHOOK | changes).settings, type=WebhookSettings)


def test_the_secret_is_stored_apart() -> None:
    new = parse_credential(WEBHOOK)
    assert b"PRIVATE" not in new.settings
    assert msgspec.json.decode(new.secrets, type=WebhookSecrets).secret == WEBHOOK["secret"]
    assert (new.provider, new.environment) == ("webhook", "")


def test_what_is_not_told_has_a_default() -> None:
    found = settings()
    assert (found.url, found.batched, found.timeout_seconds) == (WEBHOOK["url"], False, 10)
    assert found.way.transport == "httpx"


def test_batches_hold_a_hundred_recipients_unless_told() -> None:
    assert settings(batched=True).batch_recipients == 100
    assert settings(batched=True, batch_recipients=7).batch_recipients == 7


def test_the_ways_of_all_providers_are_taken() -> None:
    way = settings(quota_per_minute=600, max_connections=5, gone_percent=10, proxy="http://u:p@proxy:8080").way
    assert (way.quota_per_minute, way.max_connections, way.gone_percent, way.proxy) == (600, 5, 10, "http://proxy:8080")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"url": None}, "url"),
        ({"url": "ftp://api.company.example"}, "url"),
        ({"url": "https://me:word@api.company.example"}, "url"),
        ({"url": "https://api.company.example/#top"}, "url"),
        ({"url": "https://api.company.example/" + "x" * 2048}, "url"),
        ({"url": "https://api.company.example/a b"}, "url"),
        ({"url": "https://api.company.example:0/"}, "url"),
        ({"secret": None}, "secret"),
        ({"secret": "too short"}, "secret"),
        ({"secret": "x" * 1025}, "secret"),
        ({"batched": True, "batch_recipients": 0}, "batch_recipients"),
        ({"batched": True, "batch_recipients": 501}, "batch_recipients"),
        ({"batch_recipients": 5}, "batch_recipients"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 61}, "timeout_seconds"),
        ({"tls_ca": "no certificate"}, "tls_ca"),
        ({"endpoint": "https://api.company.example"}, "endpoint"),
        ({"transport": "httpx"}, "transport"),
        ({"key_id": "KEY4567890"}, "key_id"),
        ({"include_notification": True}, "include_notification"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse_credential(WEBHOOK | changes)
    assert caught.value.path == path


@pytest.mark.parametrize("provider", ["apns", "fcm"])
@pytest.mark.parametrize("name", ["url", "secret", "batched", "batch_recipients", "timeout_seconds"])
def test_other_providers_have_no_such_field(provider: str, name: str) -> None:
    given = {"url": "https://x.example", "secret": "x" * 16, "batched": True}.get(name, 5)
    with pytest.raises(CredentialError) as caught:
        parse_credential({"provider_id": "x", "provider": provider, name: given})
    assert caught.value.path == name


def test_the_registry_makes_its_provider_and_shows_no_secret() -> None:
    made = build_provider(stored(WEBHOOK), allowed=Allowed())
    assert isinstance(made, WebhookProvider)
    shown = repr(made) + repr(WebhookSecrets(secret="PRIVATE")) + repr(Refused(token="PRIVATE"))
    assert "PRIVATE" not in shown
