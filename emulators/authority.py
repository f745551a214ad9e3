"""The emulators' own certificate authority: what clients are told to trust instead of the providers' real one."""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_YEARS = 10
LEAF_DAYS = 397
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_AUTHORITY_FILE = "authority.pem"
_CA_FILE = "ca.pem"
_SIGNING_USES = {"key_cert_sign": True, "crl_sign": True}
_LEAF_USES = {"digital_signature": True}


class Authority:
    """A P-256 certificate authority, in memory or kept in a folder so that its certificate survives a restart."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, ca_path: Path | None = None
    ) -> None:
        self._key = key
        self._certificate = certificate
        self.ca_path = ca_path
        self.ca_pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def create(cls) -> Self:
        """A new authority that lives as long as the process."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _self_signed(key))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The authority kept in the folder, created at first; `ca.pem` there is what clients trust.

        Two processes that start at once end with the same authority.
        """
        folder.mkdir(parents=True, exist_ok=True)
        pem = keep(folder / _AUTHORITY_FILE, lambda: _bundle(cls.create()))
        authority = cls(_load_key(pem), x509.load_pem_x509_certificate(pem), folder / _CA_FILE)
        keep(folder / _CA_FILE, authority.ca_pem.encode)
        return authority

    def server_context(self, alpn: Sequence[str], names: Iterable[str] = ()) -> ssl.SSLContext:
        """TLS 1.2 or newer for loopback and the names given; client certificates of this authority are welcome."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(alpn))
        context.load_verify_locations(cadata=self.ca_pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        key = ec.generate_private_key(ec.SECP256R1())
        unique = dict.fromkeys([*LOCAL_NAMES, *names])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        san = x509.SubjectAlternativeName([_general_name(name) for name in unique])
        leaf = self._issue(key, subject, ExtendedKeyUsageOID.SERVER_AUTH, [san])
        _load_chain(context, key, leaf)
        return context

    def client_context(self, alpn: Sequence[str] = ("h2",)) -> ssl.SSLContext:
        """A context for a client that trusts this authority alone."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        context.set_alpn_protocols(list(alpn))
        return context

    def client_certificate(self, bundle_id: str) -> str:
        """A provider certificate for one topic, PEM with its key: the subject's UID is the bundle id, as at Apple."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, bundle_id),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Apple Push Services: {bundle_id}"[:64]),
            ]
        )
        certificate = self._issue(key, subject, ExtendedKeyUsageOID.CLIENT_AUTH, [])
        return (_key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)).decode()

    def _issue(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        use: x509.ObjectIdentifier,
        extensions: Sequence[x509.ExtensionType],
    ) -> x509.Certificate:
        builder = _builder(subject, self._certificate.subject, key, timedelta(days=LEAF_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(_LEAF_USES), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def keep(path: Path, create: Callable[[], bytes]) -> bytes:
    """The content of a file that only its owner may read, created by whoever comes first."""
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(create())
            os.link(draft, path)
        except FileExistsError:
            return path.read_bytes()
        finally:
            draft.unlink()
    return path.read_bytes()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin emulators")])
    builder = _builder(name, name, key, timedelta(days=365 * CA_YEARS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(_SIGNING_USES), critical=True)
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    # A client on the same machine may sit in another container with a slightly later clock.
    start = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(uses: dict[str, bool]) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _bundle(authority: Authority) -> bytes:
    return _key_pem(authority._key) + authority.ca_pem.encode()


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic curve key")
    return key


def _load_chain(context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, leaf: x509.Certificate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaf.pem"
        path.write_bytes(_key_pem(key) + leaf.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
