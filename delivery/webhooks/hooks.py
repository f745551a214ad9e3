"""Where outcomes are to be told: the webhook that a push names, and the one of a credential."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from storage.credentials import StoredCredential
from storage.vault import Vault, VaultError

OutcomeKind = Literal[
    "accepted",
    "failed",
    "dead",
    "retry",
    "expired",
    "cancelled",
    "suppressed",
    "dropped",
    "delivered",
    "interacted",
]
KINDS: tuple[str, ...] = get_args(OutcomeKind)
DEFAULT_KINDS = frozenset(KINDS) - {"retry"}
"""Told where nothing else is asked for: everything that is final."""
PURPOSE = "outcome webhook"
"""What secrets of pushes are sealed for (see storage/vault.py)."""
_MOST_URL = 2048
_LEAST_SECRET, _MOST_SECRET = 16, 1024


class WebhookError(Exception):
    """A webhook that cannot be used as given; the text says what to change, `path` names the member."""

    def __init__(self, detail: str, path: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.detail = detail
        self.path = path


class OutcomeWebhook(msgspec.Struct, frozen=True):
    """Where what comes of a push is to be told.

    url: http or https, without user and fragment; private addresses only where the settings allow them
    secret: 16 to 1024 characters; batches of events are signed with it (docs/outcomes.md)
    outcomes: what to tell: accepted, failed, dead, retry, expired, cancelled, suppressed, dropped, delivered,
      interacted; everything but retry when absent
    """

    url: Annotated[str, Meta(min_length=1, max_length=_MOST_URL)]
    secret: Annotated[str, Meta(min_length=_LEAST_SECRET, max_length=_MOST_SECRET)] | None = None
    outcomes: Annotated[list[OutcomeKind], Meta(min_length=1, max_length=len(KINDS))] | None = None

    def __repr__(self) -> str:
        return "OutcomeWebhook()"  # the URL may hold a secret, too

    def check(self) -> None:
        """Raise WebhookError for what the types do not show."""
        _check_url(self.url, "url")

    def stored(self, vault: Vault) -> str:
        """The JSON for `pushes.webhook`, with the secret sealed."""
        sealed = vault.seal(self.secret.encode(), PURPOSE) if self.secret else b""
        kinds = [str(kind) for kind in self.outcomes or []]
        return msgspec.json.encode(_Stored(self.url, kinds, base64.b64encode(sealed).decode())).decode()


class Hook(msgspec.Struct, frozen=True):
    """A webhook to tell: of the credential with this name, or, with `sealed`, a push's own."""

    url: str
    kinds: frozenset[str]
    credential: str = ""
    sealed: bytes | None = None

    def __repr__(self) -> str:
        return f"Hook(credential={self.credential!r})"


class _Stored(msgspec.Struct):
    url: str
    outcomes: list[str] = []
    secret: str = ""


class _Settings(msgspec.Struct):
    outcome_url: str = ""
    outcome_kinds: list[str] = []


class _Secrets(msgspec.Struct):
    outcome_secret: str = ""


def push_hook(stored: str) -> Hook:
    """The hook of a push, as `OutcomeWebhook.stored` wrote it; its secret stays sealed."""
    found = msgspec.json.decode(stored, type=_Stored)
    return Hook(found.url, _kinds(found.outcomes), sealed=base64.b64decode(found.secret) or None)


def open_secret(vault: Vault, sealed: bytes) -> bytes | None:
    """A push's own secret; None when it was sealed with another secret key of the settings."""
    try:
        return vault.open(sealed, PURPOSE)
    except (VaultError, binascii.Error):
        return None


def credential_parts(
    url: str | None, secret: str | None, kinds: Sequence[str] | None
) -> tuple[dict[str, object], dict[str, object]]:
    """Check a credential's webhook; what belongs into its settings, and what into its secrets. Raises WebhookError."""
    if url is None:
        for name, given in (("outcome_secret", secret), ("outcome_kinds", kinds)):
            if given is not None:
                raise WebhookError("means nothing without outcome_url", name)
        return {}, {}
    _check_url(url, "outcome_url")
    if secret is not None and not _LEAST_SECRET <= len(secret) <= _MOST_SECRET:
        raise WebhookError(f"{_LEAST_SECRET} to {_MOST_SECRET} characters are expected", "outcome_secret")
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown or (kinds is not None and not kinds):
        raise WebhookError("one or more of " + ", ".join(KINDS) + " are expected", "outcome_kinds")
    settings: dict[str, object] = {"outcome_url": url} | ({"outcome_kinds": list(kinds)} if kinds else {})
    return settings, {"outcome_secret": secret} if secret else {}


def credential_hooks(stored: Sequence[StoredCredential]) -> dict[str, Hook]:
    """The hooks of the credentials that have one, by name."""
    found: dict[str, Hook] = {}
    for credential in stored:
        settings = msgspec.json.decode(credential.settings, type=_Settings)
        if settings.outcome_url:
            kinds = _kinds(settings.outcome_kinds)
            found[credential.provider_id] = Hook(settings.outcome_url, kinds, credential.provider_id)
    return found


def credential_secrets(stored: Sequence[StoredCredential]) -> Mapping[str, bytes]:
    """The secrets of the credentials that have a hook, by name; empty where it is not signed."""
    hooks = credential_hooks(stored)
    return {
        credential.provider_id: msgspec.json.decode(credential.secrets, type=_Secrets).outcome_secret.encode()
        for credential in stored
        if credential.provider_id in hooks
    }


def _kinds(named: Sequence[str]) -> frozenset[str]:
    return frozenset(named) if named else DEFAULT_KINDS


def _check_url(url: str, path: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or any(c <= " " or c == "\x7f" for c in url) or len(url) > _MOST_URL:
        raise WebhookError("a URL is expected: https://… or http://…", path)
    if "@" in parts.netloc or parts.fragment:
        raise WebhookError("a webhook's URL has no user and no fragment", path)
