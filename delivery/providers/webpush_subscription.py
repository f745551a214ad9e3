"""A recipient of Web Push: where it is reached, and what its messages are encrypted with."""

import re
from typing import NamedTuple

from delivery.providers.webpush_encryption import decode_keys

_VISIBLE = bytes(range(0x21, 0x7F))
_MOST_TARGET = 2048
_AUTHORITY = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


class SubscriptionError(ValueError):
    """An address that no request can be made of; the text says why, and repeats none of it."""


class Subscription(NamedTuple):
    """Path and query of the endpoint; the public point and the secret of the browser."""

    target: bytes
    point: bytes
    secret: bytes


def read_subscription(address: bytes, scope: str) -> Subscription:
    """Read `<endpoint> <p256dh> <auth>`; the endpoint must be at the origin of the batch.

    Raises SubscriptionError, or InvalidKeysError for keys that nothing can be encrypted with.
    """
    parts = address.split(b" ")
    if len(parts) != 3:
        raise SubscriptionError("an endpoint and two keys are expected")
    target = _target(parts[0], scope)
    if len(target) > _MOST_TARGET or target.translate(None, _VISIBLE):
        raise SubscriptionError("the endpoint cannot be requested")
    return Subscription(target, *decode_keys(parts[1], parts[2]))


def audience(scope: str) -> str:
    """The origin as RFC 6454 writes it: without the port that https has anyway."""
    return "https://" + scope.removesuffix(":443")


def host_and_port(scope: str) -> tuple[str, int]:
    """What to connect to; SubscriptionError when it is no host with or without a port."""
    found = _AUTHORITY.fullmatch(scope)
    port = int(found[2] or 443) if found else 0
    if found is None or not 0 < port < 65_536:
        raise SubscriptionError("the origin cannot be read")
    return found[1].strip("[]"), port


def _target(endpoint: bytes, scope: str) -> bytes:
    start = b"https://" + scope.encode()
    if endpoint[: len(start)].lower() != start.lower():  # a host may be written in capitals
        raise SubscriptionError("the endpoint is at another origin")
    target = endpoint[len(start) :].split(b"#", 1)[0]
    if not target or target.startswith(b"?"):
        return b"/" + target
    if not target.startswith(b"/"):
        raise SubscriptionError("the endpoint is at another origin")
    return target
