"""Messages that wait for a browser: the newest of each topic, until their time to live is over."""

import msgspec

MAX_MESSAGES = 2_000


class Message(msgspec.Struct, gc=False):
    """A message that was taken. `replaced` counts those of the same topic that it took the place of."""

    id: str
    endpoint: str
    topic: str
    urgency: str
    ttl: int
    received_at: float
    payload: object
    error: str = ""
    replaced: int = 0


class Messages:
    """The newest 2,000. One takes the place of another with its topic; one without time to live does not wait."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], Message] = {}

    def put(self, message: Message) -> None:
        """Let a message wait."""
        key = (message.endpoint, f"topic:{message.topic}" if message.topic else message.id)
        older = self._waiting.pop(key, None)
        if older is not None and older.received_at + older.ttl > message.received_at:
            message.replaced = older.replaced + 1
        if message.ttl == 0:
            return
        while len(self._waiting) >= MAX_MESSAGES:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = message

    def waiting(self, endpoint: str | None, now: float, limit: int) -> list[Message]:
        """What a browser would get that comes now, oldest first; of one endpoint or of all."""
        found = [
            message
            for message in self._waiting.values()
            if endpoint in (None, message.endpoint) and message.received_at + message.ttl > now
        ]
        return found[:limit]

    def clear(self) -> None:
        """Forget all messages."""
        self._waiting.clear()
