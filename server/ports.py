"""The ports of `tocsin serve`: the listening socket, which every API process inherits, and those of the emulators."""

import errno
import socket
from contextlib import ExitStack

_BACKLOG = 2048
_LOOPBACK = "127.0.0.1"
_EMULATOR_PORTS = 8


class PortError(Exception):
    """A port cannot be had; the text says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, to be closed by the caller; PortError when it cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise PortError(_reason(host, port, error, "TOCSIN_HOST and TOCSIN_PORT")) from None


def emulator_ports(first: int | None, port: int) -> tuple[int, ...]:
    """Choose the eight ports of the emulators: from `first` on; without, those after the API's, or else free ones.

    A `first` of 0 gives free ones. They are fixed from here on, so that emulators that start again are where they
    were. PortError when one that was asked for is busy.
    """
    if first is not None:
        return _eight(first)
    try:
        return _eight(port + 1)
    except PortError:
        return _eight(0)


def _eight(first: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        wanted = [first + offset if first else 0 for offset in range(_EMULATOR_PORTS)]
        sockets = [stack.enter_context(_probe(each)) for each in wanted]
        return tuple(each.getsockname()[1] for each in sockets)


def _probe(port: int) -> socket.socket:
    try:
        return socket.create_server((_LOOPBACK, port))
    except (OSError, OverflowError) as error:
        text = _reason(_LOOPBACK, port, error, "TOCSIN_EMULATOR_PORTS (0 takes free ones)")
        raise PortError(f"for an emulator: {text}") from None


def _reason(host: str, port: int, error: Exception, settings: str) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: stop the program that has it, or change {settings}"
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"cannot listen on {host} port {port}: {why}. Change {settings}"
