"""The fields of a credential as an operator gives them, and the checks that every provider's share."""

import re
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

GONE_PERCENT = 50


class CredentialError(Exception):
    """A credential that cannot be used as given; the text says what to change and repeats no secret."""

    def __init__(self, detail: str, path: str = "") -> None:
        super().__init__(f"{path}: {detail}" if path else detail)
        self.detail = detail
        self.path = path


class UnsupportedCredentialError(CredentialError):
    """A credential of a kind that this version does not serve."""


class CredentialFields(msgspec.Struct, kw_only=True):
    """Everything that a credential can be given, for all providers; what belongs to another provider is refused.

    provider_id: its name: 1 to 100 letters, digits and . _ @ -
    provider: apns, fcm, webpush, hms or webhook
    default: true makes it the provider's default credential
    endpoint: base URL instead of the provider's own; not for a webhook
    tls_ca: certificates in PEM form to trust instead of the system's authorities
    proxy: http://user:password@host:port
    transport: http2 (default), or aioapns (APNs), httpx (FCM, Web Push, and the default of HMS); not for a webhook
    max_connections: the most connections of a process, 1 to 1000
    quota_per_minute: sends a minute by all processes; 0 = no limit; FCM without `endpoint`: 600000 unless told
    ramp_up_seconds: how long it takes from nothing to all of the quota after a minute without sends, 60 unless told
    gone_percent: pause when more than this share of tokens turns out to be gone, 50 unless told; 100 = never
    outcome_url: where what comes of its pushes is told, in signed batches (docs/outcomes.md)
    outcome_secret: what they are signed with, 16 to 1024 characters
    outcome_kinds: what to tell: accepted, failed, dead, retry, expired, …; everything but retry when absent
    key: APNs: the text of the .p8 file
    key_id: APNs: the key's id
    team_id: APNs: the team's id
    bundle_id: APNs: the app's id, the topic of pushes that name none
    certificate: APNs: instead of a key, PEM of certificate and key, or a p12 file in base64
    certificate_password: APNs: the password of the certificate's key
    environment: APNs: production (default) or sandbox, for devices that do not say
    content_available: APNs: a default for payloads that the server builds; it builds none yet
    mutable_content: APNs: a default for payloads that the server builds; it builds none yet
    service_account: FCM: the service account's JSON file, as an object or as its text
    include_notification: FCM: false asks for data messages
    private_key: Web Push: the VAPID private key, 32 bytes in base64url, or PEM (`tocsin key vapid` makes one)
    public_key: Web Push: the VAPID public key, 65 bytes in base64url; must belong to the private key
    subject: Web Push: whom a push service can write to, mailto:… or https://…
    app_id: HMS: the app's id
    app_secret: HMS: the app's secret
    token_url: HMS: where access tokens come from, instead of Huawei's address
    url: webhook: the company's own API that is called, https or http (docs/webhook-provider.md)
    secret: webhook: what requests are signed with, 16 to 1024 characters
    batched: webhook: true puts several recipients into a request
    batch_recipients: webhook: the most of them, 1 to 500, 100 unless told
    timeout_seconds: webhook: how long a request may take, 1 to 60, 10 unless told
    """

    provider_id: str
    provider: str
    default: bool | None = None
    endpoint: str | None = None
    tls_ca: str | None = None
    proxy: str | None = None
    transport: str | None = None
    max_connections: int | None = None
    quota_per_minute: int | None = None
    ramp_up_seconds: int | None = None
    gone_percent: int | None = None
    outcome_url: str | None = None
    outcome_secret: str | None = None
    outcome_kinds: list[str] | None = None
    key: str | None = None
    key_id: str | None = None
    team_id: str | None = None
    bundle_id: str | None = None
    certificate: str | None = None
    certificate_password: str | None = None
    environment: str | None = None
    content_available: bool | None = None
    mutable_content: bool | None = None
    service_account: dict[str, Any] | str | None = None
    include_notification: bool | None = None
    private_key: str | None = None
    public_key: str | None = None
    subject: str | None = None
    app_id: str | None = None
    app_secret: str | None = None
    token_url: str | None = None
    url: str | None = None
    secret: str | None = None
    batched: bool | None = None
    batch_recipients: int | None = None
    timeout_seconds: int | None = None

    def __repr__(self) -> str:
        return f"CredentialFields(provider_id={self.provider_id!r}, provider={self.provider!r})"


