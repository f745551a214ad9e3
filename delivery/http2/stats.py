"""Counters of a pool, for metrics and logs, and GOAWAY's debug data made fit for both."""

import msgspec

_REASON_LIMIT = 200


class PoolStats(msgspec.Struct):
    """What a pool has seen since it was opened."""

    opened: int = 0
    open: int = 0
    failed_connects: int = 0
    streams_peak: int = 0
    resets: int = 0
    goaways: int = 0
    refused: int = 0
    timeouts: int = 0
    last_goaway: str | None = None
    last_error: str | None = None


class _AppleReason(msgspec.Struct):
    reason: str


def goaway_reason(debug: bytes) -> str:
    """The reason in GOAWAY's debug data: APNs sends JSON, others text; cut and without control characters."""
    try:
        text = msgspec.json.decode(debug, type=_AppleReason).reason
    except msgspec.DecodeError:
        text = debug[:_REASON_LIMIT].decode("ascii", "replace")
    return "".join(c if c.isprintable() else "?" for c in text[:_REASON_LIMIT])
