"""The providers at work in this process: one for each credential, made anew when the credential changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import msgspec

from delivery.guard import Allowed
from delivery.http2 import PoolOptions
from delivery.providers.apns import ApnsProvider
from delivery.providers.contract import Provider
from delivery.providers.credential_fields import CredentialError, Way
from delivery.providers.fcm import FcmProvider
from delivery.providers.hms import HmsProvider
from delivery.providers.webhook import WebhookProvider
from delivery.providers.webpush import WebpushProvider
from storage.credentials import StoredCredential

DRAIN_SECONDS = 30.0

_LOG = logging.getLogger(__name__)
_NOTHING_PRIVATE = Allowed()


class _Open(msgspec.Struct):
    way: Way = Way()


def build_provider(
    credential: StoredCredential, *, options: PoolOptions | None = None, allowed: Allowed = _NOTHING_PRIVATE
) -> Provider:
    """The provider for a stored credential; CredentialError when what is stored cannot be used.

    `allowed` are the private hosts that a webhook or a push service of Web Push may be on.
    """
    try:
        if credential.provider == "apns":
            return ApnsProvider(credential) if options is None else ApnsProvider(credential, options=options)
        if credential.provider == "fcm":
            return FcmProvider(credential) if options is None else FcmProvider(credential, options=options)
        if credential.provider == "webpush":
            return WebpushProvider(credential, allowed, options=options)
        if credential.provider == "hms":
            return HmsProvider(credential) if options is None else HmsProvider(credential, options=options)
        if credential.provider == "webhook":
            return WebhookProvider(credential, allowed)
    except (ValueError, OSError) as error:  # TLS material that the system's OpenSSL does not take
        raise CredentialError(f"what is stored cannot be used: {type(error).__name__}") from None
    raise CredentialError("no provider of this name is served by this version", "provider")


class Registry:
    """Keeps one provider for each version of each credential. Use as `async with Registry(load)`.

    A provider that a change replaces takes no more work and drains in the background: its answers still come in.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Sequence[StoredCredential]]],
        *,
        build: Callable[[StoredCredential], Provider] = build_provider,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._load = load
        self._build = build
        self.drain_seconds = drain_seconds  # how long a provider that is replaced, or closed at the end, may take
        self._lock = asyncio.Lock()
        self._versions: dict[str, tuple[float, int]] = {}
        self._providers: dict[str, Provider] = {}
        self._ways: dict[str, Way] = {}
        self._draining: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Registry({len(self._providers)} providers)"

    async def __aenter__(self) -> Self:
        await self.refresh()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        async with self._lock:
            for provider_id in list(self._versions):
                self._drop(provider_id)
            if self._draining:
                await asyncio.wait(self._draining)

    def get(self, provider_id: str) -> Provider | None:
        """The provider of a credential; None when there is no such credential, or it cannot be used."""
        return self._providers.get(provider_id)

    def version(self, provider_id: str) -> int | None:
        """The version of the credential that `get` answers for."""
        mark = self._versions.get(provider_id)
        return None if mark is None else mark[1]

    def way(self, provider_id: str) -> Way:
        """The options of a credential that are the same for all providers."""
        return self._ways.get(provider_id, Way())

    def ids(self) -> list[str]:
        """The credentials that can be sent with."""
        return list(self._providers)

    async def refresh(self) -> None:
        """Read the credentials and follow their changes. Raises DatabaseUnavailableError, and changes nothing then."""
        async with self._lock:
            stored = {credential.provider_id: credential for credential in await self._load()}
            for provider_id in [name for name in self._versions if name not in stored]:
                self._drop(provider_id)
            for credential in stored.values():
                mark = (credential.created_at, credential.version)
                if self._versions.get(credential.provider_id) != mark:
                    await self._replace(credential, mark)

    async def _replace(self, credential: StoredCredential, mark: tuple[float, int]) -> None:
        self._drop(credential.provider_id)
        self._versions[credential.provider_id] = mark
        facts = {"provider_id": credential.provider_id, "version": credential.version}
        try:
            provider = await self._build(credential).__aenter__()
        except CredentialError as error:
            _LOG.error("a credential cannot be used", extra={**facts, "reason": error.detail})
            return
        self._providers[credential.provider_id] = provider
        self._ways[credential.provider_id] = msgspec.json.decode(credential.settings, type=_Open).way
        _LOG.info("a credential is ready", extra=facts)

    def _drop(self, provider_id: str) -> None:
        self._versions.pop(provider_id, None)
        provider = self._providers.pop(provider_id, None)
        self._ways.pop(provider_id, None)
        if provider is not None:
            task = asyncio.create_task(self._drain(provider_id, provider), name=f"drain {provider_id}")
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _drain(self, provider_id: str, provider: Provider) -> None:
        try:
            await provider.close(self.drain_seconds)
        except Exception:
            _LOG.exception("a provider did not close", extra={"provider_id": provider_id})


__all__ = ["Registry", "build_provider"]
