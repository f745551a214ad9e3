"""Several hosts on one machine: network namespaces with two networks, or loopback addresses where those are refused.

Each host has an address on the database's network and one on the push services', so that it can be cut from one of
them alone. Needs root and Debian's iproute2; without, every host is on 127.0.0.x with a relay to the database of its
own, and a cut is a relay that falls silent.
"""

import asyncio
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from psycopg.conninfo import make_conninfo

from tests.server.relay import Relay, relayed

DATABASE_PORT = 20_000 + os.getpid() % 10_000  # of the run's own; below those that the system gives to clients
_USER = "tocsin"


class Network(ABC):
    """Hosts numbered from 1. `can_cut_services`: whether a host can be cut from the push services as well."""

    kind = ""
    can_cut_services = True
    database_address = ""  # where PostgreSQL listens; '' for its Unix socket alone
    services_address = "127.0.0.1"

    @abstractmethod
    def address(self, host: int) -> str:
        """The address of a host, on the database's network."""

    @abstractmethod
    def database_url(self, host: int, database: str) -> str:
        """The way from a host to the database."""

    @abstractmethod
    def inside(self, host: int, command: Sequence[str]) -> list[str]:
        """The command line that runs a command on a host."""

    @abstractmethod
    def name_of(self, peer: str) -> str:
        """The host that a peer's address at the push services belongs to, '' where it cannot be told."""

    @abstractmethod
    async def reach(self, url: str) -> None:
        """The database runs, at this address of its own."""

    @abstractmethod
    async def cut(self, host: int, *, services: bool) -> None:
        """Cut a host from the database without a word, and from the push services."""

    @abstractmethod
    async def heal(self, host: int) -> None:
        """Undo the cut."""


class Namespaces(Network):
    """Namespaces on two bridges; a cut takes the host's cable out of the switch."""

    kind = "network namespaces"

    def __init__(self, hosts: int) -> None:
        self._tag = f"t{os.getpid() % 100_000}"
        self._net = f"10.{64 + os.getpid() % 128}"
        self._hosts = hosts
        self.database_address = f"{self._net}.1.1"
        self.services_address = f"{self._net}.2.1"

    def address(self, host: int) -> str:
        return f"{self._net}.1.{10 + host}"

    def database_url(self, host: int, database: str) -> str:
        return f"postgresql://{_USER}@{self.database_address}:{DATABASE_PORT}/{database}"

    def inside(self, host: int, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self._namespace(host), *command]

    def name_of(self, peer: str) -> str:
        return f"host {int(peer.rpartition('.')[2]) - 10}"

    async def reach(self, url: str) -> None:
        """Nothing to do: the bridge leads there."""

    async def cut(self, host: int, *, services: bool) -> None:
        for network in ("d", "s") if services else ("d",):
            await asyncio.to_thread(_ip, "link", "set", self._cable(network, host), "down")

    async def heal(self, host: int) -> None:
        for network in ("d", "s"):
            await asyncio.to_thread(_ip, "link", "set", self._cable(network, host), "up")

    def build(self) -> None:
        """Make everything; OSError when it is not permitted."""
        for network, number in (("d", 1), ("s", 2)):
            _ip("link", "add", self._bridge(network), "type", "bridge")
            _ip("address", "add", f"{self._net}.{number}.1/24", "dev", self._bridge(network))
            _ip("link", "set", self._bridge(network), "up")
        for host in range(1, self._hosts + 1):
            self._add(host)

    def remove(self) -> None:
        """Remove what there is of it."""
        for host in range(1, self._hosts + 1):
            _try_ip("netns", "del", self._namespace(host))
        for network in ("d", "s"):
            for host in range(1, self._hosts + 1):
                _try_ip("link", "del", self._cable(network, host))
            _try_ip("link", "del", self._bridge(network))

    def _add(self, host: int) -> None:
        space = self._namespace(host)
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")
        for network, number in (("d", 1), ("s", 2)):
            cable, inner = self._cable(network, host), f"{network}0"
            _ip("link", "add", cable, "type", "veth", "peer", "name", inner, "netns", space)
            _ip("link", "set", cable, "master", self._bridge(network), "up")
            _ip("-n", space, "address", "add", f"{self._net}.{number}.{10 + host}/24", "dev", inner)
            _ip("-n", space, "link", "set", inner, "up")

    def _namespace(self, host: int) -> str:
        return f"tocsin-{self._tag}-{host}"

    def _bridge(self, network: str) -> str:
        return f"{self._tag}{network}"

    def _cable(self, network: str, host: int) -> str:
        return f"{self._tag}{network}{host}"


class Loopback(Network):
    """Processes beside each other; each host's way to the database is a relay at an address of its own."""

    kind = "loopback addresses (network namespaces are not permitted here)"
    can_cut_services = False

    def __init__(self, hosts: int, stack: AsyncExitStack) -> None:
        self._hosts = hosts
        self._stack = stack
        self._relays: dict[int, Relay] = {}

    def address(self, host: int) -> str:
        return f"127.0.0.{10 + host}"

    def database_url(self, host: int, database: str) -> str:
        return make_conninfo(self._relays[host].url, user=_USER, dbname=database)

    def inside(self, host: int, command: Sequence[str]) -> list[str]:
        return list(command)

    def name_of(self, peer: str) -> str:
        return ""

    async def reach(self, url: str) -> None:
        for host in range(1, self._hosts + 1):
            self._relays[host] = await self._stack.enter_async_context(relayed(url, self.address(host)))

    async def cut(self, host: int, *, services: bool) -> None:
        self._relays[host].freeze()

    async def heal(self, host: int) -> None:
        self._relays[host].thaw()


@asynccontextmanager
async def network_of(hosts: int, *, loopback: bool = False) -> AsyncIterator[Network]:
    """Networks for so many hosts, removed with the block; on loopback when asked, or where nothing else is allowed."""
    async with AsyncExitStack() as stack:
        spaces = Namespaces(hosts)
        if loopback or not await asyncio.to_thread(_built, spaces):
            yield Loopback(hosts, stack)
            return
        try:
            yield spaces
        finally:
            await asyncio.to_thread(spaces.remove)


def _built(spaces: Namespaces) -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        spaces.build()
    except OSError:
        spaces.remove()
        return False
    return True


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _try_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, capture_output=True)
