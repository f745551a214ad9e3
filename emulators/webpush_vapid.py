"""VAPID (RFC 8292): who sends, by a signed token that every push carries."""

from typing import NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulators.webpush_errors import Refusal
from emulators.webpush_subscriptions import packed, point_of, unpacked

SUBJECT = "mailto:push@tocsin.example.com"
MAX_AHEAD_SECONDS = 24 * 3600
_CACHE_SIZE = 1000
_JWS = jwt.PyJWS()


class VapidPair(NamedTuple):
    """A ready credential: raw keys in base64url, and whom the service can write to."""

    private_key: str
    public_key: str
    subject: str


class Sender(msgspec.Struct, frozen=True):
    """A sender whose token bears its key's signature."""

    key: bytes
    audience: str
    expires_at: float
    subject: str


class _Claims(msgspec.Struct):
    aud: str
    exp: int | float
    sub: str = ""


class VapidDesk:
    """Checks authorization headers. With `public_contact` the subject must not be a local one, as Apple wants it."""

    def __init__(self, public_contact: bool) -> None:
        self._public_contact = public_contact
        self._seen: dict[str, Sender | Refusal] = {}

    def check(self, authorization: str | None, origin: str, now: float) -> Sender | Refusal:
        """The sender, or what is wrong with its token for a service of this origin at this time (Unix seconds)."""
        if not authorization:
            return Refusal("vapid_missing", "there is no authorization")
        sender = self._sender(authorization)
        if isinstance(sender, Refusal):
            return sender
        if sender.audience != origin:
            return Refusal("vapid_invalid", f"aud is not {origin}")
        if sender.expires_at <= now:
            return Refusal("vapid_invalid", "the token has expired")
        if sender.expires_at > now + MAX_AHEAD_SECONDS:
            return Refusal("vapid_invalid", "exp is more than 24 hours ahead")
        if not self._is_contact(sender.subject):
            return Refusal("vapid_invalid", "sub is no mailto: or https: that reaches somebody")
        return sender

    def _sender(self, authorization: str) -> Sender | Refusal:
        """The token read and its signature checked, once."""
        known = self._seen.get(authorization)
        if known is None:
            if len(self._seen) >= _CACHE_SIZE:
                self._seen.clear()
            known = self._seen[authorization] = _verified(authorization)
        return known

    def _is_contact(self, subject: str) -> bool:
        kind, _, rest = subject.partition(":")
        if kind not in {"mailto", "https"} or not rest:
            return False
        host = rest.rpartition("@")[2] if kind == "mailto" else rest.lstrip("/").partition("/")[0]
        return not self._public_contact or ("." in host and not host.endswith((".invalid", ".local", ".localhost")))


def _verified(authorization: str) -> Sender | Refusal:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "vapid":
        return Refusal("vapid_invalid", "the scheme is not vapid")
    pairs = (part.strip().partition("=") for part in rest.split(","))
    params = {name: value for name, _, value in pairs}
    if not params.get("t") or not params.get("k"):
        return Refusal("vapid_invalid", "t or k is missing")
    try:
        point = unpacked(params["k"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return Refusal("vapid_invalid", "k is no point of P-256 in base64url")
    try:
        claims = msgspec.json.decode(_JWS.decode(params["t"], key, algorithms=["ES256"]), type=_Claims)
    except jwt.PyJWTError:
        return Refusal("vapid_invalid", "t is no token that k signed with ES256")
    except msgspec.DecodeError:
        return Refusal("vapid_invalid", "aud, exp or sub is missing or not of its type")
    return Sender(point, claims.aud, claims.exp, claims.sub)


def new_pem() -> bytes:
    """A new key pair as PEM of its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pair_of(pem: bytes) -> VapidPair:
    """The pair in such a PEM; ValueError when it is another kind of key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the VAPID key is not an elliptic curve key")
    private = key.private_numbers().private_value.to_bytes(32, "big")
    return VapidPair(packed(private), packed(point_of(key)), SUBJECT)
