"""APNs over the multiplexer (providers.md 1)."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self

import msgspec

from delivery.batches import Batch, Results
from delivery.http2 import Answer, ConnectFailed, Failure, FailureKind, Link, Origin, Pool, PoolOptions
from delivery.outcomes import Kind, Outcome
from delivery.providers import apns_payload
from delivery.providers.aioapns_transport import AioapnsTransport
from delivery.providers.apns_credential import ApnsSecrets, ApnsSettings, load_signing_key
from delivery.providers.apns_message import ApnsMessage, message_ids
from delivery.providers.apns_reactions import reaction, read_refusal
from delivery.providers.apns_token import ApnsTokens
from delivery.providers.attempt import BatchAttempt
from delivery.providers.contract import Defaults
from delivery.providers.origins import service
from delivery.providers.probe import ask
from delivery.providers.reactions import CLOSING, Pausing, retry_after
from delivery.providers.transport import Transport
from storage.credentials import StoredCredential
from storage.ids import new_id

HOSTS: Mapping[str, str] = {
    "production": "https://api.push.apple.com",
    "sandbox": "https://api.sandbox.push.apple.com",
}
OPTIONS = PoolOptions(one_stream_first=True, ping_idle_seconds=3600.0)

_NOBODY = b"0" * 64


class ApnsPool:
    """The connections of one credential and environment, and the token they share.

    After Apple has called a token expired the connections that carried it are of no use with another one: the whole
    pool is replaced. What waits in the old one moves; what is in flight there is answered there.
    """

    def __init__(self, make: Callable[[], Transport], tokens: ApnsTokens | None, drain_seconds: float) -> None:
        self.tokens = tokens
        self.current = make()
        self._make = make
        self._drain_seconds = drain_seconds
        self.closing = False
        self._draining: set[asyncio.Task[None]] = set()

    def replace(self, worn: Transport) -> None:
        """Begin a new pool, unless another request has done so already."""
        if self.current is worn and not self.closing:
            self.current = self._make()
            task = asyncio.create_task(worn.close(self._drain_seconds), name="drain apns pool")
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        self.closing = True
        await self.current.close(grace_seconds)
        if self._draining:
            await asyncio.wait(self._draining)


class ApnsAttempt(BatchAttempt):
    """A batch on its way to APNs; the id of each request is the message's id."""

    provider = "apns"

    __slots__ = ("_ids", "_message", "_pools", "_token", "_tokens")

    def __init__(
        self,
        message: ApnsMessage,
        batch: Batch,
        results: Results,
        pools: ApnsPool,
        each: Sequence[ApnsMessage] | None = None,
    ) -> None:
        self._message = message
        self._pools = pools
        self._tokens = tokens = pools.tokens
        self._token = tokens.current() if tokens is not None else b""
        self._ids = message_ids(batch, message.given_id)
        results.derived_ids = len(self._ids) > 1  # a caller's own id serves a single recipient only
        bodies = message.payload if each is None else [one.payload for one in each]
        super().__init__(
            message.head(self._token), batch, results, pools.current, bodies, paths=batch.tokens, ids=self._ids
        )

    def on_ok(self, index: int, body: bytes) -> None:
        """Accepted."""
        self.results.accepted(index, self._ids[index])

    def on_answer(self, index: int, answer: Answer) -> None:
        """Refused: the reaction table says what follows."""
        refusal = read_refusal(answer.body)
        row = reaction(answer.status, refusal.reason)
        if row.keep_token and self._tokens is not None:
            self._tokens.hold()
        wait = retry_after(answer.header(b"retry-after"), time.time()) if row.kind is Kind.RETRY else None
        pause = self.pause(row.pausing, self._message.topic_scope, wait)
        proof_at = None
        if row.kind is Kind.DEAD:
            proof_at = self.batch.claimed_at if refusal.timestamp is None else refusal.timestamp / 1000
        reason = refusal.reason or f"HTTP_{answer.status}"
        outcome = Outcome(
            row.kind,
            reason,
            answer.status,
            retry_after_seconds=wait,
            backoff_base_seconds=row.backoff_base_seconds,
            proof_at=proof_at,
            pause=pause,
            counts_as_attempt=row.pausing is Pausing.NOTHING,
        )
        self.react(index, answer, row, reason, outcome)

    def renew(self, index: int, answer: Answer) -> bool:
        """Send again with another provider token over another connection, if one may be signed."""
        if self._tokens is None or self._tokens.renew(self._token) is None:
            return False
        self._pools.replace(self.pool)
        self.send_again(index, None)
        return True

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer; what waited in a pool that was replaced moves to the new one."""
        waited = failure.kind is FailureKind.NOT_SENT and failure.reason == CLOSING
        if waited and not self.cancelled and not self._pools.closing:
            self.send_again(index, None)
        else:
            super().on_failure(index, failure)

    def send_again(self, index: int, avoid: Link | None) -> None:
        """Send over the present pool with the present token: two tokens on one connection are one too many."""
        self.pool = self._pools.current
        token = self._tokens.current() if self._tokens is not None else b""
        self.pool.resubmit(self, index, avoid=avoid, head=self._message.head(token))


class ApnsProvider:
    """An APNs credential at work: a provider token, and a pool of connections for each environment."""

    def __init__(
        self,
        credential: StoredCredential,
        *,
        options: PoolOptions = OPTIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = msgspec.json.decode(credential.settings, type=ApnsSettings)
        secrets = msgspec.json.decode(credential.secrets, type=ApnsSecrets)
        self._settings = settings
        self.defaults = Defaults(content_available=settings.content_available, mutable_content=settings.mutable_content)
        self._environment = credential.environment
        self._tokens: ApnsTokens | None = None
        certificate = None
        if secrets.key:
            self._tokens = ApnsTokens(load_signing_key(secrets.key), settings.key_id, settings.team_id, clock=clock)
        else:
            certificate = (secrets.certificate, secrets.certificate_key)
        if settings.way.max_connections:
            options = msgspec.structs.replace(options, max_connections=settings.way.max_connections)
        self._services = {
            name: service(host, settings.way, secrets.proxy_user, certificate) for name, host in HOSTS.items()
        }
        self._options = options
        self._make = AioapnsTransport if settings.way.transport == "aioapns" else _multiplexer
        self._pools: dict[str, ApnsPool] = {}

    def __repr__(self) -> str:
        return f"ApnsProvider(bundle_id={self._settings.bundle_id!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close(0.0)

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> ApnsMessage:
        """Check and render the member `notification.apns`; raises PayloadError."""
        request = apns_payload.read(bytes(notification))
        return ApnsMessage(
            request, self._services[self._place(batch.environment)], self._settings.bundle_id, batch.expire_at
        )

    def submit(
        self, batch: Batch, message: ApnsMessage, results: Results, each: Sequence[ApnsMessage] | None = None
    ) -> ApnsAttempt:
        """Send a batch; answers come through `results`."""
        attempt = ApnsAttempt(message, batch, results, self._pool(self._place(batch.environment)), each)
        attempt.pool.submit(attempt)  # a closed one reports what it is given as released
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now."""
        return self._pool(self._place(environment)).current.free_slots()

    async def check(self) -> Mapping[str, str]:
        """Sign, connect, and push to a device token that cannot exist: BadDeviceToken says that we are known."""
        steps: dict[str, str] = {}
        token = self._tokens.current() if self._tokens is not None else b""
        steps["authorization"] = "ok: provider token signed" if token else "ok: certificate"
        place = self._environment
        pool = self._pool(place).current
        try:
            await pool.warm_up()
        except ConnectFailed as error:
            steps["connect"] = f"no connection: {error} ({self._services[place].where})"
            return steps
        steps["connect"] = f"ok: {self._services[place].authority.decode()}"
        request = apns_payload.ApnsRequest({}, b'{"aps":{}}', "alert")
        message = ApnsMessage(request, self._services[place], self._settings.bundle_id, None)
        steps["request"] = _verdict(await ask(pool, message.head(token), message.payload, _NOBODY, new_id().encode()))
        return steps

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        async with asyncio.TaskGroup() as closing:
            for pool in map(self._pool, HOSTS):
                closing.create_task(pool.close(grace_seconds))

    def _place(self, environment: str) -> str:
        """The environment to send to; the credential's own where the recipient has none."""
        return environment if environment in HOSTS else self._environment

    def _pool(self, place: str) -> ApnsPool:
        pool = self._pools.get(place)
        if pool is None:
            origin = self._services[place].origin
            make = partial(self._make, origin, self._options, self._tokens)
            pool = self._pools[place] = ApnsPool(make, self._tokens, self._options.request_timeout)
        return pool


def _multiplexer(origin: Origin, options: PoolOptions, tokens: ApnsTokens | None) -> Pool:
    """The transport of every day; the provider token is in the head of each push."""
    return Pool(origin, options)


def _verdict(answer: Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return f"no answer: {answer.reason}"
    reason = read_refusal(answer.body).reason
    if answer.status == 200 or (answer.status, reason) == (400, "BadDeviceToken"):
        return "ok: the credential is accepted"
    return f"refused: {reason or 'HTTP'} {answer.status}"
