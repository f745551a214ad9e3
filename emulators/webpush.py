"""An emulated Web Push service: subscriptions whose keys it holds, so that it can show what a browser would read."""

import asyncio
import hashlib
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Unpack

import msgspec

from emulators.authority import keep
from emulators.control import Route
from emulators.emulator import Emulator, Place
from emulators.exchange import PUSH, Answer, Connection, Request
from emulators.faults import Action, Goaway
from emulators.http2_streams import Http2Limits
from emulators.recorded import RecordedRequest, decoded
from emulators.webpush_checks import PushHeaders, check_body, read_headers
from emulators.webpush_decryption import UndecryptableError
from emulators.webpush_errors import Refusal, Refusals, Service
from emulators.webpush_messages import Message, Messages
from emulators.webpush_subscriptions import (
    PATH,
    CreatedSubscription,
    Subscription,
    SubscriptionOrder,
    Subscriptions,
)
from emulators.webpush_tokens import WebpushOwner, WebpushTokens, name_of
from emulators.webpush_vapid import VapidDesk, VapidPair, new_pem, pair_of

STREAMS = 100
MAX_MESSAGE_PAGE = 1000
_KEY_FILE = "webpush-vapid.pem"
_SEED_FILE = "webpush-seed"
_TAKEN = (200, 201, 202)


