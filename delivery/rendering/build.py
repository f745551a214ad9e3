"""Builds a provider's member of a notification: from the neutral fields, the caller's own object, or both."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from delivery.providers.contract import PayloadError
from delivery.rendering import neutral_apns, neutral_fcm, neutral_hms, neutral_webhook, neutral_webpush
from delivery.rendering.merge import merge, opened
from delivery.rendering.neutral import Defaults, Neutral

__all__ = ["Defaults", "build"]


class _Member(Protocol):
    def __call__(
        self, neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults
    ) -> dict[str, Any]: ...


class _Form(msgspec.Struct, frozen=True):
    """How a provider's member is built, and how one of the caller's own is spelled before it is laid over."""

    member: _Member
    tidy: Callable[[dict[str, Any]], dict[str, Any]] = dict


_FORMS: Mapping[str, _Form] = MappingProxyType(
    {
        "apns": _Form(neutral_apns.member, neutral_apns.tidy),
        "fcm": _Form(neutral_fcm.member, neutral_fcm.tidy),
        "hms": _Form(neutral_hms.member),
        "webpush": _Form(neutral_webpush.member, neutral_webpush.tidy),
        "webhook": _Form(neutral_webhook.member),
    }
)


def build(
    provider: str,
    neutral: Neutral | None,
    own: bytes | None,
    *,
    sent_at: float,
    badge: int | None = None,
    options: Defaults = Defaults(),  # noqa: B008 - it is frozen
) -> bytes | None:
    """Return the member of a notification that `provider` gets, as JSON; None when there is nothing for it.

    neutral: as `check` passed it. Rendered, where its strings are templates: Web Push topics and the data of HMS are
        derived from the values, so that a template left in them would be filled in too late
    own: the caller's object for this provider. Alone it is returned byte for byte; beside neutral fields it is laid
        over what they build (RFC 7396), and null in it takes away what they say
    sent_at: Unix seconds from which `ttl` counts
    badge: the number that the badge "auto" stands for; None leaves the icon as it is

    Raises PayloadError when `own` has to be laid over something and is no JSON object. What comes out is checked by
    `delivery.providers.payloads.check`: it depends on `own`, and on sizes.
    """
    given = None if own is None or own.strip() == b"null" else own
    if neutral is None:
        return given
    form = _FORMS[provider]
    if neutral.badge == "auto":
        neutral = msgspec.structs.replace(neutral, badge=badge)
    patch = {} if given is None else form.tidy(_object(given, f"notification.{provider}"))
    member = form.member(neutral, patch, sent_at=sent_at, options=options)
    return msgspec.json.encode(merge(member, patch))


def _object(raw: bytes, path: str) -> dict[str, Any]:
    try:
        tree = opened(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PayloadError("not well-formed JSON", path) from None
    except RecursionError:
        raise PayloadError("nested too deeply", path) from None
    if not isinstance(tree, dict):
        raise PayloadError("an object is expected", path)
    return tree
