"""Message encryption for Web Push: aes128gcm (RFC 8188) with keys agreed as RFC 8291 says, one record a message.

Each message has a salt and a P-256 key of its own. The HMACs are the standard library's and the two expansions of one
block are written out: a third less than by the HKDF classes, and those are all there is besides ECDH.
"""

import hmac
import os
from binascii import Error, a2b_base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_PLAINTEXT_BYTES = 3993
"""What fits into the 4096 bytes that every push service must take (RFC 8291, section 4)."""

_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_X962 = Encoding.X962
_UNCOMPRESSED = PublicFormat.UncompressedPoint
_POINT_BYTES = 65
_AUTH_BYTES = 16
_SALT_BYTES = 16
_SHA256 = "sha256"
_FIRST_BLOCK = b"\x01"
_KEY_INFO = b"WebPush: info\0"
_CEK_INFO = b"Content-Encoding: aes128gcm\0" + _FIRST_BLOCK
_NONCE_INFO = b"Content-Encoding: nonce\0" + _FIRST_BLOCK
_RECORD_SIZE = (4096).to_bytes(4, "big")
_LAST_RECORD = b"\x02"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class InvalidKeysError(ValueError):
    """Keys of a subscription that nothing can be encrypted for; the text says which, and repeats none."""


def decode_keys(p256dh: bytes, auth: bytes) -> tuple[bytes, bytes]:
    """The public point and the authentication secret of a subscription, from base64url; InvalidKeysError."""
    try:
        point = a2b_base64(p256dh.translate(_URL_SAFE) + b"==")
        secret = a2b_base64(auth.translate(_URL_SAFE) + b"==")
    except Error:
        raise InvalidKeysError("the keys are not base64url") from None
    if len(point) != _POINT_BYTES:
        raise InvalidKeysError("p256dh is not an uncompressed point")
    if len(secret) != _AUTH_BYTES:
        raise InvalidKeysError("auth is not 16 bytes")
    return point, secret


def encrypt(
    plaintext: bytes,
    point: bytes,
    secret: bytes,
    *,
    salt: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The body of a push message for the subscription with this point and secret (`decode_keys`).

    InvalidKeysError when the point is not on the curve. `salt` and `key` are for the examples of the RFC: a message
    must never share them with another.
    """
    salt = salt or os.urandom(_SALT_BYTES)
    key = key or ec.generate_private_key(_CURVE)
    try:
        shared = key.exchange(_ECDH, ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point))
    except ValueError:
        raise InvalidKeysError("p256dh is not a point of P-256") from None
    own_point = key.public_key().public_bytes(_X962, _UNCOMPRESSED)
    digest = hmac.digest
    agreed = digest(digest(secret, shared, _SHA256), _KEY_INFO + point + own_point + _FIRST_BLOCK, _SHA256)
    return content(plaintext, agreed, salt, own_point)


def content(plaintext: bytes, keying_material: bytes, salt: bytes, key_id: bytes = b"") -> bytes:
    """A body in the coding aes128gcm with one record (RFC 8188); the plaintext must fit into it."""
    record_key, nonce = record_secrets(keying_material, salt)
    sealed = AESGCM(record_key).encrypt(nonce, plaintext + _LAST_RECORD, None)
    return salt + _RECORD_SIZE + bytes((len(key_id),)) + key_id + sealed


def record_secrets(keying_material: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The key of all records, and the nonce of the first (RFC 8188, sections 2.2 and 2.3)."""
    digest = hmac.digest
    extracted = digest(salt, keying_material, _SHA256)
    return digest(extracted, _CEK_INFO, _SHA256)[:16], digest(extracted, _NONCE_INFO, _SHA256)[:12]
