"""Rate limits of a push: what a request may say, and which recipients share a limit."""

import re
from collections.abc import Sequence

import msgspec

from storage.limits import Policy

DEFAULT_KEY = "device.id"

_MOST_POLICIES = 8
_MOST_RATE = 10_000
_MOST_INTERVAL_MS = 31_536_000_000  # 365 days
_LONGEST_KEY = 255
_MOST_REMEMBERED = 1000  # admissions that are kept for a key and policy: 8 kB

# As an expression, in Go's spelling too; as #{...}; or bare, but not as a part of a longer name.
_VARIABLE = re.compile(
    r"\{\{\s*\.?device\.(id|user)\s*\}\}|#\{\s*\.?device\.(id|user)\s*\}|(?<![\w.])device\.(id|user)(?!\w|\.\w)",
    re.ASCII,
)


class RateError(ValueError):
    """A rate limit that cannot be kept; `path` names the field inside the object that was given."""

    def __init__(self, detail: str, path: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path


class RateLimit(msgspec.Struct, frozen=True):
    """The checked rate limit of a push: all policies hold, for each key that `render_key` makes of `key`.

    drop: who is over the limit is dropped instead of sent to later
    """

    key: str
    policies: tuple[Policy, ...]
    drop: bool = False


def parse_rate_limit(key: str | None, policies: Sequence[tuple[int, int]], *, drop: bool = False) -> RateLimit:
    """Check a rate limit; policies as (rate, interval_ms). No key, or an empty one, is a limit for each device.

    Raises RateError (path as `policies[0].rate`) for a key of more than 255 characters, none or more than 8 policies, a
    rate outside 1..10,000, an interval outside 1 ms..365 days, and a rate over 1,000 in an interval of a few
    milliseconds, which cannot be divided.
    """
    if key and len(key) > _LONGEST_KEY:
        raise RateError(f"up to {_LONGEST_KEY} characters are expected, there are {len(key)}", "key")
    if not 1 <= len(policies) <= _MOST_POLICIES:
        raise RateError(f"1 to {_MOST_POLICIES} are expected, there are {len(policies)}", "policies")
    checked = [_policy(rate, interval_ms, f"policies[{place}]") for place, (rate, interval_ms) in enumerate(policies)]
    return RateLimit(key or DEFAULT_KEY, tuple(dict.fromkeys(checked)), drop)


def render_key(key: str, device_id: str, user: str) -> str:
    """The key that a recipient is counted under.

    `device.id` and `device.user` are put in, spelled `{{device.user}}`, `{{.device.user}}`, `#{device.user}` or bare;
    all else stays as it is. A device of no user counts for itself: in place of the user stands its id, lest everyone
    who is not logged in shared one limit.
    """
    values = {"id": device_id, "user": user or device_id}
    return _VARIABLE.sub(lambda match: values[match[1] or match[2] or match[3]], key)


def _policy(rate: int, interval_ms: int, path: str) -> Policy:
    if not 1 <= rate <= _MOST_RATE:
        raise RateError(f"1 to {_MOST_RATE} is expected", f"{path}.rate")
    if not 1 <= interval_ms <= _MOST_INTERVAL_MS:
        raise RateError(f"1 to {_MOST_INTERVAL_MS} milliseconds are expected", f"{path}.interval_ms")
    return _divided(rate, interval_ms, f"{path}.interval_ms") if rate > _MOST_REMEMBERED else Policy(rate, interval_ms)


def _divided(rate: int, interval_ms: int, path: str) -> Policy:
    """A policy of which so few admissions must be kept, and that implies the one asked for: 5,000 in 60 s is
    1,000 in 12 s. Never more than was asked for; a thousandth less, or more than that where the interval is very short.
    """
    parts = -(-rate // _MOST_REMEMBERED)
    if interval_ms < parts:
        raise RateError(f"at least {parts} milliseconds are expected with this rate", path)
    return Policy(rate // parts, -(-interval_ms // parts))
