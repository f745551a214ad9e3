"""Where a request comes from, behind proxies or not, and which addresses may call.

A header says what whoever sent it likes. So it is read from the right, where the last proxy wrote, and only as far as
the hops are proxies that the settings trust: the first one that is not is the client.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from starlette.types import Scope

from methods.networks import Address, Network, holds, read_address, read_networks

Headers = Iterable[tuple[bytes, bytes]]

# RFC 7239 section 4: pairs of a token and a token or quoted string, parted by semicolons. No address has a comma in it,
# so elements are split at every comma, and a quotation mark that a client left open spoils only the client's own.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\,]|\\[^,])*"'
_PAIR = re.compile(rf"\s*({_TOKEN})=({_TOKEN}|{_QUOTED})\s*(?:;|$)")
_ESCAPED = re.compile(r"\\(.)")
# RFC 7239 section 6: an IPv6 address in brackets, and a port, which may be obfuscated
_NODE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who may call, by address: networks that are allowed (none: all), and proxies whose word is taken."""

    allowed: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, allowed: str, proxies: str) -> "Addresses":
        """Read the settings; ValueError names the entry that is no network."""
        return cls(read_networks(allowed), read_networks(proxies))

    def admits(self, scope: Scope) -> bool:
        """Whether a request comes from where requests may come from."""
        return not self.allowed or self.comes_from(scope, self.allowed)

    def comes_from(self, scope: Scope, networks: Sequence[Network]) -> bool:
        """Whether a request comes from one of these networks; one whose address is not known does not."""
        address = client_address(scope["client"][0] if scope.get("client") else "", scope["headers"], self.proxies)
        return address is not None and holds(networks, address)


def client_address(peer: str, headers: Headers, proxies: Sequence[Network]) -> Address | None:
    """Return the address of the client behind the trusted proxies.

    The connection's own (`peer`) unless that is a proxy; then the first hop, from the right of `Forwarded` (RFC 7239)
    or `X-Forwarded-For`, that is no proxy, or the farthest one when all are. The connection's own again when such a hop
    is malformed or obfuscated. None when there is no address, or when both headers are there and disagree: a proxy
    writes one of them, and lets through what the client says in the other.
    """
    try:
        own = read_address(peer)
    except ValueError:
        return None
    if not proxies or not holds(proxies, own):
        return own
    told = {_walked(own, hops, proxies) for hops in _hops(headers)}
    if not told:
        return own
    return told.pop() if len(told) == 1 else None


def _hops(headers: Headers) -> Iterator[Iterator[Address]]:
    """Yield the hops of each header that is there, from the right; ValueError while they are read."""
    for name, read in ((b"forwarded", _forwarded), (b"x-forwarded-for", _forwarded_for)):
        lines = [value for key, value in headers if key == name]
        if lines:
            yield map(read, reversed(b",".join(lines).decode("latin-1").split(",")))


def _walked(own: Address, hops: Iterator[Address], proxies: Sequence[Network]) -> Address:
    found = own
    try:
        for found in hops:
            if not holds(proxies, found):
                break
    except ValueError:
        return own
    return found


def _forwarded(element: str) -> Address:
    """Read the address of an element of `Forwarded`; ValueError when it has none or is malformed."""
    pairs: dict[str, str] = {}
    place = 0
    while place < len(element):
        pair = _PAIR.match(element, place)
        if pair is None or pair[1].lower() in pairs:
            raise ValueError("malformed")
        pairs[pair[1].lower()] = pair[2]
        place = pair.end()
    value = pairs.get("for", "")
    return _node(_ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value)


def _forwarded_for(element: str) -> Address:
    """Read an element of `X-Forwarded-For`: an address, which some proxies give with a port."""
    text = element.strip()
    try:
        return read_address(text)
    except ValueError:
        return _node(text)


def _node(text: str) -> Address:
    node = _NODE.fullmatch(text)
    if node is None:
        raise ValueError("not an address")
    return read_address(node["v6"] or node["v4"])
