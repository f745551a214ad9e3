"""What waits to be written: groups in order, and single requests that go again. Connections pull from here."""

import time
from collections import deque
from collections.abc import Callable

from .errors import Failure, FailureKind
from .group import Group, Head, Link
from .reports import report_failure

CANCELLED = Failure(FailureKind.NOT_SENT, "cancelled")
EXPIRED = Failure(FailureKind.EXPIRED, "expired before it was sent")


class Piece:
    """Neighbouring requests of a group that wait: `start` moves up to `stop` as they are written."""

    __slots__ = ("avoid", "group", "head", "start", "stop", "tries")

    def __init__(
        self, group: Group, start: int, stop: int, head: Head, *, tries: int = 0, avoid: Link | None = None
    ) -> None:
        self.group = group
        self.start = start
        self.stop = stop
        self.head = head
        self.tries = tries
        self.avoid = avoid


class Backlog:
    """Three lanes: requests that go again, urgent groups, the rest; within a lane first come, first served."""

    __slots__ = ("_again", "_normal", "_urgent", "queued")

    def __init__(self) -> None:
        self._again: deque[Piece] = deque()
        self._urgent: deque[Piece] = deque()
        self._normal: deque[Piece] = deque()
        self.queued = 0

    def add(self, group: Group) -> None:
        """Queue all requests of the group."""
        if group.count:
            lane = self._urgent if group.urgent else self._normal
            lane.append(Piece(group, 0, group.count, group.head))
            self.queued += group.count

    def add_again(self, piece: Piece) -> None:
        """Queue one request in front of everything, for another connection than `piece.avoid` if there is one."""
        self._again.append(piece)
        self.queued += piece.stop - piece.start

    def next(self, connection: Link, alone: bool) -> Piece | None:
        """The piece to write from next; expired ones are reported on the way. `alone`: no other connection serves."""
        now = time.time()
        for lane in (self._again, self._urgent, self._normal):
            while lane:
                piece = lane[0]
                if piece.avoid is connection and not alone:
                    break
                expires_at = piece.group.expires_at
                if expires_at is None or expires_at > now:
                    return piece
                lane.popleft()
                self._report(piece, EXPIRED)
        return None

    def written(self, piece: Piece, count: int) -> None:
        """Note that the first `count` requests of a piece from `next` are on their way."""
        self.queued -= count
        piece.start += count
        if piece.start == piece.stop:
            for lane in (self._again, self._urgent, self._normal):
                if lane and lane[0] is piece:
                    lane.popleft()
                    return

    def cancel(self, group: Group) -> None:
        """Report what waits of the group as NOT_SENT."""
        self._drop(lambda piece: piece.group is group, CANCELLED)

    def expire(self, now: float) -> None:
        """Report what waits beyond its group's `expires_at` (Unix time)."""
        self._drop(lambda piece: piece.group.expires_at is not None and piece.group.expires_at <= now, EXPIRED)

    def fail(self, failure: Failure) -> None:
        """Report everything that waits."""
        self._drop(lambda _: True, failure)

    def _drop(self, wanted: Callable[[Piece], bool], failure: Failure) -> None:
        dropped: list[Piece] = []
        for lane in (self._again, self._urgent, self._normal):
            hit = [piece for piece in lane if wanted(piece)]
            if hit:
                kept = [piece for piece in lane if not wanted(piece)]
                lane.clear()
                lane.extend(kept)
                dropped += hit
        for piece in dropped:
            self._report(piece, failure)

    def _report(self, piece: Piece, failure: Failure) -> None:
        self.queued -= piece.stop - piece.start
        for index in range(piece.start, piece.stop):
            report_failure(piece.group, index, failure)
