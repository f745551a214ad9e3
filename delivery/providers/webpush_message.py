"""A push rendered for Web Push: what is encrypted for each recipient, and the headers that all of them share."""

import time

from delivery.http2 import Head
from delivery.providers.webpush_origins import Place
from delivery.providers.webpush_payload import WebpushRequest

_FIXED = [(b"content-encoding", b"aes128gcm"), (b"content-type", b"application/octet-stream")]
_APPLE = ".push.apple.com"
_WINDOWS = ".notify.windows.com"


class WebpushMessage:
    """A push, its headers not yet written: how long it may be kept depends on when it is sent, and to whom."""

    __slots__ = ("_request", "payload")

    def __init__(self, request: WebpushRequest) -> None:
        self._request = request
        self.payload = request.payload

    def __repr__(self) -> str:
        return f"WebpushMessage(bytes={len(self.payload)})"

    def head(
        self,
        authorization: bytes,
        place: Place,
        scope: str,
        *,
        expire_at: float | None,
        urgent: bool,
    ) -> Head:
        """The head for the recipients of a batch."""
        fields = [(b"authorization", authorization), *_FIXED]
        own = self._fields(scope, expire_at, urgent)
        return Head(place.authority, place.prefix, fields, own_fields=own, scheme=place.scheme)

    def _fields(self, scope: str, expire_at: float | None, urgent: bool) -> list[tuple[bytes, bytes]]:
        request = self._request
        ttl = request.ttl
        if expire_at is not None:
            ttl = max(0, min(ttl, int(expire_at - time.time())))
        if _is_below(scope, _APPLE):
            ttl = max(ttl, 1)  # Apple takes no 0
        fields = [(b"ttl", b"%d" % ttl)]
        if is_windows(scope) and not ttl:
            fields.append((b"x-wns-cache-policy", b"no-cache"))  # WNS takes no 0 without it
        urgency = request.urgency or ("high" if urgent else "")
        if urgency:
            fields.append((b"urgency", urgency.encode()))
        if request.topic:
            fields.append((b"topic", request.topic.encode()))
        return fields


def is_windows(scope: str) -> bool:
    """Whether this origin is one of WNS."""
    return _is_below(scope, _WINDOWS)


def _is_below(scope: str, domain: str) -> bool:
    return f".{scope.partition(':')[0]}".endswith(domain)
