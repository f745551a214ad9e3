"""Neutral fields as APNs takes them: `{"headers", "payload"}` (providers.md 1.2 and 1.3).

Sources: https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification and
https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
from typing import Any

from delivery.providers.apns_payload import MAX_COLLAPSE_ID_BYTES, SUFFIXES
from delivery.rendering.collapse import fitted
from delivery.rendering.merge import text
from delivery.rendering.neutral import Defaults, Neutral, Sound

MAX_TTL_SECONDS = 30 * 86_400

_COLLAPSE_ID = re.compile(rf"[\x21-\x7e](?:[\x20-\x7e]{{0,{MAX_COLLAPSE_ID_BYTES - 2}}}[\x21-\x7e])?")
_OTHER_TOPICS = tuple(suffix for suffix in SUFFIXES.values() if suffix)
_PRIORITIES = {"high": "10", "normal": "5"}


def member(neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults) -> dict[str, Any]:
    """Build the member `apns` that `own` will be laid over.

    Beside an object of the caller's own the push type is left to be read off the result, which may be a call or a
    Live Activity; without one it is said.
    """
    silent = bool(neutral.background) or (neutral.is_silent and not is_other(own))
    push_type = {} if own else {"apns-push-type": "background" if silent else "alert"}
    return {
        "headers": push_type | headers(neutral, sent_at, silent=silent),
        "payload": {"aps": aps(neutral, options, silent=silent)} | custom_keys(neutral),
    }


def headers(neutral: Neutral, sent_at: float, *, silent: bool) -> dict[str, str]:
    """Priority, expiration and collapse id, those that the fields speak of."""
    fields = {}
    if silent:
        fields["apns-priority"] = "5"
    elif neutral.priority:
        fields["apns-priority"] = _PRIORITIES[neutral.priority]
    if neutral.ttl is not None:
        fields["apns-expiration"] = str(int(sent_at + min(neutral.ttl, MAX_TTL_SECONDS))) if neutral.ttl else "0"
    if neutral.collapse_key:
        fields["apns-collapse-id"] = fitted(neutral.collapse_key, _COLLAPSE_ID, MAX_COLLAPSE_ID_BYTES)
    return fields


def aps(neutral: Neutral, options: Defaults, *, silent: bool) -> dict[str, Any]:
    """The dictionary `aps`: what the system shows and does."""
    if silent:
        return {"content-available": 1}
    alert = {name: getattr(neutral, name) for name in ("title", "subtitle", "body") if getattr(neutral, name)}
    fields = {
        "alert": alert,
        "sound": _sound(neutral),
        "thread-id": neutral.thread_id,
        "category": neutral.category,
        "mutable-content": 1 if alert and _is_mutable(neutral, options) else None,
        "content-available": 1 if options.content_available else None,
    }
    badge = {} if neutral.badge_count is None else {"badge": neutral.badge_count}
    return {name: value for name, value in fields.items() if value} | badge


def custom_keys(neutral: Neutral) -> dict[str, str]:
    """What stands beside `aps` for the app to read: `url`, `image` and the data, whose keys go first."""
    named = {"url": neutral.url, "image": neutral.image}
    return {name: value for name, value in named.items() if value} | (neutral.data or {})


def shows(aps_of_own: Any) -> bool:
    """Whether an `aps` of the caller's own makes the push one that is seen or heard, or a Live Activity."""
    seen = ("alert", "sound", "badge", "event", "content-state")
    return isinstance(aps_of_own, dict) and any(aps_of_own.get(name) is not None for name in seen)


def tidy(own: dict[str, Any]) -> dict[str, Any]:
    """Spell header names as they are built here: APNs reads them in any case, a merge does not."""
    fields = own.get("headers")
    if not isinstance(fields, dict):
        return own
    return own | {"headers": {name.lower(): value for name, value in fields.items()}}


def _sound(neutral: Neutral) -> str | dict[str, Any]:
    sound = neutral.sound
    if isinstance(sound, Sound) and sound.critical:
        return {"critical": 1, "name": neutral.sound_name, "volume": 1.0 if sound.volume is None else sound.volume}
    return neutral.sound_name


def _is_mutable(neutral: Neutral, options: Defaults) -> bool:
    """An image is fetched by the app's service extension, which runs for mutable content only."""
    return bool(neutral.image or options.mutable_content) if neutral.mutable is None else neutral.mutable


def is_other(own: dict[str, Any]) -> bool:
    """Whether the caller's own object makes something of the push that is not a background push."""
    fields, payload = own.get("headers"), own.get("payload")
    if isinstance(fields, dict):
        push_type, topic = text(fields.get("apns-push-type")), text(fields.get("apns-topic"))
        if push_type not in ("", "background") or topic.endswith(_OTHER_TOPICS):
            return True
    return isinstance(payload, dict) and shows(payload.get("aps"))
