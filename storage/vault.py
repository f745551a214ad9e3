"""Seals what must not be read off the disk: AES-256-GCM under a key derived from the settings' secret."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class VaultError(Exception):
    """A sealed value does not open: it was sealed with another secret key, or was changed."""


class Vault:
    """Seals and opens byte strings; `purpose` binds a value to its place, so that one cannot be put for another."""

    def __init__(self, secret_key: bytes) -> None:
        key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"tocsin vault 1").derive(secret_key)
        self._cipher = AESGCM(key)
        self._secret_key = secret_key

    def __repr__(self) -> str:
        return "Vault()"

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for this purpose alone."""
        info = b"tocsin " + purpose.encode()
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self._secret_key)

    def seal(self, value: bytes, purpose: str) -> bytes:
        """Return nonce and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed; VaultError when it does not open."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):  # a value that was cut short as well
            raise VaultError(f"{purpose} was sealed with another secret key") from None
