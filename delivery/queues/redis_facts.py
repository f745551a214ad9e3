"""What a server of Redis or Valkey says of itself, and whether it will do."""

from collections.abc import Mapping

OLDEST = (6, 2)  # XAUTOCLAIM


def facts(info: bytes) -> dict[str, str]:
    """Read an answer to INFO."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def unfit(info: Mapping[str, str]) -> str:
    """Say what must change before this server can be used; '' when it can, as far as INFO tells."""
    version = info.get("redis_version", "")
    if version and _numbers(version) < OLDEST:
        return f"it is Redis {version}: Redis 6.2, any Valkey, or newer is needed"
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys") and info.get("maxmemory", "0") != "0":
        return f"its maxmemory-policy is {policy}, which removes keys that are in use: set it to noeviction"
    return ""


def product(info: Mapping[str, str]) -> str:
    """Return its name and version: Valkey gives the version of Redis that it is compatible with, too."""
    if valkey := info.get("valkey_version"):
        return f"Valkey {valkey}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
