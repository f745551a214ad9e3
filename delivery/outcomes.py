"""What can come of sending to one recipient; every provider's answers map to these (providers.md section 9)."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The outcome of one attempt at one recipient."""

    ACCEPTED = "accepted"  # the provider took it
    FAILED = "failed"  # it will never be taken; the token stays
    DEAD = "dead"  # failed, and the token is dead if it was last registered before `proof_at`
    RETRY = "retry"  # not taken now; send again later
    UNKNOWN = "unknown"  # the body was sent and no answer came: it may have been taken
    EXPIRED = "expired"  # its time was over before it could be sent
    CANCELLED = "cancelled"  # the push was cancelled before it was sent
    RELEASED = "released"  # never left this process: given back to the queue as it was
    HELD = "held"  # it may not be sent yet: given back to the queue until `due_at`
    DROPPED = "dropped"  # it may not be sent, and the push does not want it later
    SUPPRESSED = "suppressed"  # its recipient does not want it


@dataclass(frozen=True, slots=True)
class Pause:
    """A credential, or the part of it named by `scope`, must stop sending.

    `trouble` is something an operator must see (wrong key, wrong project); `throttle` is the provider asking for
    less. `seconds` is the time to the next probe, None for the default backoff.
    """

    kind: str  # "trouble" or "throttle"
    scope: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one recipient, and what must follow.

    `reason` is the provider's own word (`BadDeviceToken`, `UNREGISTERED`) or ours (`Timeout`); `status` the HTTP
    status, 0 without an answer. `retry_after_seconds` is the provider's wish, `backoff_base_seconds` the first step
    of the exponential backoff without one. `proof_at` (Unix seconds) says when a dead token is known to have been
    dead. `counts_as_attempt` is False when the message was not at fault (credential trouble, throttle). `due_at` (Unix
    seconds) is when what is held may be sent.
    """

    kind: Kind
    reason: str = ""
    status: int = 0
    retry_after_seconds: float | None = None
    backoff_base_seconds: float = 1.0
    proof_at: float | None = None
    pause: Pause | None = None
    counts_as_attempt: bool = True
    due_at: float | None = None
