"""A sender of Web Push for tests, that can make every mistake: its payloads by http_ece, its tokens by PyJWT."""

import json
import os
import time
from typing import Any

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.webpush import WebpushEmulator
from emulators.webpush_subscriptions import CreatedSubscription, packed, point_of, unpacked
from tests.emulators.wire import Response, WireClient


def encrypted(plain: bytes, created: CreatedSubscription, **options: Any) -> bytes:
    """A payload for a subscription by a foreign implementation of RFC 8188."""
    keys = created.subscription.keys
    return bytes(
        http_ece.encrypt(
            plain,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=unpacked(keys["p256dh"]),
            auth_secret=unpacked(keys["auth"]),
            salt=os.urandom(16),
            version="aes128gcm",
            **options,
        )
    )


class PushSender:
    """An application server with keys of its own."""

    def __init__(self, emulator: WebpushEmulator, client: WireClient) -> None:
        self.emulator = emulator
        self.client = client
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public_key = packed(point_of(self.key))

    def token(self, **claims: object) -> str:
        """A VAPID token with these claims instead of the right ones."""
        right = {"aud": self.emulator.url, "exp": int(time.time()) + 3600, "sub": "mailto:ops@example.com"}
        chosen = {name: value for name, value in (right | claims).items() if value is not None}
        return jwt.encode(chosen, self.key, algorithm="ES256")

    def authorization(self, **claims: object) -> str:
        return f"vapid t={self.token(**claims)}, k={self.public_key}"

    def start(self, created: CreatedSubscription, body: bytes | None = None, **headers: Any) -> int:
        """Send a push without waiting for the answer; headers as for `WireClient.send`."""
        payload = encrypted(json.dumps({"hello": "Ann"}).encode(), created) if body is None else body
        encoding = "aes128gcm" if payload else None
        right = {"ttl": "60", "content_encoding": encoding, "authorization": self.authorization()}
        path = created.subscription.endpoint.removeprefix(self.emulator.url)
        return self.client.send(path, payload, **(right | headers))

    async def push(self, created: CreatedSubscription, body: bytes | None = None, **headers: Any) -> Response:
        return await self.client.answer(self.start(created, body, **headers))
