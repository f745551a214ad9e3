"""Neutral fields as FCM takes them: `{"message": …}` for a token of Android, iOS or the web (providers.md 2.2).

The fields that FCM has for all platforms are written once; a platform's block holds only what these cannot say, since
the blocks of all platforms count towards the 4096 bytes.

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import re
from typing import Any

from delivery.providers.fcm_payload import MAX_TTL_SECONDS
from delivery.rendering import neutral_apns, neutral_webpush
from delivery.rendering.neutral import Defaults, Neutral

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_FREE = frozenset({"data", "headers", "payload"})


def member(neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults) -> dict[str, Any]:
    """Build the member `fcm` that `own` (as `tidy` returns it) will be laid over."""
    own_message = own.get("message")
    other = own_message if isinstance(own_message, dict) else {}
    shown = neutral.has_text and options.include_notification
    named = {
        "notification": _texts(neutral, "title", "body", "image") if shown else None,
        "data": _data(neutral, shown=shown),
        "android": _android(neutral, shown=shown) if other.get("android_v2") is None else None,
        "apns": _apns(neutral, other, sent_at, options),
        "webpush": _webpush(neutral, shown=shown),
    }
    return {"message": {name: value for name, value in named.items() if value}}


def tidy(own: dict[str, Any]) -> dict[str, Any]:
    """Wrap a bare message, and spell names as they are built here: FCM reads camelCase too, a merge does not."""
    wrapped = own if "message" in own else {"message": own}
    message = wrapped["message"]
    if not isinstance(message, dict):
        return wrapped
    message = {_snake_case(name): value for name, value in message.items()}
    for name, value in message.items():
        if name not in _FREE and isinstance(value, dict):
            message[name] = _spelled(value, _FREE | {"notification"} if name == "webpush" else _FREE)
    for name, block in (("apns", neutral_apns), ("webpush", neutral_webpush)):
        if isinstance(message.get(name), dict):
            message[name] = block.tidy(message[name])
    return wrapped | {"message": message}


def _texts(neutral: Neutral, *names: str) -> dict[str, str]:
    return {name: getattr(neutral, name) for name in names if getattr(neutral, name)}


def _data(neutral: Neutral, *, shown: bool) -> dict[str, str]:
    """The data and the URL; in a data message everything that the app needs to show it. A key of data goes first."""
    fields = _texts(neutral, "url")
    if neutral.has_text and not shown:
        fields = _texts(neutral, "title", "subtitle", "body", "image", "url", "category", "thread_id")
        if neutral.sound_name:
            fields["sound"] = neutral.sound_name
        if neutral.badge_count is not None:
            fields["badge"] = str(neutral.badge_count)
    return fields | (neutral.data or {})


def _android(neutral: Neutral, *, shown: bool) -> dict[str, Any]:
    """FCM hurries notifications but not data messages, so a data message that the app shows asks for it."""
    priority = neutral.priority or ("high" if neutral.has_text and not shown else None)
    named = {
        "priority": "NORMAL" if neutral.background else (priority or "").upper(),
        "ttl": None if neutral.ttl is None else f"{min(neutral.ttl, MAX_TTL_SECONDS)}s",
        "collapse_key": neutral.collapse_key,
        "notification": _android_notification(neutral) if shown else None,
    }
    return {name: value for name, value in named.items() if value}


def _android_notification(neutral: Neutral) -> dict[str, Any]:
    named = {"sound": neutral.sound_name, "tag": neutral.collapse_key, "notification_count": neutral.badge_count}
    return {name: value for name, value in named.items() if value}


def _apns(neutral: Neutral, other: dict[str, Any], sent_at: float, options: Defaults) -> dict[str, Any]:
    """An iPhone shows a data message only when its own block holds the alert; a subtitle exists only there."""
    silent = bool(neutral.background) or (neutral.is_silent and not _is_shown_by(other))
    headers = neutral_apns.headers(neutral, sent_at, silent=silent)
    if silent:
        headers = {"apns-push-type": "background"} | headers
    aps = neutral_apns.aps(neutral, options, silent=silent)
    if options.include_notification and not neutral.subtitle:
        aps.pop("alert", None)
    named = {
        "headers": headers,
        "payload": {"aps": aps} if aps else None,
        "fcm_options": _texts(neutral, "image"),
    }
    return {name: value for name, value in named.items() if value}


def _webpush(neutral: Neutral, *, shown: bool) -> dict[str, Any]:
    """A link opens over https only. A notification of its own replaces the common one, so it is a whole one."""
    link = neutral.url if shown and (neutral.url or "").startswith("https://") else None
    tagged = _texts(neutral, "title", "body", "image") | {"tag": neutral.collapse_key}
    named = {
        "headers": neutral_webpush.headers(neutral),
        "notification": tagged if shown and neutral.collapse_key else None,
        "fcm_options": {"link": link} if link else None,
    }
    return {name: value for name, value in named.items() if value}


def _is_shown_by(message: dict[str, Any]) -> bool:
    """Whether the caller's own message makes a notification of fields that would make none."""
    if message.get("notification") is not None:
        return True
    block = message.get("apns")
    return isinstance(block, dict) and neutral_apns.is_other(block)


def _spelled(block: dict[str, Any], free: frozenset[str]) -> dict[str, Any]:
    """The names of a block in snake_case, down to where the names are the caller's."""
    return {
        _snake_case(name): _spelled(value, free) if isinstance(value, dict) and name not in free else value
        for name, value in block.items()
    }


def _snake_case(name: str) -> str:
    return _CAPITAL.sub("_", name).lower()
