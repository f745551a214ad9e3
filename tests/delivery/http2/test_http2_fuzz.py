"""A peer that sends anything at all: nothing escapes, every request is reported once, memory stays bounded."""

import asyncio
import contextlib
from collections.abc import Iterator

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.http2 import Failure, FailureKind, Head, Origin
from delivery.http2.connection import Connection
from delivery.http2.fleet import Fleet
from tests.delivery.http2.http2_peer import pool_options
from tests.delivery.http2.http2_recorder import FCM_HEAD, Recorder

CLOSED = Failure(FailureKind.NOT_SENT, "closed")
REQUESTS = 8
SETTINGS_FRAME = b"\0\0\0\x04\0\0\0\0\0"
SETTINGS_ACK = b"\0\0\0\x04\x01\0\0\0\0"
BLOCKS = [b"\x88", b"\x20\x88", b"\x8c\x00\x01x\x01y", b"\x08\x03100", b"\x08\x03410", b"\xbe", b"", b"\x00\x01x\x01y"]
BODIES = [b"", b"body", b"\x02pad", b"x" * 9000]
HEADER_FLAGS = [0, 1, 4, 5, 5, 12, 0x25]
NUMBERS = [0, 1, 2, 50, 100, 16_384, 65_535, 2**31 - 1, 2**31, 2**32 - 1]


class Wire(asyncio.Transport):
    """A transport that keeps what is written until the connection closes it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    abort = close


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


STREAM = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 15, 17, 2**31 - 1])
U32 = st.sampled_from(NUMBERS).map(lambda number: number.to_bytes(4, "big"))
SETTING = st.tuples(st.integers(0, 9), U32).map(lambda pair: pair[0].to_bytes(2, "big") + pair[1])
FRAMES = st.one_of(
    st.builds(frame, st.just(0), st.sampled_from([0, 1, 8, 9]), STREAM, st.sampled_from(BODIES)),
    st.builds(frame, st.sampled_from([1, 1, 1, 9]), st.sampled_from(HEADER_FLAGS), STREAM, st.sampled_from(BLOCKS)),
    st.builds(frame, st.just(3), st.just(0), STREAM, U32),
    st.builds(frame, st.just(4), st.sampled_from([0, 0, 1]), st.just(0), st.lists(SETTING, max_size=3).map(b"".join)),
    st.builds(frame, st.just(6), st.sampled_from([0, 1]), st.just(0), st.just(bytes(8))),
    st.builds(frame, st.just(7), st.just(0), st.just(0), st.tuples(U32, U32, st.binary(max_size=9)).map(b"".join)),
    st.builds(frame, st.just(8), st.just(0), STREAM, U32),
    st.builds(frame, st.integers(0, 255), st.integers(0, 255), STREAM, st.binary(max_size=40)),
)
ANSWERS = st.integers(0, REQUESTS).map(lambda number: frame(1, 5, 2 * number + 1, b"\x88"))
BYTES = st.lists(st.one_of(FRAMES, ANSWERS, st.binary(max_size=30)), max_size=25).map(b"".join)


@contextlib.contextmanager
def on_a_wire(groups: list[Recorder]) -> Iterator[tuple[Connection, Wire]]:
    """A connection that has pulled the groups, without a socket; at the end everything must be reported once."""
    fleet = Fleet(Origin("nowhere", 1), pool_options(request_timeout=1.0), lambda: 1.0, lambda: None)
    fleet._start_dial = lambda: None  # type: ignore[method-assign]
    connection = Connection(fleet, asyncio.get_running_loop())
    wire = Wire(connection)
    connection.connection_made(wire)
    fleet.serving.append(connection)
    for group in groups:
        fleet.backlog.add(group)
    yield connection, wire
    connection.tick(asyncio.get_running_loop().time() + 100)
    connection.connection_lost(None)
    fleet.closing = True
    fleet.backlog.fail(CLOSED)
    fleet.abort()
    for group in groups:
        assert sorted(index for index, _ in group.reports) == list(range(group.count))
    assert fleet.in_flight == fleet.backlog.queued == 0


def listed(headers: list[tuple[bytes, bytes]] | bytes) -> list[tuple[bytes, bytes]]:
    return [(headers, b"")] if isinstance(headers, bytes) else headers


def kept(connection: Connection) -> int:
    """Bytes that the peer has made us keep."""
    answers = connection._answers
    fields = sum(len(name) + len(value) for each in answers._partial.values() for name, value in listed(each.headers))
    bodies = sum(len(each.body) for each in answers._partial.values()) + sum(map(len, answers.begun.values()))
    receiver = connection._receiver
    return fields + bodies + len(receiver._buffer) + len(receiver._block[2] if receiver._block else b"")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=BYTES,
    greeted=st.sampled_from([SETTINGS_FRAME + SETTINGS_ACK, SETTINGS_FRAME, b""]),
    cut=st.integers(1, 400),
    size=st.sampled_from([0, 10, 500, 40_000]),
    wants_headers=st.booleans(),
)
def test_any_bytes_at_all(script: bytes, greeted: bytes, cut: int, size: int, wants_headers: bool) -> None:
    async def run() -> None:
        groups = [Recorder(REQUESTS - 2, bodies=b"b" * size, wants_headers=wants_headers), Recorder(2, head=FCM_HEAD)]
        with on_a_wire(groups) as (connection, wire):
            connection.data_received(greeted)
            for start in range(0, len(script), cut):
                connection.data_received(script[start : start + cut])
                connection.fill()
            assert kept(connection) < REQUESTS * 33_000 + 33_000
            assert len(wire.written) < 400_000 + 30 * len(script)
            check_stream(bytes(wire.written))

    asyncio.run(run())


def check_stream(written: bytes) -> None:
    """What we wrote is well-formed HTTP/2 that a decoder can follow."""
    decoder = hpack.Decoder()
    position, last_stream = 24, -1
    while position < len(written):
        size, kind = int.from_bytes(written[position : position + 3], "big"), written[position + 3]
        stream = int.from_bytes(written[position + 5 : position + 9], "big")
        assert size <= 16_384
        assert position + 9 + size <= len(written)
        if kind == 1:
            assert stream > last_stream
            last_stream = stream
            decoder.max_allowed_table_size = 4096
            assert decoder.decode(written[position + 9 : position + 9 + size], raw=True)
        position += 9 + size


@pytest.mark.parametrize("head", [FCM_HEAD, Head(b"h", b"/", [])])
async def test_an_honest_peer_on_the_wire(head: Head) -> None:
    with on_a_wire([group := Recorder(3, head=head)]) as (connection, _):
        connection.data_received(SETTINGS_FRAME + SETTINGS_ACK)
        connection.data_received(b"".join(frame(1, 5, 2 * number + 1, b"\x88") for number in range(3)))
    assert group.kinds() == ["ok"] * 3
