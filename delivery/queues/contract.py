"""What the engine asks of a queue. Every engine passes the same suite (tests/delivery/queues/)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from delivery.batches import Batch, Results
from delivery.outcomes import Pause


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed batch, and its push: cancelled or paused, and what is needed to render it when it was not known."""

    batch: Batch
    request: bytes | None
    cancelled: bool
    paused: bool = False
    uid: str = ""
    analytics_uid: str = ""


class Queue(Protocol):
    """Batches wait here until one worker claims each; a claim is a lease.

    A batch that is claimed and not settled before its lease ends can be claimed again, with `abandoned` set. Settling
    is all or nothing and is refused for a batch whose lease went to somebody else.
    """

    def noticed(self) -> None:
        """Be told that there may be new work."""

    async def run(self) -> None:
        """Look after what the engine has besides the database, until cancelled; may end at once."""

    async def claim(self, room: Mapping[str, int], known: Sequence[str], *, only_urgent: bool = False) -> list[Claim]:
        """Claim due batches: `room` is credential → recipients; `known` are pushes whose request is at hand."""

    async def claim_probe(self, credentials: Sequence[str], known: Sequence[str]) -> list[Claim]:
        """Claim one batch behind a pause whose next probe is due."""

    async def claim_ended(self) -> list[Claim]:
        """Claim batches that can only end: their credential is gone, or their time is over behind a pause."""

    async def extend(self, batches: Sequence[int], pushes: Sequence[str]) -> list[str]:
        """Keep these leases; tell which of these pushes are cancelled or paused."""

    async def settle(self, results: Sequence[Results]) -> int:
        """Write what came of these batches; how many of them were no longer ours."""

    async def pause(self, credential: str, pause: Pause, reason: str, *, version: int | None, again: bool) -> None:
        """Stop a credential or a scope of it, if it still is the version that had the trouble."""

    async def note_admitted(self, batch: Batch, admitted: Sequence[bool]) -> None:
        """Write down whom the push's limits have let pass, in the order of the recipients."""

    async def set_free(self, ahead_seconds: float) -> tuple[int, int]:
        """Let batches of pushes with a rate of their own go: (batches set free, such pushes)."""

    async def paused(self) -> dict[tuple[str, str], str]:
        """The pauses in force: (credential, scope) → reason."""

    async def lift_pause(self, credential: str, scopes: Sequence[str], version: int | None = None) -> list[str]:
        """End these pauses of a credential, if it still is this version (None = any); the scopes that were paused."""

    async def lift_idle_pauses(self) -> list[tuple[str, str]]:
        """End the pauses that end by themselves: (credential, scope)."""
