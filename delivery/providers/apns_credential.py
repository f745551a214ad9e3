"""What an APNs credential is made of: a signing key with its names, or a certificate (providers.md 1.3, 1.4).

Source: https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

import base64
import binascii
import re
import time

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from delivery.providers.credential_fields import (
    CertificateFacts,
    CredentialError,
    CredentialFields,
    Way,
    certificate_facts,
    proxy_user,
    required,
    way_of,
)

TRANSPORTS = ("http2", "aioapns")

_ID = re.compile(r"[A-Z0-9]{10}")
_ID_RULE = "10 capital letters and digits are expected"
_BUNDLE = re.compile(r"[A-Za-z0-9.-]{1,155}")
_BUNDLE_RULE = "letters, digits, dots and hyphens are expected"
_PRIVATE = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)


class ApnsSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The open part of an APNs credential. `certificate` is set when it is one; else key and team name the key."""

    way: Way
    bundle_id: str
    key_id: str = ""
    team_id: str = ""
    certificate: CertificateFacts | None = None
    content_available: bool = False
    mutable_content: bool = False


class ApnsSecrets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The secret part: a signing key, or a certificate chain and its key; all PEM. `proxy_user` is `user:password`."""

    key: str = ""
    certificate: str = ""
    certificate_key: str = ""
    proxy_user: str = ""

    def __repr__(self) -> str:
        return "ApnsSecrets()"


def parse(fields: CredentialFields) -> tuple[ApnsSettings, ApnsSecrets, str]:
    """Check the fields of an APNs credential: settings, secrets, environment. Raises CredentialError."""
    environment = fields.environment or "production"
    if environment not in ("production", "sandbox"):
        raise CredentialError("production or sandbox is expected", "environment")
    if (fields.key is None) == (fields.certificate is None):
        raise CredentialError("either a key (.p8) or a certificate is expected", "key")
    made = _from_key(fields) if fields.key is not None else _from_certificate(fields)
    return *made, environment


def load_signing_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Read the text of a .p8 file; CredentialError when it is no P-256 key."""
    try:
        key = load_pem_private_key(pem.replace("\\n", "\n").strip().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialError(
            "the text of a .p8 file is expected (PEM of a private key, not encrypted)", "key"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CredentialError("APNs keys are elliptic curve keys on P-256; this is another kind", "key")
    return key


def _from_key(fields: CredentialFields) -> tuple[ApnsSettings, ApnsSecrets]:
    key = load_signing_key(fields.key or "")
    if fields.certificate_password is not None:
        raise CredentialError("belongs to a certificate", "certificate_password")
    settings = ApnsSettings(
        way=way_of(fields, TRANSPORTS),
        bundle_id=required(fields.bundle_id, "bundle_id", _BUNDLE, _BUNDLE_RULE),
        key_id=required(fields.key_id, "key_id", _ID, _ID_RULE),
        team_id=required(fields.team_id, "team_id", _ID, _ID_RULE),
        content_available=bool(fields.content_available),
        mutable_content=bool(fields.mutable_content),
    )
    return settings, ApnsSecrets(key=_pem(key), proxy_user=proxy_user(fields))


def _from_certificate(fields: CredentialFields) -> tuple[ApnsSettings, ApnsSecrets]:
    for name in ("key_id", "team_id"):
        if getattr(fields, name) is not None:
            raise CredentialError("belongs to a signing key, not to a certificate", name)
    password = fields.certificate_password.encode() if fields.certificate_password else None
    text = (fields.certificate or "").replace("\\n", "\n")
    key, chain = _read_pem(text, password) if "-----BEGIN" in text else _read_p12(text, password)
    own = next((found for found in chain if _same_key(found, key)), None)
    if own is None:
        raise CredentialError("the private key does not belong to the certificate", "certificate")
    facts = certificate_facts(own)
    if facts.expires_at <= time.time():
        raise CredentialError("the certificate has expired", "certificate")
    chain.sort(key=lambda found: found is not own)
    settings = ApnsSettings(
        way=way_of(fields, TRANSPORTS),
        bundle_id=required(fields.bundle_id or _subject_uid(own), "bundle_id", _BUNDLE, _BUNDLE_RULE),
        certificate=facts,
        content_available=bool(fields.content_available),
        mutable_content=bool(fields.mutable_content),
    )
    pem = "".join(found.public_bytes(Encoding.PEM).decode() for found in chain)
    return settings, ApnsSecrets(certificate=pem, certificate_key=_pem(key), proxy_user=proxy_user(fields))


def _read_pem(text: str, password: bytes | None) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    found = _PRIVATE.search(text)
    if found is None:
        raise CredentialError("the PEM text holds no private key", "certificate")
    try:
        key = load_pem_private_key(found[0].encode(), password)
        return key, x509.load_pem_x509_certificates(text.encode())
    except TypeError:
        raise CredentialError("the private key and the password do not go together", "certificate_password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError(
            "not a certificate and private key in PEM form, or a wrong password", "certificate"
        ) from None


def _read_p12(text: str, password: bytes | None) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
        key, own, others = pkcs12.load_key_and_certificates(data, password)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        rule = "PEM text or a p12 file in base64 is expected, with the right certificate_password"
        raise CredentialError(rule, "certificate") from None
    if key is None or own is None:
        raise CredentialError("the p12 file holds no certificate with its private key", "certificate")
    return key, [own, *others]


def _pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _same_key(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def _subject_uid(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    return str(found[0].value) if found else ""
