"""What a method may use, beside its parameters."""

from dataclasses import dataclass, field

from delivery.queues.gate import Gate
from delivery.queues.hints import Hints
from storage.database import Database
from storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of the API key, and the methods it may call (none named: all).

    `reports`: an app without a key, which may report what its receipt token is for and nothing else.
    """

    key_name: str = ""
    methods: frozenset[str] = frozenset()
    reports: bool = False

    def may_call(self, method: str) -> bool:
        """Whether this key may call a method; `batch` always, because its commands are judged one by one."""
        return not self.methods or method in self.methods or method == "batch"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What `info` says of this server; fixed when it starts."""

    version: str
    name: str
    started_at: float
    emulators: dict[str, str] = field(default_factory=dict)  # provider → URL of its control port


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
