"""The multiplexer: one HTTP/2 client for APNs, FCM and Web Push, built on frames.

A provider builds a `Head` per push and credential, puts recipients into a `Group`, and submits it to the `Pool` of the
(credential, origin). Connections pull the next request whenever they have a free stream and window; every request
is reported exactly once through the group's callbacks.
"""

from .connect import resolve, tls_context
from .errors import AddressRefused, ConnectFailed, Failure, FailureKind
from .group import Answer, Group, Head, Link
from .options import AddressGuard, Origin, PoolOptions, Proxy, Resolver
from .pool import Pool
from .stats import PoolStats

__all__ = [
    "AddressGuard",
    "AddressRefused",
    "Answer",
    "ConnectFailed",
    "Failure",
    "FailureKind",
    "Group",
    "Head",
    "Link",
    "Origin",
    "Pool",
    "PoolOptions",
    "PoolStats",
    "Proxy",
    "Resolver",
    "resolve",
    "tls_context",
]
