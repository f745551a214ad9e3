"""A credential's OAuth2 access token, whoever issues it: fetched once for all who wait, renewed ahead of its end."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

AHEAD_SECONDS = 300.0
"""How long before its end a token is replaced, while it still serves."""
MIN_LIFE_SECONDS = 15.0
FAILED_AHEAD_PAUSE_SECONDS = 15.0
HTTP_TIMEOUT_SECONDS = 10.0

_LOG = logging.getLogger(__name__)


class TokenError(Exception):
    """No access token. `refused`: the issuer says no to this key (an operator must act); else it may work later."""

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


Then = Callable[[bytes | TokenError], None]


class AccessTokens(ABC):
    """The one access token of a credential. An issuer's class says how to `obtain` one. `close` when done."""

    issuer = ""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._token = b""
        self._ends_at = self._ahead_at = 0.0
        self._waiting: list[Then] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    async def obtain(self) -> tuple[bytes, float]:
        """Ask the issuer for a token; it and the Unix time of its end. Blocks no event loop; raises TokenError."""

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
            self._task = asyncio.create_task(self._fetch(), name=f"{self.issuer} access token")

    async def _fetch(self) -> None:
        try:
            token, ends_at = await self._obtain_or_say()
        except TokenError as error:
            facts = {"issuer": self.issuer, "reason": error.reason, "refused": error.refused}
            _LOG.warning("no access token", extra=facts)
            self._ahead_at = self._clock() + FAILED_AHEAD_PAUSE_SECONDS
            self._task = None
            self._tell(error)
            return
        self._token = token
        self._ends_at = ends_at
        self._ahead_at = max(ends_at - AHEAD_SECONDS, self._clock() + FAILED_AHEAD_PAUSE_SECONDS)
        self._task = None
        self._tell(token)

    async def _obtain_or_say(self) -> tuple[bytes, float]:
        """Raise TokenError and nothing else, so that nobody waits for ever."""
        try:
            return await self.obtain()
        except TokenError:
            raise
        except Exception as error:
            _LOG.exception("fetching an access token failed", extra={"issuer": self.issuer})
            raise TokenError(type(error).__name__, refused=False) from None

    def _tell(self, result: bytes | TokenError) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(result)
