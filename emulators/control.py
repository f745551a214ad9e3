"""The control port: plain HTTP/1.1 on loopback to read what happened and to script what goes wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from emulators.counters import Arrivals, Counters
from emulators.exchange import Answer, Request
from emulators.faults import AppliedRule, Goaway, Rule, ShrinkSettings
from emulators.recorded import RecordedRequest

MAX_PAGE = 10_000
MAX_OFFSET_SECONDS = 10 * 365 * 86_400

Route = Callable[[dict[str, str], bytes], object]
"""What a path answers, given the query and the body; msgspec.DecodeError or ValueError for what it cannot take."""


class ConnectionsOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What is done to every open connection, in this order.

    `stop_reading` and `end_sending` (FIN) close one half of it, `stall` leaves it open and dumb, `drop` ends it.
    """

    goaway: Goaway | None = None
    shrink_settings: ShrinkSettings | None = None
    ping: bool = False
    stop_reading: bool = False
    end_sending: bool = False
    stall: bool = False
    drop: bool = False


class Clock(msgspec.Struct, forbid_unknown_fields=True):
    """How far the service's clock is from the true time, ahead when positive."""

    offset_seconds: Annotated[float, msgspec.Meta(ge=-MAX_OFFSET_SECONDS, le=MAX_OFFSET_SECONDS)] = 0.0


class Controlled(Protocol):
    """What the control port can do with an emulator."""

    clock_offset: float

    def now(self) -> float:
        """What the service takes for the time."""

    def counters(self) -> Counters:
        """The counters now."""

    def requests(self, token: str | None = None, limit: int = 100) -> list[RecordedRequest]:
        """The newest requests first."""

    def arrivals(self, limit: int = 1000, duplicates_only: bool = False) -> Arrivals:
        """How often each token and message arrived."""

    def faults(self) -> list[AppliedRule]:
        """The rules in force with their counts."""

    def apply_faults(self, rules: list[Rule], append: bool = False) -> None:
        """Put rules into force; ValueError when one makes no sense."""

    def apply_tokens(self, body: bytes) -> int:
        """Set states of device tokens from JSON; msgspec.ValidationError when it is not understood."""

    def apply_registry(self, body: bytes) -> int:
        """Replace the rules that say whose device tokens are from JSON; likewise."""

    def registry(self) -> Sequence[object]:
        """The rules that say whose device tokens are."""

    def order_connections(self, order: ConnectionsOrder) -> int:
        """Do something to every open connection; the number of them."""

    def reset(self) -> None:
        """Forget counters, requests, faults, tokens and the clock's offset."""

    def describe(self) -> dict[str, object]:
        """Addresses and identity of the emulator."""

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """What this provider has besides the common paths."""


class Control:
    """Routes of the control port. Answers are JSON; what is not understood gets 400 and a text that says why."""

    def __init__(self, emulator: Controlled) -> None:
        self._emulator = emulator
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "/"): lambda query, body: emulator.describe(),
            ("GET", "/counters"): lambda query, body: emulator.counters(),
            ("GET", "/requests"): self._requests,
            ("GET", "/arrivals"): self._arrivals,
            ("GET", "/faults"): lambda query, body: emulator.faults(),
            ("POST", "/faults"): self._set_faults,
            ("POST", "/tokens"): lambda query, body: {"tokens": emulator.apply_tokens(body)},
            ("GET", "/registry"): lambda query, body: emulator.registry(),
            ("POST", "/registry"): lambda query, body: {"rules": emulator.apply_registry(body)},
            ("GET", "/clock"): self._clock,
            ("POST", "/clock"): self._set_clock,
            ("POST", "/connections"): self._connections,
            ("POST", "/reset"): self._reset,
            **emulator.routes(),
        }

    def handle(self, request: Request) -> Answer:
        """Answer one control request."""
        target = urlsplit(request.path)
        route = self._routes.get((request.method, target.path))
        if route is None:
            known = any(path == target.path for _, path in self._routes)
            return _json(405 if known else 404, {"error": "method not allowed" if known else "no such path"})
        if request.body_length > len(request.body):
            return _json(413, {"error": "the body is too large"})
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        try:
            return _json(200, route(query, request.body))
        except (msgspec.DecodeError, ValueError) as error:
            return _json(400, {"error": str(error)})

    def _requests(self, query: dict[str, str], body: bytes) -> object:
        return self._emulator.requests(query.get("token"), _limit(query, 100))

    def _arrivals(self, query: dict[str, str], body: bytes) -> object:
        return self._emulator.arrivals(_limit(query, 1000), query.get("duplicates") in {"1", "true"})

    def _set_faults(self, query: dict[str, str], body: bytes) -> object:
        rules = msgspec.json.decode(body, type=list[Rule])
        self._emulator.apply_faults(rules, append=query.get("append") in {"1", "true"})
        return {"rules": len(self._emulator.faults())}

    def _clock(self, query: dict[str, str], body: bytes) -> object:
        return {"offset_seconds": self._emulator.clock_offset, "now": self._emulator.now()}

    def _set_clock(self, query: dict[str, str], body: bytes) -> object:
        self._emulator.clock_offset = msgspec.json.decode(body, type=Clock).offset_seconds
        return self._clock(query, body)

    def _connections(self, query: dict[str, str], body: bytes) -> object:
        return {"connections": self._emulator.order_connections(msgspec.json.decode(body, type=ConnectionsOrder))}

    def _reset(self, query: dict[str, str], body: bytes) -> object:
        self._emulator.reset()
        return {}


def _limit(query: dict[str, str], default: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdigit():
        raise ValueError("limit must be a number")
    return min(int(text), MAX_PAGE)


def _json(status: int, value: object) -> Answer:
    body = msgspec.json.encode(value)
    return Answer(status, [("content-type", "application/json")], body)
