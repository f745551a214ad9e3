"""How a browser reads a Web Push payload: aes128gcm of RFC 8188 with the keys of RFC 8291, one record."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

POINT_BYTES = 65
_SALT_BYTES = 16
_HEAD_BYTES = _SALT_BYTES + 4 + 1
_LEAST_RECORD = 18
_LAST_RECORD = 2
_TAG_BYTES = 16


class UndecryptableError(Exception):
    """No browser could read the payload; the text says why."""


def decrypt(body: bytes, private_key: ec.EllipticCurvePrivateKey, public_key: bytes, auth: bytes) -> bytes:
    """The plain text; `public_key` is the 65 bytes that belong to `private_key`. UndecryptableError without one."""
    salt, record_size, sender, record = _parts(body)
    if record_size < _LEAST_RECORD:
        raise UndecryptableError(f"the record size {record_size} is below {_LEAST_RECORD}")
    if len(record) > record_size:
        raise UndecryptableError("there is more than one record")
    try:
        shared = private_key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    except ValueError:
        raise UndecryptableError("the key id is no point of P-256") from None
    secret = _hkdf(auth, shared, b"WebPush: info\0" + public_key + sender, 32)
    key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
    try:
        padded = AESGCM(key).decrypt(nonce, record, None)
    except InvalidTag:
        raise UndecryptableError("the record is not encrypted for this subscription") from None
    return _unpadded(padded)


def _parts(body: bytes) -> tuple[bytes, int, bytes, bytes]:
    """Salt, record size, the sender's public key, and the record."""
    if len(body) < _HEAD_BYTES:
        raise UndecryptableError("the header is cut off")
    end = _HEAD_BYTES + body[_HEAD_BYTES - 1]
    sender, record = body[_HEAD_BYTES:end], body[end:]
    if len(sender) != POINT_BYTES or len(record) < _TAG_BYTES + 1:
        raise UndecryptableError("there is no key id of 65 bytes with a record behind it")
    return body[:_SALT_BYTES], int.from_bytes(body[_SALT_BYTES : _HEAD_BYTES - 1], "big"), sender, record


def _unpadded(padded: bytes) -> bytes:
    content = padded.rstrip(b"\0")
    if not content or content[-1] != _LAST_RECORD:
        raise UndecryptableError("the padding does not say that this is the last record")
    return content[:-1]


def _hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)
