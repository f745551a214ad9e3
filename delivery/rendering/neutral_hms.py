"""Neutral fields as HMS Push Kit takes them: `{"message": …}` of its version 1 (providers.md 4.1).

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197
"""

from pathlib import PurePosixPath
from typing import Any

import msgspec

from delivery.rendering.neutral import Defaults, Neutral

MAX_TTL_SECONDS = 15 * 86_400

_OPEN_URL = 2
_OPEN_APP = 3


def member(neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults) -> dict[str, Any]:
    """Build the member `hms` that `own` will be laid over: a notification message, or a data message without text."""
    named = {
        "notification": _texts(neutral) if neutral.has_text else None,
        "data": _data(neutral),
        "android": _android(neutral),
    }
    return {"message": {name: value for name, value in named.items() if value}}


def _texts(neutral: Neutral) -> dict[str, Any]:
    """Title and body are both required: where one is missing, the other stands in its place."""
    title, body = neutral.title or neutral.body, neutral.body or neutral.title
    return {"title": title, "body": body} | ({"image": neutral.image} if neutral.image else {})


def _data(neutral: Neutral) -> str:
    """The data and the URL as JSON text, in which form an app gets them; a data message must have some."""
    fields = ({"url": neutral.url} if neutral.url else {}) | (neutral.data or {})
    return msgspec.json.encode(fields).decode() if fields or not neutral.has_text else ""


def _android(neutral: Neutral) -> dict[str, Any]:
    """Urgency is said of data messages only: HIGH needs an entitlement, and does nothing for a notification."""
    named = {
        "urgency": _urgency(neutral),
        "ttl": None if neutral.ttl is None else f"{max(1, min(neutral.ttl, MAX_TTL_SECONDS))}s",
        "notification": _notification(neutral) if neutral.has_text else None,
    }
    return {name: value for name, value in named.items() if value}


def _urgency(neutral: Neutral) -> str:
    if neutral.has_text:
        return ""
    return "NORMAL" if neutral.background else (neutral.priority or "").upper()


def _notification(neutral: Neutral) -> dict[str, Any]:
    """What a tap does is required. Collapse keys are numbers up to 100 there, so the shown one is replaced by tag."""
    named = {"click_action": _click_action(neutral.url), "tag": neutral.collapse_key, "group": neutral.thread_id}
    return {name: value for name, value in named.items() if value} | _sound(neutral.sound_name)


def _click_action(url: str | None) -> dict[str, Any]:
    """Only https opens by itself; for other URLs the app is opened, which finds the URL in its data."""
    return {"type": _OPEN_URL, "url": url} if (url or "").startswith("https://") else {"type": _OPEN_APP}


def _sound(name: str) -> dict[str, Any]:
    """A sound is a resource of the app, named by its path without ending."""
    if not name:
        return {}
    if name == "default":
        return {"default_sound": True}
    return {"sound": name if name.startswith("/") else f"/raw/{PurePosixPath(name).stem}"}
