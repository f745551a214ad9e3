"""Where a pool connects to, and how it behaves: plain settings, given by whoever builds the pool."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import msgspec

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses, asked before every connect."""

AddressGuard = Callable[[str], None]
"""Called with each resolved address before it is connected to; raises AddressRefused to refuse it."""


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy reached by CONNECT; the target's TLS runs inside the tunnel. `authorization` is `user:password`."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}>"


class Origin(msgspec.Struct, frozen=True):
    """One service end point. `tls` None means HTTP/2 without TLS by prior knowledge (sinks and emulators).

    The TLS context carries trust, client certificate and ALPN ("h2", see `tls_context`). `require_alpn` False accepts a
    server that picks no protocol. With a proxy the proxy resolves the name, so the guard sees literal addresses only; a
    resolver is asked all the same, and may refuse (AddressRefused).
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    require_alpn: bool = True
    server_hostname: str | None = None
    proxy: Proxy | None = None
    resolver: Resolver | None = None
    guard: AddressGuard | None = None


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times of a pool; seconds unless named otherwise."""

    max_connections: int = 10
    streams_per_connection: int = 1000
    """Our own cap below the peer's MAX_CONCURRENT_STREAMS."""
    one_stream_first: bool = False
    """APNs: one request on a fresh connection until its first answer, or until SETTINGS raises the limit."""
    connects_per_minute: int = 60
    connect_timeout: float = 10.0
    connect_attempts: int = 3
    """Failed attempts in a row after which waiting requests are reported NOT_SENT (later failures report at once)."""
    backoff_base: float = 0.5
    backoff_cap: float = 60.0
    request_timeout: float = 15.0
    ping_idle_seconds: float = 3600.0
    """PING a connection without traffic after this long (APNs: 1 h)."""
    idle_ping_limit: int | None = None
    """Close an idle connection instead of sending more PINGs than this without a request (FCM: 3)."""
    ping_timeout: float = 10.0
    """Requests open and nothing received this long: PING; the PING unanswered this long: close."""
    idle_close_seconds: float | None = None
    """Close a connection without requests after this long; None keeps it."""
    refused_attempts: int = 3
    """Times a refused request is tried again by the pool itself before it is reported REFUSED."""
    backlog: int = 1000
    """Least number of requests worth queueing here, see `Pool.free_slots`."""
    max_body_bytes: int = 16_384
    """Kept bytes of an answer's body; the rest is cut off and the stream cancelled."""
    tick_seconds: float = 0.5
    """Granularity of every timeout above."""