class WebpushEmulator(Emulator):
    """A Web Push service on loopback, over HTTP/2 and HTTP/1.1; `place` is explained at `emulators.emulator.Place`.

    Its origin is `https://<name>:<port>`. `service` chooses whose answers it gives. A subscription that was made in
    the same `data_dir` is known to every later emulator there. A token is an endpoint; where the control port takes
    one, the endpoint's last part will do.
    """

    ALPN: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(
        self,
        *,
        service: Service = "mozilla",
        name: str = "localhost",
        max_streams: int = STREAMS,
        window_update_delay: float = 0.0,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(Http2Limits(initial_streams=max_streams, window_update_delay=window_update_delay), place)
        self.service: Service = service
        self._name = name
        self._refusals = Refusals(service)
        self._desk = VapidDesk(public_contact=service == "apple")
        self._subscriptions = Subscriptions(secrets.token_bytes(32))
        self._tokens = WebpushTokens()
        self._messages = Messages()
        self._pair: VapidPair | None = None

    @property
    def url(self) -> str:
        """The origin of all subscriptions."""
        return f"https://{self._name}" if self.port == 443 else f"https://{self._name}:{self.port}"

    @property
    def key_path(self) -> Path | None:
        """Where the ready private key is kept (PEM), when it is."""
        return self.data_dir / _KEY_FILE if self.data_dir is not None else None

    def vapid_pair(self) -> VapidPair:
        """A key pair to send with; RuntimeError before the start."""
        if self._pair is None:
            raise RuntimeError("the emulator is not started")
        return self._pair

    def subscribe(
        self, count: int = 1, *, vapid_public_key: str | None = None, shared_keys: bool = False, label: str = ""
    ) -> list[CreatedSubscription]:
        """Make subscriptions as `POST /subscriptions` does; ValueError when that cannot be."""
        return self._subscriptions.create(SubscriptionOrder(count, vapid_public_key, shared_keys, label), self.url)

    def messages(self, endpoint: str | None = None, limit: int = 100) -> list[Message]:
        """What waits for one browser, or for all, oldest first."""
        wanted = None if endpoint is None else self._endpoint(endpoint)
        return self._messages.waiting(wanted, time.time(), limit)

    def describe(self) -> dict[str, object]:
        """Addresses and the ready key pair."""
        pair = self.vapid_pair()
        return {
            "kind": "webpush",
            "service": self.service,
            "url": self.url,
            "control_url": self.control_url,
            "ca_pem": self.authority.ca_pem,
            "ca_path": str(self.authority.ca_path) if self.authority.ca_path else None,
            "public_key": pair.public_key,
            "private_key": pair.private_key,
            "subject": pair.subject,
        }

    # emulators.emulator.Emulator

    def host_names(self) -> list[str]:
        """Its certificate has the name of its origin."""
        return [*super().host_names(), self._name]

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """Making subscriptions, and what waits for their browsers."""
        return {("POST", "/subscriptions"): self._subscribe, ("GET", "/messages"): self._waiting}

    def requests(self, token: str | None = None, limit: int = 100) -> list[RecordedRequest]:
        """The newest requests first, of one endpoint or of all, their payloads decrypted."""
        return super().requests(None if token is None else self._endpoint(token), limit)

    def names(self, request: Request) -> Sequence[str]:
        """The endpoint and its last part."""
        return (request.token, name_of(request.token))

    def read(self, request: Request) -> None:
        """Find the subscription, and read the payload as its browser would."""
        path = request.path.partition("?")[0]
        if not path.startswith(PATH):
            request.kind = "other"
            return
        request.kind = PUSH
        request.token = self.url + path
        subscription = self._subscriptions.find(name_of(path))
        if subscription is not None and request.body_length == len(request.body) > 0:
            _open(request, subscription)

    def process(self, request: Request) -> Answer:
        """Answer as push services do: address, subscription, headers, sender, encoding, size."""
        refusal = self._refusal(request)
        answer = Answer(201, accepted=True) if refusal is None else self._refusals.answer(refusal)
        return self.stamped(answer, request)

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """As every emulator; what was taken waits for its browser."""
        answer = super().answer(request, action, untold)
        headers = read_headers(request, self.service)
        if answer.accepted and request.kind == PUSH and isinstance(headers, PushHeaders):
            self._journal.tally["undecryptable"] += bool(request.error)
            location = next(value for name, value in answer.headers if name == "location")
            self._messages.put(_message(location.rpartition("/")[2], request, headers))
        return answer

    def forced(self, action: Action) -> Answer:
        """The answer a rule gives; ValueError when its reason is unknown and it has no status."""
        status, reason = action.status, action.reason or ""
        if action.html:
            body = f"<html><title>{status or 502}</title><p>The push service is not to be had.</html>"
            return Answer(status or 502, [("content-type", "text/html; charset=utf-8")], body.encode())
        if action.body is not None and status is not None:
            headers = [("content-type", action.content_type or "text/plain")]
            return Answer(status, headers, action.body.encode(), reason)
        if status in _TAKEN:
            return Answer(status, accepted=True)
        return self._refusals.named(reason, status, retry_after=action.retry_after is None)

    def stamped(self, answer: Answer, request: Request) -> Answer:
        """What was taken gets a location; every answer of Apple has an id."""
        headers = list(answer.headers)
        names = {name for name, _ in headers}
        if answer.accepted and "location" not in names:
            headers += self._receipt(request)
        if self.service == "apple" and "apns-id" not in names:
            headers.append(("apns-id", str(uuid.uuid4())))
        return msgspec.structs.replace(answer, headers=headers)

    def goaway_debug(self, goaway: Goaway) -> bytes:
        """A GOAWAY is explained in a word, by Apple in JSON."""
        if self.service == "apple" and goaway.reason:
            return msgspec.json.encode({"reason": goaway.reason})
        return (goaway.reason or "").encode()

    def apply_tokens(self, body: bytes) -> int:
        """Set what became of subscriptions."""
        return self._tokens.apply(body)

    def apply_registry(self, body: bytes) -> int:
        """Say what became of subscriptions, by what their names begin with."""
        return self._tokens.assign(body)

    def registry(self) -> list[WebpushOwner]:
        """The rules of the registry."""
        return self._tokens.owners()

    def forget_tokens(self) -> None:
        """All subscriptions are alive again, and no message waits."""
        self._tokens.clear()
        self._messages.clear()

    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Nothing: a connection knows nothing of its client."""

    def connection_ended(self, connection_id: int) -> None:
        """Nothing, likewise."""

    def _prepare(self) -> None:
        super()._prepare()
        pem = keep(self.key_path, new_pem) if self.key_path is not None else new_pem()
        self._pair = pair_of(pem)
        if self.data_dir is not None:
            self._subscriptions = Subscriptions(keep(self.data_dir / _SEED_FILE, lambda: secrets.token_bytes(32)))

    # Answers

    def _refusal(self, request: Request) -> Refusal | None:
        if request.kind != PUSH:
            return Refusal("path", "there is nothing at this path")
        if request.method != "POST":
            return Refusal("method", "only POST is taken")
        subscription = self._subscriptions.find(name_of(request.token))
        if subscription is None:
            return Refusal("unknown", "there is no such subscription")
        refusal = self._tokens.refusal(subscription.id)
        if refusal is not None:
            return refusal
        headers = read_headers(request, self.service)
        if isinstance(headers, Refusal):
            return headers
        return self._check_sender(request, subscription) or check_body(request)

    def _check_sender(self, request: Request, subscription: Subscription) -> Refusal | None:
        authorization = request.headers.get("authorization")
        if authorization:
            self._journal.credential_seen(authorization)
        sender = self._desk.check(authorization, self.url, self.now())
        if isinstance(sender, Refusal):
            return sender
        if not subscription.belongs_to(sender.key):
            return Refusal("vapid_mismatch", "the subscription was made for another application server key")
        return None

    def _receipt(self, request: Request) -> list[tuple[str, str]]:
        number = secrets.token_urlsafe(12)
        headers = read_headers(request, self.service)
        ttl = headers.ttl if isinstance(headers, PushHeaders) else 0
        receipt = [("location", f"{self.url}/m/{number}"), ("ttl", str(ttl))]
        if self.service == "wns":
            receipt += [
                ("x-wns-status", "received"),
                ("x-wns-notificationstatus", "received"),
                ("x-wns-msg-id", number),
            ]
        return receipt

    def _endpoint(self, token: str) -> str:
        return self.url + PATH + name_of(token)

    # The control port

    def _subscribe(self, query: dict[str, str], body: bytes) -> object:
        return self._subscriptions.create(msgspec.json.decode(body or b"{}", type=SubscriptionOrder), self.url)

    def _waiting(self, query: dict[str, str], body: bytes) -> object:
        return self.messages(query.get("endpoint") or query.get("token"), MAX_MESSAGE_PAGE)


def _open(request: Request, subscription: Subscription) -> None:
    """Replace the body by what it says; a payload that cannot be read becomes nothing with an explanation."""
    try:
        plain = subscription.decrypt(request.body)
    except UndecryptableError as error:
        request.message_id = hashlib.blake2b(request.body, digest_size=16).hexdigest()
        request.body, request.error = b"", str(error)
    else:
        request.message_id = hashlib.blake2b(plain, digest_size=16).hexdigest()
        request.body = plain


def _message(message_id: str, request: Request, headers: PushHeaders) -> Message:
    return Message(
        id=message_id,
        endpoint=request.token,
        topic=headers.topic,
        urgency=headers.urgency,
        ttl=headers.ttl,
        received_at=request.received_at,
        payload=decoded(request.body),
        error=request.error,
    )
