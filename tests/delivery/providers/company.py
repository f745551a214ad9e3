"""A company's own API: a real HTTP server on loopback that checks signatures by itself and keeps what it gets."""

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from delivery.guard import Allowed
from delivery.providers.webhook import WebhookProvider
from tests.delivery.http_peer import Request, serving
from tests.delivery.providers.sending import stored

SECRET = "a secret of the company's own, äöü"
PAYLOAD = b'{"payload":{"title" : "hi","n":1.50}}'
LOOPBACK = Allowed.parse("127.0.0.1/32")


def hmac_of(secret: bytes, text: bytes) -> str:
    """HMAC-SHA256 as RFC 2104 puts it, from the hash alone."""
    key = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + text).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).hexdigest()


@dataclass(frozen=True)
class Said:
    """An answer: status, body, more header fields; `drop` ends the connection without one."""

    status: int = 200
    body: bytes = b"ok"
    fields: str = ""
    drop: bool = False

    @property
    def wire(self) -> bytes:
        if self.drop:
            return b""
        return b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n%b\r\n%b" % (
            self.status,
            len(self.body),
            self.fields.encode(),
            self.body,
        )


@dataclass
class Company:
    """Answers with `answers` in turn, then as `tokens` says, else with 200; `hold` keeps back while it is not set."""

    port: int = 0
    scheme: str = "http"
    answers: list[Said] = field(default_factory=list)
    tokens: dict[str, Said] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/push?app=1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]

    async def got(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(15), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def answer(self, request: Request) -> bytes:
        assert self.is_signed(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        async with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        if self.answers:
            return self.answers.pop(0).wire
        token = json.loads(request.body).get("recipient", {}).get("token", "")
        return self.tokens.get(token, Said()).wire

    def is_signed(self, request: Request) -> bool:
        text = request.headers["x-tocsin-timestamp"].encode() + b"." + request.body
        return request.headers["x-tocsin-signature"] == f"v1={hmac_of(SECRET.encode(), text)}"


@asynccontextmanager
async def a_company(*answers: Said, held: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Company]:
    """Run a company's API; what it still holds back at the end is dropped."""
    company = Company(answers=list(answers), scheme="https" if tls else "http")
    if not held:
        company.hold.set()
    async with serving(company.answer, tls=tls) as company.port:
        yield company


def webhook_params(company: Company, **changes: Any) -> dict[str, Any]:
    """Parameters of `provider_put`."""
    return {"provider_id": "own", "provider": "webhook", "url": company.url, "secret": SECRET} | changes


def provider_of(company: Company, allowed: Allowed = LOOPBACK, **changes: Any) -> WebhookProvider:
    return WebhookProvider(stored(webhook_params(company, **changes)), allowed)


def credentials_of(text: str) -> str:
    """A header's `Basic` credentials, readable."""
    return base64.b64decode(text.partition(" ")[2]).decode()
