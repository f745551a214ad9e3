"""The rules of the member `webpush`: `{"headers": {"TTL", "Urgency", "Topic"}, "payload": …}`.

Sources: RFC 8030, sections 5.2 to 5.4, for the headers; RFC 8291, section 4, for the size.
"""

import re

import msgspec

from delivery.providers.contract import PayloadError
from delivery.providers.json_paths import decode
from delivery.providers.webpush_encryption import MAX_PLAINTEXT_BYTES

PATH = "notification.webpush"
MAX_TTL_SECONDS = 28 * 86_400
"""Four weeks, as long as FCM keeps a message for the web (Mozilla: 30 days); sent in place of more, and of none."""
URGENCIES = ("very-low", "low", "normal", "high")

_TTL = re.compile(r"[0-9]{1,12}")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")


class WebpushRequest(msgspec.Struct, frozen=True):
    """A push read: what is encrypted, and the headers. An `urgency` or `topic` that was not given is ''."""

    payload: bytes
    ttl: int = MAX_TTL_SECONDS
    urgency: str = ""
    topic: str = ""

    def __repr__(self) -> str:
        return f"WebpushRequest(bytes={len(self.payload)})"


class _Member(msgspec.Struct):
    headers: dict[str, str | int] | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


def read(raw: bytes) -> WebpushRequest:
    """Check the member whole. PayloadError says what a push service would refuse.

    `payload` is sent as it came; of a string, the text that it holds; of null, nothing.
    """
    if not raw.lstrip().startswith(b"{"):
        raise PayloadError("an object is expected", PATH)
    member = decode(raw, _Member, PATH)
    text = _text(bytes(member.payload))
    if len(text) > MAX_PLAINTEXT_BYTES:
        detail = f"{len(text)} bytes; a push service takes {MAX_PLAINTEXT_BYTES} at most"
        raise PayloadError(detail, f"{PATH}.payload", too_large=True)
    fields = {"payload": text} | _headers(member.headers or {})
    return msgspec.convert(fields, WebpushRequest)


def _text(payload: bytes) -> bytes:
    value = payload.strip()
    if value == b"null":
        return b""
    return decode(value, str, f"{PATH}.payload").encode() if value.startswith(b'"') else value


def _headers(given: dict[str, str | int]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in given.items():
        path = f"{PATH}.headers.{name}"
        read_field = _FIELDS.get(name.lower())
        if read_field is None:
            raise PayloadError("TTL, Urgency and Topic are the headers that can be given", f"{PATH}.headers")
        if name.lower() in fields:
            raise PayloadError("given twice", path)
        fields[name.lower()] = read_field(str(value), path)
    return fields


def _ttl(value: str, path: str) -> int:
    if not _TTL.fullmatch(value):
        raise PayloadError("seconds are expected, a whole number of 0 or more", path)
    return min(int(value), MAX_TTL_SECONDS)


def _urgency(value: str, path: str) -> str:
    if value not in URGENCIES:
        raise PayloadError(f"one of {', '.join(URGENCIES)} is expected", path)
    return value


def _topic(value: str, path: str) -> str:
    if not _TOPIC.fullmatch(value):
        raise PayloadError("1 to 32 of the characters A-Z a-z 0-9 - _ are expected", path)
    return value


_FIELDS = {"ttl": _ttl, "urgency": _urgency, "topic": _topic}
