"""Credentials that the settings declare: environment variables, files they name, and a file with a list."""

import base64
from collections.abc import Mapping
from pathlib import Path

import msgspec

from delivery.providers.credentials import CredentialError, parse_credential
from storage.credentials import NewCredential

_TEXTS = {
    "apns": (
        "key",
        "key_id",
        "team_id",
        "bundle_id",
        "certificate",
        "certificate_password",
        "environment",
        "endpoint",
        "tls_ca",
        "proxy",
        "transport",
    ),
    "fcm": ("service_account", "endpoint", "tls_ca", "proxy", "transport"),
}
_FLAGS = {"apns": ("content_available", "mutable_content"), "fcm": ("include_notification",)}
_NUMBERS = ("max_connections", "quota_per_minute", "ramp_up_seconds", "gone_percent")
_FROM_FILES = ("key", "certificate", "service_account", "tls_ca")
_NEEDED = {"apns": ("key", "certificate"), "fcm": ("service_account",)}
_YES_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def declared_credentials(environ: Mapping[str, str]) -> list[NewCredential]:
    """Read what the environment declares; CredentialError names the variable at fault.

    `TOCSIN_APNS_<FIELD>` and `TOCSIN_FCM_<FIELD>` declare one credential of each, named by `…_PROVIDER_ID` (default
    `apns`, `fcm`); KEY, CERTIFICATE, SERVICE_ACCOUNT and TLS_CA may come from `…_FILE`. `TOCSIN_CREDENTIALS_FILE`
    names a file with a JSON list of parameters of `provider_put`.
    """
    found = [declared for provider in _TEXTS if (declared := _from_variables(provider, environ)) is not None]
    found += _from_list(environ.get("TOCSIN_CREDENTIALS_FILE", ""))
    names = [new.provider_id for new in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CredentialError(f"declared twice: {', '.join(twice)}", "TOCSIN_CREDENTIALS_FILE")
    return found


def _from_variables(provider: str, environ: Mapping[str, str]) -> NewCredential | None:
    prefix = f"TOCSIN_{provider.upper()}_"
    fields: dict[str, object] = {}
    for name in _TEXTS[provider]:
        text = environ.get(prefix + name.upper(), "")
        if not text and name in _FROM_FILES:
            text = _read(environ.get(f"{prefix}{name.upper()}_FILE", ""), f"{prefix}{name.upper()}_FILE", name)
        if text:
            fields[name] = text
    if not any(name in fields for name in _NEEDED[provider]):
        return None
    for name in _FLAGS[provider]:
        if text := environ.get(prefix + name.upper(), ""):
            fields[name] = _flag(text, prefix + name.upper())
    for name in _NUMBERS:
        if text := environ.get(prefix + name.upper(), ""):
            fields[name] = int(text) if text.isdecimal() else text
    fields |= {"provider": provider, "provider_id": environ.get(f"{prefix}PROVIDER_ID") or provider}
    try:
        return parse_credential(fields)
    except CredentialError as error:
        raise CredentialError(error.detail, prefix + error.path.upper()) from None


def _from_list(path: str) -> list[NewCredential]:
    variable = "TOCSIN_CREDENTIALS_FILE"
    text = _read(path, variable)
    if not text:
        return []
    try:
        listed = msgspec.json.decode(text, type=list[dict[str, object]])
    except msgspec.DecodeError:
        raise CredentialError("a JSON list of objects is expected", variable) from None
    found = []
    for position, params in enumerate(listed):
        try:
            found.append(parse_credential(params))
        except CredentialError as error:
            raise CredentialError(error.detail, f"{variable}[{position}].{error.path}") from None
    return found


def _read(path: str, variable: str, name: str = "") -> str:
    """The text of a file, '' when none is named; a p12 file becomes base64, as the API takes it."""
    if not path:
        return ""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CredentialError(f"the file cannot be read: {error.strerror}", variable) from None
    if name == "certificate" and b"-----BEGIN" not in data:
        return base64.b64encode(data).decode()
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CredentialError("the file is no text", variable) from None


def _flag(text: str, variable: str) -> bool:
    try:
        return _YES_NO[text.lower()]
    except KeyError:
        raise CredentialError("true or false is expected", variable) from None
