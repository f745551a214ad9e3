"""Whether a connection still lives: PING when it is silent or idle, and a verdict when nothing comes back."""

from .options import PoolOptions


class Verdict:
    """What to do now: send a PING with this payload, end the connection as dead, or retire it as idle."""

    __slots__ = ("dead", "idle", "ping")

    def __init__(self, *, ping: bytes | None = None, dead: str | None = None, idle: str | None = None) -> None:
        self.ping = ping
        self.dead = dead
        self.idle = idle


class Liveness:
    """Times of the last signs of life; all times are the loop's."""

    __slots__ = ("_heard_at", "_idle_pings", "_options", "_ping_count", "_pinged_at", "_sent_at", "_waiting_since")

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._heard_at = self._sent_at = 0.0
        self._waiting_since: float | None = None
        self._pinged_at: float | None = None
        self._ping_count = self._idle_pings = 0

    def opened(self, now: float) -> None:
        """The connection has come up."""
        self._heard_at = self._sent_at = now

    def heard(self, now: float) -> None:
        """Bytes came in."""
        self._heard_at = now
        self._waiting_since = self._pinged_at = None

    def sent(self, now: float) -> None:
        """Requests went out."""
        self._sent_at = now
        self._idle_pings = 0
        if self._waiting_since is None:
            self._waiting_since = now

    def silent(self, now: float) -> bool:
        """Whether nothing came for as long as a request may take."""
        return now - self._heard_at >= self._options.request_timeout

    def check(self, now: float, open_streams: int) -> Verdict:
        """What the time demands."""
        options = self._options
        if self._pinged_at is not None:
            return Verdict(dead="no answer to PING" if now - self._pinged_at >= options.ping_timeout else None)
        if open_streams:
            since = self._heard_at if self._waiting_since is None else self._waiting_since
            return self._ping(now) if now - since >= options.ping_timeout else Verdict()
        if options.idle_close_seconds is not None and now - self._sent_at >= options.idle_close_seconds:
            return Verdict(idle="idle")
        if now - self._heard_at < options.ping_idle_seconds:
            return Verdict()
        if options.idle_ping_limit is not None and self._idle_pings >= options.idle_ping_limit:
            return Verdict(idle="idle, and no more PINGs allowed")
        self._idle_pings += 1
        return self._ping(now)

    def _ping(self, now: float) -> Verdict:
        self._pinged_at = now
        self._ping_count += 1
        return Verdict(ping=self._ping_count.to_bytes(8, "big"))
