"""What providers hand to a pool: a shared head, and groups of requests that take their answers by callback."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from .errors import Failure, ProtocolViolation
from .fields import Fields, Lookup, decode, regular, stateless_decoder

_lookup = lru_cache(maxsize=64)(Lookup)
_VISIBLE = bytes(range(0x21, 0x7F))
_VALUE_LIMIT = 2048
_FIELDS_LIMIT = 8192
"""Fields, path and id together stay below the 16,384 bytes of one frame, so a request never needs CONTINUATION."""


class Link(Protocol):
    """The connection an answer came over, as far as a provider may touch it."""

    def retire(self, reason: str) -> None:
        """Open no more streams on this connection; it closes when the last answer is in."""


class Answer:
    """A complete response: status, header fields, and the kept part of the body.

    `headers` may be given as a block, which is decoded when somebody asks for fields: few do.
    """

    __slots__ = ("_fields", "body", "connection", "status")

    def __init__(self, status: int, headers: Fields | bytes, body: bytes, connection: Link) -> None:
        self.status = status
        self._fields = headers
        self.body = body
        self.connection = connection

    @property
    def headers(self) -> Fields:
        """Header fields in wire order, names in lower case; none if the block cannot be decoded."""
        if isinstance(self._fields, bytes):
            try:
                self._fields = regular(decode(stateless_decoder(), self._fields))
            except ProtocolViolation:
                self._fields = []
        return self._fields

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field, or None; `name` in lower case. Costs less than all fields, see `Lookup`."""
        if isinstance(self._fields, bytes):
            try:
                return _lookup(name).find(self._fields)
            except ProtocolViolation:
                return None
        return next((value for field, value in self.headers if field == name), None)


class Head:
    """Header fields shared by many requests of one push and credential. Compared by identity, so build it once.

    Each connection encodes it once: values in `fields` (authorization, apns-topic) enter the peer's HPACK table and
    cost one byte afterwards; values in `own_fields` belong to this push (apns-expiration, apns-collapse-id) and are
    sent as they are, so that they push nothing out of the table. `path` is the fixed beginning of `:path`, or all of
    it when the group has no `paths`. `id_name` names the field that varies by request (apns-id), sent last.
    A changed bearer token is a new Head. Names must be lower case and values free of line breaks.
    """

    __slots__ = ("authority", "fields", "id_name", "own_fields", "path", "scheme")

    def __init__(
        self,
        authority: bytes,
        path: bytes,
        fields: Sequence[tuple[bytes, bytes]],
        *,
        own_fields: Sequence[tuple[bytes, bytes]] = (),
        id_name: bytes | None = None,
        scheme: bytes = b"https",
    ) -> None:
        _check([(b":authority", authority), (b":path", path), *fields, *own_fields, (id_name or b"x", b"")])
        if _unfit((path, authority)) or scheme not in (b"https", b"http"):
            raise ValueError("path or authority not fit for HTTP/2")
        self.authority = authority
        self.path = path
        self.fields = tuple(fields)
        self.own_fields = tuple(own_fields)
        self.id_name = id_name
        self.scheme = scheme

    def __repr__(self) -> str:
        return f"<Head {len(self.fields) + len(self.own_fields)} fields>"


def _unfit(values: Sequence[bytes] | None) -> bool:
    """Whether a value is too long for one HEADERS frame or has characters that an HTTP/1 hop could misread."""
    return values is not None and (
        bool(b"".join(values).translate(None, _VISIBLE)) or max(map(len, values), default=0) > _VALUE_LIMIT
    )


def _check(fields: list[tuple[bytes, bytes]]) -> None:
    """Refuse what could smuggle another field into the request; the value is not repeated in the error."""
    if sum(len(name) + len(value) for name, value in fields) > _FIELDS_LIMIT:
        raise ValueError("header fields too large")
    for name, value in fields:
        if not name or name != name.lower() or any(c in value for c in b"\r\n\0"):
            raise ValueError(f"header field not fit for HTTP/2: {name!r}")


class Group:
    """A batch of POST requests, index 0 to count - 1, submitted as one. Providers subclass it for the callbacks.

    Every index gets exactly one call of `on_ok`, `on_answer` or `on_failure`, from the event loop; they must be quick
    and not raise. Attributes are read while the group is sent and must not change after `submit`.

    - `paths`: the end of `:path` for each request, after `head.path`; None when the path is fixed.
    - `ids`: value of `head.id_name` for each request; None when the head names none.
    - `bodies`: one body for all (bytes), or one for each request.
    - `expires_at`: Unix time after which a request not yet written is not written any more, or None.
    - `timeout`: seconds from writing to the complete answer, or None for the pool's.
    - `urgent`: goes before groups that are not.
    - `wants_headers`: 200 answers go to `on_answer` with decoded headers too (slower).
    """

    __slots__ = (
        "bodies",
        "cancelled",
        "count",
        "expires_at",
        "head",
        "ids",
        "paths",
        "timeout",
        "urgent",
        "wants_headers",
    )

    def __init__(
        self,
        head: Head,
        count: int,
        bodies: bytes | Sequence[bytes],
        *,
        paths: Sequence[bytes] | None = None,
        ids: Sequence[bytes] | None = None,
        expires_at: float | None = None,
        timeout: float | None = None,
        urgent: bool = False,
        wants_headers: bool = False,
    ) -> None:
        if (ids is None) != (head.id_name is None):
            raise ValueError("ids and head.id_name go together")
        if _unfit(paths) or _unfit(ids):
            raise ValueError("paths and ids must be visible ASCII without spaces, and short")
        if not isinstance(bodies, bytes):
            b"".join(bodies)  # raises TypeError here rather than on a connection
        if any(len(part) != count for part in (bodies, paths, ids) if part is not None and not isinstance(part, bytes)):
            raise ValueError("paths, ids and bodies must have one entry for each request")
        self.head = head
        self.count = count
        self.bodies = bodies
        self.paths = paths
        self.ids = ids
        self.expires_at = expires_at
        self.timeout = timeout
        self.urgent = urgent
        self.wants_headers = wants_headers
        self.cancelled = False

    def on_ok(self, index: int, body: bytes) -> None:
        """Status 200; `body` is empty for APNs, JSON for FCM."""
        raise NotImplementedError

    def on_answer(self, index: int, answer: Answer) -> None:
        """Any other status (201 of Web Push, 4xx, 5xx), and 200 when `wants_headers`."""
        raise NotImplementedError

    def on_failure(self, index: int, failure: Failure) -> None:
        """No answer; `failure.kind` says what is known about the request."""
        raise NotImplementedError
