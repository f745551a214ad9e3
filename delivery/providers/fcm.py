"""FCM HTTP v1 over the multiplexer (providers.md 2)."""

import time
from collections.abc import Callable, Sequence

import msgspec

from delivery.batches import Batch, Results
from delivery.http2 import Answer, Pool, PoolOptions
from delivery.outcomes import Kind, Outcome
from delivery.providers import fcm_payload
from delivery.providers.bearer import BearerAttempt, BearerProvider
from delivery.providers.contract import Defaults
from delivery.providers.fcm_credential import FcmSecrets, FcmSettings
from delivery.providers.fcm_message import FcmMessage
from delivery.providers.fcm_reactions import QUOTA_BACKOFF_SECONDS, reaction, read_refusal
from delivery.providers.google_token import GoogleTokens
from delivery.providers.httpx_transport import HttpxTransport
from delivery.providers.origins import proxy_url, service, where
from delivery.providers.reactions import Pausing, retry_after
from delivery.providers.transport import Transport
from storage.credentials import StoredCredential

HOST = "https://fcm.googleapis.com"
OPTIONS = PoolOptions(streams_per_connection=100, idle_ping_limit=3, idle_close_seconds=230.0)
"""A hundred streams a connection, no more than three PINGs without a request, gone before FCM's own idle limit."""

_NAME_START = b"/messages/"


class FcmAttempt(BearerAttempt):
    """A batch on its way to FCM."""

    provider = "fcm"

    __slots__ = ()

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


class FcmProvider(BearerProvider):
    """An FCM credential at work: an access token, and a pool of connections."""

    check_body = b'{"validate_only":true,"message":{"topic":"tocsin-check","data":{"check":"1"}}}'

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
        proxy = proxy_url(way, secrets.proxy_user)
        super().__init__(
            service(HOST, way, secrets.proxy_user),
            f"/v1/projects/{self._project}/messages:send".encode(),
            GoogleTokens(secrets.service_account, tls_ca=way.tls_ca, proxy=proxy, clock=clock),
            where(settings.token_uri, way.proxy),
        )
        self.defaults = Defaults(include_notification=settings.include_notification)
        if way.max_connections:
            options = msgspec.structs.replace(options, max_connections=way.max_connections)
        self._options = options
        self._httpx = way.transport == "httpx"

    def __repr__(self) -> str:
        return f"FcmProvider(project_id={self._project!r})"

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> FcmMessage:
        """Check and render the member `notification.fcm`; raises PayloadError."""
        return FcmMessage(fcm_payload.read(bytes(notification), batch.target), batch.target)

    def submit(
        self, batch: Batch, message: FcmMessage, results: Results, each: Sequence[FcmMessage] | None = None
    ) -> FcmAttempt:
        """Send a batch, with the access token at hand or as soon as there is one; answers come through `results`."""
        targets = batch.tokens
        bodies = message.bodies(targets) if each is None else [m.body(t) for m, t in zip(each, targets, strict=True)]
        attempt = FcmAttempt(self, batch, results, bodies)
        self.start(attempt)
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now."""
        return self.free_requests()

    def transport(self) -> Transport:
        """The multiplexer, or httpx where the credential asks for it."""
        return (HttpxTransport if self._httpx else Pool)(self._service.origin, self._options)

    def verdict(self, answer: Answer) -> str:
        """200, and 400 which judges the message alone, both come after the credential was accepted."""
        if answer.status in (200, 400):
            return "ok: the credential is accepted"
        return f"refused: {read_refusal(answer.status, answer.body).reason} {answer.status}"
