"""A stand-in for the push service that Chromium is built for, so that a subscription and a push are real for it.

The browser is told its addresses by switches. It checks in and is given a number, registers a subscription and is
given a token, and keeps a connection open over which encrypted pushes come: it decrypts them itself, and so is a judge
of our encryption that we have not written. Tocsin's credential names this service as its `endpoint`; the VAPID header
of each push is judged by `py_vapid`, and must be of the key that the page subscribed with.

What the browser asks and expects: google_apis/gcm/engine/checkin_request.cc, registration_request.cc and
instance_id_get_token_request_handler.cc in the Chromium source.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self
from urllib.parse import parse_qs

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from emulators.authority import Authority
from emulators.counters import Journal
from emulators.exchange import Answer, Request
from emulators.http2_server import Http2Connection
from emulators.http2_streams import Http2Limits
from tests.browser import protobuf
from tests.browser.mobile_connection import Device, Message, MobileConnections

AUDIENCES = ("https://jmt17.google.com", "https://fcm.googleapis.com")
"""The origins of the endpoints that Chromium makes of its tokens: as distributions build it, and with Google's keys."""

_PATIENCE_SECONDS = 30.0
_LONGEST_TOKEN_SECONDS = 86_400
_PUSH_PATHS = ("/fcm/send/", "/wp/")


class Subscription(msgspec.Struct, frozen=True):
    """What the browser registered: its name for itself, the subscription's, and the key of who may send."""

    category: str
    subtype: str
    sender: str


class Push(msgspec.Struct, frozen=True):
    """A push as Tocsin sent it; `refused` says what is wrong with it, '' when it was accepted.

    `sender` is the key that the page subscribed with.
    """

    token: str
    sender: str
    headers: dict[str, str]
    size: int
    refused: str


