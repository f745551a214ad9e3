"""What a Web Push credential is made of: a VAPID key pair, and whom a push service can write to (RFC 8292)."""

import base64
import re

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from delivery.providers.credential_fields import (
    CredentialError,
    CredentialFields,
    Way,
    proxy_user,
    required,
    url,
    way_of,
)
from delivery.providers.webpush_vapid import base64url, private_number, public_point

TRANSPORTS = ("http2", "httpx")

_CURVE = ec.SECP256R1()
_BASE64URL = re.compile(r"[A-Za-z0-9_+/-]+={0,2}")
_MAILTO = re.compile(r"mailto:[^@\s<>,?]+@[^@\s<>,?]+")
_MOST_SUBJECT = 256


class WebpushSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The open part of a Web Push credential. `public_key` is what browsers subscribe with, 65 bytes in base64url."""

    way: Way
    public_key: str
    subject: str


class WebpushSecrets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The secret part. `private_key` is 32 bytes in base64url, `proxy_user` is `user:password`."""

    private_key: str
    proxy_user: str = ""

    def __repr__(self) -> str:
        return "WebpushSecrets()"


def parse(fields: CredentialFields) -> tuple[WebpushSettings, WebpushSecrets, str]:
    """Check the fields of a Web Push credential: settings, secrets, and no environment. Raises CredentialError."""
    key = _key(fields.private_key or "")
    public_key = base64url(public_point(key)).decode()
    if fields.public_key is not None and _same_text(fields.public_key) != public_key:
        raise CredentialError("this is not the public key of the private key", "public_key")
    settings = WebpushSettings(way=way_of(fields, TRANSPORTS), public_key=public_key, subject=_subject(fields.subject))
    secrets = WebpushSecrets(private_key=base64url(private_number(key)).decode(), proxy_user=proxy_user(fields))
    return settings, secrets, ""


def load_vapid_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The private key from its 32 bytes in base64url; ValueError when it is none."""
    encoded = _same_text(text)
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    if len(raw) != 32:
        raise ValueError("not 32 bytes")
    return ec.derive_private_key(int.from_bytes(raw, "big"), _CURVE)


def _key(text: str) -> ec.EllipticCurvePrivateKey:
    text = text.replace("\\n", "\n").strip()
    if not text:
        raise CredentialError("required: the VAPID private key; `tocsin key vapid` makes a pair", "private_key")
    rule = "a P-256 private key is expected: 32 bytes in base64url, or PEM"
    try:
        is_pem = text.startswith("-----BEGIN")
        key = load_pem_private_key(text.encode(), None) if is_pem else load_vapid_key(text)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialError(rule, "private_key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CredentialError(rule, "private_key")
    return key


def _same_text(text: str) -> str:
    """Base64url without padding, whichever base64 it came in."""
    text = text.strip()
    return text.rstrip("=").replace("+", "-").replace("/", "_") if _BASE64URL.fullmatch(text) else text


def _subject(given: str | None) -> str:
    """Mozilla and Apple want one, and Apple refuses what is neither an address nor a URL (providers.md 3.1)."""
    rule = "mailto:name@example.org or https://… is expected: whom a push service can write to"
    text = required(given, "subject", re.compile(r"(?:mailto:|https://)\S+", re.ASCII), rule)
    if len(text) > _MOST_SUBJECT or not text.isascii():
        raise CredentialError(f"at most {_MOST_SUBJECT} ASCII characters are expected", "subject")
    if text.startswith("mailto:"):
        if not _MAILTO.fullmatch(text):
            raise CredentialError(rule, "subject")
    else:
        url(text, "subject", ("https",))
    return text
