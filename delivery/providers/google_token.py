"""OAuth2 access tokens of a Google service account: google-auth over httpx, in a thread (providers.md 2.1, 6)."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth.exceptions
import google.auth.transport
import httpx
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
AHEAD_SECONDS = 300.0
"""How long before its end a token is replaced, while it still serves."""
MIN_LIFE_SECONDS = 15.0
FAILED_AHEAD_PAUSE_SECONDS = 15.0
HTTP_TIMEOUT_SECONDS = 10.0
DEFAULT_LIFE = timedelta(hours=1)

_LOG = logging.getLogger(__name__)


class TokenError(Exception):
    """No access token. `refused`: Google says no to this key (an operator must act); else it may work later."""

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


Then = Callable[[bytes | TokenError], None]


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


class AccessTokens:
    """The one access token of a credential: fetched once for all who wait, renewed ahead of its end. `close` when done.

    Nothing here blocks the event loop: google-auth runs in a thread, with a client of its own for each fetch.
    """

    def __init__(
        self,
        account: Mapping[str, Any],
        *,
        tls_ca: str = "",
        proxy: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._tls_ca = tls_ca
        self._proxy = proxy
        self._clock = clock
        self._token = b""
        self._ends_at = self._ahead_at = 0.0
        self._waiting: list[Then] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return "AccessTokens()"

    def current(self) -> bytes | None:
        """The token, None when there is none that will last; near its end another is fetched in the background."""
        now = self._clock()
        if self._closed or not self._token or now >= self._ends_at - MIN_LIFE_SECONDS:
            return None
        if now >= self._ahead_at:
            self._start()
        return self._token

    def fetch(self, stale: bytes | None, then: Then) -> None:
        """Call `then` with a token other than `stale`, or with what went wrong; all who wait share one fetch."""
        current = self.current()
        if current is not None and current != stale:
            then(current)
            return
        self._token = b""  # nobody else should go out with it
        if self._closed:
            then(TokenError("Closed", refused=False))
        else:
            self._waiting.append(then)
            self._start()

    async def wait(self) -> bytes:
        """A token; raises TokenError."""
        done: asyncio.Future[bytes | TokenError] = asyncio.get_running_loop().create_future()
        self.fetch(None, lambda result: None if done.done() else done.set_result(result))
        result = await done
        if isinstance(result, TokenError):
            raise result
        return result

    async def close(self) -> None:
        """Stop fetching; those who wait are told."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._tell(TokenError("Closed", refused=False))

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch(), name="google access token")

    async def _fetch(self) -> None:
        try:
            token, ends_at = await asyncio.to_thread(self._refresh_or_say)
        except TokenError as error:
            _LOG.warning("no google access token", extra={"reason": error.reason, "refused": error.refused})
            self._ahead_at = self._clock() + FAILED_AHEAD_PAUSE_SECONDS
            self._task = None
            self._tell(error)
            return
        self._token = token
        self._ends_at = ends_at
        self._ahead_at = max(ends_at - AHEAD_SECONDS, self._clock() + FAILED_AHEAD_PAUSE_SECONDS)
        self._task = None
        self._tell(token)

    def _tell(self, result: bytes | TokenError) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(result)

    def _refresh_or_say(self) -> tuple[bytes, float]:
        """Fetch a token; runs in a thread. Raises TokenError and nothing else, so that nobody waits for ever."""
        try:
            return self._refresh()
        except google.auth.exceptions.RefreshError as error:
            word = _word(error)
            raise TokenError(word or "RefreshError", refused=bool(word) and not error.retryable) from None
        except (google.auth.exceptions.GoogleAuthError, OSError) as error:
            raise TokenError(type(error).__name__, refused=False) from None
        except Exception as error:
            _LOG.exception("fetching a google access token failed")
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
