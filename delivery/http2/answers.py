"""Answers that are not the common case: other statuses, split bodies, trailers, 1xx, header blocks with state."""

from .fields import (
    Fields,
    MalformedAnswer,
    StatusReader,
    decode,
    regular,
    stateful_decoder,
    stateless_decoder,
    status_of,
)
from .group import Answer, Link
from .reports import report_answer, report_ok
from .streams import Run, Streams


class Partial:
    """An answer whose headers are in (decoded or as a block) and whose end is not."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Fields | bytes, body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = bytearray(body)


class Answers:
    """Puts answers together, frame by frame.

    `begun` holds the streams that got a plain 200 head and at most one DATA frame: the receiver's fast path keeps
    it. Whatever else happens to a stream is in `_partial`.
    """

    __slots__ = ("_decoder", "_link", "_max_body", "_partial", "_statuses", "_streams", "begun")

    def __init__(self, streams: Streams, link: Link, max_body_bytes: int) -> None:
        self._streams = streams
        self._link = link
        self._max_body = max_body_bytes
        self._partial: dict[int, Partial] = {}
        self._decoder = stateful_decoder()
        self._statuses: StatusReader | None = None
        self.begun: dict[int, bytes] = {}

    def become_stateless(self) -> None:
        """The peer has acknowledged our header table of size 0: blocks stand for themselves from here on."""
        self._decoder = stateless_decoder()
        self._statuses = StatusReader()

    def forget(self, stream: int) -> None:
        """The stream ended without an answer."""
        self.begun.pop(stream, None)
        self._partial.pop(stream, None)

    def headers(self, stream: int, block: bytes, ended: bool) -> bool:
        """A header block: head, 1xx head or trailers. Returns whether it served an open stream.

        Before blocks are stateless each one is decoded, to keep in step. Raises MalformedAnswer or ProtocolViolation.
        """
        partial = self._partial_of(stream)
        if stream not in self._streams.open:
            self._status_and_fields(block)
            return False
        if partial is None:
            partial = self._begin(stream, *self._status_and_fields(block), ended)
        elif not ended:
            raise MalformedAnswer
        else:
            decode(self._decoder, block)
        if partial is not None and ended:
            self._finish(stream, partial)
        return partial is not None

    def _status_and_fields(self, block: bytes) -> tuple[int | None, Fields | bytes]:
        """The status, and the fields decoded or, if that is enough, the block to decode when somebody asks."""
        status = self._statuses.read(block) if self._statuses is not None else None
        if status is not None:
            return status, block
        return None, decode(self._decoder, block)

    def _begin(self, stream: int, status: int | None, fields: Fields | bytes, ended: bool) -> Partial | None:
        """The head of an answer; None for a 1xx, which has another head to follow."""
        if not isinstance(fields, bytes):
            status, fields = status_of(fields), regular(fields)
        if status is None or status < 200:
            if ended or status == 101:
                raise MalformedAnswer
            return None
        partial = Partial(status, fields)
        self._partial[stream] = partial
        return partial

    def data(self, stream: int, payload: bytes, ended: bool) -> bool:
        """Part of a body. Returns False if the body is too large: the answer is delivered as far as it is kept."""
        if stream not in self._streams.open:
            return True
        partial = self._partial_of(stream)
        if partial is None:
            raise MalformedAnswer
        partial.body += payload
        fits = len(partial.body) <= self._max_body
        if not fits:
            del partial.body[self._max_body :]
        if ended or not fits:
            self._finish(stream, partial)
        return fits or ended

    def _partial_of(self, stream: int) -> Partial | None:
        body = self.begun.pop(stream, None)
        if body is not None:
            self._partial[stream] = Partial(200, [], body)
        return self._partial.get(stream)

    def _finish(self, stream: int, partial: Partial) -> None:
        run: Run = self._streams.open.pop(stream)
        self._partial.pop(stream, None)
        index = run.index(stream)
        if partial.status == 200 and run.on_ok is not None:
            report_ok(run.group, index, bytes(partial.body))
        else:
            report_answer(run.group, index, Answer(partial.status, partial.headers, bytes(partial.body), self._link))
