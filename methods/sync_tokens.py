"""Sync tokens: signed, expiring proofs that a user may be logged in on a device. Nothing of them is kept."""

import hashlib

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from storage.vault import Vault

_PURPOSE = "device sync tokens 1"


class SyncClaim(msgspec.Struct, array_like=True, frozen=True):
    """What a token says; times are Unix seconds."""

    user: str
    issued_at: float
    expires_at: float


class SyncTokens:
    """Issues and reads them, under a key of their own that is derived from the server's secret key."""

    def __init__(self, vault: Vault) -> None:
        self._signed = URLSafeSerializer(
            vault.derived(_PURPOSE),
            salt=_PURPOSE,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def issue(self, user: str, now: float, ttl_seconds: int) -> str:
        """Return a token for this user that is good for so long."""
        return str(self._signed.dumps([user, now, now + ttl_seconds]))

    def read(self, token: str, now: float) -> SyncClaim | None:
        """Return what the token says; None when it was not issued here, or is past its time."""
        try:
            claim = msgspec.convert(self._signed.loads(token), SyncClaim)
        except (BadData, msgspec.ValidationError):
            return None
        return claim if now < claim.expires_at else None
