"""What providers that send with an OAuth2 access token share: attempts that wait for it, and renew it when refused."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

from delivery.batches import Batch, Results
from delivery.http2 import Answer, ConnectFailed, Failure, Head
from delivery.outcomes import Kind, Outcome, Pause
from delivery.providers.attempt import BatchAttempt
from delivery.providers.oauth_token import AccessTokens, TokenError
from delivery.providers.origins import Service
from delivery.providers.probe import ask
from delivery.providers.transport import Transport

SERVER_BACKOFF_SECONDS = 10.0


class BearerAttempt(BatchAttempt):
    """A batch on its way. It may wait for an access token first, and then has sent nothing."""

    __slots__ = ("_provider", "_pulling", "_stalled", "_token", "_waiting")

    def __init__(
        self,
        provider: "BearerProvider",
        batch: Batch,
        results: Results,
        bodies: Sequence[bytes],
        *,
        count: int | None = None,
    ) -> None:
        token = provider.tokens.current()
        super().__init__(provider.head(token or b""), batch, results, provider.pool(), bodies, count=count)
        self._provider = provider
        self._token = token
        self._waiting = token is None
        self._pulling = False
        self._stalled: list[int] = []

    @property
    def waiting(self) -> bool:
        """Whether it waits for its access token."""
        return self._waiting

    def begin(self, token: bytes | TokenError) -> None:
        """Go, with the access token that was waited for; or say what became of it."""
        if not self._waiting:
            return  # cancelled meanwhile
        self._waiting = False
        if isinstance(token, bytes):
            self._token = token
            self.head = self._provider.head(token)
            self.pool.submit(self)
        else:
            self._settle_all(_without_token(token))

    def cancel(self) -> None:
        """Give back what is not sent yet; the rest runs on."""
        if self._waiting:
            self._waiting = False
            self.cancelled = True
            self._settle_all(Outcome(Kind.RELEASED, "Released"))
        else:
            self.pool.cancel(self)

    def renew(self, index: int, answer: Answer) -> bool:
        """Send again with another access token, once it is there."""
        self._stalled.append(index)
        if len(self._stalled) == 1:
            self._pull_back()
            self._provider.tokens.fetch(self._token, self._go_on)
        return True

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer; or called back by ourselves, to wait for another access token."""
        if self._pulling:
            self._stalled.append(index)
        else:
            super().on_failure(index, failure)

    def _pull_back(self) -> None:
        """Take back what is not sent: it would go out with the access token that was just refused."""
        self._pulling = True
        self.pool.cancel(self)
        self._pulling = self.cancelled = False

    def _go_on(self, token: bytes | TokenError) -> None:
        stalled, self._stalled = self._stalled, []
        for index in stalled:
            if isinstance(token, TokenError):
                self.settle(index, _without_token(token))
            elif self.cancelled:
                self.settle(index, Outcome(Kind.RELEASED, "Released"))
            else:
                self.pool.resubmit(self, index, head=self._provider.head(token))

    def _settle_all(self, outcome: Outcome) -> None:
        for index in range(self.count):
            self.settle(index, outcome)


def _without_token(error: TokenError) -> Outcome:
    """Nothing was sent for want of an access token: refused means that an operator must act, else later may do."""
    if error.reason == "Closed":
        return Outcome(Kind.RELEASED, "Released")
    return Outcome(
        Kind.RETRY,
        error.reason,
        backoff_base_seconds=SERVER_BACKOFF_SECONDS,
        pause=Pause("trouble") if error.refused else None,
        counts_as_attempt=False,
    )


class BearerProvider(ABC):
    """A credential that sends to one path of one service, with an access token. Use with `async with`.

    `issuer` is where tokens come from, for an operator to read. `check_body` is a message that the service only
    validates.
    """

    check_body = b""

    def __init__(self, service: Service, path: bytes, tokens: AccessTokens, issuer: str) -> None:
        self._service = service
        self._path = service.prefix + path
        self._issuer = issuer
        self._made: Transport | None = None
        self._head: tuple[bytes, Head] | None = None
        self._waiting = 0
        self.tokens = tokens

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close(0.0)

    @abstractmethod
    def transport(self) -> Transport:
        """Make what carries the requests."""

    @abstractmethod
    def verdict(self, answer: Answer) -> str:
        """What the answer to `check_body` says of the credential."""

    def head(self, token: bytes) -> Head:
        """The head with this access token, shared by every push of the credential."""
        if self._head is None or self._head[0] != token:
            fields = [(b"authorization", b"Bearer " + token), (b"content-type", b"application/json")]
            made = Head(self._service.authority, self._path, fields, scheme=self._service.scheme)
            self._head = (token, made)
        return self._head[1]

    def pool(self) -> Transport:
        """What carries the requests, made when it is first asked for."""
        if self._made is None:
            self._made = self.transport()
        return self._made

    def start(self, attempt: BearerAttempt) -> None:
        """Send, with the access token at hand or as soon as there is one."""
        if attempt.waiting:
            self._waiting += attempt.count
            self.tokens.fetch(None, partial(self._begin, attempt))
        else:
            self.pool().submit(attempt)

    def free_requests(self) -> int:
        """Requests worth queueing now, those that wait for an access token counted in."""
        return max(0, self.pool().free_slots() - self._waiting)

    async def check(self) -> Mapping[str, str]:
        """Fetch an access token, connect, and have the service validate a message that it does not send."""
        steps: dict[str, str] = {}
        try:
            token = await self.tokens.wait()
        except TokenError as error:
            said = "refused" if error.refused else "no answer"
            steps["authorization"] = f"{said}: {error.reason} ({self._issuer})"
            return steps
        steps["authorization"] = "ok: access token fetched"
        try:
            await self.pool().warm_up()
        except ConnectFailed as error:
            steps["connect"] = f"no connection: {error} ({self._service.where})"
            return steps
        steps["connect"] = f"ok: {self._service.authority.decode()}"
        seen = await ask(self.pool(), self.head(token), self.check_body)
        steps["request"] = self.verdict(seen) if isinstance(seen, Answer) else f"no answer: {seen.reason}"
        return steps

    async def close(self, grace_seconds: float) -> None:
        """Give back what is not sent; wait for the answers to the rest."""
        await self.tokens.close()
        if self._made is not None:
            await self._made.close(grace_seconds)

    def _begin(self, attempt: BearerAttempt, token: bytes | TokenError) -> None:
        self._waiting -= attempt.count
        attempt.begin(token)
