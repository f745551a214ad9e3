"""What a failure of Redis means to us, in words that hold no secret."""

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

_TEXTS: tuple[tuple[type[RedisError], str], ...] = (
    (AuthenticationError, "it refuses the user name or the password of TOCSIN_QUEUE_URL"),
    (NoPermissionError, "the user of TOCSIN_QUEUE_URL may not do this: docs/redis.md says what to allow"),
    (BusyLoadingError, "it is still loading its data"),
    (OutOfMemoryError, "it is out of memory: raise its maxmemory"),
    (ReadOnlyError, "it is a replica: give the address of the master, or of the sentinels"),
    (ClusterError, "a part of the cluster is down"),
    (TryAgainError, "a slot of the cluster is moving"),
)
_CODES = {
    "LOADING": "it is still loading its data",
    "OOM": "it is out of memory: raise its maxmemory",
    "READONLY": "it is a replica: give the address of the master, or of the sentinels",
    "MISCONF": "it cannot write its snapshot to disk, and takes nothing more: see its log",
    "NOREPLICAS": "it has too few replicas to take anything (min-replicas-to-write)",
    "BUSY": "it is busy with somebody's script",
    "MASTERDOWN": "its master is down",
    "CLUSTERDOWN": "a part of the cluster is down",
    "UNBLOCKED": "it stopped what it was doing",
}
# Redis before 7 wraps what a command in a script answered in an error of the script's
_WRAPPED = re.compile(r"(?:^|[ '-])(" + "|".join(_CODES) + r") ")


class RedisUnavailableError(Exception):
    """Redis did not answer, or cannot be used now; the text holds no secret."""


class RedisScriptError(Exception):
    """A script or a command was wrong, or met keys that are not ours: trying again does not help."""


def unavailable(error: BaseException) -> str:
    """Say why Redis cannot be used, if this error means that; '' when it means a mistake of ours."""
    for kind, said in _TEXTS:
        if isinstance(error, kind):
            return said
    if isinstance(error, ResponseError):
        found = _WRAPPED.search(str(error))
        return _CODES[found[1]] if found else ""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error)[:200] or type(error).__name__
