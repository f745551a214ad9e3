"""What each answer of a company's own API asks of us (docs/webhook-provider.md)."""

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from delivery.outcomes import Kind
from delivery.providers.reactions import Pausing, Reaction, unlisted

SERVER_BACKOFF_SECONDS = 10.0
QUOTA_BACKOFF_SECONDS = 60.0

_DEAD = Reaction(Kind.DEAD)
_FAIL = Reaction(Kind.FAILED)
_LATER = Reaction(Kind.RETRY, backoff_base_seconds=SERVER_BACKOFF_SECONDS)
_PAUSE = Reaction(Kind.RETRY, pausing=Pausing.CREDENTIAL, alarm=True)
_THROTTLE = Reaction(Kind.RETRY, pausing=Pausing.THROTTLE, backoff_base_seconds=QUOTA_BACKOFF_SECONDS)

TABLE: Mapping[int, Reaction] = MappingProxyType(
    {
        400: _FAIL,
        401: _PAUSE,
        403: _PAUSE,
        404: _DEAD,
        405: _PAUSE,  # the URL takes no POST: no message is at fault
        408: _LATER,
        410: _DEAD,
        413: _FAIL,
        422: _FAIL,
        425: _LATER,
        429: _THROTTLE,
        500: _LATER,
        502: _LATER,
        503: _LATER,
        504: _LATER,
    }
)
"""By status, for a request with one recipient."""

_OF_ALL = MappingProxyType({404: _PAUSE, 410: _PAUSE})
"""Where a request has many recipients: it is the URL that is not there, not all of them."""

_REASON = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class Refused(msgspec.Struct, frozen=True):
    """A recipient that an answer names as failed; by `id`, or by `token` where there is no id."""

    id: str = ""
    token: str = ""
    reason: str = ""
    dead: bool = False

    def __repr__(self) -> str:
        return f"Refused(id={self.id!r})"

    def outcome(self) -> tuple[Kind, str]:
        """What becomes of it, and the receiver's word for it, or ours where that is none."""
        word = self.reason if _REASON.fullmatch(self.reason) else "Refused"
        return Kind.DEAD if self.dead else Kind.FAILED, word


class _Answer(msgspec.Struct):
    failed: list[Refused] = []


_DECODER = msgspec.json.Decoder(_Answer)


def reaction(status: int, *, batched: bool) -> Reaction:
    """The row of the table for an answer that is not 2xx. A redirect is not followed: the URL has to be changed."""
    if 300 <= status < 400:
        return _PAUSE
    known = (_OF_ALL.get(status) if batched else None) or TABLE.get(status)
    if known is not None:
        return known
    return _LATER if status > 500 else unlisted(status)


def refused_of(body: bytes) -> list[Refused] | None:
    """The recipients that the answer to a batch names as failed; None where `failed` is there and cannot be read.

    Any other body, as `ok`, says nothing: all are accepted.
    """
    try:
        return _DECODER.decode(body).failed
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None if body.lstrip().startswith(b"{") and b'"failed"' in body else []


__all__ = ["QUOTA_BACKOFF_SECONDS", "SERVER_BACKOFF_SECONDS", "TABLE", "Refused", "reaction", "refused_of"]
