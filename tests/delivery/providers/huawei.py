"""Huawei as far as an app's server sees it: a real HTTP server on loopback with its OAuth and its Push Kit."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from delivery.batches import Batch
from delivery.providers.hms import OPTIONS, HmsProvider
from delivery.providers.hms_reactions import NO_TOKEN_IS_VALID, OK, PARTLY
from tests.delivery.http_peer import Request, serving
from tests.delivery.providers.company import Said
from tests.delivery.providers.sending import batch_of, stored

APP_ID = "104729863"
SECRET = "the+app's/own&secret=="
MESSAGE = (
    b'{"message":{"notification":{"title":"hello","body":"you"},'
    b'"android":{"notification":{"click_action":{"type":3}}}}}'
)
DATA = b'{"message":{"data":"{}"}}'
LATE = 4_000_000_000.0


def said(code: str, text: object = "", status: int = 200, fields: str = "") -> Said:
    """An answer of the Push Kit."""
    return Said(status, json.dumps({"code": code, "msg": text, "requestId": "request-1"}).encode(), fields)


def partly(*illegal: str, success: int = 1) -> Said:
    """A partial success, whose `msg` is JSON text."""
    text = {"success": success, "failure": len(illegal), "illegal_tokens": list(illegal)}
    return said(PARTLY, json.dumps(text))


@dataclass
class Huawei:
    """Takes messages for `APP_ID` with the last access token it gave; `answers` and `grants` go before its own."""

    port: int = 0
    scheme: str = "http"
    answers: list[Said] = field(default_factory=list)
    grants: list[Said] = field(default_factory=list)
    illegal: set[str] = field(default_factory=set)
    most_tokens: int = 1000
    life_seconds: int = 3600
    requests: list[Request] = field(default_factory=list)
    fetches: list[dict[str, list[str]]] = field(default_factory=list)
    valid: str = ""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    hold_grants: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(request.body)["message"] for request in self.requests]

    async def got(self, count: int) -> None:
        """Wait until so many messages have come."""
        async with asyncio.timeout(15), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def asked(self, count: int) -> None:
        """Wait until an access token was asked for so many times."""
        async with asyncio.timeout(15), self.arrived:
            await self.arrived.wait_for(lambda: len(self.fetches) >= count)

    async def answer(self, request: Request) -> bytes:
        if request.target == "/oauth2/v3/token":
            return (await self._grant(request)).wire
        if request.target == "/":
            return Said(404).wire
        assert request.target == f"/v1/{APP_ID}/messages:send"
        assert request.headers["content-type"] == "application/json"
        async with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
        await self.hold.wait()
        if self.answers:
            return self.answers.pop(0).wire
        return self._judged(request).wire

    async def _grant(self, request: Request) -> Said:
        async with self.arrived:
            self.fetches.append(parse_qs(request.body.decode()))
            self.arrived.notify_all()
        await self.hold_grants.wait()
        if self.grants:
            return self.grants.pop(0)
        form = {"grant_type": ["client_credentials"], "client_id": [APP_ID], "client_secret": [SECRET]}
        if self.fetches[-1] != form:
            return Said(400, b'{"error":1101,"sub_error":20155,"error_description":"wrong"}')
        self.valid = f"CgB6/{len(self.fetches)}=="
        granted = {"access_token": self.valid, "expires_in": self.life_seconds, "token_type": "Bearer"}
        return Said(200, json.dumps(granted).replace("/", "\\/").encode())

    def _judged(self, request: Request) -> Said:
        if request.headers["authorization"] != f"Bearer {self.valid}":
            return said("80200003")
        message = json.loads(request.body)["message"]
        tokens = message.get("token", [])
        assert len({"token", "topic", "condition"} & set(message)) == 1
        if len(tokens) > self.most_tokens:
            return said("80300010", status=400)
        illegal = [token for token in tokens if token in self.illegal]
        if not illegal:
            return said(OK, "Success")
        return said(NO_TOKEN_IS_VALID) if len(illegal) == len(tokens) else partly(*illegal)


@asynccontextmanager
async def a_huawei(*answers: Said, held: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Huawei]:
    """Run it; what it still holds back at the end is dropped."""
    huawei = Huawei(answers=list(answers), scheme="https" if tls else "http")
    huawei.hold_grants.set()
    if not held:
        huawei.hold.set()
    async with serving(huawei.answer, tls=tls) as huawei.port:
        yield huawei


def hms_params(huawei: Huawei, **changes: Any) -> dict[str, Any]:
    """Parameters of `provider_put`."""
    return {
        "provider_id": "app",
        "provider": "hms",
        "app_id": APP_ID,
        "app_secret": SECRET,
        "endpoint": huawei.url,
        "token_url": f"{huawei.url}/oauth2/v3/token",
    } | changes


def provider_of(huawei: Huawei, **changes: Any) -> HmsProvider:
    options = changes.pop("options", OPTIONS)
    return HmsProvider(stored(hms_params(huawei, **changes)), options=options)


def batch(count: int = 1, **changes: Any) -> Batch:
    names = [f"IQAAAACy0h-{position}".encode() for position in range(count)]
    return batch_of(count, **({"provider": "hms", "credential": "app", "tokens": names} | changes))
