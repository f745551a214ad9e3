"""One request and its answer, whatever the wire version, and how a scripted fault changes what happens between them."""

from typing import Protocol

import msgspec

from emulators.faults import Action, Goaway

PUSH = "push"


class Request(msgspec.Struct, gc=False):
    """A complete request as it arrived. Header names are lower case; a repeated one keeps its last value.

    `body` holds at most the server's body limit, `body_length` what was really sent. The rest is filled in by the
    service that reads the request: `recipients` are all tokens where there can be several (`token` is the first),
    `error` says why an encrypted body, which is replaced by what it says, could not be read.
    """

    connection_id: int
    stream_id: int
    http_version: str
    method: str
    path: str
    headers: dict[str, str]
    repeated: frozenset[str]
    body: bytes
    body_length: int
    received_at: float
    kind: str = ""
    token: str = ""
    message_id: str = ""
    payload: object = None
    recipients: tuple[str, ...] = ()
    error: str = ""


class Answer(msgspec.Struct):
    """What goes back: status, headers and body, plus how the body is cut into frames on HTTP/2.

    `reason` is the name under which it is counted, `accepted` whether the emulated provider took the message; `refused`
    are recipients for which it did not take it all the same.
    """

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    reason: str = ""
    accepted: bool = False
    refused: frozenset[str] = frozenset()
    empty_tail: bool = False
    split_body: bool = False
    pad_length: int = 0
    informational: int = 0
    trailers: bool = False

    def chunks(self) -> list[bytes]:
        """The body as the DATA frames it is sent in; an empty list when there is no body."""
        if not self.body:
            return []
        middle = len(self.body) // 2
        parts = [self.body[:middle], self.body[middle:]] if self.split_body and middle else [self.body]
        return [*parts, b""] if self.empty_tail else parts


class Connection(Protocol):
    """What a service and a fault can do to a connection; HTTP/1.1 does the nearest thing it has."""

    connection_id: int
    muted_by: str  # the fault since which the client hears nothing; '' without one

    def respond(self, stream_id: int, answer: Answer) -> None:
        """Send the answer; nothing happens when the stream is gone."""

    def respond_later(self, stream_id: int, seconds: float, answer: Answer) -> None:
        """Send the answer after a delay, unless the stream or the connection goes away before."""

    def reset(self, stream_id: int, error_code: int) -> None:
        """End one stream with RST_STREAM."""

    def goaway(self, stream_id: int, last: int | str, error_code: int, debug: bytes) -> bool:
        """Announce the end of the connection; true when the given stream is still going to be processed."""

    def limit_streams(self, count: int) -> None:
        """Announce another MAX_CONCURRENT_STREAMS and refuse what exceeds it."""

    def raise_streams(self, count: int) -> None:
        """Announce another MAX_CONCURRENT_STREAMS, unless it was changed before."""

    def ping(self) -> None:
        """Send a PING to the client."""

    def stall(self) -> None:
        """Stop reading and writing and leave the connection open."""

    def stop_reading(self) -> None:
        """Stop reading; answers still go out."""

    def end_sending(self) -> None:
        """Close the sending side (FIN) and read on."""

    def abort(self) -> None:
        """Drop the connection without a word."""


class Service(Protocol):
    """What answers requests: reads one, may choose a fault for it, and decides the answer."""

    def choose(self, request: Request) -> Action:
        """Read the request (its kind, token and payload) and pick the fault that applies to it."""

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """Process the request and count it; `untold` names the fault that keeps the answer from the client."""

    def ignored(self, request: Request, why: str) -> None:
        """Count a request that was not processed because of a fault."""

    def goaway_debug(self, goaway: Goaway) -> bytes:
        """The debug data of a GOAWAY in the words of this provider."""


def perform(service: Service, connection: Connection, request: Request) -> None:
    """Take one request through its fault, its processing and its answer."""
    action = service.choose(request)
    if action.shrink_settings is not None:
        connection.limit_streams(action.shrink_settings.max_concurrent_streams)
    if _stopped(service, connection, request, action):
        return
    untold = action.untold or connection.muted_by
    answer = service.answer(request, action, untold)
    if action.stop_reading:
        connection.stop_reading()
    if action.drop_after_body:
        connection.abort()
    elif action.end_sending:
        connection.end_sending()
    elif action.delay_ms and not untold:
        connection.respond_later(request.stream_id, action.delay_ms / 1000, answer)
    elif not untold:
        connection.respond(request.stream_id, answer)


def _stopped(service: Service, connection: Connection, request: Request, action: Action) -> bool:
    """Apply the faults that keep a request from being processed; true when one did."""
    if action.goaway is not None:
        goaway = action.goaway
        debug = service.goaway_debug(goaway)
        if not connection.goaway(request.stream_id, goaway.last_stream_id, goaway.code, debug):
            service.ignored(request, "goaway")
            return True
    if action.rst_stream is not None:
        service.ignored(request, "rst_stream")
        connection.reset(request.stream_id, action.reset_code)
    elif action.drop_connection:
        service.ignored(request, "drop_connection")
        connection.abort()
    elif action.stall_connection:
        service.ignored(request, "stall_connection")
        connection.stall()
    else:
        return False
    return True
