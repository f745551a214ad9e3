"""What the emulator saw: counters, the newest requests, and how often each token and message arrived."""

import hashlib
from collections import Counter, deque
from collections.abc import Collection
from itertools import islice

import msgspec

from emulators.deliveries import Deliveries, Delivery
from emulators.exchange import PUSH, Request
from emulators.recorded import Entry, RecordedRequest

MAX_CREDENTIALS = 10_000
MAX_PROTOCOL_ERRORS = 100
MAX_NAMES = 1000
MAX_RING_BYTES = 64 * 1024 * 1024
_TEXT_BYTES = 60


class Counters(msgspec.Struct, kw_only=True):
    """A snapshot. Requests, statuses and reasons count pushes only; `by_kind` counts every request.

    `recipients` are all tokens of all pushes, `accepted_recipients` those that were taken; only HMS has several a push.
    `undecryptable` counts Web Push payloads that were taken and that no browser could read.
    `unanswered` counts pushes whose client was told nothing, by fault. `peak_streams` is the most open at once on one
    connection. `refused_streams` were over the limit in force, `streams_over_limit` over a limit the client had already
    acknowledged (its fault). `duplicate_tokens` and `duplicate_messages` are accepted more than once, as far as
    `arrivals_limit` counts them; `duplicate_deliveries` are of one message to one token, over a run of any length.
    """

    requests: int
    accepted: int
    recipients: int
    accepted_recipients: int
    undecryptable: int
    by_status: dict[str, int]
    by_reason: dict[str, int]
    by_kind: dict[str, int]
    unanswered: dict[str, int]
    connections_opened: int
    connections_open: int
    distinct_provider_tokens: int
    peak_streams: int
    refused_streams: int
    streams_over_limit: int
    ignored_after_goaway: int
    resets_received: int
    pings_received: int
    goaways_received: int
    goaways_sent: int
    protocol_errors: int
    newest_protocol_errors: list[str]
    duplicate_tokens: int
    duplicate_messages: int
    duplicate_deliveries: int


class Arrival(msgspec.Struct, gc=False):
    """How often a token or message arrived, and how often it was accepted."""

    arrived: int = 0
    accepted: int = 0


class Arrivals(msgspec.Struct, kw_only=True):
    """Arrivals by token and by message. `untracked` met a full table.

    A message is known by its apns-id; FCM: by a digest of the body; Web Push: of the decrypted payload; HMS: of the
    message without its tokens. So a message of the last two may well have arrived often.
    `deliveries` are messages that a token accepted more than once; of `forgotten` older ones a repetition is not seen.
    """

    tokens: dict[str, Arrival]
    messages: dict[str, Arrival]
    token_count: int
    message_count: int
    untracked: int
    deliveries: list[Delivery]
    forgotten: int


class _Table:
    """Arrivals by key, bounded."""

    def __init__(self, limit: int) -> None:
        self.rows: dict[str, Arrival] = {}
        self.duplicates = 0
        self._limit = limit

    def add(self, key: str, accepted: bool) -> bool:
        """Count one arrival; false when the table is full and the key new."""
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= self._limit:
                return False
            row = self.rows[key] = Arrival()
        row.arrived += 1
        if accepted:
            row.accepted += 1
            self.duplicates += row.accepted == 2
        return True

    def page(self, limit: int, duplicates_only: bool) -> dict[str, Arrival]:
        chosen = ((k, v) for k, v in self.rows.items() if v.accepted > 1 or not duplicates_only)
        return dict(islice(chosen, limit))