class PushService:
    """Use as `async with PushService() as service`; start Chromium with `service.switches()`."""

    def __init__(self) -> None:
        self.authority = Authority.create()
        self.subscriptions: dict[str, Subscription] = {}
        self.pushes: list[Push] = []
        self.spoils = False  # whether a bit is changed on the way to the browser
        self._device = Device(secrets.randbits(62) | 1, secrets.randbits(62) | 1)
        self.connections = MobileConnections(self._device)
        self._changed = asyncio.Condition()
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._certificate = b""
        self._port = self._mobile_port = 0

    async def __aenter__(self) -> Self:
        tls = self.authority.server_context(["h2"])
        tls.verify_mode = ssl.CERT_NONE  # or Chromium, asked for a certificate, gives its push connection up
        self._mobile_port = await self._stack.enter_async_context(self.connections.listening(tls))
        await self._stack.enter_async_context(self._tasks)
        self._port = await self._stack.enter_async_context(self._listening(tls))
        self._certificate = await _certificate(self._port, self.authority)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Where Tocsin is to send."""
        return f"https://localhost:{self._port}"

    async def unsubscribed(self, token: str) -> None:
        """Wait until the browser has taken a subscription back."""
        async with asyncio.timeout(_PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: token not in self.subscriptions)

    def switches(self) -> list[str]:
        """What Chromium is to be started with: our addresses, and our certificate, which it would not trust."""
        key = x509.load_pem_x509_certificate(self._certificate).public_key()
        digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        return [
            f"--gcm-checkin-url={self.url}/checkin",
            f"--gcm-registration-url={self.url}/c2dm/register3",
            f"--gcm-mcs-endpoint=https://localhost:{self._mobile_port}",
            f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}",
        ]

    @asynccontextmanager
    async def _listening(self, tls: ssl.SSLContext) -> AsyncIterator[int]:
        journal = Journal()

        def connection() -> Http2Connection:
            return Http2Connection(1, Http2Limits(), journal, self._requested, lambda _: None)

        server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, ssl=tls)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    def _requested(self, connection: Http2Connection, request: Request) -> None:
        connection.respond(request.stream_id, self._answer(request))

    def _answer(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer(405)
        if request.path == "/checkin":
            return Answer(200, [("content-type", "application/x-protobuf")], self._checked_in())
        if request.path == "/c2dm/register3":
            return self._registered(request)
        for prefix in _PUSH_PATHS:
            if request.path.startswith(prefix):
                return self._pushed(request, request.path.removeprefix(prefix))
        return Answer(404)

    def _checked_in(self) -> bytes:
        device = self._device
        number, secret = protobuf.Fixed64(device.number), protobuf.Fixed64(device.secret)
        return protobuf.encode([(1, 1), (3, int(time.time() * 1000)), (7, number), (8, secret), (9, 0)])

    def _registered(self, request: Request) -> Answer:
        plain = [("content-type", "text/plain")]
        if request.headers.get("authorization") != f"AidLogin {self._device.number}:{self._device.secret}":
            return Answer(401, plain, b"Error=AUTHENTICATION_FAILED")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = Subscription(form.get("app", ""), form.get("X-subtype", ""), form.get("sender", ""))
        if "delete" in form:
            self.subscriptions = {
                token: known for token, known in self.subscriptions.items() if known.subtype != asked.subtype
            }
            self._tasks.create_task(self._tell())
            return Answer(200, plain, b"token=gone")
        token = f"{secrets.token_urlsafe(8)}:APA91b{secrets.token_urlsafe(96)}"
        self.subscriptions[token] = asked
        return Answer(200, plain, f"token={token}".encode())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _pushed(self, request: Request, token: str) -> Answer:
        known = self.subscriptions.get(token)
        why = "" if known else "no such subscription"
        if known:
            why = refusal(request.headers, known.sender)
        self.pushes.append(Push(token, known.sender if known else "", request.headers, request.body_length, why))
        if known is None:
            return Answer(410, body=why.encode())
        if why:
            return Answer(403, body=why.encode())
        message_id = secrets.token_hex(8)
        body = bytes([*request.body[:-1], request.body[-1] ^ 1]) if self.spoils else request.body
        message = Message(known.sender, known.category, known.subtype, message_id, body)
        self._tasks.create_task(self.connections.push(message))
        return Answer(201, [("location", f"{self.url}/message/{message_id}")])


def refusal(headers: dict[str, str], sender: str) -> str:
    """What is wrong with the headers of a push to a subscription of this sender; '' when nothing is.

    RFC 8030 section 5 (TTL), RFC 8188 (the coding), RFC 8292 section 2 to 4 (the signature, its claims, its key).
    """
    if headers.get("content-encoding") != "aes128gcm":
        return "the content encoding is not aes128gcm"
    if not headers.get("ttl", "").isdigit():
        return "no TTL"
    try:
        scheme, _, parameters = headers.get("authorization", "").partition(" ")
        fields = dict(part.strip().split("=", 1) for part in parameters.split(","))
        # py_vapid reads no space between the parameters, which RFC 7235 allows
        if not Vapid02.verify(f"{scheme} t={fields['t']},k={fields['k']}"):
            return "the signature is not of this key"
        claims = json.loads(base64.urlsafe_b64decode(fields["t"].split(".")[1] + "=="))
    except (AssertionError, ValueError, IndexError, KeyError, binascii.Error) as error:
        return f"the Authorization header is malformed: {error}"
    if fields["k"].rstrip("=") != sender.rstrip("="):
        return "the key is not the one that the page subscribed with"
    if claims.get("aud") not in AUDIENCES:
        return f"the audience is {claims.get('aud')}"
    if not 0 < claims.get("exp", 0) - time.time() <= _LONGEST_TOKEN_SECONDS:
        return "the token is past its time, or good for too long"
    return ""


async def _certificate(port: int, authority: Authority) -> bytes:
    """The certificate that our own server shows."""
    _, writer = await asyncio.open_connection("localhost", port, ssl=authority.client_context(["h2"]))
    try:
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return ssl.DER_cert_to_PEM_cert(shown.getpeercert(binary_form=True) or b"").encode()
    finally:
        writer.close()
