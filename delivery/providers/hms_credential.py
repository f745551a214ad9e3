"""What an HMS Push Kit credential is made of: an app's id and secret (providers.md 4.1).

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-Guides/android-server-dev-0000001050040110
"""

import re

import httpx
import msgspec

from delivery.providers.credential_fields import (
    CredentialError,
    CredentialFields,
    Way,
    proxy_user,
    required,
    url,
    way_of,
)

TRANSPORTS = ("httpx", "http2")
"""The first is the default: nobody has told us that Huawei's servers speak HTTP/2."""
TOKEN_URL = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"

_APP_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
_SECRET = re.compile(r"[\x21-\x7e]{1,512}")
_MOST_URL = 2048


class HmsSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The open part of an HMS credential. Access tokens come from `token_url`."""

    way: Way
    app_id: str
    token_url: str = TOKEN_URL


class HmsSecrets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The secret part. `proxy_user` is `user:password`."""

    app_secret: str
    proxy_user: str = ""

    def __repr__(self) -> str:
        return "HmsSecrets()"


def parse(fields: CredentialFields) -> tuple[HmsSettings, HmsSecrets, str]:
    """Check the fields of an HMS credential: settings, secrets, and no environment. Raises CredentialError."""
    settings = HmsSettings(
        way=way_of(fields, TRANSPORTS),
        app_id=required(fields.app_id, "app_id", _APP_ID, "the app's id is a number of up to 20 digits"),
        token_url=_token_url((fields.token_url or "").strip()),
    )
    secret = required(fields.app_secret, "app_secret", _SECRET, "visible ASCII, up to 512 characters, is expected")
    return settings, HmsSecrets(app_secret=secret, proxy_user=proxy_user(fields)), ""


def _token_url(text: str) -> str:
    if not text:
        return TOKEN_URL
    parts = url(text, "token_url")
    if "@" in parts.netloc or parts.fragment or parts.port == 0 or len(text) > _MOST_URL or "\x7f" in text:
        raise CredentialError(
            f"no user, no fragment, no port 0, and at most {_MOST_URL} characters are expected", "token_url"
        )
    try:
        httpx.URL(text)
    except httpx.InvalidURL:
        raise CredentialError("this is no URL that can be called", "token_url") from None
    return text
