"""Builds members of a notification the way a worker does, and checks them before they are looked at."""

from typing import Any

import msgspec

from delivery.providers.payloads import check as check_payload
from delivery.rendering.build import Defaults, build
from delivery.rendering.neutral import Neutral, check

SENT_AT = 1_795_305_600.75
DATA_MESSAGES = Defaults(include_notification=False)


def built(provider: str, own: Any = None, *, options: Defaults = Defaults(), **fields: Any) -> Any:  # noqa: B008
    """The member that is built of these fields, which `check` passes."""
    neutral = Neutral(**fields)
    check(neutral)
    given = None if own is None else msgspec.json.encode(own)
    made = build(provider, neutral, given, sent_at=SENT_AT, options=options)
    assert made is not None
    check_payload(provider, made)
    return msgspec.json.decode(made)


def message(provider: str, own: Any = None, *, options: Defaults = Defaults(), **fields: Any) -> Any:  # noqa: B008
    """The message of the member that is built, for FCM and HMS."""
    return built(provider, own, options=options, **fields)["message"]
