"""What a method may use, beside its parameters."""

from dataclasses import dataclass, field

from delivery.guard import Allowed
from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from methods.callers import Caller
from methods.webpush_origins import BROWSERS
from storage.database import Database
from storage.vault import Vault


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What `info` says of this server; fixed when it starts."""

    version: str
    name: str
    started_at: float
    emulators: dict[str, str] = field(default_factory=dict)  # provider → URL of its control port
    queue: str = "postgresql"  # what keeps the order of the queue


@dataclass(frozen=True, slots=True)
class Context:
    """One call: the resources of the process, who calls, and the bytes of the parameters as they came."""

    database: Database
    vault: Vault
    hints: Hints
    facts: ServerFacts
    caller: Caller
    body: bytes
    gate: Gate | None = None  # none: the queue takes whatever comes
    batch_size: int = 500
    private_hosts: Allowed = field(default_factory=Allowed)  # what a webhook may be on, besides public hosts
    webpush_origins: tuple[str, ...] = BROWSERS  # where Web Push subscriptions may be


__all__ = ["Caller", "Context", "ServerFacts"]
