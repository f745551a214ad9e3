"""FCM HTTP v1 over the multiplexer (providers.md 2)."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self

import msgspec

from delivery.batches import Batch, Results
from delivery.http2 import Answer, ConnectFailed, Failure, Head, Pool, PoolOptions
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers import fcm_payload
from delivery.providers.attempt import BatchAttempt
from delivery.providers.contract import Defaults
from delivery.providers.fcm_credential import FcmSecrets, FcmSettings
from delivery.providers.fcm_message import FcmMessage
from delivery.providers.fcm_reactions import QUOTA_BACKOFF_SECONDS, SERVER_BACKOFF_SECONDS, reaction, read_refusal
from delivery.providers.google_token import AccessTokens, TokenError
from delivery.providers.httpx_transport import HttpxTransport
from delivery.providers.origins import proxy_url, service, where
from delivery.providers.probe import ask
from delivery.providers.reactions import Pausing, retry_after
from delivery.providers.transport import Transport
from storage.credentials import StoredCredential

HOST = "https://fcm.googleapis.com"
OPTIONS = PoolOptions(streams_per_connection=100, idle_ping_limit=3, idle_close_seconds=230.0)
"""A hundred streams a connection, no more than three PINGs without a request, gone before FCM's own idle limit."""

_NAME_START = b"/messages/"
_CHECK = b'{"validate_only":true,"message":{"topic":"tocsin-check","data":{"check":"1"}}}'


