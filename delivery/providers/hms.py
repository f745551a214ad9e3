"""HMS Push Kit, version 1 of its REST API, over httpx or the multiplexer (providers.md 4)."""

import time
from collections.abc import Callable, Sequence

import msgspec

from delivery.batches import Batch, Results
from delivery.http2 import Answer, Pool, PoolOptions
from delivery.outcomes import Kind, Outcome
from delivery.providers import hms_payload
from delivery.providers.bearer import BearerAttempt, BearerProvider
from delivery.providers.contract import Defaults
from delivery.providers.hms_credential import HmsSecrets, HmsSettings
from delivery.providers.hms_message import HmsMessage, Requests, parts_of
from delivery.providers.hms_reactions import (
    FLOW_BACKOFF_SECONDS,
    ILLEGAL_TOKEN,
    NO_TOKEN_IS_VALID,
    NOT_ENTITLED_TO_HIGH,
    OK,
    PARTLY,
    TOO_MANY_TOKENS,
    Said,
    illegal_tokens,
    reaction,
    read_answer,
)
from delivery.providers.hms_token import HmsTokens
from delivery.providers.httpx_transport import HttpxTransport
from delivery.providers.origins import proxy_url, service, where
from delivery.providers.reactions import Pausing, retry_after
from delivery.providers.transport import Transport
from storage.credentials import StoredCredential

HOST = "https://push-api.cloud.huawei.com"
CONNECTIONS = 20
"""Unless the credential says `max_connections`; with httpx, that is how many requests are in flight at once."""
OPTIONS = PoolOptions(
    max_connections=CONNECTIONS,
    streams_per_connection=100,
    idle_ping_limit=3,
    request_timeout=30.0,
    idle_close_seconds=30.0,
    backlog=2 * CONNECTIONS,
    max_body_bytes=1 << 20,
)
"""An answer names up to a thousand illegal tokens, and each waiting request may hold as many recipients."""

FIRST_SHARE = 50.0
"""How many recipients a request is thought to have before any was made."""
_SHARE_WEIGHT = 0.2
_GONE = 410
_NOT_FOR_CERTAIN = 400


class HmsAttempt(BearerAttempt):
    """A batch on its way to HMS: a request for each thousand tokens that get the same, or for each topic.

    A token that is refused while others of its request are taken is dead for certain (as with status 410). When none
    is taken the tokens may be those of another app, and it is for the breaker to say (as with status 400).
    """

    provider = "hms"

    __slots__ = ("_parts",)

    def __init__(self, provider: "HmsProvider", batch: Batch, results: Results, messages: Sequence[HmsMessage]) -> None:
        self._parts = parts_of(batch.target, len(batch.tokens), messages if len(messages) > 1 else None)
        bodies = Requests(batch, self._parts, messages)
        super().__init__(provider, batch, results, bodies, count=len(self._parts))
        self.wants_headers = True

    def settle(self, index: int, outcome: Outcome) -> None:
        """The same for all recipients of the request."""
        for position in self._parts[index]:
            self.results.settled(position, outcome)

    def on_answer(self, index: int, answer: Answer) -> None:
        """The code decides, whatever the HTTP status is."""
        said = read_answer(answer.body)
        if said.code == OK:
            self._accept(self._parts[index], said)
        elif said.code == PARTLY:
            self._take_partly(index, answer, said)
        elif said.code == TOO_MANY_TOKENS and len(self._parts[index]) > 1:
            self._split(index)
        elif not said.code and 200 <= answer.status < 300:
            self.settle(index, Outcome(Kind.UNKNOWN, "UnreadableAnswer", answer.status))
        else:
            self._refuse(index, answer, said.code)

    def _accept(self, positions: Sequence[int], said: Said) -> None:
        for position in positions:
            self.results.accepted(position, said.request_id)

    def _take_partly(self, index: int, answer: Answer, said: Said) -> None:
        """Some are taken, so nothing is sent again: not even where it cannot be read which are not."""
        part = self._parts[index]
        illegal = illegal_tokens(said.text)
        if illegal is None:
            self.log_refused_message("UnreadableAnswer", answer.status, "illegal_tokens")
            illegal = frozenset()
        refused = [position for position in part if self.batch.tokens[position] in illegal]
        if len(refused) == len(part):
            self._refuse(index, answer, NO_TOKEN_IS_VALID)
            return
        dead = Outcome(Kind.DEAD, ILLEGAL_TOKEN, _GONE, proof_at=self.batch.claimed_at)
        for position in refused:
            self.results.settled(position, dead)
        known = frozenset(refused)
        self._accept([position for position in part if position not in known], said)

    def _split(self, index: int) -> None:
        """Nothing of it was taken: send it again in halves."""
        if self.cancelled:
            self.settle(index, Outcome(Kind.RELEASED, "Released"))
            return
        part = self._parts[index]
        half = len(part) // 2
        for piece in (part[:half], part[half:]):
            self._parts.append(piece)
            self.pool.resubmit(self, len(self._parts) - 1)

    def _refuse(self, index: int, answer: Answer, code: str) -> None:
        """Nothing of it was taken: the reaction table says what follows."""
        row = reaction(code, answer.status)
        reason = code or f"HTTP_{answer.status}"
        kind = Kind.FAILED if row.kind is Kind.DEAD and self.batch.target != "token" else row.kind
        wait = retry_after(answer.header(b"retry-after"), time.time()) if kind is Kind.RETRY else None
        if row.pausing is Pausing.THROTTLE and wait is None:
            wait = FLOW_BACKOFF_SECONDS
        if code == NOT_ENTITLED_TO_HIGH:
            self.log_refused_message(reason, answer.status, "message.android.urgency")
        pause = self.pause(row.pausing, "", wait)
        outcome = Outcome(
            kind,
            reason,
            _NOT_FOR_CERTAIN if kind is Kind.DEAD else answer.status,
            retry_after_seconds=wait,
            backoff_base_seconds=row.backoff_base_seconds,
            proof_at=self.batch.claimed_at if kind is Kind.DEAD else None,
            pause=pause,
            counts_as_attempt=pause is None,
        )
        self.react(index, answer, row, reason, outcome)


