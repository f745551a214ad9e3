"""Neutral fields for a webhook: `{"payload"}` with the fields under their own names."""

from typing import Any

import msgspec

from delivery.rendering.neutral import Defaults, Neutral


def member(neutral: Neutral, own: dict[str, Any], *, sent_at: float, options: Defaults) -> dict[str, Any]:
    """Build the member `webhook` that `own` will be laid over; `message` is called `body`, a badge is a number."""
    return {"payload": msgspec.to_builtins(neutral)}
