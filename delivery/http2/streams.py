"""The open streams of a connection: which request of which group each one carries."""

from collections.abc import Callable

from . import frames
from .errors import ProtocolViolation
from .group import Group, Head

LAST_ID = frames.LAST_STREAM
"""Stream ids only grow (RFC 9113, section 5.1.1); a connection that has used this one takes no more requests."""


class Run:
    """Neighbouring requests written at once: stream `2 * (index + offset) + 1` carries the group's `index`."""

    __slots__ = ("group", "head", "offset", "on_ok", "tries")

    def __init__(self, group: Group, head: Head, tries: int, first_stream: int, first_index: int) -> None:
        self.group = group
        self.head = head
        self.tries = tries
        self.offset = (first_stream >> 1) - first_index
        self.on_ok: Callable[[int, bytes], None] | None = None if group.wants_headers else group.on_ok

    def index(self, stream: int) -> int:
        """The request of the group that the stream carries."""
        return (stream >> 1) - self.offset


class Streams:
    """`open` maps stream ids to runs, in order of sending; `next_id` is the next request's."""

    __slots__ = ("next_id", "open")

    def __init__(self, first_id: int = 1) -> None:
        self.open: dict[int, Run] = {}
        self.next_id = first_id

    def left(self) -> int:
        """How many streams the connection can still open before its ids are used up."""
        return (LAST_ID - self.next_id) // 2 + 1

    def start(self, run: Run, count: int) -> range:
        """Open `count` streams for the run and return their ids."""
        ids = range(self.next_id, self.next_id + 2 * count, 2)
        self.open.update(dict.fromkeys(ids, run))
        self.next_id = ids.stop
        return ids

    def require_known(self, stream: int) -> None:
        """Refuse frames on streams that we never opened; those that ended are tombstones, their frames are late."""
        if not stream & 1 or stream >= self.next_id:
            raise ProtocolViolation(frames.PROTOCOL_ERROR, "frame on a stream that was never opened")