class FcmAttempt(BatchAttempt):
    """A batch on its way to FCM. It may wait for an access token first, and then has sent nothing."""

    provider = "fcm"

    __slots__ = ("_provider", "_pulling", "_stalled", "_token", "_waiting")

    def __init__(
        self,
        provider: "FcmProvider",
        message: FcmMessage,
        batch: Batch,
        results: Results,
        pool: Transport,
        token: bytes | None,
        each: Sequence[FcmMessage] | None = None,
    ) -> None:
        targets = batch.tokens
        bodies = message.bodies(targets) if each is None else [m.body(t) for m, t in zip(each, targets, strict=True)]
        super().__init__(provider.head(token or b""), batch, results, pool, bodies)
        self._provider = provider
        self._token = token
        self._waiting = token is None
        self._pulling = False
        self._stalled: list[int] = []

    def begin(self, token: bytes | TokenError) -> None:
        """Go, with the access token that was waited for; or say what became of it."""
        if not self._waiting:
            return  # cancelled meanwhile
        self._waiting = False
        if isinstance(token, bytes):
            self._token = token
            self.head = self._provider.head(token)
            self.pool.submit(self)
        else:
            self._settle_all(_without_token(token))

    def cancel(self) -> None:
        """Give back what is not sent yet; the rest runs on."""
        if self._waiting:
            self._waiting = False
            self.cancelled = True
            self._settle_all(Outcome(Kind.RELEASED, "Released"))
        else:
            self.pool.cancel(self)

    def on_ok(self, index: int, body: bytes) -> None:
        """Accepted; the message's id is the last part of its name."""
        start = body.find(_NAME_START)
        end = body.find(b'"', start)
        if start < 0 or end < 0:
            self.results.settled(index, Outcome(Kind.UNKNOWN, "UnreadableAnswer", 200))
        else:
            self.results.accepted(index, body[start + len(_NAME_START) : end])

    def on_answer(self, index: int, answer: Answer) -> None:
        """Refused: the reaction table says what follows."""
        refusal = read_refusal(answer.status, answer.body)
        row = reaction(answer.status, refusal.row)
        kind = row.kind
        if kind is Kind.DEAD and self.batch.target not in ("token", "fid"):
            kind = Kind.FAILED
        wait = retry_after(answer.header(b"retry-after"), time.time()) if kind is Kind.RETRY else None
        if row.pausing is Pausing.THROTTLE and wait is None:
            wait = QUOTA_BACKOFF_SECONDS
        if kind is Kind.FAILED and refusal.field:
            self.log_refused_message(refusal.reason, answer.status, refusal.field)
        pause = self.pause(row.pausing, "", wait)
        outcome = Outcome(
            kind,
            refusal.reason,
            answer.status,
            retry_after_seconds=wait,
            backoff_base_seconds=row.backoff_base_seconds,
            proof_at=self.batch.claimed_at if kind is Kind.DEAD else None,
            pause=pause,
            counts_as_attempt=pause is None,
        )
        self.react(index, answer, row, refusal.reason, outcome)

    def renew(self, index: int, answer: Answer) -> bool:
        """Send again with another access token, once it is there."""
        self._stalled.append(index)
        if len(self._stalled) == 1:
            self._pull_back()
            self._provider.tokens.fetch(self._token, self._go_on)
        return True

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer; or called back by ourselves, to wait for another access token."""
        if self._pulling:
            self._stalled.append(index)
        else:
            super().on_failure(index, failure)

    def _pull_back(self) -> None:
        """Take back what is not sent: it would go out with the access token that was just refused."""
        self._pulling = True
        self.pool.cancel(self)
        self._pulling = self.cancelled = False

    def _go_on(self, token: bytes | TokenError) -> None:
        stalled, self._stalled = self._stalled, []
        for index in stalled:
            if isinstance(token, TokenError):
                self.results.settled(index, _without_token(token))
            elif self.cancelled:
                self.results.settled(index, Outcome(Kind.RELEASED, "Released"))
            else:
                self.pool.resubmit(self, index, head=self._provider.head(token))

    def _settle_all(self, outcome: Outcome) -> None:
        for index in range(self.count):
            self.results.settled(index, outcome)


def _without_token(error: TokenError) -> Outcome:
    """Nothing was sent for want of an access token: refused means that an operator must act, else later may do."""
    if error.reason == "Closed":
        return Outcome(Kind.RELEASED, "Released")
    return Outcome(
        Kind.RETRY,
        error.reason,
        backoff_base_seconds=SERVER_BACKOFF_SECONDS,
        pause=Pause("trouble") if error.refused else None,
        counts_as_attempt=False,
    )


class FcmProvider:
    """An FCM credential at work: an access token, and a pool of connections."""

    def __init__(
        self,
        credential: StoredCredential,
        *,
        options: PoolOptions = OPTIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = msgspec.json.decode(credential.settings, type=FcmSettings)
        secrets = msgspec.json.decode(credential.secrets, type=FcmSecrets)
        way = settings.way
        self._project = settings.project_id
        self.defaults = Defaults(include_notification=settings.include_notification)
        self._issuer = where(settings.token_uri, way.proxy)
        self._service = service(HOST, way, secrets.proxy_user)
        if way.max_connections:
            options = msgspec.structs.replace(options, max_connections=way.max_connections)
        self._options = options
        self._transport = way.transport
        self._made: Transport | None = None
        self._head: tuple[bytes, Head] | None = None
        self._waiting = 0
        self.tokens = AccessTokens(
            secrets.service_account, tls_ca=way.tls_ca, proxy=proxy_url(way, secrets.proxy_user), clock=clock
        )

    def __repr__(self) -> str:
        return f"FcmProvider(project_id={self._project!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close(0.0)

    def head(self, token: bytes) -> Head:
        """The head with this access token, shared by every push of the credential."""
        if self._head is None or self._head[0] != token:
            path = self._service.prefix + b"/v1/projects/" + self._project.encode() + b"/messages:send"
            fields = [(b"authorization", b"Bearer " + token), (b"content-type", b"application/json")]
            made = Head(self._service.authority, path, fields, scheme=self._service.scheme)
            self._head = (token, made)
        return self._head[1]

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> FcmMessage:
        """Check and render the member `notification.fcm`; raises PayloadError."""
        return FcmMessage(fcm_payload.read(bytes(notification), batch.target), batch.target)

    def submit(
        self, batch: Batch, message: FcmMessage, results: Results, each: Sequence[FcmMessage] | None = None
    ) -> FcmAttempt:
        """Send a batch, with the access token at hand or as soon as there is one; answers come through `results`."""
        pool = self._pool()
        token = self.tokens.current()
        attempt = FcmAttempt(self, message, batch, results, pool, token, each)
        if token is not None:
            pool.submit(attempt)
        else:
            self._waiting += attempt.count
            self.tokens.fetch(None, partial(self._begin, attempt))
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now, those that wait for an access token counted in."""
        return max(0, self._pool().free_slots() - self._waiting)

    async def check(self) -> Mapping[str, str]:
        """Fetch an access token, connect, and have FCM validate a message that it does not send."""
        steps: dict[str, str] = {}
        try:
            token = await self.tokens.wait()
        except TokenError as error:
            seen = "refused" if error.refused else "no answer"
            steps["authorization"] = f"{seen}: {error.reason} ({self._issuer})"
            return steps
        steps["authorization"] = "ok: access token fetched"
        try:
            await self._pool().warm_up()
        except ConnectFailed as error:
            steps["connect"] = f"no connection: {error} ({self._service.where})"
            return steps
        steps["connect"] = f"ok: {self._service.authority.decode()}"
        steps["request"] = _verdict(await ask(self._pool(), self.head(token), _CHECK))
        return steps

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        await self.tokens.close()
        if self._made is not None:
            await self._made.close(grace_seconds)

    def _begin(self, attempt: FcmAttempt, token: bytes | TokenError) -> None:
        self._waiting -= attempt.count
        attempt.begin(token)

    def _pool(self) -> Transport:
        if self._made is None:
            made = HttpxTransport if self._transport == "httpx" else Pool
            self._made = made(self._service.origin, self._options)
        return self._made


def _verdict(answer: Answer | Failure) -> str:
    """200, and 400 which judges the message alone, both come after the credential was accepted."""
    if isinstance(answer, Failure):
        return f"no answer: {answer.reason}"
    if answer.status in (200, 400):
        return "ok: the credential is accepted"
    return f"refused: {read_refusal(answer.status, answer.body).reason} {answer.status}"
