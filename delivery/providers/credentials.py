"""The one entrance for credentials from the API, the settings and the emulators.

What is checked here comes back out of the database through `ApnsSettings`, `FcmSettings`, … and their secrets.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from delivery.providers import (
    apns_credential,
    fcm_credential,
    hms_credential,
    webhook_credential,
    webpush_credential,
)
from delivery.providers.credential_fields import CredentialError, CredentialFields, UnsupportedCredentialError
from delivery.webhooks.hooks import WebhookError, credential_parts
from storage.credentials import NewCredential

_PROVIDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_PARSERS: Mapping[str, Callable[[CredentialFields], tuple[msgspec.Struct, msgspec.Struct, str]]] = {
    "apns": apns_credential.parse,
    "fcm": fcm_credential.parse,
    "webpush": webpush_credential.parse,
    "hms": hms_credential.parse,
    "webhook": webhook_credential.parse,
}
_OWN = {
    "apns": (
        "key",
        "key_id",
        "team_id",
        "bundle_id",
        "certificate",
        "certificate_password",
        "environment",
        "content_available",
        "mutable_content",
    ),
    "fcm": ("service_account", "include_notification"),
    "webpush": ("private_key", "public_key", "subject"),
    "hms": ("app_id", "app_secret", "token_url"),
    "webhook": ("url", "secret", "batched", "batch_recipients", "timeout_seconds"),
}
_NOT_OF_WEBHOOKS = ("endpoint", "transport")


def parse_credential(params: Mapping[str, object]) -> NewCredential:
    """Check fields that came as plain JSON values; CredentialError, or UnsupportedCredentialError."""
    try:
        fields = msgspec.convert(params, CredentialFields)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        raise CredentialError(text.replace("`", ""), where.rstrip("`")) from None
    return checked(fields)


def checked(fields: CredentialFields) -> NewCredential:
    """Check fields; CredentialError, or UnsupportedCredentialError for what this version does not serve."""
    if not _PROVIDER_ID.fullmatch(fields.provider_id):
        raise CredentialError("1 to 100 letters, digits and . _ @ - are expected", "provider_id")
    parse = _PARSERS.get(fields.provider)
    if parse is None:
        raise CredentialError("apns, fcm, webpush, hms or webhook is expected", "provider")
    _refuse(fields, [name for provider, own in _OWN.items() if provider != fields.provider for name in own])
    if fields.provider == "webhook":
        _refuse(fields, _NOT_OF_WEBHOOKS)
    return _new(fields, *parse(fields))


def _new(
    fields: CredentialFields, settings: msgspec.Struct, secrets: msgspec.Struct, environment: str
) -> NewCredential:
    try:
        told, signed = credential_parts(fields.outcome_url, fields.outcome_secret, fields.outcome_kinds)
    except WebhookError as error:
        raise CredentialError(error.detail, error.path) from None
    return NewCredential(
        provider_id=fields.provider_id,
        provider=fields.provider,
        environment=environment,
        settings=msgspec.json.encode(msgspec.to_builtins(settings) | told),
        secrets=msgspec.json.encode(msgspec.to_builtins(secrets) | signed),
        default=bool(fields.default),
    )


def _refuse(fields: CredentialFields, foreign: Iterable[str]) -> None:
    for name in foreign:
        if getattr(fields, name) is not None:
            raise CredentialError(f"not a field of {fields.provider}", name)


__all__ = ["CredentialError", "CredentialFields", "UnsupportedCredentialError", "checked", "parse_credential"]
