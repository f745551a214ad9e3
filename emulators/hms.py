"""An emulated HMS Push Kit: sends to up to 1,000 tokens, topics, and the OAuth endpoint, on one TLS port."""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from typing import ClassVar, Unpack

import msgspec

from emulators.authority import keep
from emulators.emulator import Emulator, Place
from emulators.exchange import PUSH, Answer, Connection, Request
from emulators.faults import Action, Goaway
from emulators.fcm_quota import ProjectQuota
from emulators.hms_errors import PARTLY, Refusal, bare, coded, partly, refused
from emulators.hms_messages import check_message, digest_of, target_of, tokens_of
from emulators.hms_oauth import AccessTokens
from emulators.hms_tokens import HmsOwner, HmsTokens
from emulators.hms_topics import HmsTopics
from emulators.http2_streams import Http2Limits

APP_ID = "100000001"
STREAMS = 100
BODY_LIMIT = 1024 * 1024
TOKEN_PATH = "/oauth2/v3/token"
_SEND = re.compile(r"/v1/([^/]+)/messages:send")
_TOPICS = re.compile(r"/v1/([^/]+)/topic:(subscribe|unsubscribe|list)")
_SECRET = re.compile(rb"(client_secret=)[^&]*")
_SECRET_FILE = "hms-secret"


