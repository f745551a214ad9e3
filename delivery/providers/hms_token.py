"""OAuth2 access tokens of an HMS app: its id and secret for a token of an hour (providers.md 4.1).

Source: https://developer.huawei.com/consumer/en/doc/HMSCore-Guides/android-server-dev-0000001050040110
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import msgspec

from delivery.providers.hms_credential import TOKEN_URL
from delivery.providers.httpx_transport import read_bounded
from delivery.providers.oauth_token import HTTP_TIMEOUT_SECONDS, AccessTokens, TokenError

DEFAULT_LIFE_SECONDS = 3600
MOST_LIFE_SECONDS = 86_400.0

_MOST_ANSWER_BYTES = 65_536
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}", re.ASCII)
T = TypeVar("T")

_NOT_OUR_FAULT = (408, 425, 429)
"""Statuses of the 4xx that do not judge the app's id and secret."""


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFE_SECONDS


class _Refused(msgspec.Struct):
    error: str | int
    sub_error: str | int = ""


class HmsTokens(AccessTokens):
    """The access token of an app. `proxy` is a whole URL; `tls_ca` is trusted beside the system's authorities."""

    issuer = "huawei"

    def __init__(
        self,
        app_id: str,
        app_secret: str,
        *,
        url: str = TOKEN_URL,
        tls_ca: str = "",
        proxy: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._form = {"grant_type": "client_credentials", "client_id": app_id, "client_secret": app_secret}
        self._url = url
        self._tls_ca = tls_ca
        self._proxy = proxy or None

    async def obtain(self) -> tuple[bytes, float]:
        """A token and its end; raises TokenError."""
        try:
            async with asyncio.timeout(HTTP_TIMEOUT_SECONDS):
                status, body = await self._ask()
        except TimeoutError:
            raise TokenError("Timeout", refused=False) from None
        except (httpx.HTTPError, OSError) as error:
            raise TokenError(type(error).__name__, refused=False) from None
        granted = _granted(status, body)
        life = min(max(granted.expires_in, 0.0), MOST_LIFE_SECONDS)
        return granted.access_token.encode(), self._clock() + life

    async def _ask(self) -> tuple[int, bytes]:
        trust = await asyncio.to_thread(self._trust)
        async with (
            httpx.AsyncClient(verify=trust, proxy=self._proxy, timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client,
            client.stream("POST", self._url, data=self._form, headers={"accept-encoding": "identity"}) as reply,
        ):
            return reply.status_code, await read_bounded(reply, _MOST_ANSWER_BYTES)

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._tls_ca:  # beside the system's authorities: the endpoint may be private and the issuer Huawei
            context.load_verify_locations(cadata=self._tls_ca)
        return context


def _granted(status: int, body: bytes) -> _Granted:
    """Read the issuer's answer. Where it names an error in a 4xx, or in a 200, it refuses the app's id or secret."""
    if status == 200:
        granted = _read(body, _Granted)
        if granted is not None and _TOKEN.fullmatch(granted.access_token):
            return granted
    refused = _read(body, _Refused)
    word = "" if refused is None else _word(refused)
    if not word:
        raise TokenError("UnreadableAnswer" if status == 200 else f"HTTP_{status}", refused=False)
    raise TokenError(word, refused=status not in _NOT_OUR_FAULT and status < 500)


def _word(refused: _Refused) -> str:
    """Huawei's own words, which may be numbers: `OAuth_1101_20155`; '' where there is nothing that reads as one."""
    found = [word for word in (str(refused.error), str(refused.sub_error)) if _WORD.fullmatch(word)]
    return "_".join(["OAuth", *found]) if found and found[0].isdigit() else "_".join(found[:1])


def _read(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
