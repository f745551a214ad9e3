"""The origins that Web Push subscriptions may be at: those of the browsers' push services, and what the settings add.

A subscription comes from whoever registers a device. Without a list, this server would call the hosts that they name.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address

BROWSERS = (
    "*.googleapis.com",
    "jmt17.google.com",  # of Chromium as Linux distributions build it, without Google's own keys
    "*.push.apple.com",
    "*.notify.windows.com",
    "*.push.services.mozilla.com",
)
"""The push services of the browsers (providers.md 3.1)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_ENTRY = re.compile(rf"(?:https://)?((?:\*\.)?{_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?/?", re.IGNORECASE)
_PORT = 443


def read_origins(text: str) -> tuple[str, ...]:
    """Read `host`, `host:port` and `*.domain`, each with or without `https://`, parted by commas or spaces.

    ValueError names the entry that is none of them. Addresses are refused: a subscription is never at one.
    """
    return tuple(_origin(entry) for entry in text.replace(",", " ").split())


def is_listed(host: str, port: int | None, origins: Sequence[str]) -> bool:
    """Whether a host and port are one of `name`, `*.name` (anything below it), with `:port` where it is not 443."""
    origin = host if port in {None, _PORT} else f"{host}:{port}"
    return any(
        origin.endswith(listed[1:]) and origin != listed[1:] if listed.startswith("*.") else origin == listed
        for listed in origins
    )


def is_address(host: str) -> bool:
    """Whether a host is an IP address in any spelling: numbers alone are one to many resolvers (2130706433, 0x7f.1)."""
    try:
        ip_address(host)
    except ValueError:
        return host.rpartition(".")[2][:1].isdigit()
    return True


def _origin(entry: str) -> str:
    found = _ENTRY.fullmatch(entry)
    port = int(found[2] or _PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(
            f"{entry} is no origin; write a name, a name and port like push.internal:8443, or *.example.com"
        )
    host = found[1].lower()
    if is_address(host):
        raise ValueError(
            f"{entry} is an address; a subscription is at a name, which the push service's certificate has"
        )
    return host if port == _PORT else f"{host}:{port}"
