"""VAPID (RFC 8292): who sends, signed for each push service, to the same bytes in every process of a credential."""

import base64
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SLOT_SECONDS = 39_600
"""A token serves for 11 hours: Apple asks for no more than one an hour."""
VALID_SECONDS = 72_000
"""Nine hours more than it serves, four fewer than RFC 8292 allows: a clock that is hours wrong does not matter."""
MOST_AUDIENCES = 1024

_HEADER = b'{"typ":"JWT","alg":"ES256"}'
_NUMBER_BYTES = 32
_CURVE = ec.SECP256R1()


class VapidTokens:
    """The authorisation of one credential: a token for each audience, made when it is first asked for.

    `exp` follows from a slot of the clock and the signature is deterministic (RFC 6979), so processes that never talk
    to each other send the same token and a push service sees one. The audiences used last are kept, 1,024 of them.
    """

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, subject: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._subject = subject
        self._public = base64url(public_point(key))
        self._clock = clock
        self._made: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"VapidTokens(audiences={len(self._made)})"

    def authorization(self, audience: str) -> bytes:
        """The value of the header for requests to this origin; the same object for as long as it is the same value."""
        slot = int(self._clock() // SLOT_SECONDS)
        known = self._made.get(audience)
        if known is None or slot > known[0]:  # a clock that is set back makes no new token
            known = (slot, self._sign(audience, slot * SLOT_SECONDS + VALID_SECONDS))
            self._made[audience] = known
            if len(self._made) > MOST_AUDIENCES:
                self._made.popitem(last=False)
        self._made.move_to_end(audience)
        return known[1]

    def verifies(self) -> bool:
        """Whether what this key signs verifies with the public key that is sent along."""
        signed, _, signature = token(self._key, "https://localhost", 0, self._subject).rpartition(b".")
        raw = base64.urlsafe_b64decode(signature + b"==")
        r, s = (int.from_bytes(part, "big") for part in (raw[:_NUMBER_BYTES], raw[_NUMBER_BYTES:]))
        public = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, base64.urlsafe_b64decode(self._public + b"="))
        try:
            public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _sign(self, audience: str, expires_at: int) -> bytes:
        return b"vapid t=" + token(self._key, audience, expires_at, self._subject) + b", k=" + self._public


def token(key: ec.EllipticCurvePrivateKey, audience: str, expires_at: int, subject: str) -> bytes:
    """A JWT that says until when (Unix seconds) its bearer may send to this origin, and who that is."""
    claims = msgspec.json.encode({"aud": audience, "exp": expires_at, "sub": subject})
    signed = base64url(_HEADER) + b"." + base64url(claims)
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return signed + b"." + base64url(r.to_bytes(_NUMBER_BYTES, "big") + s.to_bytes(_NUMBER_BYTES, "big"))


def generate_pair() -> tuple[str, str]:
    """A new pair: the public key as browsers subscribe with it, and the private key; both base64url."""
    key = ec.generate_private_key(_CURVE)
    return base64url(public_point(key)).decode(), base64url(private_number(key)).decode()


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The 65 bytes of the public key."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def private_number(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The 32 bytes of the private key."""
    return key.private_numbers().private_value.to_bytes(_NUMBER_BYTES, "big")


def base64url(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
