"""An emulated FCM: HTTP v1 sends, topics and the OAuth endpoint that feeds them, on one TLS port."""

import asyncio
import hashlib
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
from emulators.fcm_accounts import account_of, new_private_pem, service_account_json
from emulators.fcm_errors import ERRORS, JSON, USUAL_ERRORS, error_answer, html_answer, invalid
from emulators.fcm_messages import check_body, is_dry_run, oversized, target
from emulators.fcm_quota import ProjectQuota
from emulators.fcm_tokens import FcmOwner, FcmTokens
from emulators.fcm_topics import INSTANCE_ID, REGISTRATIONS, Topics
from emulators.http2_streams import Http2Limits
from emulators.oauth import Account, TokenEndpoint

PROJECT_ID = "tocsin-emulator"
STREAMS = 100
IDLE_SECONDS = 240.0
MAX_AGE_SECONDS = 3600.0
MAX_PINGS = 3
BODY_LIMIT = 1024 * 1024

_SEND = re.compile(r"/v1/projects/([^/]+)/messages:send")
_KEY_FILE = "fcm-service-account.key"


class FcmEmulator(Emulator):
    """FCM on loopback, over HTTP/2 and HTTP/1.1, for one or more `projects` that each have a service account.

    `place` is explained at `emulators.emulator.Place`.
    `rate_per_minute` is the send quota of each project (None: none); `token_lifetime` how many seconds an access token
    lives; `accept_any_token` takes every bearer token. `idle_timeout`, `max_age` (seconds) and `max_pings` end
    connections with GOAWAY as Google does; None switches one off.
    """

    ALPN: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(
        self,
        *,
        projects: Iterable[str] = (PROJECT_ID,),
        max_streams: int = STREAMS,
        rate_per_minute: int | None = None,
        token_lifetime: float = 3600.0,
        accept_any_token: bool = False,
        idle_timeout: float | None = IDLE_SECONDS,
        max_age: float | None = MAX_AGE_SECONDS,
        max_pings: int | None = MAX_PINGS,
        window_update_delay: float = 0.0,
        **place: Unpack[Place],
    ) -> None:
        limits = Http2Limits(
            initial_streams=max_streams,
            window_update_delay=window_update_delay,
            idle_timeout=idle_timeout,
            max_age=max_age,
            max_pings=max_pings,
            body_limit=BODY_LIMIT,
        )
        super().__init__(limits, place)
        self._projects = tuple(projects)
        self._accept_any_token = accept_any_token
        self._quota = ProjectQuota(rate_per_minute)
        self._oauth = TokenEndpoint(token_lifetime)
        self._topics = Topics()
        self._tokens = FcmTokens()
        self._private_pem = ""
        self._last_number = 0

    @property
    def token_url(self) -> str:
        """The OAuth token endpoint."""
        return self.url + "/token"

    def service_account(self, project_id: str | None = None) -> dict[str, str]:
        """A complete service account of a project (by default the first) whose `token_uri` is this emulator's."""
        return service_account_json(project_id or self._projects[0], self._private_pem, self.token_url)

    def access_token(self, project_id: str | None = None) -> str:
        """An access token without the exchange."""
        return self._oauth.grant(project_id or self._projects[0], self.now())

    def revoke_access_tokens(self) -> None:
        """No access token given out so far is good any more."""
        self._oauth.revoke_all()

    def register_account(self, account: Account) -> None:
        """Know one more service account."""
        self._oauth.register(account)
        if account.project_id not in self._projects:
            self._projects = (*self._projects, account.project_id)

    def topics_of(self, device: str) -> list[str]:
        """The topics a device is subscribed to."""
        return self._topics.of(device)

    def describe(self) -> dict[str, object]:
        """Addresses and the service account of the first project."""
        return {
            "kind": "fcm",
            "url": self.url,
            "control_url": self.control_url,
            "ca_pem": self.authority.ca_pem,
            "ca_path": str(self.authority.ca_path) if self.authority.ca_path else None,
            "projects": self._projects,
            "service_account": self.service_account(),
        }

    # emulators.emulator.Emulator

    def read(self, request: Request) -> None:
        """Tell sends from the rest, and find the target of a send."""
        path = request.path.partition("?")[0]
        if _SEND.fullmatch(path):
            request.kind = PUSH
            _read_message(request)
        elif path == "/token":
            request.kind = "oauth"
        elif REGISTRATIONS.fullmatch(path) or INSTANCE_ID.fullmatch(path):
            request.kind = "topics"
        else:
            request.kind = "other"

    def process(self, request: Request) -> Answer:
        """Answer as Google does: address, authentication, quota, message, registration."""
        if request.http_version == "2" and ":authority" not in request.headers:
            return html_answer(400)
        if request.kind == "oauth":
            return self._oauth.handle(request, self.token_url, self.now())
        if request.kind == "other":
            return html_answer(404)
        refusal = self._authorize(request)
        if refusal is not None:
            return refusal
        if request.kind == "topics":
            return self._topic_request(request)
        return self._send(request)

    def forced(self, action: Action) -> Answer:
        """The answer a rule gives; ValueError when its error is unknown and it has no status."""
        name = action.reason or USUAL_ERRORS.get(action.status or 0, "")
        error = ERRORS.get(name)
        status = action.status or (error.http if error is not None else None)
        if action.html:
            return html_answer(action.status or 502)
        if status is None:
            raise ValueError(f"status is needed: FCM has no error {name!r}")
        if action.body is not None:
            return Answer(status, [("content-type", action.content_type or "text/plain")], action.body.encode(), name)
        if status == 200:
            return self._accepted(self._projects[0], dry=False)
        if action.details is not None:
            return error_answer(name, bare=True, details=action.details, status=status)
        return error_answer(name or f"HTTP_{status}", status=status)

    def goaway_debug(self, goaway: Goaway) -> bytes:
        """Google explains a GOAWAY in a word."""
        return (goaway.reason or "").encode()

    def apply_tokens(self, body: bytes) -> int:
        """Set states of registrations."""
        return self._tokens.apply(body)

    def apply_registry(self, body: bytes) -> int:
        """Say which projects may send to registrations, by prefix."""
        return self._tokens.assign(body)

    def registry(self) -> list[FcmOwner]:
        """The rules of the registry."""
        return self._tokens.owners()

    def forget_tokens(self) -> None:
        """Forget the states and owners of registrations, their topics, and what was taken from the quota."""
        self._tokens.clear()
        self._topics.clear()
        self._quota.refill()

    def stamped(self, answer: Answer, request: Request) -> Answer:
        """As it is: FCM's answers say nothing of their request."""
        return answer

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Nothing: connections of FCM know nothing of their clients."""

    def connection_ended(self, connection_id: int) -> None:
        """Nothing, likewise."""

    def _prepare(self) -> None:
        super()._prepare()
        pem = keep(self.data_dir / _KEY_FILE, new_private_pem) if self.data_dir is not None else new_private_pem()
        self._private_pem = pem.decode()
        for project in self._projects:
            self._oauth.register(account_of(project, self._private_pem))

    # Answers

    def _authorize(self, request: Request) -> Answer | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return error_answer("UNAUTHENTICATED", message="Request is missing required authentication credential.")
        self._journal.credential_seen(token)
        if self._accept_any_token:
            return None
        holder = self._oauth.holder(token, self.now())
        if holder is None:
            return error_answer("UNAUTHENTICATED")
        match = re.match(r"/v1/projects/([^/]+)/", request.path)
        if match is None:
            return None
        if match[1] not in self._projects:
            return error_answer("NOT_FOUND")
        return None if match[1] == holder.project_id else error_answer("PERMISSION_DENIED")

    def _topic_request(self, request: Request) -> Answer:
        if INSTANCE_ID.fullmatch(request.path):
            return self._topics.instance_id(request, self._tokens.is_dead)
        return self._topics.registrations(request, self._tokens.is_dead)

    def _send(self, request: Request) -> Answer:
        match = _SEND.fullmatch(request.path.partition("?")[0])
        project = match[1] if match else ""
        if request.method != "POST":
            return error_answer("METHOD_NOT_ALLOWED")
        wait = self._quota.take(project, time.monotonic())
        if wait is not None:
            return error_answer("QUOTA_EXCEEDED", quota=f"project:{project}", retry_after=wait)
        payload = request.payload
        if not isinstance(payload, dict):
            return error_answer("INVALID_ARGUMENT", message="Invalid JSON payload received.", bare=True)
        violations = check_body(payload)
        if violations:
            return invalid(violations)
        if request.body_length > len(request.body) or oversized(payload):
            return error_answer("INVALID_ARGUMENT", message="Message is too big", bare=True)
        refusal = self._tokens.refusal(request.token, project)
        if refusal is not None:
            return refusal
        return self._accepted(project, dry=is_dry_run(payload))

    def _accepted(self, project: str, dry: bool) -> Answer:
        self._last_number = max(time.time_ns() // 1000, self._last_number + 1)
        number = "fake_message_id" if dry else f"0:{self._last_number}%{secrets.token_hex(8)}"
        body = msgspec.json.encode({"name": f"projects/{project}/messages/{number}"})
        return Answer(200, [JSON], body, accepted=True, empty_tail=True)


def _read_message(request: Request) -> None:
    try:
        payload = msgspec.json.decode(request.body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    request.payload = payload
    request.message_id = hashlib.blake2b(request.body, digest_size=16).hexdigest()
    message = payload.get("message")
    if isinstance(message, dict):
        kind, text = target(message)
        request.token = f"/topics/{text}" if kind == "topic" else text
