"""Credentials that the settings declare: environment variables, files they name, and a file with a list."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from delivery.providers.credentials import CredentialError, parse_credential
from storage.credentials import NewCredential

_TEXTS = {
    "apns": ("key", "key_id", "team_id", "bundle_id", "certificate", "certificate_password", "environment"),
    "fcm": ("service_account",),
    "webpush": ("private_key", "public_key", "subject"),
    "hms": ("app_id", "app_secret", "token_url"),
    "webhook": ("url", "secret"),
}
_WAY = ("tls_ca", "proxy", "endpoint", "transport")
_NOT_OF_WEBHOOKS = ("endpoint", "transport")
_FLAGS = {"apns": ("content_available", "mutable_content"), "fcm": ("include_notification",), "webhook": ("batched",)}
_NUMBERS = ("max_connections", "quota_per_minute", "ramp_up_seconds", "gone_percent")
_OWN_NUMBERS = {"webhook": ("batch_recipients", "timeout_seconds")}
_FROM_FILES = ("key", "certificate", "service_account", "private_key", "app_secret", "secret", "tls_ca")
_ONE_LINE = ("private_key", "app_secret", "secret")
"""What a file may end with a line end behind, which is no part of it."""

_NEEDED = {
    "apns": ("key", "certificate"),
    "fcm": ("service_account",),
    "webpush": ("private_key", "public_key"),
    "hms": ("app_id", "app_secret"),
    "webhook": ("url", "secret"),
}
_YES_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def declared_credentials(environ: Mapping[str, str]) -> list[NewCredential]:
    """Read what the environment declares; CredentialError names the variable at fault.

    `TOCSIN_<PROVIDER>_<FIELD>` declares one credential of a provider, named by `…_PROVIDER_ID` (default: the provider's
    name); keys, secrets, certificates and the like may come from `…_FILE`. `TOCSIN_CREDENTIALS_FILE` names a file with
    a JSON list of parameters of `provider_put`.
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
    for name in _texts(provider):
        text = environ.get(prefix + name.upper(), "")
        if not text and name in _FROM_FILES:
            text = _read(environ.get(f"{prefix}{name.upper()}_FILE", ""), f"{prefix}{name.upper()}_FILE", name)
        if text:
            fields[name] = text
    if not any(name in fields for name in _NEEDED[provider]):
        return None
    for name in _FLAGS.get(provider, ()):
        if text := environ.get(prefix + name.upper(), ""):
            fields[name] = _flag(text, prefix + name.upper())
    for name in _numbers(provider):
        if text := environ.get(prefix + name.upper(), ""):
            fields[name] = int(text) if text.isdecimal() else text
    fields |= {"provider": provider, "provider_id": environ.get(f"{prefix}PROVIDER_ID") or provider}
    try:
        return parse_credential(fields)
    except CredentialError as error:
        raise CredentialError(error.detail, prefix + error.path.upper()) from None


def _texts(provider: str) -> tuple[str, ...]:
    way = [name for name in _WAY if provider != "webhook" or name not in _NOT_OF_WEBHOOKS]
    return (*_TEXTS[provider], *way)


def _numbers(provider: str) -> tuple[str, ...]:
    return _NUMBERS + _OWN_NUMBERS.get(provider, ())


def _variables(provider: str) -> Iterator[str]:
    prefix = f"TOCSIN_{provider.upper()}_"
    for name in ("provider_id", *_texts(provider), *_FLAGS.get(provider, ()), *_numbers(provider)):
        yield prefix + name.upper()
        if name in _FROM_FILES:
            yield f"{prefix}{name.upper()}_FILE"


VARIABLES = frozenset(variable for provider in _TEXTS for variable in _variables(provider))
"""Every variable that is part of a credential's declaration."""


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
        text = data.decode()
    except UnicodeDecodeError:
        raise CredentialError("the file is no text", variable) from None
    return text.strip() if name in _ONE_LINE else text


def _flag(text: str, variable: str) -> bool:
    try:
        return _YES_NO[text.lower()]
    except KeyError:
        raise CredentialError("true or false is expected", variable) from None
