"""A company's own API as a provider: it is called with whom a push is for and what it says, and reaches the device.

A device is named by its token, which may be any string. See docs/webhook-provider.md.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

import msgspec

from delivery.batches import Batch, Results
from delivery.guard import Allowed
from delivery.http2 import Answer, ConnectFailed, Failure, Head
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers import webhook_message
from delivery.providers.attempt import BatchAttempt
from delivery.providers.contract import Defaults
from delivery.providers.origins import where
from delivery.providers.probe import ask
from delivery.providers.reactions import Pausing, retry_after
from delivery.providers.transport import Transport
from delivery.providers.webhook_credential import WebhookSecrets, WebhookSettings, host_of
from delivery.providers.webhook_message import Bodies, WebhookMessage, parts_of, recipient_ids, request_id
from delivery.providers.webhook_reactions import QUOTA_BACKOFF_SECONDS, Refused, reaction, refused_of
from delivery.providers.webhook_transport import ADDRESS_REFUSED, WebhookTransport
from delivery.webhooks.signature import DELIVERY
from storage.credentials import StoredCredential

CONNECTIONS = 20
"""Requests in flight at once, unless the credential says `max_connections`."""
_BACKLOG_RECIPIENTS = 1000
_GONE = 410
_CHECK = b'{"check":true}'


class WebhookAttempt(BatchAttempt):
    """A batch on its way: one request for each recipient, or for each group of those that get the same."""

    provider = "webhook"

    __slots__ = ("_ids", "_many", "_parts")

    def __init__(
        self,
        head: Head,
        batch: Batch,
        results: Results,
        pool: Transport,
        messages: Sequence[WebhookMessage],
        batch_recipients: int,
    ) -> None:
        each = messages if len(messages) > 1 else None
        self._many = batch_recipients > 0
        self._ids = recipient_ids(batch)
        self._parts = parts_of(len(batch.tokens), batch_recipients or 1, each)
        names = [request_id([self._ids[position] for position in part]).encode() for part in self._parts]
        super().__init__(head, batch, results, pool, b"", ids=names, count=len(names))
        self.bodies = Bodies(batch, self._parts, self._ids, messages, many=self._many)

    def settle(self, index: int, outcome: Outcome) -> None:
        """The same for all recipients of the request."""
        for position in self._parts[index]:
            self.results.settled(position, outcome)

    def on_ok(self, index: int, body: bytes) -> None:
        """Taken; of many recipients the answer may name some as failed."""
        self._taken(index, 200, body)

    def on_answer(self, index: int, answer: Answer) -> None:
        """Taken with another status, or refused: the reaction table says what follows."""
        if 200 <= answer.status < 300:
            self._taken(index, answer.status, answer.body)
            return
        row = reaction(answer.status, batched=self._many)
        reason = f"HTTP_{answer.status}"
        wait = retry_after(answer.header(b"retry-after"), time.time()) if row.kind is Kind.RETRY else None
        if row.pausing is Pausing.THROTTLE and wait is None:
            wait = QUOTA_BACKOFF_SECONDS
        pause = self.pause(row.pausing, "", wait)
        outcome = Outcome(
            row.kind,
            reason,
            answer.status,
            retry_after_seconds=wait,
            backoff_base_seconds=row.backoff_base_seconds,
            proof_at=self.batch.claimed_at if row.kind is Kind.DEAD else None,
            pause=pause,
            counts_as_attempt=pause is None,
        )
        self.react(index, answer, row, reason, outcome)

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer; an address that may not be called stays so until an operator acts."""
        if failure.reason != ADDRESS_REFUSED:
            super().on_failure(index, failure)
            return
        pause = Pause("trouble")
        self.settle(index, Outcome(Kind.RETRY, "AddressNotAllowed", pause=pause, counts_as_attempt=False))
        if not self.cancelled:
            self.pool.cancel(self)

    def _taken(self, index: int, status: int, body: bytes) -> None:
        named = self._named(status, body) if self._many else []
        by_id = {refused.id: refused for refused in named if refused.id}
        by_token = {refused.token: refused for refused in named if refused.token and not refused.id}
        for position in self._parts[index]:
            token = self.batch.tokens[position].decode()
            refused = by_id.get(self._ids[position]) or by_token.get(token)
            if refused is None:
                self.results.accepted(position, self._ids[position].encode())
            else:
                self.results.settled(position, self._outcome(refused, status))

    def _named(self, status: int, body: bytes) -> list[Refused]:
        named = refused_of(body)
        if named is None:
            self.log_refused_message("UnreadableAnswer", status, "failed")
        return named or []

    def _outcome(self, refused: Refused, status: int) -> Outcome:
        kind, word = refused.outcome()
        if kind is Kind.DEAD:  # as it would be answered to a request for this recipient alone
            return Outcome(kind, word, _GONE, proof_at=self.batch.claimed_at)
        return Outcome(kind, word, status)


class WebhookProvider:
    """A webhook's credential at work. `allowed` are the private hosts that the settings let it call."""

    def __init__(self, credential: StoredCredential, allowed: Allowed) -> None:
        settings = msgspec.json.decode(credential.settings, type=WebhookSettings)
        sealed = msgspec.json.decode(credential.secrets, type=WebhookSecrets)
        self.defaults = Defaults()
        self._batch_recipients = settings.batch_recipients
        self._each = settings.batch_recipients or 1
        self._where = where(settings.url, settings.way.proxy)
        self._head = _head(settings.url)
        connections = settings.way.max_connections or CONNECTIONS
        self._pool = WebhookTransport(
            host_of(settings.url),
            sealed.secret.encode(),
            settings.way,
            sealed.proxy_user,
            allowed,
            connections=connections,
            timeout_seconds=settings.timeout_seconds,
            backlog=max(2 * connections, _BACKLOG_RECIPIENTS // self._each),
        )

    def __repr__(self) -> str:
        return f"WebhookProvider({self._where!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close(0.0)

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> WebhookMessage:
        """Check the member `notification.webhook`; raises PayloadError."""
        return webhook_message.read(bytes(notification))

    def submit(
        self, batch: Batch, message: WebhookMessage, results: Results, each: Sequence[WebhookMessage] | None = None
    ) -> WebhookAttempt:
        """Send a batch; answers come through `results`."""
        messages = [message] if each is None else each
        attempt = WebhookAttempt(self._head, batch, results, self._pool, messages, self._batch_recipients)
        self._pool.submit(attempt)
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now."""
        return self._pool.free_slots() * self._each

    async def check(self) -> Mapping[str, str]:
        """Judge the address, and send a signed request that is for nobody."""
        steps: dict[str, str] = {}
        try:
            await self._pool.warm_up()
        except ConnectFailed as error:
            steps["address"] = f"refused: {error}"
            return steps
        steps["address"] = f"ok: {self._where}"
        name = f"check-{secrets.token_hex(16)}".encode()
        steps["request"] = _verdict(await ask(self._pool, self._head, _CHECK, own_id=name))
        return steps

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        await self._pool.close(grace_seconds)


def _head(url: str) -> Head:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = DELIVERY.lower().encode()
    return Head(parts.netloc.encode(), target.encode(), [], id_name=name, scheme=parts.scheme.encode())


def _verdict(answer: Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return f"no answer: {answer.reason}"
    if 200 <= answer.status < 300:
        return f"ok: answered {answer.status}"
    return f"refused: HTTP_{answer.status}"
