"""What an FCM credential is made of: a Google service account (providers.md 2.1, 6).

Source: https://firebase.google.com/docs/cloud-messaging/auth-server
"""

import re
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from delivery.providers.credential_fields import CredentialError, CredentialFields, Way, proxy_user, url, way_of

TRANSPORTS = ("http2", "httpx")
QUOTA_PER_MINUTE = 600_000
"""A project's send quota, if Google was not asked for more (providers.md 2.5)."""

_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,99}")


class FcmSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The open part of an FCM credential. `include_notification` False asks for data messages."""

    way: Way
    project_id: str
    client_email: str
    private_key_id: str = ""
    token_uri: str = ""
    include_notification: bool = True


class FcmSecrets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The secret part: the service account as Google made it. `proxy_user` is `user:password`."""

    service_account: dict[str, Any]
    proxy_user: str = ""

    def __repr__(self) -> str:
        return "FcmSecrets()"


class _ServiceAccount(msgspec.Struct):
    project_id: str
    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""
    type: str = "service_account"


def parse(fields: CredentialFields) -> tuple[FcmSettings, FcmSecrets, str]:
    """Check the fields of an FCM credential: settings, secrets, and no environment. Raises CredentialError."""
    raw = _as_object(fields.service_account)
    try:
        account = msgspec.convert(raw, _ServiceAccount)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        raise CredentialError(text.replace("`", ""), "service_account" + where.rstrip("`")) from None
    if account.type != "service_account":
        raise CredentialError("the key file of a service account is expected", "service_account.type")
    if not _PROJECT.fullmatch(account.project_id):
        raise CredentialError("not a project id", "service_account.project_id")
    _check_key(account.private_key)
    url(account.token_uri, "service_account.token_uri")
    settings = FcmSettings(
        way=way_of(fields, TRANSPORTS, QUOTA_PER_MINUTE),
        project_id=account.project_id,
        client_email=account.client_email,
        private_key_id=account.private_key_id,
        token_uri=account.token_uri,
        include_notification=fields.include_notification is not False,
    )
    return settings, FcmSecrets(service_account=raw, proxy_user=proxy_user(fields)), ""


def _as_object(given: dict[str, Any] | str | None) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            return msgspec.json.decode(given, type=dict[str, Any])
        except msgspec.DecodeError:
            raise CredentialError("the text is no JSON object", "service_account") from None
    if not given:
        raise CredentialError("required", "service_account")
    return given


def _check_key(pem: str) -> None:
    path = "service_account.private_key"
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialError("a private key in PEM form is expected", path) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CredentialError("service accounts have RSA keys; this is another kind", path)
