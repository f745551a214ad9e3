"""Web Push over the multiplexer: to browsers, each at the push service that it chose (providers.md 3)."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import msgspec

from delivery.batches import Batch, Results
from delivery.guard import Allowed
from delivery.http2 import ConnectFailed, PoolOptions
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers import webpush_payload
from delivery.providers.contract import Attempt, Defaults
from delivery.providers.webpush_attempt import WebpushAttempt, address_not_allowed
from delivery.providers.webpush_credential import WebpushSecrets, WebpushSettings, load_vapid_key
from delivery.providers.webpush_message import WebpushMessage
from delivery.providers.webpush_origins import Origins, TooManyOriginsError
from delivery.providers.webpush_sealing import Sealing
from delivery.providers.webpush_subscription import SubscriptionError, audience
from delivery.providers.webpush_vapid import VapidTokens
from storage.credentials import StoredCredential

OPTIONS = PoolOptions(streams_per_connection=100, idle_ping_limit=3, idle_close_seconds=230.0)
"""A hundred streams a connection, as FCM serves them; a push service that nobody sends to costs no connection."""

_NOTHING_PRIVATE = Allowed()
_MOST_WAITING = 10_000
_BUSY_SECONDS = 5.0
_STALLED_SECONDS = 15.0
_INVALID = Outcome(Kind.FAILED, "InvalidSubscription")


class _Settled:
    """An attempt that ended before it began."""

    def cancel(self) -> None:
        """Nothing is left to give back."""


class WebpushProvider:
    """A Web Push credential at work: a VAPID key, and a pool of connections for each push service.

    `allowed` are the private hosts that the settings let it call, for push services of one's own.
    """

    def __init__(
        self,
        credential: StoredCredential,
        allowed: Allowed = _NOTHING_PRIVATE,
        *,
        options: PoolOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = msgspec.json.decode(credential.settings, type=WebpushSettings)
        secrets = msgspec.json.decode(credential.secrets, type=WebpushSecrets)
        options = options or OPTIONS
        if settings.way.max_connections:
            options = msgspec.structs.replace(options, max_connections=settings.way.max_connections)
        self.defaults = Defaults()
        self._public_key = settings.public_key
        self._tokens = VapidTokens(load_vapid_key(secrets.private_key), settings.subject, clock=clock)
        self._origins = Origins(settings.way, secrets.proxy_user, allowed, options, clock=clock)
        self._sealing = Sealing()
        self._backlog = 2 * options.backlog
        self._closing = False

    def __repr__(self) -> str:
        return f"WebpushProvider(public_key={self._public_key!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close(0.0)

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> WebpushMessage:
        """Check the member `notification.webpush`; raises PayloadError."""
        return WebpushMessage(webpush_payload.read(bytes(notification)))

    def submit(
        self, batch: Batch, message: WebpushMessage, results: Results, each: Sequence[WebpushMessage] | None = None
    ) -> Attempt:
        """Send a batch: encrypted slice by slice, later in the event loop; answers come through `results`."""
        if self._closing:
            return _settled(results, Outcome(Kind.RELEASED, "Released"))
        try:
            origin = self._origins.get(batch.scope)
        except SubscriptionError:
            return _settled(results, _INVALID)
        except TooManyOriginsError:
            return _settled(results, _later("TooManyOrigins", batch.scope, _BUSY_SECONDS))
        if origin.refused:
            return _settled(results, address_not_allowed(origin))
        if origin.stalled:
            return _settled(results, _later("NoAnswers", batch.scope, _STALLED_SECONDS))
        head = message.head(
            self._tokens.authorization(audience(batch.scope)),
            origin.place,
            batch.scope,
            expire_at=None if batch.expire_at is None else batch.expire_at + batch.ahead_seconds,
            urgent=batch.lane == 0,
        )
        attempt = WebpushAttempt(batch, [message] if each is None else each, results, origin, head)
        self._sealing.add(attempt)
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now, whichever push service they are at."""
        level = min(max(self._backlog, self._origins.capacity), _MOST_WAITING)
        return 0 if self._closing else max(0, level - self._sealing.waiting - self._origins.queued)

    async def check(self) -> Mapping[str, str]:
        """Sign and verify; connect to the `endpoint` if there is one: other push services are the browsers' choice."""
        steps: dict[str, str] = {}
        if not self._tokens.verifies():
            return {"authorization": "refused: what the private key signs does not verify"}
        steps["authorization"] = f"ok: VAPID token signed by {self._public_key[:12]}…"
        if not self._origins.overridden:
            return steps
        origin = self._origins.get("")
        try:
            await origin.pool.warm_up()
        except ConnectFailed as error:
            steps["connect"] = f"no connection: {error} ({origin.place.where})"
            return steps
        steps["connect"] = f"ok: {origin.place.authority.decode()}"
        return steps

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        self._closing = True
        self._sealing.close()
        await self._origins.close(grace_seconds)


def _later(reason: str, scope: str, seconds: float) -> Outcome:
    """Turned back here: what is for this origin waits, what is for others does not."""
    return Outcome(Kind.RETRY, reason, pause=Pause("throttle", scope, seconds), counts_as_attempt=False)


def _settled(results: Results, outcome: Outcome) -> Attempt:
    for position in range(len(results.batch.tokens)):
        results.settled(position, outcome)
    return _Settled()
