"""Subscriptions of the emulated push service: made by the million, because each one's keys follow from its name.

Nothing is kept of a subscription. Its name says whose batch it is of and which application server key it was made with,
and is signed, so that only names that were given out are known; its keys come from the emulator's seed and the name.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.webpush_decryption import decrypt

PATH = "/wpush/v2/"
MAX_COUNT = 10_000
MAX_SHARED_COUNT = 100_000
_CACHED_KEYS = 10_000
_SHARED, _OWN = 1, 0
_BATCH_BYTES, _NUMBER_BYTES, _DIGEST_BYTES, _SIGNATURE_BYTES = 6, 3, 8, 9
_SIGNED_BYTES = 1 + _BATCH_BYTES + _NUMBER_BYTES + _DIGEST_BYTES
_UNRESTRICTED = bytes(_DIGEST_BYTES)
_NAME = re.compile(r"(?:([A-Za-z0-9_-]{1,32})\.)?([A-Za-z0-9_-]{36})")
_LABEL = re.compile(r"[A-Za-z0-9_-]{0,32}")
# The order of P-256's group: private keys are below it.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class SubscriptionOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /subscriptions`.

    `count`: at most 10,000, or 100,000 with `shared_keys`, which gives all of them the same key pair and auth secret.
    `vapid_public_key` restricts them to that application server. `label` is what their names begin with.
    """

    count: int = 1
    vapid_public_key: str | None = None
    shared_keys: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        most = MAX_SHARED_COUNT if self.shared_keys else MAX_COUNT
        if not 1 <= self.count <= most:
            raise ValueError(f"count must be 1 to {most}")
        if not _LABEL.fullmatch(self.label):
            raise ValueError("label must be at most 32 letters, digits, - and _")
        if self.vapid_public_key is not None and len(unpacked(self.vapid_public_key)) != 65:
            raise ValueError("vapid_public_key must be 65 bytes in base64url")


class PushSubscription(msgspec.Struct, rename="camel"):
    """What a browser gives its page."""

    endpoint: str
    keys: dict[str, str]
    expiration_time: int | None = None


class CreatedSubscription(msgspec.Struct):
    """An answer to `POST /subscriptions`: what a page would have, its name, and the browser's private key (raw)."""

    id: str
    subscription: PushSubscription
    private_key: str


class _Keys(msgspec.Struct, gc=False):
    private: ec.EllipticCurvePrivateKey
    public: bytes
    auth: bytes


class Subscription(msgspec.Struct, gc=False):
    """A subscription that was given out."""

    id: str
    keys: _Keys
    server_digest: bytes

    def belongs_to(self, server_key: bytes) -> bool:
        """Whether this application server may send to it."""
        return self.server_digest in (_UNRESTRICTED, _digest(server_key))

    def decrypt(self, body: bytes) -> bytes:
        """What the browser would read; UndecryptableError when it could not."""
        return decrypt(body, self.keys.private, self.keys.public, self.keys.auth)


class Subscriptions:
    """Makes subscriptions and knows them again. The same `seed` knows those of an earlier emulator."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._keys: dict[bytes, _Keys] = {}

    def create(self, order: SubscriptionOrder, origin: str) -> list[CreatedSubscription]:
        """New subscriptions with endpoints at this origin."""
        kind = bytes([_SHARED if order.shared_keys else _OWN])
        batch = secrets.token_bytes(_BATCH_BYTES)
        server = order.vapid_public_key
        digest = _UNRESTRICTED if server is None else _digest(unpacked(server))
        names = (kind + batch + number.to_bytes(_NUMBER_BYTES, "big") + digest for number in range(order.count))
        return [self._created(order.label, signed, origin) for signed in names]

    def find(self, name: str) -> Subscription | None:
        """The subscription of that name, None when it was never given out."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        content = unpacked(match[2])
        signed, signature = content[:_SIGNED_BYTES], content[_SIGNED_BYTES:]
        if not hmac.compare_digest(signature, self._signature(match[1] or "", signed)):
            return None
        return Subscription(name, self._keys_of(signed), signed[-_DIGEST_BYTES:])

    def _created(self, label: str, signed: bytes, origin: str) -> CreatedSubscription:
        name = packed(signed + self._signature(label, signed))
        name = f"{label}.{name}" if label else name
        keys = self._keys_of(signed)
        shown = {"p256dh": packed(keys.public), "auth": packed(keys.auth)}
        private = keys.private.private_numbers().private_value.to_bytes(32, "big")
        return CreatedSubscription(name, PushSubscription(origin + PATH + name, shown), packed(private))

    def _signature(self, label: str, signed: bytes) -> bytes:
        return self._derived(b"name", label.encode() + b"." + signed)[:_SIGNATURE_BYTES]

    def _keys_of(self, signed: bytes) -> _Keys:
        owner = signed[: 1 + _BATCH_BYTES] if signed[0] == _SHARED else signed[: 1 + _BATCH_BYTES + _NUMBER_BYTES]
        keys = self._keys.get(owner)
        if keys is None:
            while len(self._keys) >= _CACHED_KEYS:
                del self._keys[next(iter(self._keys))]
            keys = self._keys[owner] = self._derived_keys(owner)
        return keys

    def _derived_keys(self, owner: bytes) -> _Keys:
        number = int.from_bytes(self._derived(b"key", owner), "big") % (_ORDER - 1) + 1
        private = ec.derive_private_key(number, ec.SECP256R1())
        return _Keys(private, point_of(private), self._derived(b"auth", owner)[:16])

    def _derived(self, purpose: bytes, what: bytes) -> bytes:
        return hmac.digest(self._seed, purpose + b":" + what, "sha256")


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as 65 bytes."""
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def packed(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unpacked(text: str) -> bytes:
    """The bytes of base64url without padding; ValueError when it is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url without padding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url without padding") from None


def _digest(server_key: bytes) -> bytes:
    return hashlib.sha256(server_key).digest()[:_DIGEST_BYTES]
