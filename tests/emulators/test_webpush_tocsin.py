"""Tocsin's own sender understands each emulated push service as it does the real one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from delivery.batches import Batch
from delivery.guard import Allowed
from delivery.outcomes import Kind
from delivery.providers.webpush import WebpushProvider
from emulators.webpush import WebpushEmulator
from emulators.webpush_errors import Service
from emulators.webpush_subscriptions import CreatedSubscription
from tests.delivery.providers.sending import batch_of, fault, send, stored

PUSH = b'{"headers":{"TTL":"60"},"payload":{"title":"hello"}}'
SERVICES = get_args(Service)


@asynccontextmanager
async def serving(service: Service, folder: Path) -> AsyncIterator[tuple[WebpushEmulator, WebpushProvider]]:
    """A push service, and a provider with its ready key pair."""
    async with WebpushEmulator(service=service, data_dir=folder) as emulator:
        pair = emulator.vapid_pair()
        params = {"provider_id": "web", "provider": "webpush", "private_key": pair.private_key, "subject": pair.subject}
        allowed = Allowed.parse(f"localhost:{emulator.port}")
        async with WebpushProvider(stored(params | {"tls_ca": emulator.authority.ca_pem}), allowed) as provider:
            yield emulator, provider


def batch(emulator: WebpushEmulator, chosen: Sequence[CreatedSubscription]) -> Batch:
    subscriptions = [each.subscription for each in chosen]
    tokens = [" ".join((each.endpoint, each.keys["p256dh"], each.keys["auth"])).encode() for each in subscriptions]
    scope = emulator.url.removeprefix("https://")
    return batch_of(provider="webpush", credential="web", scope=scope, tokens=tokens)


@pytest.mark.parametrize("service", SERVICES)
async def test_what_tocsin_sends_is_taken_and_read(service: Service, keys_folder: Path) -> None:
    async with serving(service, keys_folder) as (emulator, provider):
        chosen = emulator.subscribe(50, vapid_public_key=emulator.vapid_pair().public_key)
        results = await send(provider, batch(emulator, chosen), PUSH)
        assert not results.exceptions
        assert {str(request.payload) for request in emulator.requests()} == {"{'title': 'hello'}"}
        counters = emulator.counters()
        assert (counters.accepted, counters.undecryptable, counters.protocol_errors) == (50, 0, 0)
        assert (counters.streams_over_limit, counters.distinct_provider_tokens) == (0, 1)


@pytest.mark.parametrize("service", SERVICES)
async def test_what_a_service_says_of_subscriptions_is_understood(service: Service, keys_folder: Path) -> None:
    async with serving(service, keys_folder) as (emulator, provider):
        chosen = [*emulator.subscribe(label="gone"), *emulator.subscribe(label="busy"), *emulator.subscribe()]
        emulator.set_registry(
            [{"token_prefix": "gone", "state": "gone"}, {"token_prefix": "busy", "state": "throttled"}]
        )
        results = await send(provider, batch(emulator, chosen), PUSH)
        found = {position: outcome.kind for position, outcome in results.exceptions.items()}
        assert found == {0: Kind.DEAD, 1: Kind.RETRY}
        assert results.exceptions[1].retry_after_seconds == (900 if service == "wns" else 60)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("reason", ["unavailable", "internal"])
async def test_a_service_in_trouble_is_asked_again_later(service: Service, reason: str, keys_folder: Path) -> None:
    async with serving(service, keys_folder) as (emulator, provider):
        emulator.set_faults([fault({"reason": reason})])
        results = await send(provider, batch(emulator, emulator.subscribe()), PUSH)
        assert results.exceptions[0].kind is Kind.RETRY


@pytest.mark.parametrize("service", ["mozilla", "wns", "fcm"])
async def test_a_subscription_of_another_key_is_given_up(service: Service, keys_folder: Path) -> None:
    async with serving(service, keys_folder) as (emulator, provider):
        other = WebpushEmulator(service=service)
        async with other:
            [foreign] = emulator.subscribe(vapid_public_key=other.vapid_pair().public_key)
        results = await send(provider, batch(emulator, [foreign]), PUSH)
        assert results.exceptions[0].kind is Kind.DEAD
