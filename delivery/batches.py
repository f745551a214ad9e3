"""A claimed batch, and the results that come in for it."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from delivery.outcomes import Outcome


class Attributes(msgspec.Struct):
    """What a push asked to know of a recipient; `id` for raw tokens that a device here has."""

    id: str = ""
    user: str = ""
    account: str = ""
    meta: dict[str, str] | None = None
    badge: int | None = None


@dataclass(slots=True)
class Batch:
    """Up to a page of recipients of one push that one credential serves, claimed from the queue.

    `tokens` are the recipients' addresses in order; `target` says what they are (token, fid, topic, condition).
    Times are Unix seconds.
    """

    id: int
    push_id: str
    provider: str
    credential: str
    environment: str
    scope: str
    target: str
    lane: int
    attempt: int  # 1 for the first
    first_attempt_at: float
    claimed_at: float
    expire_at: float | None
    at_most_once: bool
    abandoned: bool  # an earlier claim ended without a word: its sends may have gone out
    tokens: list[bytes]
    version: int | None = None  # of the credential, when it was claimed
    second_try: bool = False  # in the other environment than the devices were registered for
    platform: str = ""
    timezone: str = ""  # these four only where the push asks for them
    locale: str = ""
    device_ids: list[str] | None = None
    personal: bool = False  # the users of its devices have preferences
    attributes: list[Attributes] | None = None
    uid: str = ""  # of the push, as its sender knows it; there when it is rendered
    admitted: list[bool] | None = None  # whom the push's rate limits have let pass already
    ahead_seconds: float = 0.0  # of this host's clock before the database's, by which all times here are meant

    def device_id(self, position: int) -> str:
        """The device at this place; '' where it is not known, or the push does not ask for it."""
        if self.device_ids is not None:
            return self.device_ids[position]
        return self.attributes[position].id if self.attributes else ""

    def __repr__(self) -> str:
        return f"Batch(id={self.id}, push_id={self.push_id}, recipients={len(self.tokens)})"


class Results:
    """Collects one outcome for each recipient of a batch and calls `done` once, with the last of them.

    Accepted is the common case and costs one slot: `message_ids[position]` is set. Everything else is in
    `exceptions`. Each position is reported exactly once; a second report raises ValueError. `derived_ids` says that
    the message ids follow from batch, attempt and position, so that they need not be stored.
    """

    __slots__ = ("_done", "batch", "derived_ids", "exceptions", "message_ids", "remaining")

    def __init__(self, batch: Batch, done: "Callable[[Results], None]") -> None:
        self.batch = batch
        self.derived_ids = False
        self.message_ids: list[bytes | None] = [None] * len(batch.tokens)
        self.exceptions: dict[int, Outcome] = {}
        self.remaining = len(batch.tokens)
        self._done = done

    def __repr__(self) -> str:
        return f"Results(batch={self.batch.id}, remaining={self.remaining})"

    def accepted(self, position: int, message_id: bytes) -> None:
        """The provider took this one; `message_id` is its name for it (empty when it gives none, no newline)."""
        if self.message_ids[position] is not None or position in self.exceptions:
            raise ValueError("a second report for one recipient")
        self.message_ids[position] = message_id
        self.remaining -= 1
        if not self.remaining:
            self._done(self)

    def settled(self, position: int, outcome: Outcome) -> None:
        """Anything but accepted came of this one."""
        if self.message_ids[position] is not None or position in self.exceptions:
            raise ValueError("a second report for one recipient")
        self.exceptions[position] = outcome
        self.remaining -= 1
        if not self.remaining:
            self._done(self)
