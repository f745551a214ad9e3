"""The signature of a batch of events: HMAC-SHA256 over the time and the body, so that neither can be replaced."""

import hashlib
import hmac

TIMESTAMP = "X-Tocsin-Timestamp"
SIGNATURE = "X-Tocsin-Signature"
DELIVERY = "X-Tocsin-Delivery"


def headers(secret: bytes, body: bytes, delivery: str, now: int) -> dict[str, str]:
    """The header fields of a delivery at this time (Unix seconds); without a secret there is no signature."""
    fields = {"Content-Type": "application/json", "User-Agent": "tocsin", DELIVERY: delivery, TIMESTAMP: str(now)}
    if secret:
        digest = hmac.new(secret, b"%d." % now + body, hashlib.sha256).hexdigest()
        fields[SIGNATURE] = f"v1={digest}"
    return fields