class Journal:
    """Everything that is counted, bounded: `ring_size` newest requests (64 MiB of bodies), `arrivals_limit` keys."""

    def __init__(self, ring_size: int = 10_000, arrivals_limit: int = 200_000) -> None:
        self._ring_size = ring_size
        self._arrivals_limit = arrivals_limit
        self.connections_open = 0
        self.reset()

    def reset(self) -> None:
        """Forget all but the connections that are open."""
        self.connections_opened = 0
        self.tally: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._by_kind: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._credentials: set[bytes] = set()
        self._protocol_errors: deque[str] = deque(maxlen=MAX_PROTOCOL_ERRORS)
        self._ring: deque[Entry] = deque()
        self._ring_bytes = 0
        self._tokens = _Table(self._arrivals_limit)
        self._messages = _Table(self._arrivals_limit)
        self._deliveries = Deliveries(self._arrivals_limit)

    def connection_opened(self) -> None:
        """Count a finished handshake."""
        self.connections_opened += 1
        self.connections_open += 1

    def connection_closed(self) -> None:
        """Count the end of a connection."""
        self.connections_open -= 1

    def streams_open(self, count: int) -> None:
        """Note how many streams one connection has open."""
        if count > self.tally["peak_streams"]:
            self.tally["peak_streams"] = count

    def protocol_error(self, text: str) -> None:
        """Note a breach of HTTP by the client."""
        self.tally["protocol_errors"] += 1
        self._protocol_errors.append(text)

    def credential_seen(self, credential: str) -> None:
        """Note a provider token; only a digest is kept, of at most 10,000."""
        if len(self._credentials) < MAX_CREDENTIALS:
            self._credentials.add(hashlib.blake2b(credential.encode(), digest_size=16).digest())

    def record(
        self,
        request: Request,
        status: int,
        reason: str,
        accepted: bool,
        outcome: str = "answered",
        refused: Collection[str] = (),
    ) -> None:
        """Count a request and remember it; `status` 0 when the client is told nothing.

        `refused` are recipients that were not accepted though the request was.
        """
        self._by_kind[request.kind] += 1
        self._remember(Entry(request, status, reason, accepted, outcome, refused))
        if request.kind != PUSH:
            return
        self.tally["requests"] += 1
        self.tally["accepted"] += accepted
        if status:
            self._by_status[str(status)] += 1
        else:
            self._unanswered[outcome] += 1
        # A client names no reasons; rules do, so their number is bounded here.
        if reason and (reason in self._by_reason or len(self._by_reason) < MAX_NAMES):
            self._by_reason[reason] += 1
        self._arrived(request, accepted, refused)

    def _remember(self, entry: Entry) -> None:
        entry.request.payload = None  # decoded again when somebody asks; the ring holds bytes
        self._ring.append(entry)
        self._ring_bytes += _weight(entry.request)
        while len(self._ring) > self._ring_size or self._ring_bytes > MAX_RING_BYTES:
            self._ring_bytes -= _weight(self._ring.popleft().request)

    def _arrived(self, request: Request, accepted: bool, refused: Collection[str]) -> None:
        message = request.message_id
        untracked = bool(message) and not self._messages.add(message, accepted)
        for token in request.recipients or (request.token,):
            taken = accepted and token not in refused
            self.tally["recipients"] += 1
            self.tally["accepted_recipients"] += taken
            untracked |= bool(token) and not self._tokens.add(token, taken)
            if taken and token and message:
                self._deliveries.accepted(token, message)
        self.tally["untracked"] += untracked

    def counters(self) -> Counters:
        """The counters now."""
        tally = self.tally
        return Counters(
            requests=tally["requests"],
            accepted=tally["accepted"],
            recipients=tally["recipients"],
            accepted_recipients=tally["accepted_recipients"],
            undecryptable=tally["undecryptable"],
            by_status=dict(self._by_status),
            by_reason=dict(self._by_reason),
            by_kind=dict(self._by_kind),
            unanswered=dict(self._unanswered),
            connections_opened=self.connections_opened,
            connections_open=self.connections_open,
            distinct_provider_tokens=len(self._credentials),
            peak_streams=tally["peak_streams"],
            refused_streams=tally["refused_streams"],
            streams_over_limit=tally["streams_over_limit"],
            ignored_after_goaway=tally["ignored_after_goaway"],
            resets_received=tally["resets_received"],
            pings_received=tally["pings_received"],
            goaways_received=tally["goaways_received"],
            goaways_sent=tally["goaways_sent"],
            protocol_errors=tally["protocol_errors"],
            newest_protocol_errors=list(self._protocol_errors),
            duplicate_tokens=self._tokens.duplicates,
            duplicate_messages=self._messages.duplicates,
            duplicate_deliveries=self._deliveries.duplicates,
        )

    def arrivals(self, limit: int = 1000, duplicates_only: bool = False) -> Arrivals:
        """Arrivals, at most `limit` tokens and messages each, oldest first."""
        return Arrivals(
            tokens=self._tokens.page(limit, duplicates_only),
            messages=self._messages.page(limit, duplicates_only),
            token_count=len(self._tokens.rows),
            message_count=len(self._messages.rows),
            untracked=self.tally["untracked"],
            deliveries=list(islice(self._deliveries.doubled(), limit)),
            forgotten=self._deliveries.forgotten,
        )

    def requests(self, token: str | None = None, limit: int = 100) -> list[RecordedRequest]:
        """The newest requests first, of one token or of all; authorization headers are shortened."""
        wanted = (entry for entry in reversed(self._ring) if token is None or entry.concerns(token))
        return [entry.recorded() for entry in islice(wanted, limit)]


def _weight(request: Request) -> int:
    """About how many bytes a remembered request takes: its body, and its tokens as texts of their own."""
    return len(request.body) + sum(len(token) + _TEXT_BYTES for token in request.recipients)
