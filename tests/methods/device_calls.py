"""Calls methods of devices and topics as the door does: bytes in, JSON out, errors raised."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from methods import device_sync, devices, subscriptions, topics
from methods.context import Context
from methods.table import table_of
from server.validation import decode

TABLE = table_of((devices, device_sync, topics, subscriptions))

Call = Callable[..., Awaitable[Any]]


def caller(context: Callable[..., Context]) -> Call:
    """Return `await call("device_list", limit=1)`, which answers the decoded result."""

    async def call(name: str, **params: Any) -> Any:
        body = json.dumps(params).encode()
        method = TABLE[name]
        result = await method.handler(context(body), decode(method, body))
        return json.loads(msgspec.json.encode(result))

    return call


async def register(call: Call, token: str = "t1", **params: Any) -> Any:  # noqa: S107
    """Register an FCM device unless told otherwise; return the device."""
    given = {"provider": "fcm", "platform": "android", "token": token, **params}
    return (await call("device_register", **given))["device"]


def point() -> str:
    """A public key as browsers give it."""
    public = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(public).decode().rstrip("=")


def subscription(endpoint: str = "https://fcm.googleapis.com/fcm/send/abc", **keys: str) -> str:
    """A PushSubscription as a JSON string."""
    auth = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")
    return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": {"p256dh": point(), "auth": auth, **keys}})
