"""What a device's token may look like, provider by provider, and the form in which it is stored."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from methods.errors import BadRequestError
from methods.webpush_origins import BROWSERS, is_address, is_listed

# Longer ones would not fit into an entry of the index over tokens.
_OPAQUE = re.compile(r"[\x21-\x7e]{1,2048}")
_MOST_BYTES = 2048
_HOST = re.compile(r"[a-z0-9.:_-]+")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){1,1024}")


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """A token in the form in which it is stored, with the keys of a Web Push subscription."""

    token: str = field(repr=False)
    webpush_keys: dict[str, str] | None = field(default=None, repr=False)


class SubscriptionKeys(msgspec.Struct):
    """The keys of a PushSubscription.

    p256dh: the browser's public key: 65 bytes, base64url
    auth: its secret: 16 bytes, base64url
    """

    p256dh: str
    auth: str

    def __repr__(self) -> str:
        return "SubscriptionKeys()"


class Subscription(msgspec.Struct):
    """A browser's PushSubscription; further members of it are ignored.

    endpoint: where the push service takes messages for it, https
    keys: what they are encrypted with
    """

    endpoint: str
    keys: SubscriptionKeys

    def __repr__(self) -> str:
        return "Subscription()"


def check_token(
    provider: str, token: str, webpush_origins: Sequence[str] = BROWSERS, path: str = "token"
) -> CheckedToken:
    """Return the token as it is stored: APNs in lower case, Web Push as endpoint and keys, others unchanged.

    What a webhook calls a device may be any text without control characters. A subscription must be at one of
    `webpush_origins`.

    BadRequestError says what is wrong with it, never repeating it.
    """
    if provider == "webpush":
        return check_subscription(token, webpush_origins, path)
    if provider == "apns":
        return CheckedToken(check_hex(token, path))
    if provider == "webhook":
        if not _is_text(token):
            raise BadRequestError("a token is 1 to 2048 bytes of UTF-8 without control characters", path=path)
        return CheckedToken(token)
    if not _OPAQUE.fullmatch(token):
        raise BadRequestError("a token is 1 to 2048 printable ASCII characters without spaces", path=path)
    return CheckedToken(token)


def check_hex(token: str, path: str) -> str:
    """Return an APNs token in lower case; BadRequestError when it is not bytes in hexadecimal digits."""
    if not _HEX.fullmatch(token):
        raise BadRequestError("an APNs token is an even number of hexadecimal digits, at most 2048", path=path)
    return token.lower()


def is_subscription(token: str) -> bool:
    """Tell a Web Push subscription (JSON) from the opaque token of another provider."""
    return token.lstrip().startswith("{")


def stored_forms(token: str) -> list[str]:
    """Return the forms in which a token of unknown provider may be stored, for looking it up."""
    if is_subscription(token):
        subscription = _subscription(token)
        # One that could not be stored could not be looked up either: the store refuses NUL characters
        if subscription is None:  # a webhook's own kind of name
            return [token] if _is_text(token) else []
        return [subscription.endpoint] if _OPAQUE.fullmatch(subscription.endpoint) else []
    if _HEX.fullmatch(token) and token != token.lower():
        return [token, token.lower()]
    return [token]


def _is_text(token: str) -> bool:
    return token.isprintable() and 1 <= len(token.encode()) <= _MOST_BYTES


def _subscription(token: str) -> Subscription | None:
    try:
        return msgspec.json.decode(token, type=Subscription)
    except (msgspec.MsgspecError, RecursionError):
        return None


def check_subscription(given: str | Subscription, origins: Sequence[str], path: str) -> CheckedToken:
    """Return a subscription, or the JSON text of one, as endpoint and keys; BadRequestError as `check_token`."""
    subscription = _subscription(given) if isinstance(given, str) else given
    if subscription is None:
        raise BadRequestError("a Web Push token is a PushSubscription as a JSON string", path=path)
    _check_endpoint(subscription.endpoint, origins, path)
    keys = {
        "p256dh": _encoded(_check_point(subscription.keys.p256dh, path)),
        "auth": _encoded(_decoded(subscription.keys.auth, 16, "keys.auth", path)),
    }
    return CheckedToken(subscription.endpoint, keys)


def _check_endpoint(endpoint: str, origins: Sequence[str], path: str) -> None:
    if not _OPAQUE.fullmatch(endpoint):
        raise BadRequestError("the endpoint is 1 to 2048 printable ASCII characters without spaces", path=path)
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadRequestError("the endpoint is not a URL", path=path) from None
    # A stricter URL than the syntax has: what two parsers read differently must not pass. So browsers write it.
    plain = _HOST.fullmatch(host) and parts.netloc in (host, f"{host}:{port}") and parts.path.startswith("/")
    if not plain or not endpoint.startswith("https://") or "\\" in endpoint:
        raise BadRequestError("the endpoint is not a plain https URL", path=path)
    if is_address(host):
        raise BadRequestError("the endpoint's host is an address, not a name", path=path)
    if not is_listed(host, port, origins):
        raise BadRequestError(
            "the endpoint's host is not one of the push services that are known; see TOCSIN_WEBPUSH_ORIGINS", path=path
        )


def _check_point(text: str, path: str) -> bytes:
    point = _decoded(text, 65, "keys.p256dh", path)
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError:
        raise BadRequestError("keys.p256dh is not an uncompressed point of the curve P-256", path=path) from None
    return point


def _decoded(text: str, length: int, name: str, path: str) -> bytes:
    try:
        value = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != length:
        raise BadRequestError(f"{name} is not {length} bytes in base64url", path=path)
    return value


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
