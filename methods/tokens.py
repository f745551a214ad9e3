"""What a device's token may look like, provider by provider, and the form in which it is stored."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from methods.errors import BadRequestError

# Where browsers let push messages be sent; anything else would make this server call addresses that a caller chose.
DEFAULT_WEBPUSH_HOSTS = (
    "*.googleapis.com",
    "*.push.apple.com",
    "*.notify.windows.com",
    "*.push.services.mozilla.com",
)

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


class _Keys(msgspec.Struct):
    p256dh: str
    auth: str


class _Subscription(msgspec.Struct):
    endpoint: str
    keys: _Keys


def check_token(
    provider: str, token: str, webpush_hosts: Sequence[str] = DEFAULT_WEBPUSH_HOSTS, path: str = "token"
) -> CheckedToken:
    """Return the token as it is stored: APNs in lower case, Web Push as endpoint and keys, others unchanged.

    What a webhook calls a device may be any text without control characters.

    BadRequestError says what is wrong with it, never repeating it.
    """
    if provider == "webpush":
        return _check_subscription(token, webpush_hosts, path)
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


def _subscription(token: str) -> _Subscription | None:
    try:
        return msgspec.json.decode(token, type=_Subscription)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _check_subscription(token: str, hosts: Sequence[str], path: str) -> CheckedToken:
    subscription = _subscription(token)
    if subscription is None:
        raise BadRequestError("a Web Push token is a PushSubscription as a JSON string", path=path)
    _check_endpoint(subscription.endpoint, hosts, path)
    keys = {
        "p256dh": _encoded(_check_point(subscription.keys.p256dh, path)),
        "auth": _encoded(_decoded(subscription.keys.auth, 16, "keys.auth", path)),
    }
    return CheckedToken(subscription.endpoint, keys)


def _check_endpoint(endpoint: str, hosts: Sequence[str], path: str) -> None:
    if not _OPAQUE.fullmatch(endpoint):
        raise BadRequestError("the endpoint is 1 to 2048 printable ASCII characters without spaces", path=path)
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadRequestError("the endpoint is not a URL", path=path) from None
    # A stricter host than the URL syntax has: what two parsers read differently must not pass
    if parts.scheme != "https" or not _HOST.fullmatch(host) or parts.username is not None or "\\" in endpoint:
        raise BadRequestError("the endpoint is not a plain https URL", path=path)
    if _is_address(host):
        raise BadRequestError("the endpoint's host is an address, not a name", path=path)
    if not _is_allowed(host, port, hosts):
        raise BadRequestError("the endpoint's host is not on the allow list of push services", path=path)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        # Numbers alone are an IPv4 address to many resolvers: 2130706433, 0x7f.1
        return host.rpartition(".")[2][:1].isdigit()
    return True


def _is_allowed(host: str, port: int | None, hosts: Sequence[str]) -> bool:
    """Match `name`, `*.name` (anything below it), either with `:port` where it is not 443."""
    origin = host if port in {None, 443} else f"{host}:{port}"
    return any(
        origin.endswith(allowed[1:]) and origin != allowed[1:] if allowed.startswith("*.") else origin == allowed
        for allowed in hosts
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
