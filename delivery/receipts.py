"""Receipt tokens: what an app hands back to say that a push arrived or was opened, without an API key.

A token names the push's `analytics_uid` and the device, and is signed with a key that only this installation has. It
says nothing that the app does not know, and is good for one thing.
"""

import base64
import binascii
import hashlib
import hmac
from uuid import UUID

RECEIPTS = "receipts"
"""The purpose of the key that tokens are signed with."""

_SIGNATURE_BYTES = 16
_DEVICE_BYTES = 16
_LONGEST = 2048


class ReceiptError(Exception):
    """A text that is no receipt token of this installation."""


class Receipts:
    """Makes and reads receipt tokens; `key` is secret (see `Vault.derived`)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Receipts()"

    def token(self, analytics_uid: str, device_id: str) -> str:
        """The token for a push on a device; `device_id` is a UUID."""
        body = UUID(device_id).bytes + analytics_uid.encode()
        return _text(self._signature(body) + body)

    def read(self, token: str) -> tuple[str, str]:
        """(analytics_uid, device_id) of a token; raises ReceiptError."""
        try:
            if len(token) > _LONGEST:
                raise ReceiptError("too long")
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if _text(raw) != token or not hmac.compare_digest(signature, self._signature(body)):
                raise ReceiptError("not signed by this server")
            return body[_DEVICE_BYTES:].decode(), str(UUID(bytes=body[:_DEVICE_BYTES]))
        except (binascii.Error, ValueError):
            raise ReceiptError("not a receipt token") from None

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_SIGNATURE_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