class HmsProvider(BearerProvider):
    """An HMS credential at work: an access token, and connections."""

    check_body = b'{"validate_only":true,"message":{"data":"tocsin-check","token":["tocsin-check"]}}'

    def __init__(
        self,
        credential: StoredCredential,
        *,
        options: PoolOptions = OPTIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = msgspec.json.decode(credential.settings, type=HmsSettings)
        secrets = msgspec.json.decode(credential.secrets, type=HmsSecrets)
        way = settings.way
        self._app_id = settings.app_id
        proxy = proxy_url(way, secrets.proxy_user)
        super().__init__(
            service(HOST, way, secrets.proxy_user),
            f"/v1/{self._app_id}/messages:send".encode(),
            HmsTokens(
                self._app_id, secrets.app_secret, url=settings.token_url, tls_ca=way.tls_ca, proxy=proxy, clock=clock
            ),
            where(settings.token_url, way.proxy),
        )
        self.defaults = Defaults()
        self._share = FIRST_SHARE
        connections = way.max_connections
        if connections:
            options = msgspec.structs.replace(options, max_connections=connections, backlog=2 * connections)
        self._options = options
        self._http2 = way.transport == "http2"

    def __repr__(self) -> str:
        return f"HmsProvider(app_id={self._app_id!r})"

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> HmsMessage:
        """Check and render the member `notification.hms`; raises PayloadError."""
        return HmsMessage(hms_payload.read(bytes(notification)))

    def submit(
        self, batch: Batch, message: HmsMessage, results: Results, each: Sequence[HmsMessage] | None = None
    ) -> HmsAttempt:
        """Send a batch, with the access token at hand or as soon as there is one; answers come through `results`."""
        attempt = HmsAttempt(self, batch, results, [message] if each is None else each)
        if attempt.count:
            self._share += _SHARE_WEIGHT * (len(batch.tokens) / attempt.count - self._share)
        self.start(attempt)
        return attempt

    def room(self, environment: str) -> int:
        """Recipients worth queueing now, by how many have shared a request lately: one alone, or up to a thousand."""
        return int(self.free_requests() * self._share)

    def transport(self) -> Transport:
        """Connections of httpx, or the multiplexer where the credential asks for it."""
        return (Pool if self._http2 else HttpxTransport)(self._service.origin, self._options)

    def verdict(self, answer: Answer) -> str:
        """That the made-up token or the message is refused comes after the credential was accepted."""
        code = read_answer(answer.body).code
        row = reaction(code, answer.status)
        if code in (OK, PARTLY) or (code and row.kind in (Kind.DEAD, Kind.FAILED)):
            return "ok: the credential is accepted"
        return f"refused: {code} {answer.status}" if code else f"refused: HTTP_{answer.status}"


__all__ = ["CONNECTIONS", "HOST", "OPTIONS", "HmsAttempt", "HmsProvider"]
