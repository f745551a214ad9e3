"""What the tests of providers share: credentials for the emulators, batches, and an awaited end."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from delivery.batches import Batch, Results
from delivery.outcomes import Outcome
from delivery.providers.contract import Provider
from delivery.providers.credentials import parse_credential
from emulators.apns import ApnsEmulator
from emulators.fcm import FcmEmulator
from storage.credentials import StoredCredential

PUSH_ID = "01920000-1234-7abc-8def-0123456789ab"
CLAIMED_AT = 1_700_000_000.0
APNS_PAYLOAD = b'{"headers":{},"payload":{"aps":{"alert":"hello"}}}'
FCM_MESSAGE = b'{"message":{"notification":{"title":"hello"}}}'


def stored(params: dict[str, Any], version: int = 1) -> StoredCredential:
    """What a worker loads after `provider_put` with these parameters."""
    new = parse_credential(params)
    return StoredCredential(
        provider_id=new.provider_id,
        provider=new.provider,
        environment=new.environment,
        source="api",
        is_default=True,
        version=version,
        created_at=1.0,
        settings=new.settings,
        secrets=new.secrets,
    )


def apns_params(emulator: ApnsEmulator, **changes: Any) -> dict[str, Any]:
    key = emulator.signing_key()
    return {
        "provider_id": "main",
        "provider": "apns",
        "key": key.p8_pem,
        "key_id": key.key_id,
        "team_id": key.team_id,
        "bundle_id": key.bundle_id,
        "endpoint": emulator.url,
        "tls_ca": emulator.authority.ca_pem,
    } | changes


def fcm_params(emulator: FcmEmulator, **changes: Any) -> dict[str, Any]:
    return {
        "provider_id": "project",
        "provider": "fcm",
        "service_account": emulator.service_account(),
        "endpoint": emulator.url,
        "tls_ca": emulator.authority.ca_pem,
    } | changes


def batch_of(count: int = 1, **changes: Any) -> Batch:
    """A batch of so many APNs tokens, changed as a test needs it."""
    fields: dict[str, Any] = {
        "id": 7,
        "push_id": PUSH_ID,
        "provider": "apns",
        "credential": "main",
        "environment": "",
        "scope": "",
        "target": "token",
        "lane": 1,
        "attempt": 1,
        "first_attempt_at": CLAIMED_AT,
        "claimed_at": CLAIMED_AT,
        "expire_at": None,
        "at_most_once": False,
        "abandoned": False,
        "tokens": [b"%064x" % position for position in range(1, count + 1)],
    }
    return Batch(**(fields | changes))


class Watched:
    """Results of a batch that can be waited for."""

    def __init__(self, batch: Batch) -> None:
        self._done = asyncio.Event()
        self.results = Results(batch, lambda _: self._done.set())

    async def end(self) -> Results:
        async with asyncio.timeout(15):
            await self._done.wait()
        return self.results


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something has become true."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - what is waited for lies in an emulator, which has no events
            await asyncio.sleep(0)


async def send(provider: Provider, batch: Batch, notification: bytes) -> Results:
    """Prepare, submit and wait for the last report."""
    watched = Watched(batch)
    provider.submit(batch, provider.prepare(msgspec.Raw(notification), batch), watched.results)
    return await watched.end()


async def outcome_of(provider: Provider, notification: bytes, **changes: Any) -> Outcome:
    """The outcome of a batch of one that is not accepted."""
    results = await send(provider, batch_of(**changes), notification)
    return results.exceptions[0]


def fault(action: dict[str, Any], **match: Any) -> dict[str, object]:
    """A rule for an emulator."""
    return {"match": match, "action": action}
