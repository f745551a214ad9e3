"""Strict JSON-RPC 2.0 (https://www.jsonrpc.org/specification), dispatched by the pieces of jsonrpcserver.

The only module that knows that package. Its public `dispatch` would validate every request against a JSON schema and
bind every call to an inspected signature (300 µs a call); its `call`, its responses and their serialisation take 20,
and parameters pass through them as the bytes that came in.
"""

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from methods.replies import ErrorData, ErrorObject, Reply
from server.envelopes import MAX_ARRAY, Envelope, Strict, StrictArray, present, string

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schema in a way that Python 3.11 frowns upon
    from jsonrpcserver import Error, InvalidParams, JsonRpcError, Success
    from jsonrpcserver.async_dispatcher import call
    from jsonrpcserver.codes import ERROR_METHOD_NOT_FOUND
    from jsonrpcserver.dispatcher import to_response
    from jsonrpcserver.request import Request
    from jsonrpcserver.response import InvalidRequestResponse, ParseErrorResponse, to_serializable_one
    from jsonrpcserver.result import InternalErrorResult
    from jsonrpcserver.sentinels import NODATA, NOID
    from oslash.either import Left

Execute = Callable[[str, bytes], Awaitable[Reply]]

_ENCODER = msgspec.json.Encoder()
_CODE_INTERNAL, _CODE_BAD_REQUEST = 100, 107


class Door:
    """Answers strict calls; `has` says whether there is a method of a name."""

    def __init__(self, has: Callable[[str], bool]) -> None:
        self._has = has

    async def answer(self, document: Strict | StrictArray, execute: Execute) -> bytes:
        """Answer a call or a batch of them, in order; empty when all were notifications."""
        if isinstance(document, Strict):
            response = await self._item(document, execute)
            return _ENCODER.encode(response) if response is not None else b""
        if not 1 <= len(document.items) <= MAX_ARRAY:
            return _ENCODER.encode(_invalid(f"a batch holds 1 to {MAX_ARRAY} calls"))
        answers = [await self._item(item, execute) for item in document.items]
        responses = [response for response in answers if response is not None]
        return _ENCODER.encode(responses) if responses else b""

    async def _item(self, item: Strict, execute: Execute) -> dict[str, Any] | None:
        envelope = item.envelope
        if envelope is None:
            return _invalid("a call is an object")
        if problem := _problem(envelope):
            return _invalid(problem, envelope.id)
        call_id = envelope.id if bytes(envelope.id) else NOID
        request = Request(string(envelope.method) or "", [bytes(envelope.params)], call_id)

        async def method(name: str, params: bytes) -> Any:
            return await self._call(name, params, execute)

        as_method: Any = method  # the package types its methods as plain functions
        result = await call(request, request.method, as_method)
        return None if call_id is NOID else _written(to_response(request, result))

    async def _call(self, name: str, params: bytes, execute: Execute) -> Any:
        """What jsonrpcserver calls: its context is the method's name, its one argument the bytes."""
        if not self._has(name):
            data = ErrorData(f"there is no method {name[:100]!r}", "method")
            raise JsonRpcError(ERROR_METHOD_NOT_FOUND, "Method not found", data)
        reply = await execute(name, params)
        return _error(reply) if isinstance(reply, ErrorObject) else Success(msgspec.Raw(reply))


def parse_error() -> bytes:
    """The answer to a body that is not JSON."""
    response = ParseErrorResponse(ErrorData("the body is not JSON"))
    return _ENCODER.encode(_written(Left(response)))


def _error(error: ErrorObject) -> Any:
    data = error.data if error.data is not None else NODATA
    if error.code == _CODE_BAD_REQUEST:
        return InvalidParams(data)
    if error.code == _CODE_INTERNAL:
        return Left(InternalErrorResult(data))
    return Error(error.code, error.message, data)


def _invalid(detail: str, call_id: msgspec.Raw | None = None) -> dict[str, Any]:
    """Build the answer to what is no request; its id is told when it has one that could be read."""
    response = InvalidRequestResponse(ErrorData(detail))
    if call_id is not None and _is_id(call_id):
        response = response._replace(id=call_id)
    return _written(Left(response))


def _written(response: Any) -> dict[str, Any]:
    """Turn a response of the package into the object that goes out."""
    written: Any = to_serializable_one(response)
    return dict(written)


def _problem(envelope: Envelope) -> str:
    """Say in which way an object is no request; empty when it is one."""
    if string(envelope.jsonrpc) != "2.0":
        return 'jsonrpc must be "2.0"'
    if string(envelope.method) is None:
        return "method must be a string"
    if bytes(envelope.id) and not _is_id(envelope.id):
        return "id must be a string, a number or null"
    if present(envelope.params) and bytes(envelope.params)[:1] not in b"{[":
        return "params must be an object"
    return ""


def _is_id(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return text == b"null" or text[:1] in (b'"', b"-") or text[:1].isdigit()
