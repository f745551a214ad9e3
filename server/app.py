"""The HTTP door: which path leads where, who may pass, how much may be sent, and what the answer looks like."""

import functools
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from methods.all import TABLE
from methods.context import Caller
from methods.errors import CATALOGUE, ApiError, BadRequestError
from methods.method import Method
from methods.replies import ErrorObject, Reply, error_object
from server import envelopes, jsonrpc, openrpc
from server.addresses import Addresses
from server.auth import KeyRing, key_of
from server.demo_start import PATH
from server.dispatcher import Dispatcher, Resources, facts_of
from server.envelopes import MalformedError, Plain, Refused
from server.readiness import Check, Readiness
from server.webpush_demo import Demo
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_SLASHES = re.compile("/{2,}")
_HTTP_STATUS = {error.code: error.http_status for error in CATALOGUE}
_JSON = (b"content-type", b"application/json")
_APP = Caller("receipt token", frozenset({"update_push_status"}), reports=True)
_STRANGER = Caller("an address that is not allowed", refused="this address is not allowed")
_AWAY = error_object(ApiError(retry_after_seconds=1.0))
_ANY_ORIGIN = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"content-type"),
)
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take: bytes of its body. How long it may take is the door's business."""

    max_body_bytes: int = 1 << 20


class ClientGoneError(Exception):
    """The client closed the connection before its body had arrived: nobody is left to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; every body but JSON is plain text."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class RefusedError(Exception):
    """A request that goes no further than the door."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Api:
    """Everything under `/api`, as a plain ASGI application: this is the hot path."""

    def __init__(self, dispatcher: Dispatcher, keys: KeyRing, limits: Limits, addresses: Addresses) -> None:
        self._dispatcher = dispatcher
        self._strict = jsonrpc.Door(dispatcher.has)
        self._keys = keys
        self._limits = limits
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is refused is refused in the order method, key, size, syntax, address.

        An address is refused as a method is, in the form of the request; before the key, which so cannot be guessed at.
        """
        headers = dict(scope["headers"])
        try:
            caller = await self._admit(scope, headers)
            body = await _read(receive, headers, self._limits)
            answer = await self._answer(scope["path"], headers, caller, body)
        except RefusedError as refused:
            answer = refused.answer
        except ClientGoneError:
            return
        except DatabaseUnavailableError:  # without which a device key cannot be judged
            answer = Answer(200, envelopes.plain(_AWAY), (_JSON, *_retry_after(_AWAY)))
        except Exception as error:
            _LOG.error("a request failed", extra=facts_of(error))
            answer = Answer(200, envelopes.plain(error_object(ApiError())), (_JSON,))
        await _send(send, answer)

    async def receipt(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a report of an app, which has a receipt token instead of a key; from web pages of any origin, too."""
        try:
            if scope["method"] == "OPTIONS":
                answer = Answer(204, headers=_ANY_ORIGIN)
            elif scope["method"] != "POST":
                answer = Answer(405, headers=((b"allow", b"POST, OPTIONS"),))
            else:
                body = await _read(receive, dict(scope["headers"]), self._limits)
                answer = await self._receipt(body)
        except RefusedError as refused:
            answer = refused.answer
        except MalformedError:
            answer = Answer(400, b"malformed JSON", (_TEXT,))
        except ClientGoneError:
            return
        await _send(send, answer)

    async def _receipt(self, body: bytes) -> Answer:
        try:
            params = envelopes.parse_params(body)
        except BadRequestError as error:
            reply: Reply = error_object(error)
        else:
            reply = await self._dispatcher.execute(_APP, "update_push_status", params)
        extra = (_JSON, *_ANY_ORIGIN, *_retry_after(reply))
        status = _HTTP_STATUS[reply.code] if isinstance(reply, ErrorObject) else 200
        return Answer(status, envelopes.plain(reply), extra)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        if scope["method"] != "POST":
            raise RefusedError(Answer(405, headers=((b"allow", b"POST"),)))
        if not self._addresses.admits(scope):
            return _STRANGER
        key = key_of(headers, scope["query_string"])
        caller = await self._keys.caller(key) if key else None
        if caller is None:
            raise RefusedError(Answer(401, headers=((b"www-authenticate", b"apikey"),)))
        if caller.addresses and not self._addresses.comes_from(scope, caller.addresses):
            return replace(caller, refused="this API key may not be used from this address")
        return caller

    async def _answer(self, path: str, headers: dict[bytes, bytes], caller: Caller, body: bytes) -> Answer:
        name = path.removeprefix("/api").strip("/")
        try:
            if not name:
                return await self._documents(caller, body)
            return await self._method(name, headers, caller, body)
        except MalformedError as error:
            if error.strict:
                return Answer(200, jsonrpc.parse_error(), (_JSON,))
            return Answer(400, b"malformed JSON", (_TEXT,))

    async def _documents(self, caller: Caller, body: bytes) -> Answer:
        """Answer the plain, strict and stream forms: one line for each document that wants an answer."""
        documents = envelopes.parse(body)
        execute = functools.partial(self._dispatcher.execute, caller)
        lines, headers = [], [_JSON]
        for document in documents:
            if isinstance(document, Plain):
                reply = await execute(document.method, document.params)
                headers += _retry_after(reply)
                lines.append(envelopes.plain(reply, document.id))
            elif isinstance(document, Refused):
                lines.append(envelopes.plain(document.error, document.id))
            elif answer := await self._strict.answer(document, execute):
                lines.append(answer)
        if not lines:
            return Answer(204)
        return Answer(200, envelopes.stream(lines), tuple(headers[:2]))  # the first of the hints when to try again

    async def _method(self, name: str, headers: dict[bytes, bytes], caller: Caller, body: bytes) -> Answer:
        """Answer `/api/<method>`; a batch has no wrapper around its result."""
        try:
            params = envelopes.parse_params(body)
        except BadRequestError as error:
            reply: Reply = error_object(error)
        else:
            reply = await self._dispatcher.execute(caller, name, params)
        extra = (_JSON, *_retry_after(reply))
        if isinstance(reply, ErrorObject) and headers.get(b"x-centrifugo-error-mode", b"").lower() == b"transport":
            return Answer(_HTTP_STATUS[reply.code], envelopes.transport(reply), extra)
        return Answer(200, envelopes.bare(reply) if name == "batch" else envelopes.plain(reply), extra)


