"""Who calls: what the key of a request may do."""

import math
import time
from dataclasses import dataclass, field

from methods.errors import ForbiddenError, TooManyRequestsError
from methods.networks import Network

HOLDS_CALLS = frozenset(("batch",))
"""What does nothing itself: each of its commands is judged, counted and checked."""

_TOLERANCE_SECONDS = 1e-9  # what sums of intervals are off by


class CallRate:
    """So many calls a second, and up to `burst` of them at once; of one key, in this process."""

    __slots__ = ("_interval", "_next", "_slack", "burst", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._interval = 1 / rate
        self._slack = (burst - 1) / rate + _TOLERANCE_SECONDS
        self._next = -math.inf  # when the next call comes in time; those of a burst are ahead of it

    def wait(self, now: float) -> float:
        """Take one call and return 0; or return the seconds until one may be taken. `now` is a monotonic time."""
        ahead = self._next - now
        if ahead > self._slack:
            return ahead - self._slack
        self._next = max(self._next, now) + self._interval
        return 0.0


@dataclass(frozen=True, slots=True)
class DeviceUser:
    """Whom a device key was given to: a user, and the only device that it is good for, where one was named."""

    user: str
    device_id: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of the API key and what it may do; nothing named means everything.

    `methods` it may call, `credentials` it may register, send with and manage (see methods/bounds.py), `addresses` it
    may come from, `expires_at` in Unix seconds. `device`: an app with a device key. `reports`: an app without a key,
    which may report what its receipt token is for and nothing else. `refused`: nothing may be called, and why.
    """

    key_name: str = ""
    methods: frozenset[str] = frozenset()
    reports: bool = False
    credentials: frozenset[str] = frozenset()
    addresses: tuple[Network, ...] = ()
    rate: CallRate | None = field(default=None, compare=False)
    expires_at: float = math.inf
    device: DeviceUser | None = None
    refused: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether the parameters of its calls are to be looked at."""
        return bool(self.credentials) or self.device is not None

    def may_call(self, method: str) -> bool:
        """Whether this key may call a method; `batch` always, because its commands are judged one by one."""
        return not self.methods or method in self.methods or method in HOLDS_CALLS

    def take(self, method: str) -> None:
        """Count a call; ForbiddenError for a caller who is refused, TooManyRequestsError when the rate is used up."""
        if self.refused:
            raise ForbiddenError(self.refused)
        if self.rate is not None and method not in HOLDS_CALLS and (wait := self.rate.wait(time.monotonic())):
            seconds = math.ceil(wait * 1000) / 1000
            raise TooManyRequestsError("the rate of this API key is used up", retry_after_seconds=seconds)

    def check_credential(self, provider_id: str | None, path: str) -> None:
        """ForbiddenError when this key may not use the credential; none named is the provider's default one."""
        if not self.credentials or provider_id in self.credentials:
            return
        if provider_id:
            raise ForbiddenError(f"this API key may not use the credential {provider_id[:128]!r}", path=path)
        raise ForbiddenError("this API key is for some credentials only: say which", path=path)
