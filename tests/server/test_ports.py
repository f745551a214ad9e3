"""The ports of the server and of the emulators."""

import socket
from collections.abc import Iterator

import pytest

from server.ports import PortError, emulator_ports, listen


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


def test_a_free_port_is_listened_on() -> None:
    with listen("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname()).close()


def test_a_port_that_is_taken_is_told_with_what_to_do(taken: int) -> None:
    with pytest.raises(PortError, match=f"port {taken} on 127.0.0.1 is in use.*TOCSIN_PORT"):
        listen("127.0.0.1", taken)


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(PortError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_emulators_take_free_ports_when_asked_to() -> None:
    assert len(set(emulator_ports(0, 8000))) == 8


def test_emulators_take_other_ports_when_those_after_the_api_are_taken(taken: int) -> None:
    ports = emulator_ports(None, taken - 1)
    assert taken not in ports
    assert len(set(ports)) == 8


def test_emulators_do_not_take_other_ports_than_those_asked_for(taken: int) -> None:
    with pytest.raises(PortError, match="TOCSIN_EMULATOR_PORTS"):
        emulator_ports(taken, 8000)
