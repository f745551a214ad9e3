"""The storms of a run: what the push services do to their clients for a while; drawn from the seed."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

SERVICES = {
    "apns": "apns",
    "apns-sandbox": "apns",
    "fcm": "fcm",
    "webpush": "webpush",
    "webpush-chrome": "webpush",
    "hms": "hms",
}
"""The push services of a run, and the provider that each is of."""
_WEIGHTS = (4, 2, 4, 3, 2, 4)
_SLOW = {"stalled connection", "answers withheld", "reads no more, all", "reads no more"}
_LOSING = _SLOW | {
    "delay, some",
    "dropped connections",
    "dropped before the request",
    "dropped after the body",
    "stream reset",
    "closed its side",
    "closed its side, all",
}
"""Storms after which an answer may be missing: only these make an attempt's outcome unknown."""
_LOSING_WITHOUT_STREAMS = {"GOAWAY", "GOAWAY on all", "stream refused"}  # HTTP/1.1 has connections that end
CLOCKS = {"clock ahead", "clock behind"}
WRONG = "wrong credential"
_TWO_HOURS = 7200


class Storm(msgspec.Struct):
    """An emulated push service misbehaves for a while: fault rules, and orders (path, body) to its control port.

    `put_again`: at the end the service's credential is written once more, as it is. A wrong credential, one of another
    app or project, is written at the beginning.
    """

    at: float
    seconds: float
    service: str
    name: str
    rules: list[dict[str, Any]]
    orders: list[tuple[str, dict[str, Any]]]
    put_again: bool = False

    @property
    def disowns(self) -> bool:
        """Whether it says of requests that they were not processed: true only if none of them waits for its answer."""
        return self.name.startswith("GOAWAY")

    @property
    def loses_answers(self) -> bool:
        """Whether requests may be processed and nobody hears of it."""
        return self.name in _LOSING or (self.service == "hms" and self.name in _LOSING_WITHOUT_STREAMS)


def storms_of(seed: int, seconds: float, mean: float, *, slow: bool) -> Iterator[Storm]:
    """All storms of a run, about `mean` seconds apart; `slow` ones are those that it recovers from after a minute."""
    draw = random.Random(f"{seed} storms")
    at = draw.uniform(0, mean)
    while at < seconds:
        length = draw.uniform(0.5, mean * 0.8)
        service = draw.choices(list(SERVICES), _WEIGHTS)[0]
        chosen = _kinds(draw, SERVICES[service], slow)
        if service not in ("apns-sandbox", "webpush-chrome"):
            chosen[WRONG] = [], []
        name = draw.choice(sorted(chosen))
        rules, orders = chosen[name]
        yield Storm(at, length, service, name, rules, orders, name == WRONG or (name in CLOCKS and draw.random() < 0.5))
        at += length + draw.uniform(0.2, mean * 0.4)


_Kinds = dict[str, tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]]


def _kinds(draw: random.Random, provider: str, slow: bool) -> _Kinds:
    """Each storm that may come: fault rules in force while it lasts, and what is ordered first."""
    seed, skip = draw.getrandbits(31), draw.randrange(4)

    def rule(
        rate: float, count: int | None = None, **action: object
    ) -> tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]:
        return [{"match": {"rate": rate, "seed": seed, "count": count, "skip": skip}, "action": action}], []

    def order(path: str, **body: object) -> tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]:
        return [], [(path, body)]

    back = draw.choice(("true", "minus:1", "minus:5", 0))
    kinds: _Kinds = {
        "delay": rule(1.0, delay_ms=draw.choice((100, 400, 1500))),
        "delay, some": rule(0.3, delay_ms=draw.choice((300, 3000))),
        "429 with Retry-After": rule(0.3, status=429, retry_after=1),
        "GOAWAY": rule(0.2, 3, goaway={"last_stream_id": back}),
        "GOAWAY on all": order("/connections", goaway={"last_stream_id": back}),
        "one stream": order("/connections", shrink_settings={"max_concurrent_streams": 1}),
        "dropped connections": order("/connections", drop=True),
        "dropped before the request": rule(0.3, 3, drop_connection=True),
        "dropped after the body": rule(0.3, 3, drop_after_body=True),
        "stream refused": rule(0.3, 20, rst_stream="REFUSED_STREAM"),
        "stream reset": rule(0.2, 5, rst_stream="INTERNAL_ERROR"),
        "closed its side": rule(0.3, 3, end_sending=True),
        "closed its side, all": order("/connections", end_sending=True),
        "clock ahead": order("/clock", offset_seconds=_TWO_HOURS),
        "clock behind": order("/clock", offset_seconds=-_TWO_HOURS),
    }
    if provider == "apns":
        kinds |= {"503": rule(0.3, status=503), "429": rule(0.3, status=429), "all 503": rule(1.0, status=503)}
    if provider == "webpush":
        kinds |= {
            "503 with Retry-After": rule(0.3, status=503, retry_after=1),
            "500": rule(0.2, 4, status=500),
            "a proxy's page": rule(0.2, 4, html=True),
        }
    if provider == "hms":
        kinds |= {
            "503 with Retry-After": rule(0.3, status=503, retry_after=1),
            "access tokens expired": rule(0.5, 6, reason="80200003"),
            "internal error": rule(0.2, 3, reason="81000001"),
            "a proxy's page": rule(0.2, 3, html=True),
        }
    if slow:
        kinds |= {
            "stalled connection": rule(0.3, 1, stall_connection=True),
            "answers withheld": rule(0.2, 5, stall=True),
            "reads no more": rule(0.3, 2, stop_reading=True),
            "reads no more, all": order("/connections", stop_reading=True),
        }
        if provider in ("hms", "webpush"):
            kinds |= {"503": rule(0.3, 3, status=503), "429": rule(0.2, 3, status=429)}
        if provider == "fcm":
            kinds |= {"503": rule(0.3, status=503), "429": rule(0.2, 3, status=429)}
    return kinds
