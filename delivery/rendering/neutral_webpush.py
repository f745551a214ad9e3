"""Neutral fields as a browser takes them: `{"headers", "payload"}` (providers.md 3.1 and 3.3).

Sources: RFC 8030, sections 5.2 to 5.4, for the headers;
https://webkit.org/blog/16535/meet-declarative-web-push/ for the payload.
"""

import re
from typing import Any

from delivery.rendering.collapse import fitted
from delivery.rendering.neutral import Defaults, Neutral

MAX_TTL_SECONDS = 28 * 86_400
"""Four weeks, as long as FCM keeps a message for the web; also what is said when the caller says nothing."""

_MAX_TOPIC_CHARACTERS = 32
_TOPIC = re.compile(rf"[A-Za-z0-9_-]{{1,{_MAX_TOPIC_CHARACTERS}}}")
_DECLARATIVE = 8030
_NAMES = {"ttl": "TTL", "urgency": "Urgency", "topic": "Topic"}


def member(neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults) -> dict[str, Any]:
    """Build the member `webpush` that `own` will be laid over; only TTL is required of a push message."""
    return {"headers": {"TTL": str(MAX_TTL_SECONDS)} | headers(neutral), "payload": _payload(neutral)}


def headers(neutral: Neutral) -> dict[str, str]:
    """Those of TTL, Urgency and Topic that the fields speak of."""
    fields = {}
    if neutral.ttl is not None:
        fields["TTL"] = str(min(neutral.ttl, MAX_TTL_SECONDS))
    if neutral.background or neutral.priority:
        fields["Urgency"] = "low" if neutral.background else str(neutral.priority)
    if neutral.collapse_key:
        fields["Topic"] = fitted(neutral.collapse_key, _TOPIC, _MAX_TOPIC_CHARACTERS)
    return fields


def tidy(own: dict[str, Any]) -> dict[str, Any]:
    """Spell header names as they are built here: HTTP reads them in any case, a merge does not."""
    fields = own.get("headers")
    if not isinstance(fields, dict):
        return own
    return own | {"headers": {_NAMES.get(name.lower(), name): value for name, value in fields.items()}}


def _payload(neutral: Neutral) -> dict[str, Any]:
    """Declarative when there are a title and a page to open, which that form requires; else for a service worker."""
    badge = {} if neutral.badge_count is None else {"app_badge": neutral.badge_count}
    if not neutral.has_text:
        named = {"url": neutral.url, "data": neutral.data}
        return {name: value for name, value in named.items() if value} | badge
    payload: dict[str, Any] = {"notification": _notification(neutral)} | badge
    if not (neutral.title and _is_page(neutral.url)):
        return payload
    mutable = {"mutable": True} if neutral.mutable else {}
    return {"web_push": _DECLARATIVE} | payload | mutable


def _notification(neutral: Neutral) -> dict[str, Any]:
    """The members of a notification by their names in the Notifications API."""
    named = {
        "title": neutral.title,
        "body": neutral.body,
        "navigate": neutral.url,
        "image": neutral.image,
        "tag": neutral.collapse_key,
        "data": neutral.data,
    }
    return {name: value for name, value in named.items() if value}


def _is_page(url: str | None) -> bool:
    return bool(url) and (url or "").startswith(("https://", "http://", "{{"))
