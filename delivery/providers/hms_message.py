"""A push rendered for HMS: the caller's bytes, and requests that put up to a thousand tokens into them."""

import math
import re
import time
from collections.abc import Callable, Sequence

import msgspec

from delivery.batches import Batch
from delivery.providers.hms_payload import MAX_TTL_SECONDS, TARGETS, takes_ttl, ttl_seconds
from delivery.providers.lazy_bodies import LazyBodies

TOKENS = 1000
"""The most tokens of a request (providers.md 4.1)."""

_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')
_NULL = b"null"


class HmsMessage:
    """A checked message, encoded once: all of it but its recipients and its `ttl`. Equal ones can share a request."""

    __slots__ = ("_android", "_fields", "_takes_ttl", "_ttl")

    def __init__(self, message: bytes) -> None:
        given = _members(message)
        android = given.pop("android", None)
        for name in TARGETS:
            given.pop(name, None)
        elsewhere = "apns" in given or "webpush" in given
        inner = {} if android is None else _members(bytes(android))
        ttl = inner.pop("ttl", None)
        self._takes_ttl = takes_ttl(android=android is not None, elsewhere=elsewhere)
        self._ttl = None if ttl is None else ttl_seconds(msgspec.json.decode(ttl, type=str))
        self._fields = _inside(given)
        self._android = None if android is None else _inside(inner)

    def __repr__(self) -> str:
        return f"HmsMessage(bytes={len(self._fields) + len(self._android or b'')})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HmsMessage) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[bytes, bytes | None, int | None]:
        return self._fields, self._android, self._ttl

    def ttl(self, expire_at: float | None, now: float) -> int | None:
        """Seconds that the service may keep it: until the push expires, or less where the message says so.

        None is left to the service: a day.
        """
        if expire_at is None or not self._takes_ttl:
            return self._ttl
        left = max(1, min(math.ceil(expire_at - now), MAX_TTL_SECONDS))
        return left if self._ttl is None else min(self._ttl, left)

    def body(self, recipients: bytes, ttl: int | None) -> bytes:
        """A request; `recipients` is the member that names them."""
        kept = b"" if ttl is None else b'"ttl":"%ds"' % ttl
        android = b"" if self._android is None and not kept else b'"android":{' + _joined(self._android, kept) + b"}"
        return b'{"message":{' + _joined(self._fields, android, recipients) + b"}}"


class Requests(LazyBodies):
    """The bodies of a batch's requests, each made when it is sent: that is when the rest of its `ttl` is known.

    `parts` are the recipients of each by position; more may be added.
    """

    def __init__(
        self,
        batch: Batch,
        parts: list[list[int]],
        messages: Sequence[HmsMessage],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(parts)
        self._batch = batch
        self._messages = messages
        self._clock = clock

    def made(self, part: list[int]) -> bytes:
        """Make the body of the request for these recipients."""
        batch = self._batch
        message = self._messages[part[0] if len(self._messages) > 1 else 0]
        named = recipients(batch.target, [batch.tokens[position] for position in part])
        expire_at = None if batch.expire_at is None else batch.expire_at + batch.ahead_seconds
        return message.body(named, message.ttl(expire_at, self._clock()))


def recipients(target: str, addresses: list[bytes]) -> bytes:
    """The member of a message that names its recipients: a list of tokens, or one topic or condition."""
    if _ESCAPED.search(b"".join(addresses)):
        addresses = [msgspec.json.encode(address.decode("utf-8", "replace"))[1:-1] for address in addresses]
    named = b'"' + b'","'.join(addresses) + b'"'
    return b'"token":[' + named + b"]" if target == "token" else b'"' + target.encode() + b'":' + named


def parts_of(target: str, count: int, each: Sequence[HmsMessage] | None) -> list[list[int]]:
    """The recipients, by position, that share a request: tokens of one message, a thousand at the most."""
    if target != "token":
        return [[position] for position in range(count)]
    same: dict[HmsMessage | None, list[int]] = {}
    for position in range(count):
        same.setdefault(None if each is None else each[position], []).append(position)
    return [found[start : start + TOKENS] for found in same.values() for start in range(0, len(found), TOKENS)]


def _members(value: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object, without those that are null."""
    found = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    return {name: raw for name, raw in found.items() if bytes(raw) != _NULL}


def _inside(members: dict[str, msgspec.Raw]) -> bytes:
    return msgspec.json.encode(members)[1:-1]


def _joined(*parts: bytes | None) -> bytes:
    return b",".join(part for part in parts if part)
