"""A push service with browsers behind it: a real HTTP/2 server on loopback that decrypts by a foreign library."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import http_ece
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from delivery.batches import Batch
from delivery.guard import Allowed
from delivery.http2 import PoolOptions
from delivery.providers.credential_fields import CredentialFields
from delivery.providers.webpush import WebpushProvider
from delivery.providers.webpush_credential import parse
from delivery.providers.webpush_vapid import generate_pair
from emulators.authority import Authority
from emulators.counters import Journal
from emulators.exchange import Answer, Request
from emulators.http2_server import Http2Connection
from emulators.http2_streams import Http2Limits
from storage.credentials import StoredCredential
from tests.delivery.providers.sending import Watched, batch_of

FOREIGN: Any = http_ece  # it has no types
SUBJECT = "mailto:push@example.com"
LOCAL = Allowed.parse("127.0.0.0/8, ::1/128")
PUSH = b'{"headers":{"TTL":60},"payload":{"title":"hello"}}'


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """A subscriber: its private key never leaves it."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def read(self, body: bytes) -> bytes:
        """The message in a body."""
        opened: bytes = FOREIGN.decrypt(body, private_key=self.key, auth_secret=self.secret)
        return opened

    def address(self, endpoint: str) -> bytes:
        """As batches carry it."""
        return f"{endpoint} {encoded(self.point)} {encoded(self.secret)}".encode()


@lru_cache
def authority() -> Authority:
    return Authority.create()


Say = Callable[[Request], Answer | None]


@dataclass
class PushService:
    """Answers with `answers` in turn, then as `paths` says, else 201; None is no answer. `hold` keeps all back."""

    port: int = 0
    answers: list[Answer] = field(default_factory=list)
    paths: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: list[Http2Connection] = field(default_factory=list)
    browsers: dict[str, Browser] = field(default_factory=dict)
    held: list[tuple[Http2Connection, Request]] | None = None

    @property
    def scope(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.scope}"

    def subscribe(self, path: str, browser: Browser | None = None) -> bytes:
        """A new browser's address."""
        self.browsers[path] = browser or Browser()
        return self.browsers[path].address(self.url + path)

    def batch(self, count: int = 1, **changes: Any) -> Batch:
        """A batch for new browsers."""
        tokens = [self.subscribe(f"/push/{number}") for number in range(count)]
        return batch_of(**({"provider": "webpush", "tokens": tokens, "scope": self.scope} | changes))

    def read(self, request: Request) -> bytes:
        """The message that a browser finds in a request."""
        return self.browsers[request.path].read(request.body)

    @property
    def messages(self) -> dict[str, bytes]:
        """What the browsers got, by path."""
        return {request.path: self.read(request) for request in self.requests}

    async def got(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(15):
            while len(self.requests) < count:  # noqa: ASYNC110 - the server's callbacks have no events
                await asyncio.sleep(0)

    def release(self) -> None:
        """Answer what is held back, and hold nothing more."""
        held, self.held = self.held or [], None
        for connection, request in held:
            connection.respond(request.stream_id, self._answer(request))

    def take(self, connection: Http2Connection, request: Request) -> None:
        self.requests.append(request)
        if self.held is not None:
            self.held.append((connection, request))
        else:
            connection.respond(request.stream_id, self._answer(request))

    def _answer(self, request: Request) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        created = Answer(201, [("location", f"{self.url}/m/{len(self.requests)}?x=1")])
        return self.paths.get(request.path, created)


def said(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer; underscores in the names of fields are dashes."""
    return Answer(status, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


@asynccontextmanager
async def a_push_service(
    *answers: Answer, streams: int = 100, protocols: tuple[str, ...] = ("h2",)
) -> AsyncIterator[PushService]:
    """Run a push service; its connections end with the block."""
    service = PushService(answers=list(answers))
    limits, journal = Http2Limits(initial_streams=streams), Journal()

    class Accepted(Http2Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            service.connections.append(self)

    def accept() -> Http2Connection:
        return Accepted(len(service.connections) + 1, limits, journal, service.take, lambda _: None)

    loop = asyncio.get_running_loop()
    context = authority().server_context(protocols)
    server = await loop.create_server(accept, "127.0.0.1", 0, ssl=context)
    async with server:
        service.port = server.sockets[0].getsockname()[1]
        yield service
        for connection in service.connections:
            connection.abort()


def webpush_fields(**changes: Any) -> dict[str, Any]:
    """Parameters of `provider_put`."""
    public, private = generate_pair()
    fields = {"provider_id": "web", "provider": "webpush", "public_key": public, "private_key": private}
    return fields | {"subject": SUBJECT, "tls_ca": authority().ca_pem} | changes


def stored(**changes: Any) -> StoredCredential:
    """What a worker loads after `provider_put`."""
    settings, secrets, _ = parse(msgspec.convert(webpush_fields(**changes), CredentialFields))
    return StoredCredential(
        provider_id="web",
        provider="webpush",
        environment="",
        source="api",
        is_default=True,
        version=1,
        created_at=1.0,
        settings=msgspec.json.encode(settings),
        secrets=msgspec.json.encode(secrets),
    )


def provider_of(
    allowed: Allowed = LOCAL,
    *,
    options: PoolOptions | None = None,
    clock: Callable[[], float] = time.time,
    **changes: Any,
) -> WebpushProvider:
    return WebpushProvider(stored(**changes), allowed, options=options, clock=clock)


def claims_of(request: Request) -> tuple[dict[str, Any], bytes]:
    """The claims of a request's VAPID token, verified with the key sent along, and that key."""
    scheme, _, rest = request.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    point = decoded(parts["k"])
    return verified(parts["t"], point), point


def submit(provider: WebpushProvider, batch: Batch) -> Watched:
    """Send a batch without waiting for its end."""
    watched = Watched(batch)
    provider.submit(batch, provider.prepare(msgspec.Raw(PUSH), batch), watched.results)
    return watched


def verified(token: str, point: bytes) -> dict[str, Any]:
    """The claims of a JWT by a foreign library, whatever it says of time and audience."""
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    claims: dict[str, Any] = jwt.decode(
        token, public, algorithms=["ES256"], options={"verify_aud": False, "verify_exp": False}
    )
    return claims