async def _read(receive: Receive, headers: dict[bytes, bytes], limits: Limits) -> bytes:
    """Read the body, no further than the limit; the door ends one that takes too long."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limits.max_body_bytes:
        raise RefusedError(Answer(413))
    return await _chunks(receive, limits.max_body_bytes)


async def _chunks(receive: Receive, limit: int) -> bytes:
    body, more = b"", True
    parts: list[bytes] = []
    size = 0
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise RefusedError(Answer(413))
        parts.append(body)
        more = message.get("more_body", False)
    return body if len(parts) == 1 else b"".join(parts)


def _retry_after(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Say in a header, too, when to try again: whole seconds, rounded up."""
    if not isinstance(reply, ErrorObject) or reply.data is None or not reply.data.retry_after:
        return []
    return [(b"retry-after", str(-int(-reply.data.retry_after // 1)).encode())]


async def _send(send: Send, answer: Answer) -> None:
    headers = list(answer.headers)
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def create_app(
    resources: Resources,
    keys: KeyRing,
    checks: Mapping[str, Check],
    *,
    limits: Limits | None = None,
    table: Mapping[str, Method] = TABLE,
    addresses: Addresses | None = None,
    demo: bool = False,
) -> ASGIApp:
    """Build the ASGI application; what it is given stays open for as long as it serves.

    `checks` are those of `/ready` (`readiness.checks_of(database)`); `addresses` say who may call. Routes: `POST /api`,
    `/api/batch`, `/api/<method>`; without a key, and from any address, `POST /receipts`, `GET /health`, `/ready`; with
    `demo` also those of the Web Push demonstration.
    """
    discover: Callable[[], Mapping[str, object]] = functools.cache(
        lambda: openrpc.document(table, version=resources.facts.version)
    )
    dispatcher = Dispatcher(table, resources, discover)
    api = Api(dispatcher, keys, limits or Limits(), addresses or Addresses())
    page = Demo(resources, dispatcher, keys) if demo else None
    other = Starlette(routes=[Route("/health", _health), Route("/ready", Readiness(checks).answer)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "//" in scope.get("path", ""):
            scope = {**scope, "path": _SLASHES.sub("/", scope["path"])}
        path = scope.get("path", "")
        target: ASGIApp = other
        if scope["type"] == "http" and (path == "/api" or path.startswith("/api/")):
            target = api
        elif scope["type"] == "http" and path == "/receipts":
            target = api.receipt
        elif page is not None and scope["type"] == "http" and (path == PATH or path.startswith(f"{PATH}/")):
            target = page
        await target(scope, receive, send)

    return app
