"""The rules of an APNs payload and its headers (providers.md 1.2 and 1.3).

Source: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from delivery.providers.contract import PayloadError
from delivery.providers.json_paths import decode

PATH = "notification.apns"
MAX_BYTES = 4096
MAX_VOIP_BYTES = 5120
MAX_COLLAPSE_ID_BYTES = 64

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "alert": "",
        "background": "",
        "voip": ".voip",
        "complication": ".complication",
        "fileprovider": ".pushkit.fileprovider",
        "mdm": "",
        "location": ".location-query",
        "liveactivity": ".push-type.liveactivity",
        "pushtotalk": ".voip-ptt",
        "widgets": ".push-type.widgets",
        "controls": ".push-type.controls",
    }
)
"""What each push type appends to the bundle id to name its topic."""

_NAME = re.compile(r"apns-[a-z0-9-]{1,60}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,998}[\x21-\x7e])?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class ApnsRequest(msgspec.Struct, frozen=True):
    """A checked member `notification.apns`: lower-case headers, the payload's bytes as they came, its push type."""

    headers: dict[str, str]
    payload: bytes
    push_type: str

    def __repr__(self) -> str:
        return f"ApnsRequest(push_type={self.push_type}, bytes={len(self.payload)})"

    def topic(self, bundle_id: str) -> str:
        """The topic its headers name, else the bundle id with the suffix of the push type."""
        return self.headers.get("apns-topic") or bundle_id + SUFFIXES[self.push_type]


class _Member(msgspec.Struct):
    payload: msgspec.Raw
    headers: dict[str, str] | None = None


def read(raw: bytes) -> ApnsRequest:
    """Check the member `notification.apns` whole; PayloadError says what APNs would refuse."""
    member = decode(raw, _Member, PATH)
    payload = bytes(member.payload)
    content = decode(payload, dict[str, Any], f"{PATH}.payload")
    aps = content.get("aps")
    if aps is not None and not isinstance(aps, dict):
        raise PayloadError("an object is expected", f"{PATH}.payload.aps")
    headers = _headers(member.headers or {})
    push_type = headers.get("apns-push-type") or _implied_type(content, aps or {}, headers.get("apns-topic", ""))
    _check_type(push_type, headers, aps or {})
    limit = MAX_VOIP_BYTES if push_type == "voip" else MAX_BYTES
    if len(payload) > limit:
        detail = f"{len(payload)} bytes; APNs takes {limit} at most"
        raise PayloadError(detail, f"{PATH}.payload", too_large=True)
    return ApnsRequest(headers, payload, push_type)


def _headers(given: dict[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in given.items():
        lowered = name.lower()
        path = f"{PATH}.headers.{lowered}"
        if not _NAME.fullmatch(lowered):
            raise PayloadError("only headers whose names begin with apns- can be given", f"{PATH}.headers")
        if lowered in headers:
            raise PayloadError("given twice", path)
        if not _VALUE.fullmatch(value):
            raise PayloadError("not a header value: printable ASCII, not empty, no space around it", path)
        headers[lowered] = value
    if "apns-id" in headers:
        headers["apns-id"] = headers["apns-id"].lower()
    for name, (fits, rule) in _RULES.items():
        if name in headers and not fits(headers[name]):
            raise PayloadError(rule, f"{PATH}.headers.{name}")
    return headers


_RULES: Mapping[str, Any] = MappingProxyType(
    {
        "apns-id": (_UUID.fullmatch, "a UUID in canonical form is expected"),
        "apns-expiration": (re.compile(r"[0-9]{1,12}").fullmatch, "Unix seconds are expected, or 0"),
        "apns-priority": (re.compile(r"10|5|1").fullmatch, "10, 5 or 1 is expected"),
        "apns-push-type": (SUFFIXES.__contains__, "not a push type: " + ", ".join(SUFFIXES)),
        "apns-collapse-id": (lambda value: len(value) <= MAX_COLLAPSE_ID_BYTES, "64 bytes at most"),
        "apns-channel-id": (lambda value: False, "broadcast channels cannot be sent to"),
    }
)


def _implied_type(content: dict[str, Any], aps: dict[str, Any], topic: str) -> str:
    """The push type that topic and payload speak of, when no header says it."""
    for push_type, suffix in SUFFIXES.items():
        if suffix and topic.endswith(suffix):
            return push_type
    if "mdm" in content and not aps:
        return "mdm"
    if "content-state" in aps and "event" in aps:
        return "liveactivity"
    if aps.get("content-available") == 1 and not any(key in aps for key in ("alert", "sound", "badge")):
        return "background"
    return "alert"


def _check_type(push_type: str, headers: dict[str, str], aps: dict[str, Any]) -> None:
    """Push type against priority, topic and payload."""
    if push_type == "background" and headers.get("apns-priority") == "10":
        raise PayloadError("a background push must have priority 5", f"{PATH}.headers.apns-priority")
    topic = headers.get("apns-topic")
    if topic is not None and not topic.endswith(SUFFIXES[push_type]):
        rule = f"the topic of push type {push_type} must end in {SUFFIXES[push_type]}"
        raise PayloadError(rule, f"{PATH}.headers.apns-topic")
    missing = [key for key in ("timestamp", "event") if key not in aps] if push_type == "liveactivity" else []
    if missing:
        raise PayloadError("a Live Activity push needs aps." + " and aps.".join(missing), f"{PATH}.payload.aps")
