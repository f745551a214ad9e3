"""What the credential of a webhook is made of: a company's own API, and what requests to it are signed with."""

from urllib.parse import urlsplit

import httpx
import msgspec

from delivery.providers.credential_fields import CredentialError, CredentialFields, Way, proxy_user, url, way_of

BATCH_RECIPIENTS = 100
TIMEOUT_SECONDS = 10
_TRANSPORT = "httpx"
_MOST_URL = 2048
_LEAST_SECRET, _MOST_SECRET = 16, 1024
_MOST_RECIPIENTS = 500
_MOST_SECONDS = 60


class WebhookSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The open part of a webhook's credential: `batch_recipients` is 0 where each recipient gets a request."""

    way: Way
    url: str
    batch_recipients: int = 0
    timeout_seconds: int = TIMEOUT_SECONDS

    @property
    def batched(self) -> bool:
        """Whether several recipients share a request."""
        return self.batch_recipients > 0


class WebhookSecrets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The secret part. `proxy_user` is `user:password`."""

    secret: str
    proxy_user: str = ""

    def __repr__(self) -> str:
        return "WebhookSecrets()"


def parse(fields: CredentialFields) -> tuple[WebhookSettings, WebhookSecrets, str]:
    """Check the fields of a webhook's credential: settings, secrets, and no environment. Raises CredentialError."""
    secret = fields.secret or ""
    if not secret:
        raise CredentialError("required: requests are signed with it", "secret")
    if not _LEAST_SECRET <= len(secret) <= _MOST_SECRET:
        raise CredentialError(f"{_LEAST_SECRET} to {_MOST_SECRET} characters are expected", "secret")
    way = msgspec.structs.replace(way_of(fields, ("http2",)), transport=_TRANSPORT)
    settings = WebhookSettings(
        way=way,
        url=_url((fields.url or "").strip()),
        batch_recipients=_batch_recipients(fields),
        timeout_seconds=_bounded(fields.timeout_seconds, TIMEOUT_SECONDS, _MOST_SECONDS, "timeout_seconds"),
    )
    return settings, WebhookSecrets(secret=secret, proxy_user=proxy_user(fields)), ""


def _url(text: str) -> str:
    if not text:
        raise CredentialError("required", "url")
    parts = url(text, "url")
    if "@" in parts.netloc or parts.fragment or parts.port == 0 or len(text) > _MOST_URL or "\x7f" in text:
        raise CredentialError(
            f"no user, no fragment, no port 0, and at most {_MOST_URL} characters are expected", "url"
        )
    try:
        httpx.URL(text)
    except httpx.InvalidURL:
        raise CredentialError("this is no URL that can be called", "url") from None
    return text


def _batch_recipients(fields: CredentialFields) -> int:
    if not fields.batched:
        if fields.batch_recipients is not None:
            raise CredentialError("means nothing without batched", "batch_recipients")
        return 0
    return _bounded(fields.batch_recipients, BATCH_RECIPIENTS, _MOST_RECIPIENTS, "batch_recipients")


def _bounded(value: int | None, default: int, most: int, path: str) -> int:
    if value is not None and not 1 <= value <= most:
        raise CredentialError(f"1 to {most} is expected", path)
    return default if value is None else value


def host_of(address: str) -> tuple[str, int]:
    """The host and port that a URL leads to."""
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
