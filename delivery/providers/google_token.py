"""OAuth2 access tokens of a Google service account: google-auth over httpx, in a thread (providers.md 2.1, 6)."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth.exceptions
import google.auth.transport
import httpx
from google.oauth2 import service_account

from delivery.providers.oauth_token import HTTP_TIMEOUT_SECONDS, AccessTokens, TokenError

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
DEFAULT_LIFE = timedelta(hours=1)


class _Response(google.auth.transport.Response):
    """An httpx response as google-auth reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.content


class _Request(google.auth.transport.Request):
    """google-auth's way out, through an httpx client."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Response:
        try:
            return _Response(self._client.request(method, url, content=body, headers=headers))
        except httpx.HTTPError as error:
            raise google.auth.exceptions.TransportError(type(error).__name__) from error  # type: ignore[no-untyped-call]


class GoogleTokens(AccessTokens):
    """The access token of a service account. google-auth runs in a thread, with a client of its own for each fetch."""

    issuer = "google"

    def __init__(
        self,
        account: Mapping[str, Any],
        *,
        tls_ca: str = "",
        proxy: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._account = account
        self._tls_ca = tls_ca
        self._proxy = proxy

    async def obtain(self) -> tuple[bytes, float]:
        """A token and its end; raises TokenError."""
        return await asyncio.to_thread(self._refresh_or_say)

    def _refresh_or_say(self) -> tuple[bytes, float]:
        """Fetch a token; runs in a thread. What it raises beside TokenError is a fault."""
        try:
            return self._refresh()
        except google.auth.exceptions.RefreshError as error:
            word = _word(error)
            raise TokenError(word or "RefreshError", refused=bool(word) and not error.retryable) from None
        except (google.auth.exceptions.GoogleAuthError, OSError) as error:
            raise TokenError(type(error).__name__, refused=False) from None

    def _refresh(self) -> tuple[bytes, float]:
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            dict(self._account), scopes=[SCOPE]
        )
        context = ssl.create_default_context()
        if self._tls_ca:  # beside the system's authorities: the endpoint may be private and the token's issuer Google
            context.load_verify_locations(cadata=self._tls_ca)
        proxy = self._proxy or None
        with httpx.Client(verify=context, proxy=proxy, timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client:
            credentials.refresh(_Request(client))
        ends_at = credentials.expiry.replace(tzinfo=UTC) if credentials.expiry else datetime.now(UTC) + DEFAULT_LIFE
        return str(credentials.token).encode(), ends_at.timestamp()


def _word(error: google.auth.exceptions.RefreshError) -> str:
    """Google's own word (`invalid_grant`), '' when it was not Google's OAuth service that answered."""
    said = error.args[1] if len(error.args) > 1 else None
    word = said.get("error", "") if isinstance(said, Mapping) else ""
    return word if isinstance(word, str) and word.replace("_", "").isalnum() and len(word) <= 64 else ""
