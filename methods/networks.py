"""Addresses and networks of clients. An IPv4 address inside an IPv6 one (::ffff:0:0/96) counts as what it is."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
_IPV4_BITS = 32


def read_address(text: str) -> Address:
    """Read an address; ValueError when it is none."""
    found = ip_address(text)
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def read_network(text: str) -> Network:
    """Read a network, as `10.0.0.0/8` or `2001:db8::/32`, or a single address; ValueError when it is none.

    An address inside the network is not its name: `10.0.0.1/8` is refused.
    """
    found = ip_network(text)
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        return IPv4Network((int(found.network_address) & (1 << _IPV4_BITS) - 1, found.prefixlen - 128 + _IPV4_BITS))
    return found


def read_networks(text: str) -> tuple[Network, ...]:
    """Read networks, parted by commas or spaces; ValueError names the one that is none."""
    return tuple(read_network(entry) for entry in text.replace(",", " ").split())


def holds(networks: Iterable[Network], address: Address) -> bool:
    """Whether an address is in any of the networks."""
    return any(address in network for network in networks)


def is_within(network: Network, networks: Iterable[Network]) -> bool:
    """Whether one of the networks has all of this one in it."""
    return any(_is_part(network, other) for other in networks)


def _is_part(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)
