"""The rules of an HMS Push Kit message, version 1 (providers.md 4.1).

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197
"""

import re
from typing import Annotated, Any

import msgspec

from delivery.providers.contract import PayloadError
from delivery.providers.json_paths import decode

PATH = "notification.hms"
MAX_BYTES = 4096
MAX_TTL_SECONDS = 15 * 86_400
TARGETS = ("token", "topic", "condition")

_TTL = re.compile(r"([0-9]{1,9})s", re.ASCII)
_TTL_ROOM = len(',"android":{"ttl":"1296000s"}')
_ANDROID_TTL_ROOM = len(',"ttl":"1296000s"')
_INTENT, _URL, _APP, _RICH_RESOURCE = 1, 2, 3, 4

_Object = dict[str, msgspec.Raw]


class _Shown(msgspec.Struct):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class _ClickAction(msgspec.Struct):
    type: int
    intent: str | None = None
    action: str | None = None
    url: str | None = None
    rich_resource: str | None = None


class _AndroidNotification(_Shown):
    title_loc_key: str | None = None
    body_loc_key: str | None = None
    click_action: _ClickAction | None = None


class _Android(msgspec.Struct):
    collapse_key: Annotated[int, msgspec.Meta(ge=-1, le=100)] | None = None
    urgency: str | None = None
    ttl: str | None = None
    bi_tag: str | None = None
    fast_app_target: Annotated[int, msgspec.Meta(ge=1, le=2)] | None = None
    data: str | None = None
    notification: _AndroidNotification | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    token: Any = None
    topic: Any = None
    condition: Any = None
    data: str | None = None
    notification: _Shown | None = None
    android: _Android | None = None
    apns: _Object | None = None
    webpush: _Object | None = None


def read(raw: bytes) -> bytes:
    """Check the member `notification.hms` whole and return the message object, without the space between its parts.

    Both forms are read: `{"message": {…}}`, and the message itself (a message has no field of that name). PayloadError
    says what Huawei would refuse. The size is counted without recipients, and with the `ttl` that a push's own expiry
    may add.
    """
    member = decode(raw, _Object, PATH)
    wrapped = "message" in member
    path = f"{PATH}.message" if wrapped else PATH
    if wrapped and "validate_only" in member and bytes(member["validate_only"]) not in (b"false", b"null"):
        raise PayloadError("validate_only cannot be sent from here; provider_check tries a credential", PATH)
    message = bytes(member["message"]) if wrapped else raw.strip()
    checked = decode(message, _Message, path)
    _check(checked, path)
    return _fitting(message, _room(checked), path)


def ttl_seconds(text: str) -> int | None:
    """The seconds of a `ttl` as Huawei writes it, "86400s"; None when it is none, or not of 1 second to 15 days."""
    found = _TTL.fullmatch(text)
    return int(found[1]) if found and 1 <= int(found[1]) <= MAX_TTL_SECONDS else None


def takes_ttl(*, android: bool, elsewhere: bool) -> bool:
    """Whether a message has a place for a `ttl`: not when it is for iOS or web apps alone, which have their own."""
    return android or not elsewhere


def _room(message: _Message) -> int:
    """Bytes that a `ttl` takes which is not there yet."""
    if message.android is not None:
        return _ANDROID_TTL_ROOM if message.android.ttl is None else 0
    return _TTL_ROOM if takes_ttl(android=False, elsewhere=_elsewhere(message)) else 0


def _elsewhere(message: _Message) -> bool:
    return message.apns is not None or message.webpush is not None


def _fitting(message: bytes, room: int, path: str) -> bytes:
    """The message as it came but for spaces, or written anew where only escapes make it too long."""
    short = msgspec.json.format(message, indent=-1)
    if len(short) + room > MAX_BYTES:
        short = msgspec.json.encode(msgspec.json.decode(message))
    size = len(short) + room
    if size > MAX_BYTES:
        detail = f"{size} bytes without recipients; HMS takes {MAX_BYTES} at most"
        raise PayloadError(detail, path, too_large=True)
    return short


def _check(message: _Message, path: str) -> None:
    for name in TARGETS:
        if getattr(message, name) is not None:
            raise PayloadError("the recipient is named outside the message", f"{path}.{name}")
    android = message.android
    if android is not None:
        _check_android(android, f"{path}.android")
    shown = android.notification if android is not None else None
    if shown is None and message.notification is None:
        has_data = message.data is not None or (android is not None and android.data is not None)
        if not has_data and not _elsewhere(message):
            raise PayloadError("there is nothing to send: give notification or data", path)
        return
    if shown is not None or not _elsewhere(message):
        _check_shown(message.notification or _Shown(), shown or _AndroidNotification(), path)


def _check_shown(common: _Shown, own: _AndroidNotification, path: str) -> None:
    if common.title is None and own.title is None and own.title_loc_key is None:
        raise PayloadError("HMS requires a title", f"{path}.notification.title")
    if common.body is None and own.body is None and own.body_loc_key is None:
        raise PayloadError("HMS requires a body", f"{path}.notification.body")
    where = f"{path}.android.notification.click_action"
    if own.click_action is None:
        raise PayloadError('HMS requires what a tap does: {"type": 3} opens the app', where)
    _check_click_action(own.click_action, where)


def _check_android(android: _Android, path: str) -> None:
    if android.urgency is not None and android.urgency not in ("HIGH", "NORMAL"):
        raise PayloadError("HIGH or NORMAL is expected", f"{path}.urgency")
    if android.ttl is not None and ttl_seconds(android.ttl) is None:
        raise PayloadError('whole seconds are expected, as in "86400s", 15 days at most', f"{path}.ttl")


def _check_click_action(action: _ClickAction, path: str) -> None:
    if action.type == _INTENT and action.intent is None and action.action is None:
        raise PayloadError("type 1 needs intent or action", path)
    if action.type == _URL and not (action.url or "").startswith("https://"):
        raise PayloadError("type 2 opens an https URL, which is expected here", f"{path}.url")
    if action.type == _RICH_RESOURCE and action.rich_resource is None:
        raise PayloadError("type 4 needs rich_resource", path)
    if not _INTENT <= action.type <= _RICH_RESOURCE:
        raise PayloadError("1 (intent), 2 (URL), 3 (open the app) or 4 is expected", f"{path}.type")
