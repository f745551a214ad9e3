"""The provider token of APNs: a JWT that every process of a credential signs to the same bytes (providers.md 1.4, 9.7).

Source: https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

import base64
import logging
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SLOT_SECONDS = 3000.0
"""A token is used for 50 minutes: Apple takes it for 60, and asks for no more than one in 20."""
UPDATE_INTERVAL_SECONDS = 1200.0

_LOG = logging.getLogger(__name__)


class ApnsTokens:
    """The one token of a credential, shared by all its connections.

    `iat` is the beginning of a slot of the clock and the signature is deterministic (RFC 6979), so processes that never
    talk to each other send the same token and Apple sees one. Only after Apple calls it expired is one signed for the
    present moment, at most every 20 minutes.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        key_id: str,
        team_id: str,
        *,
        slot_seconds: float = SLOT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._slot = slot_seconds
        self._clock = clock
        self._token = b""
        self._issued_at = 0
        self._renewed_at = self._held_until = float("-inf")

    def __repr__(self) -> str:
        return f"ApnsTokens(key_id={self._key_id!r})"

    def current(self) -> bytes:
        """The token to use now; the same object for as long as it is the same token."""
        now = self._clock()
        slot = int(now // self._slot * self._slot)
        if not self._token or (slot > self._issued_at and now >= self._may_change_at()):
            self._sign(slot)
        return self._token

    def renew(self, used: bytes) -> bytes | None:
        """A token to use in place of `used`, which Apple calls expired; None when none may be signed now."""
        current = self.current()
        if used != current:
            return current
        now = self._clock()
        if now < self._may_change_at() or int(now) <= self._issued_at:
            return None
        self._renewed_at = now
        self._sign(int(now))
        _LOG.warning("apns provider token renewed early; is the clock right?", extra={"key_id": self._key_id})
        return self._token

    def hold(self) -> None:
        """Sign no other token for 20 minutes: Apple has seen too many."""
        self._held_until = self._clock() + UPDATE_INTERVAL_SECONDS

    def _may_change_at(self) -> float:
        return max(self._held_until, self._renewed_at + UPDATE_INTERVAL_SECONDS)

    def _sign(self, issued_at: int) -> None:
        header = msgspec.json.encode({"alg": "ES256", "kid": self._key_id})
        claims = msgspec.json.encode({"iss": self._team_id, "iat": issued_at})
        signed = _base64url(header) + b"." + _base64url(claims)
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        self._issued_at = issued_at
        self._token = signed + b"." + _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
