"""Runs one call: finds the method, decodes its parameters, awaits it, and turns whatever happens into a reply."""

import functools
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from delivery.guard import Allowed
from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from methods import bounds
from methods.callers import HOLDS_CALLS
from methods.context import Caller, ServerFacts
from methods.errors import ApiError, ForbiddenError, NotFoundError, TooManyRequestsError
from methods.method import Method
from methods.replies import ErrorObject, Reply, error_object
from methods.server import ServerContext
from methods.webpush_origins import BROWSERS
from server.validation import decode
from storage.database import Database, DatabaseBusyError, DatabaseUnavailableError
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder()
_RETRY_AFTER_SECONDS = 1.0
_TELL_INTERVAL_SECONDS = 1.0
_NO_PARAMS = frozenset((b"", b"null"))


@dataclass(frozen=True, slots=True)
class Resources:
    """What the process has for its methods."""

    database: Database
    vault: Vault
    hints: Hints
    facts: ServerFacts
    gate: Gate | None = None
    batch_size: int = 500
    private_hosts: Allowed = field(default_factory=Allowed)
    webpush_origins: tuple[str, ...] = BROWSERS


class Dispatcher:
    """The one executor behind every form of the door."""

    def __init__(
        self, table: Mapping[str, Method], resources: Resources, discover: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._table = table
        self._resources = resources
        self._discover = discover
        self._failures = 0  # calls that the database failed since that was last told
        self._told_at = float("-inf")

    def has(self, name: str) -> bool:
        """Whether there is a method of that name."""
        return name in self._table

    async def execute(self, caller: Caller, name: str, params: bytes) -> Reply:
        """Run one method; never raises but for cancellation.

        `params` are the bytes as they came: none and `null` mean an empty object.
        """
        started = time.perf_counter()
        try:
            reply: Reply = _ENCODER.encode(await self._run(caller, name, params))
        except ApiError as error:
            reply = error_object(error)
        except DatabaseUnavailableError as error:
            reply = self._unavailable(name, error)
        except Exception as error:
            _LOG.error("a method failed", extra={"method": name, **facts_of(error)})
            reply = error_object(ApiError())
        if _LOG.isEnabledFor(logging.DEBUG):
            _log(caller, name, reply, time.perf_counter() - started)
        return reply

    def _unavailable(self, name: str, error: DatabaseUnavailableError) -> ErrorObject:
        """Say when to try again: 111 while this process has more calls than connections, else 100."""
        self._failures += 1
        now = time.monotonic()
        if now - self._told_at >= _TELL_INTERVAL_SECONDS:  # an outage fails thousands of calls a second
            facts = {"method": name, "reason": str(error), "count": self._failures}
            _LOG.warning("the database is not available", extra=facts)
            self._told_at, self._failures = now, 0
        if isinstance(error, DatabaseBusyError):
            return error_object(TooManyRequestsError("the database is busy", retry_after_seconds=_RETRY_AFTER_SECONDS))
        return error_object(ApiError(retry_after_seconds=_RETRY_AFTER_SECONDS))

    async def _run(self, caller: Caller, name: str, params: bytes) -> msgspec.Struct:
        caller.take(name)
        method = self._table.get(name)
        if method is None:
            raise NotFoundError(f"there is no method {name[:100]!r}", path="method")
        if not caller.may_call(name):
            raise ForbiddenError(f"this API key may not call {name}")
        body = b"{}" if params in _NO_PARAMS else params
        if caller.device is not None:
            body = bounds.filled(caller.device, name, body)
        decoded = decode(method, body, check_text=name not in HOLDS_CALLS)
        context = self._context(caller, body)
        if caller.is_bound:
            await bounds.check(context, decoded)
        return await method.handler(context, decoded)

    def _context(self, caller: Caller, body: bytes) -> ServerContext:
        has = self._resources
        return ServerContext(
            database=has.database,
            vault=has.vault,
            hints=has.hints,
            facts=has.facts,
            caller=caller,
            body=body,
            gate=has.gate,
            batch_size=has.batch_size,
            private_hosts=has.private_hosts,
            webpush_origins=has.webpush_origins,
            table=self._table,
            execute=functools.partial(self.execute, caller),
            discover=self._discover,
        )


def facts_of(error: BaseException) -> dict[str, object]:
    """Say what failed and where, without the error's own text: that may quote a token or a payload."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {
        "error": " < ".join(type(each).__name__ for each in _chain(error)),
        "sqlstate": getattr(error, "sqlstate", None),
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and len(chain) < 5:
        chain.append(cause)
    inner = error.exceptions[:5] if isinstance(error, BaseExceptionGroup) else ()
    return [*chain, *inner]


def _log(caller: Caller, name: str, reply: Reply, seconds: float) -> None:
    code = reply.code if isinstance(reply, ErrorObject) else 0
    _LOG.debug("call", extra={"method": name[:100], "code": code, "seconds": round(seconds, 6), "key": caller.key_name})