class Way(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to reach the service, as stored in the open settings. `proxy` is without user and password."""

    endpoint: str = ""
    tls_ca: str = ""
    proxy: str = ""
    transport: str = "http2"
    max_connections: int = 0  # 0 = the provider's default
    quota_per_minute: int = 0  # 0 = no limit
    ramp_up_seconds: int = 60
    gone_percent: int = GONE_PERCENT


class CertificateFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be shown of a certificate. `fingerprint` is SHA-256 in hex, `expires_at` Unix seconds."""

    fingerprint: str
    subject: str = ""
    expires_at: int = 0


def certificate_facts(certificate: x509.Certificate) -> CertificateFacts:
    """Describe a certificate."""
    return CertificateFacts(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        subject=certificate.subject.rfc4514_string(),
        expires_at=int(certificate.not_valid_after_utc.timestamp()),
    )


def authorities(pem: str) -> list[x509.Certificate]:
    """The certificates of a PEM text, none of an empty one; ValueError when it holds none."""
    return x509.load_pem_x509_certificates(pem.encode()) if pem else []


def way_of(fields: CredentialFields, transports: tuple[str, ...], quota_per_minute: int = 0) -> Way:
    """Check the fields that say how to reach the service.

    `transports` are those the provider has, the first unless told; `quota_per_minute` is the limit of its own address.
    """
    transport = fields.transport or transports[0]
    if transport not in transports:
        raise UnsupportedCredentialError("the transports are " + ", ".join(transports), "transport")
    if fields.max_connections is not None and not 1 <= fields.max_connections <= 1000:
        raise CredentialError("1 to 1000 is expected", "max_connections")
    if fields.quota_per_minute is not None and not 0 <= fields.quota_per_minute <= 1_000_000_000:
        raise CredentialError("0 to 1000000000 is expected", "quota_per_minute")
    if fields.ramp_up_seconds is not None and not 0 <= fields.ramp_up_seconds <= 3600:
        raise CredentialError("0 to 3600 is expected", "ramp_up_seconds")
    if fields.gone_percent is not None and not 1 <= fields.gone_percent <= 100:
        raise CredentialError("1 to 100 is expected", "gone_percent")
    default_quota = 0 if fields.endpoint else quota_per_minute
    return Way(
        endpoint=_endpoint(fields.endpoint or ""),
        tls_ca=_authorities((fields.tls_ca or "").replace("\\n", "\n")),
        proxy=_proxy(fields.proxy or ""),
        transport=transport,
        max_connections=fields.max_connections or 0,
        quota_per_minute=default_quota if fields.quota_per_minute is None else fields.quota_per_minute,
        ramp_up_seconds=60 if fields.ramp_up_seconds is None else fields.ramp_up_seconds,
        gone_percent=fields.gone_percent or GONE_PERCENT,
    )


def required(value: str | None, path: str, form: re.Pattern[str], rule: str) -> str:
    """Return the field's text without space around it; CredentialError when it is missing or has another form."""
    text = (value or "").strip()
    if not text:
        raise CredentialError("required", path)
    if not form.fullmatch(text):
        raise CredentialError(rule, path)
    return text


def url(text: str, path: str, schemes: tuple[str, ...] = ("https", "http")) -> SplitResult:
    """Parse an absolute URL of one of these schemes; CredentialError when it is none."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or not text.isascii() or any(c <= " " for c in text):
        raise CredentialError("a URL is expected: " + ", ".join(f"{scheme}://…" for scheme in schemes), path)
    return parts


def proxy_user(fields: CredentialFields) -> str:
    """The `user:password` part of the proxy's URL, '' when it has none."""
    parts = urlsplit(fields.proxy or "")
    return "" if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def _endpoint(text: str) -> str:
    if not text:
        return ""
    parts = url(text, "endpoint")
    if parts.username is not None or parts.query or parts.fragment:
        raise CredentialError("a base URL has no user, query or fragment", "endpoint")
    return text.rstrip("/")


def _authorities(text: str) -> str:
    try:
        authorities(text)
    except ValueError:
        raise CredentialError("certificates in PEM form are expected", "tls_ca") from None
    return text


def _proxy(text: str) -> str:
    if not text:
        return ""
    parts = url(text, "proxy", ("http",))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}:{parts.port or 3128}"
