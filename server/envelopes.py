"""The forms a request may have on `POST /api`, as pure functions: bytes to calls, replies to bytes.

A document is one JSON value of the body. A body holds one document, or several concatenated or on lines of their own
(the stream). Documents are plain (`method`, `params`), strict JSON-RPC 2.0 (`jsonrpc` is present), or an array of
strict ones. Parameters stay the bytes that came in.
"""

import re
from dataclasses import dataclass

import msgspec

from methods.errors import BadRequestError
from methods.replies import ErrorObject, Reply, error_object
from server.validation import repaired, too_deep

MAX_STREAM = 1000
MAX_ARRAY = 100


class MalformedError(Exception):
    """The body is not JSON; `strict` when it begins like JSON-RPC 2.0 and so gets that form's answer."""

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__("malformed JSON")
        self.strict = strict


class Envelope(msgspec.Struct):
    """The members of a call, each as the bytes that came in; empty when absent."""

    method: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    jsonrpc: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Plain:
    """A call in the default form; `id` is what to echo, empty when none was given."""

    method: str
    params: bytes
    id: bytes


@dataclass(frozen=True, slots=True)
class Strict:
    """One item of JSON-RPC 2.0, not validated yet; None stands for what is not an object."""

    envelope: Envelope | None


@dataclass(frozen=True, slots=True)
class StrictArray:
    """A JSON-RPC 2.0 batch."""

    items: list[Strict]


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that is no call, and why."""

    error: ErrorObject
    id: bytes = b""


Document = Plain | Strict | StrictArray | Refused

_ENVELOPE = msgspec.json.Decoder(Envelope)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(msgspec.Raw)
_TEXT = msgspec.json.Decoder(str)
_ENCODER = msgspec.json.Encoder()

_NO_METHOD = (b"", b"null", b'""')
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_WHITESPACE = b" \t\r\n"
_BEGINS_STRICT = re.compile(rb'\s*(?:\[|\{.{0,1000}"jsonrpc"\s*:)', re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parse(body: bytes) -> list[Document]:
    """Read every document of a body; MalformedError when any part of it is not JSON, so that nothing is half done."""
    strict = _BEGINS_STRICT.match(body) is not None
    try:
        return _documents(text_of(body))
    except RecursionError:
        if strict:
            raise MalformedError(strict=True) from None
        return [Refused(error_object(too_deep()))]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedError(strict=strict) from None


def parse_params(body: bytes) -> bytes:
    """Read a body that is the parameters themselves (`/api/<method>`); an empty one means none.

    Raises MalformedError when it is not JSON, BadRequestError when it is nested without end.
    """
    try:
        text = text_of(body)
        return bytes(_ANY.decode(text)) if text.strip(_WHITESPACE) else b""
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedError from None


def text_of(body: bytes) -> bytes:
    r"""Return a body as msgspec takes it: UTF-8 (UnicodeDecodeError otherwise), no lone halves of surrogate pairs."""
    if not body.isascii():
        body.decode()
    return repaired(body) if b"\\ud" in body or b"\\uD" in body else body


def _documents(body: bytes) -> list[Document]:
    try:
        return [_document(body)]
    except msgspec.DecodeError:
        parts = _split(body)
        if len(parts) < 2:
            raise
    if len(parts) > MAX_STREAM:
        return [Refused(error_object(BadRequestError(f"a stream holds at most {MAX_STREAM} calls")))]
    return [_document(part) for part in parts]


def _document(text: bytes) -> Document:
    first = text.lstrip(_WHITESPACE)[:1]
    if first == b"{":
        return _call(_ENVELOPE.decode(text))
    if first == b"[":
        return StrictArray([Strict(_item(raw)) for raw in _ARRAY.decode(text)])
    _ANY.decode(text)
    return Refused(error_object(BadRequestError("a call is an object with `method` and `params`")))


def _item(raw: msgspec.Raw) -> Envelope | None:
    return _ENVELOPE.decode(raw) if bytes(raw).startswith(b"{") else None


def _call(envelope: Envelope) -> Document:
    if present(envelope.jsonrpc):
        return Strict(envelope)
    call_id = bytes(envelope.id) if present(envelope.id) else b""
    if bytes(envelope.method) in _NO_METHOD:
        return Refused(error_object(BadRequestError("method is required", path="method")), call_id)
    method = string(envelope.method)
    if method is None:
        return Refused(error_object(BadRequestError("expected a string", path="method")), call_id)
    return Plain(method, bytes(envelope.params), call_id)


def present(raw: msgspec.Raw) -> bool:
    """Whether a member was given: null means absent."""
    return bytes(raw) not in (b"", b"null")


def string(raw: msgspec.Raw) -> str | None:
    """Return the text of a member, None when it is not a string."""
    try:
        return _TEXT.decode(raw)
    except msgspec.DecodeError:
        return None


def _split(body: bytes) -> list[bytes]:
    """Cut a stream of objects where the outermost bracket closes; what lies between two must be white space."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(body):
        kind = token[0][:1]
        depth += kind in b"{["
        depth -= kind in b"}]"
        if depth == 0 and kind in b"}]":
            parts.append(body[start : token.end()])
            start = token.end()
    if body[start:].strip(_WHITESPACE):
        parts.append(body[start:])
    return parts


def plain(reply: Reply, call_id: bytes = b"") -> bytes:
    """Write a reply in the default form, with the id that was given."""
    head = b'{"id":' + call_id + b"," if call_id else b"{"
    if isinstance(reply, ErrorObject):
        return head + b'"error":' + _ENCODER.encode(reply) + b"}"
    return head + b'"result":' + reply + b"}"


def stream(answers: list[bytes]) -> bytes:
    """Write the answers of a body, one a line: an id that came in over several lines goes out on one."""
    if len(answers) == 1:
        return answers[0]
    return b"\n".join(answer.translate(_ON_ONE_LINE) for answer in answers)


def bare(reply: Reply) -> bytes:
    """Write a reply of `/api/batch`: the result has nothing around it."""
    return plain(reply) if isinstance(reply, ErrorObject) else reply


def transport(error: ErrorObject) -> bytes:
    """Write an error whose code is said by the HTTP status as well."""
    return _ENCODER.encode({"code": error.code, "message": error.message})