class HmsEmulator(Emulator):
    """HMS on loopback, over HTTP/2 and HTTP/1.1, for one or more apps.

    `place` is explained at `emulators.emulator.Place`.
    `rate_per_minute` is how many recipients an app may send to, above it HTTP 503 (None: no limit). `token_lifetime`
    is how many seconds an access token lives; `accept_any_token` takes every bearer token. Without `high_priority`
    messages of urgency HIGH are refused.
    """

    ALPN: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(
        self,
        *,
        app_ids: Iterable[str] = (APP_ID,),
        max_streams: int = STREAMS,
        rate_per_minute: int | None = None,
        token_lifetime: float = 3600.0,
        accept_any_token: bool = False,
        high_priority: bool = True,
        window_update_delay: float = 0.0,
        **place: Unpack[Place],
    ) -> None:
        limits = Http2Limits(
            initial_streams=max_streams, window_update_delay=window_update_delay, body_limit=BODY_LIMIT
        )
        super().__init__(limits, place)
        self._app_ids = tuple(app_ids)
        self._accept_any_token = accept_any_token
        self._high_priority = high_priority
        self._quota = ProjectQuota(rate_per_minute)
        self._access = AccessTokens(token_lifetime, self.app_secret)
        self._topics = HmsTopics()
        self._tokens = HmsTokens()
        self._seed = secrets.token_bytes(32)

    @property
    def token_url(self) -> str:
        """The OAuth token endpoint."""
        return self.url + TOKEN_PATH

    @property
    def app_id(self) -> str:
        """The first app."""
        return self._app_ids[0]

    def app_secret(self, app_id: str | None = None) -> str:
        """The secret of an app (by default the first), '' of an unknown one."""
        chosen = app_id or self.app_id
        return hmac.digest(self._seed, chosen.encode(), "sha256").hex() if chosen in self._app_ids else ""

    def access_token(self, app_id: str | None = None) -> str:
        """An access token without asking for one."""
        return self._access.grant(app_id or self.app_id, self.now())

    def expire_access_tokens(self) -> None:
        """All access tokens given out so far have expired."""
        self._access.expire_all()

    def topics_of(self, token: str) -> list[str]:
        """The topics a device is subscribed to."""
        return self._topics.of(token)

    def describe(self) -> dict[str, object]:
        """Addresses, and id and secret of the first app."""
        return {
            "kind": "hms",
            "url": self.url,
            "control_url": self.control_url,
            "ca_pem": self.authority.ca_pem,
            "ca_path": str(self.authority.ca_path) if self.authority.ca_path else None,
            "app_ids": self._app_ids,
            "app_id": self.app_id,
            "app_secret": self.app_secret(),
            "token_url": self.token_url,
        }

    # emulators.emulator.Emulator

    def read(self, request: Request) -> None:
        """Tell sends from the rest, and find the recipients of a send."""
        path = request.path.partition("?")[0]
        if _SEND.fullmatch(path):
            request.kind = PUSH
            _read_message(request)
        elif path == TOKEN_PATH:
            request.kind = "oauth"
        elif _TOPICS.fullmatch(path):
            request.kind = "topics"
        else:
            request.kind = "other"

    def process(self, request: Request) -> Answer:
        """Answer as Huawei does: address, access token, flow control, message, recipients."""
        if request.kind == "oauth":
            answer = self._access.handle(request, self.now())
            request.body = _SECRET.sub(rb"\1(hidden)", request.body)
            return answer
        path = request.path.partition("?")[0]
        match = _SEND.fullmatch(path) or _TOPICS.fullmatch(path)
        if match is None or request.method != "POST":
            return bare(404 if match is None else 405)
        app_id = match[1]
        refusal = self._authorize(request, app_id)
        if refusal is not None:
            return refused(refusal)
        if request.kind == "topics":
            return self._topics.handle(request, match[2], lambda token: bool(self._tokens.illegal([token], app_id)))
        return self._send(request, app_id)

    def forced(self, action: Action) -> Answer:
        """The answer a rule gives; ValueError when its code is unknown and it has no status."""
        if action.html or (action.reason is None and action.body is None):
            return coded("80000000", status=200) if action.status == 200 else bare(action.status or 502)
        if action.body is not None:
            content_type = action.content_type or "application/json"
            return bare(action.status or 200, action.body.encode(), content_type, action.reason or "")
        answer = coded(action.reason or "", status=action.status)
        if action.reason == PARTLY and action.details is not None:
            named = frozenset(msgspec.json.decode(msgspec.json.encode(action.details), type=list[str]))
            return msgspec.structs.replace(answer, refused=named)
        return answer

    def stamped(self, answer: Answer, request: Request) -> Answer:
        """A rule's partial success names tokens of its request: those it gave, or the first one."""
        if answer.reason != PARTLY or not request.recipients:
            return answer
        named = answer.refused or frozenset(request.recipients[:1])
        named_answer = partly(request.recipients, named, status=answer.status)
        return msgspec.structs.replace(named_answer, accepted=named_answer.accepted and answer.accepted)

    def goaway_debug(self, goaway: Goaway) -> bytes:
        """A GOAWAY is explained in a word."""
        return (goaway.reason or "").encode()

    def apply_tokens(self, body: bytes) -> int:
        """Set states of device tokens."""
        return self._tokens.apply(body)

    def apply_registry(self, body: bytes) -> int:
        """Say which apps device tokens belong to, and which are illegal, by prefix."""
        return self._tokens.assign(body)

    def registry(self) -> list[HmsOwner]:
        """The rules of the registry."""
        return self._tokens.owners()

    def forget_tokens(self) -> None:
        """Forget the states and owners of tokens, their topics, and what was taken from the quota."""
        self._tokens.clear()
        self._topics.clear()
        self._quota.refill()

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Nothing: a connection knows nothing of its client."""

    def connection_ended(self, connection_id: int) -> None:
        """Nothing, likewise."""

    def _prepare(self) -> None:
        super()._prepare()
        if self.data_dir is not None:
            self._seed = keep(self.data_dir / _SECRET_FILE, lambda: secrets.token_bytes(32))

    # Answers

    def _authorize(self, request: Request, app_id: str) -> Refusal | None:
        authorization = request.headers.get("authorization", "")
        if authorization:
            self._journal.credential_seen(authorization)
        if self._accept_any_token and authorization:
            return None
        return self._access.refusal(authorization, app_id, self.now())

    def _send(self, request: Request, app_id: str) -> Answer:
        wait = self._quota.take(app_id, time.monotonic(), max(1, len(request.recipients)))
        if wait is not None:
            return bare(503)
        payload = request.payload
        message = payload.get("message") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or not isinstance(message, dict):
            # A body without a message has no tokens, and that is what Huawei complains about.
            return refused(Refusal("80300010" if isinstance(payload, dict) else "80100003"))
        if not isinstance(payload.get("validate_only", False), bool):
            return refused(Refusal("80100001", "validate_only is neither true nor false"))
        refusal = check_message(message, self._high_priority)
        if refusal is not None:
            return refused(refusal)
        answer = partly(request.recipients, self._tokens.illegal(request.recipients, app_id))
        return msgspec.structs.replace(answer, accepted=answer.accepted and not payload.get("validate_only"))


def _read_message(request: Request) -> None:
    if request.body_length > len(request.body):
        return
    try:
        payload = msgspec.json.decode(request.body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    request.payload = payload
    message = payload.get("message")
    if isinstance(message, dict):
        request.message_id = digest_of(message)
        request.recipients = tokens_of(message)
        request.token = request.recipients[0] if request.recipients else target_of(message)
