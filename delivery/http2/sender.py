"""Writes requests: many at a time when bodies fit the windows, in parts when one does not (RFC 9113, section 5.2)."""

from itertools import repeat

from . import frames
from .backlog import Piece
from .errors import ProtocolViolation
from .heads import HeadEncoder
from .streams import Run, Streams

_HEADERS = frames.HEADERS << 8 | frames.END_HEADERS
_LAST_DATA = frames.DATA << 8 | frames.END_STREAM


class Unsent:
    """The rest of a body that waits for window."""

    __slots__ = ("rest", "window")

    def __init__(self, body: bytes, window: int) -> None:
        self.rest = memoryview(body)
        self.window = window


class Sender:
    """The sending half of a connection; frames are appended to `out`, which the connection writes.

    `window` is the connection's send window, `stream_window` what a new stream starts with (it may turn negative for
    open ones). A request whose body fits both is written whole; others keep their rest in `unsent`.
    """

    __slots__ = ("encoder", "out", "stream_window", "streams", "unsent", "window")

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.encoder = HeadEncoder()
        self.out: list[bytes] = []
        self.window = self.stream_window = frames.DEFAULT_WINDOW
        self.unsent: dict[int, Unsent] = {}

    def send(self, piece: Piece, room: int) -> range:
        """Write up to `room` requests of the piece; returns their streams: fewer, or none, if the window is short."""
        bodies = piece.group.bodies
        size = len(bodies if isinstance(bodies, bytes) else bodies[piece.start])
        whole = min(self.stream_window, frames.FRAME_LIMIT)
        if size <= whole and size <= self.window:
            count = self._write_whole(piece, min(room, piece.stop - piece.start), whole)
        elif size > whole or not self.streams.open:
            count = self._write_part(piece) if self.window > 0 else 0
        else:
            count = 0
        run = Run(piece.group, piece.head, piece.tries, self.streams.next_id, piece.start)
        return self.streams.start(run, count)

    def _write_whole(self, piece: Piece, count: int, whole: int) -> int:
        group, start = piece.group, piece.start
        template, once = self.encoder.template(piece.head, group.ids[start] if group.ids is not None else b"")
        count = 1 if once else count
        stop = start + count
        first = stream = self.streams.next_id
        window, out, pack = self.window, self.out, frames.pack_head
        bodies = repeat(group.bodies, count) if isinstance(group.bodies, bytes) else group.bodies[start:stop]
        paths = repeat(b"", count) if group.paths is None else group.paths[start:stop]
        ids = repeat(b"", count) if group.ids is None else group.ids[start:stop]
        path_size = id_size = -1
        for path, own_id, body in zip(paths, ids, bodies, strict=False):
            size = len(body)
            if size > window or size > whole:
                break
            if len(path) != path_size or len(own_id) != id_size:
                path_size, id_size = len(path), len(own_id)
                block_size, before, after = template.fit(path_size, None if group.ids is None else id_size)
            out += (
                pack(block_size, _HEADERS, stream),
                before,
                path,
                after,
                own_id,
                pack(size, _LAST_DATA, stream),
                body,
            )
            window -= size
            stream += 2
        self.window = window
        return (stream - first) // 2

    def _write_part(self, piece: Piece) -> int:
        """Write the head of one request and as much of its body as the windows allow."""
        group, index, stream = piece.group, piece.start, self.streams.next_id
        path = b"" if group.paths is None else group.paths[index]
        own_id = b"" if group.ids is None else group.ids[index]
        template, _ = self.encoder.template(piece.head, own_id)
        size, before, after = template.fit(len(path), None if group.ids is None else len(own_id))
        self.out += (frames.pack_head(size, _HEADERS, stream), before, path, after, own_id)
        body = group.bodies if isinstance(group.bodies, bytes) else group.bodies[index]
        self.unsent[stream] = Unsent(body, self.stream_window)
        self._continue_body(stream, self.unsent[stream])
        return 1

    def continue_bodies(self) -> None:
        """Write on where windows have opened; streams that ended before their body did are cancelled."""
        for stream, unsent in list(self.unsent.items()):
            if stream in self.streams.open:
                self._continue_body(stream, unsent)
            else:
                self.give_up(stream, frames.NO_ERROR)

    def give_up(self, stream: int, code: int) -> None:
        """Forget the rest of a body and reset its stream."""
        self.unsent.pop(stream, None)
        self.out.append(frames.reset(stream, code))

    def _continue_body(self, stream: int, unsent: Unsent) -> None:
        while (size := min(len(unsent.rest), unsent.window, self.window, frames.FRAME_LIMIT)) > 0:
            part, unsent.rest = unsent.rest[:size], unsent.rest[size:]
            unsent.window -= size
            self.window -= size
            flags = 0 if unsent.rest else frames.END_STREAM
            self.out.append(frames.frame(frames.DATA, flags, stream, bytes(part)))
        if not unsent.rest:
            del self.unsent[stream]

    def open_window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE. An overflow of one stream's window is reported as the connection's: no honest peer does it."""
        if not increment:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "window update of zero")
        if not stream:
            self.window += increment
            largest = self.window
        else:
            unsent = self.unsent.get(stream)
            if unsent is None:
                return
            unsent.window += increment
            largest = unsent.window
        if largest > frames.LARGEST_WINDOW:
            raise ProtocolViolation(frames.FLOW_CONTROL_ERROR, "send window overflow")

    def resize_stream_windows(self, size: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE: applies to open streams by its difference, so a window may turn negative."""
        if size > frames.LARGEST_WINDOW:
            raise ProtocolViolation(frames.FLOW_CONTROL_ERROR, "initial window too large")
        difference = size - self.stream_window
        self.stream_window = size
        for unsent in self.unsent.values():
            unsent.window += difference
            if unsent.window > frames.LARGEST_WINDOW:
                raise ProtocolViolation(frames.FLOW_CONTROL_ERROR, "send window overflow")
