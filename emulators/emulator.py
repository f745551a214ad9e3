"""What every emulator is: its ports, a journal, a fault plan, and the provider's own rules in a subclass."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypedDict

import msgspec

from emulators.authority import Authority
from emulators.control import ConnectionsOrder, Control, Route
from emulators.counters import Arrivals, Counters, Journal
from emulators.exchange import PUSH, Answer, Connection, Request, perform
from emulators.faults import NOTHING, Action, AppliedRule, FaultPlan, Goaway, Rule
from emulators.http2_streams import Http2Limits
from emulators.ports import CONTROL_HOST, Door, Ports
from emulators.recorded import RecordedRequest

logger = logging.getLogger(__name__)


class Place(TypedDict, total=False):
    """Options every emulator has.

    `host` and `port` are where push clients connect (TLS; port 0 takes a free one), the control port is always on
    127.0.0.1. Without `authority` one is opened in `data_dir`, or made for the life of the process. `ring_size`
    requests are remembered, `arrivals_limit` tokens and messages counted.
    """

    host: str
    port: int
    control_port: int
    authority: Authority | None
    data_dir: Path | str | None
    ring_size: int
    arrivals_limit: int


class Emulator(ABC):
    """A push service on loopback, open between `start` and `stop` (or as an async context manager)."""

    ALPN: ClassVar[tuple[str, ...]] = ("h2",)

    def __init__(self, limits: Http2Limits, place: Place) -> None:
        data_dir = place.get("data_dir")
        self.host = place.get("host", "127.0.0.1")
        self.port = place.get("port", 0)
        self.control_port = place.get("control_port", 0)
        self.data_dir = Path(data_dir) if data_dir is not None else None
        self.clock_offset = 0.0
        self._authority = place.get("authority")
        self._journal = Journal(place.get("ring_size", 10_000), place.get("arrivals_limit", 200_000))
        self._plan = FaultPlan()
        door = Door(self.connection_started, self._perform, self.connection_ended, Control(self).handle)
        self._ports = Ports(limits, self._journal, "http/1.1" in self.ALPN, door)

    async def start(self) -> Self:
        """Open both ports. OSError when one is taken; then nothing is left open."""
        await asyncio.to_thread(self._prepare)
        tls = self.authority.server_context(self.ALPN, self.host_names())
        self.port, self.control_port = await self._ports.open(self.host, self.port, self.control_port, tls)
        logger.info("emulator started", extra={"emulator": type(self).__name__, "port": self.port})
        return self

    async def stop(self) -> None:
        """Close both ports and drop every connection; harmless when already stopped."""
        await self._ports.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def authority(self) -> Authority:
        """The certificate authority; RuntimeError before the start."""
        if self._authority is None:
            raise RuntimeError("the emulator is not started")
        return self._authority

    @property
    def url(self) -> str:
        """Where push clients send to."""
        host = "127.0.0.1" if _is_wildcard(self.host) else self.host
        return f"https://[{host}]:{self.port}" if ":" in host else f"https://{host}:{self.port}"

    @property
    def control_url(self) -> str:
        """The control port."""
        return f"http://{CONTROL_HOST}:{self.control_port}"

    def now(self) -> float:
        """What the service takes for the time (Unix seconds): `clock_offset` seconds from what it is.

        The ages of provider tokens, assertions and access tokens are judged by it. Intervals and what is recorded of
        requests go by the true time.
        """
        return time.time() + self.clock_offset

    # What a test or the control port asks for

    def counters(self) -> Counters:
        """The counters now."""
        return self._journal.counters()

    def requests(self, token: str | None = None, limit: int = 100) -> list[RecordedRequest]:
        """The newest requests first, of one token or of all."""
        return self._journal.requests(token, limit)

    def arrivals(self, limit: int = 1000, duplicates_only: bool = False) -> Arrivals:
        """How often each token and message arrived and was accepted."""
        return self._journal.arrivals(limit, duplicates_only)

    def faults(self) -> list[AppliedRule]:
        """The rules in force with their counts."""
        return self._plan.describe()

    def set_faults(self, rules: Sequence[Mapping[str, object]], append: bool = False) -> None:
        """Put rules into force, written as for `POST /faults`; ValueError when one is wrong."""
        self.apply_faults(msgspec.json.decode(msgspec.json.encode(rules), type=list[Rule]), append)

    def apply_faults(self, rules: list[Rule], append: bool = False) -> None:
        """Put rules into force; ValueError when one makes no sense for this provider."""
        for rule in rules:
            if rule.action.forces_answer:
                self.forced(rule.action)
        self._plan.set(rules, append)

    def set_tokens(self, tokens: Mapping[str, Mapping[str, object]]) -> None:
        """Set states of device tokens, written as for `POST /tokens`."""
        self.apply_tokens(msgspec.json.encode(tokens))

    def set_registry(self, rules: Sequence[Mapping[str, object]]) -> None:
        """Say whose device tokens are, written as for `POST /registry`; msgspec.ValidationError when one is wrong."""
        self.apply_registry(msgspec.json.encode(rules))

    def order_connections(self, order: ConnectionsOrder) -> int:
        """Do something to every open connection; the number of them."""
        chosen = list(self._ports.connections.values())
        for connection in chosen:
            self._order(connection, order)
        return len(chosen)

    def reset(self) -> None:
        """Forget counters, requests, faults, token states and the clock's offset; connections stay open."""
        self._journal.reset()
        self._plan.set([])
        self.clock_offset = 0.0
        self.forget_tokens()

    # What a provider adds

    def _prepare(self) -> None:
        """Open or make keys; runs in a thread because that takes a while."""
        if self._authority is None:
            self._authority = Authority.open(self.data_dir) if self.data_dir is not None else Authority.create()

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """What the control port of this provider has besides the common paths."""
        return {}

    def names(self, request: Request) -> Sequence[str]:
        """What a fault's `token_prefix` is compared with: the tokens of a request."""
        return request.recipients or (request.token,)

    def host_names(self) -> list[str]:
        """What the certificate is for, besides the names of loopback."""
        return [] if _is_wildcard(self.host) else [self.host]

    @abstractmethod
    def read(self, request: Request) -> None:
        """Fill in the request's kind, token, message id and payload."""

    @abstractmethod
    def process(self, request: Request) -> Answer:
        """The provider's own answer to a request."""

    @abstractmethod
    def forced(self, action: Action) -> Answer:
        """The answer a rule gives; ValueError when it lacks something."""

    @abstractmethod
    def stamped(self, answer: Answer, request: Request) -> Answer:
        """A forced answer with the headers that belong to its request."""

    @abstractmethod
    def goaway_debug(self, goaway: Goaway) -> bytes:
        """The debug data of a GOAWAY in the words of this provider."""

    @abstractmethod
    def apply_tokens(self, body: bytes) -> int:
        """Set states of device tokens from JSON; the number of them."""

    @abstractmethod
    def apply_registry(self, body: bytes) -> int:
        """Replace the rules that say whose device tokens are from JSON; the number of them."""

    @abstractmethod
    def registry(self) -> Sequence[object]:
        """The rules that say whose device tokens are."""

    @abstractmethod
    def forget_tokens(self) -> None:
        """Forget the states and owners of all device tokens."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Addresses and identity, for people and for the control port."""

    @abstractmethod
    def connection_started(self, connection: Connection, transport: asyncio.Transport) -> None:
        """A client finished its handshake."""

    @abstractmethod
    def connection_ended(self, connection_id: int) -> None:
        """A connection is gone."""

    # emulators.exchange.Service

    def choose(self, request: Request) -> Action:
        """Read the request and pick the fault that applies to it."""
        self.read(request)
        return self._plan.pick(self.names(request), request.path, request.kind == PUSH)

    def answer(self, request: Request, action: Action, untold: str) -> Answer:
        """Process the request, let the fault change the answer, and count both."""
        answer = self.process(request)
        if action is not NOTHING:
            forced = self.forced(action) if action.forces_answer else answer
            answer = _modified(self.stamped(forced, request), action)
        status = 0 if untold else answer.status
        outcome = untold or "answered"
        self._journal.record(request, status, answer.reason, answer.accepted, outcome, answer.refused)
        return answer

    def ignored(self, request: Request, why: str) -> None:
        """Count a request that was not processed because of a fault."""
        self._journal.record(request, 0, "", False, why)

    def _perform(self, connection: Connection, request: Request) -> None:
        perform(self, connection, request)

    def _order(self, connection: Connection, order: ConnectionsOrder) -> None:
        if order.goaway is not None:
            debug = self.goaway_debug(order.goaway)
            connection.goaway(0, order.goaway.last_stream_id, order.goaway.code, debug)
        if order.shrink_settings is not None:
            connection.limit_streams(order.shrink_settings.max_concurrent_streams)
        if order.ping:
            connection.ping()
        if order.stop_reading:
            connection.stop_reading()
        if order.end_sending:
            connection.end_sending()
        if order.stall:
            connection.stall()
        if order.drop:
            connection.abort()


def _is_wildcard(host: str) -> bool:
    return host in {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def _modified(answer: Answer, action: Action) -> Answer:
    """The answer with a rule's modifiers."""
    headers = [*answer.headers, *((name.lower(), value) for name, value in action.headers.items())]
    if action.retry_after is not None:
        headers.append(("retry-after", str(action.retry_after)))
    return msgspec.structs.replace(
        answer,
        headers=headers,
        body=b"" if action.bodyless else answer.body,
        split_body=action.split_body or answer.split_body,
        pad_length=action.pad_length,
        informational=action.informational,
        trailers=action.trailers,
    )
