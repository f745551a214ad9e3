"""The rules of an FCM v1 message (providers.md 2.2).

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import re
from typing import Any

import msgspec

from delivery.providers.contract import PayloadError
from delivery.providers.json_paths import decode

PATH = "notification.fcm"
MAX_BYTES = 4096
MAX_TOPIC_BYTES = 2048
MAX_TTL_SECONDS = 2_419_200

_TTL = re.compile(r"([0-9]{1,12})(\.[0-9]{1,9})?s")
_LABEL = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*", re.DOTALL)

_Object = dict[str, msgspec.Raw]


class _Shown(msgspec.Struct):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class _Options(msgspec.Struct):
    analytics_label: str | None = None


class _Android(msgspec.Struct):
    collapse_key: str | None = None
    priority: str | None = None
    ttl: str | None = None
    restricted_package_name: str | None = None
    data: dict[str, str] | None = None
    notification: _Object | None = None
    fcm_options: _Options | None = None


class _Apns(msgspec.Struct):
    headers: dict[str, str] | None = None
    payload: _Object | None = None
    fcm_options: _Options | None = None


class _Webpush(msgspec.Struct):
    headers: dict[str, str] | None = None
    data: dict[str, str] | None = None
    notification: _Object | None = None
    fcm_options: _Options | None = None


class _Message(msgspec.Struct):
    token: Any = None
    fid: Any = None
    topic: Any = None
    condition: Any = None
    data: dict[str, str] | None = None
    notification: _Shown | None = None
    android: _Android | None = None
    android_v2: _Object | None = None
    apns: _Apns | None = None
    webpush: _Webpush | None = None
    fcm_options: _Options | None = None


def read(raw: bytes, target: str = "token") -> bytes:
    """Check the member `notification.fcm` whole and return the message object's bytes as they came.

    Both forms are read: `{"message": {…}}`, and the message itself (a message has no field of that name).
    PayloadError says what FCM would refuse when it is sent to a `target` of this kind.
    """
    member = decode(raw, _Object, PATH)
    wrapped = "message" in member
    path = f"{PATH}.message" if wrapped else PATH
    if wrapped and "validate_only" in member and bytes(member["validate_only"]) not in (b"false", b"null"):
        raise PayloadError("validate_only cannot be sent from here; provider_check tries a credential", PATH)
    message = bytes(member["message"]) if wrapped else raw.strip()
    _check(decode(message, _Message, path), path)
    limit = MAX_TOPIC_BYTES if target in ("topic", "condition") else MAX_BYTES
    if len(message) > limit and (size := _size(message)) > limit:
        raise PayloadError(f"{size} bytes; FCM takes {limit} at most for a {target}", path, too_large=True)
    return message


def _size(message: bytes) -> int:
    """Bytes of the message as FCM counts them: it reads the JSON first, so spaces and escapes do not count."""
    return len(msgspec.json.encode(msgspec.json.decode(message)))


def _check(message: _Message, path: str) -> None:
    for name in ("token", "fid", "topic", "condition"):
        if getattr(message, name) is not None:
            raise PayloadError("the recipient is named outside the message", f"{path}.{name}")
    if message.android is not None and message.android_v2 is not None:
        raise PayloadError("android and android_v2 exclude each other", f"{path}.android_v2")
    _check_data(message.data, f"{path}.data")
    _check_label(message.fcm_options, path)
    if message.android is not None:
        _check_android(message.android, f"{path}.android")
    for part, name in ((message.apns, "apns"), (message.webpush, "webpush")):
        if part is not None:
            _check_label(part.fcm_options, f"{path}.{name}")


def _check_android(android: _Android, path: str) -> None:
    _check_data(android.data, f"{path}.data")
    _check_label(android.fcm_options, path)
    if android.priority is not None and android.priority.upper() not in ("NORMAL", "HIGH"):
        raise PayloadError("NORMAL or HIGH is expected", f"{path}.priority")
    if android.ttl is not None:
        found = _TTL.fullmatch(android.ttl)
        if found is None or float(android.ttl[:-1]) > MAX_TTL_SECONDS:
            raise PayloadError('seconds are expected, as in "3.5s", four weeks at most', f"{path}.ttl")


def _check_data(data: dict[str, str] | None, path: str) -> None:
    for key in data or ():
        if _RESERVED.fullmatch(key):
            raise PayloadError("a key that FCM reserves: from, message_type, google… or gcm…", path)


def _check_label(options: _Options | None, path: str) -> None:
    if options is not None and options.analytics_label is not None and not _LABEL.fullmatch(options.analytics_label):
        rule = "1 to 50 of the characters a-z A-Z 0-9 - _ . ~ % are expected"
        raise PayloadError(rule, f"{path}.fcm_options.analytics_label")
