"""Peers that send too much, or something else than HTTP/2: it costs them their connection, and no more."""

import contextlib

import pytest

from delivery.http2 import FailureKind
from tests.delivery.http2.http2_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Peer,
)
from tests.delivery.http2.http2_recorder import Recorder

REFUSED_STREAM = 7
ENHANCE_YOUR_CALM = b"\0\0\0\x0b"


@pytest.mark.parametrize(
    ("kind", "flags", "stream", "payload"),
    [
        (PING, 0, 0, bytes(8)),
        (PING, 1, 0, bytes(8)),
        (SETTINGS, 0, 0, b"\0\x03\0\0\0\x64"),
        (PRIORITY, 0, 1, bytes(5)),
        (0x42, 0, 0, b"x"),
        (DATA, 0, 1, b""),
        (HEADERS, END_HEADERS, 1, b"\x08\x03100"),
        (RST_STREAM, 0, 1, bytes(4)),
    ],
)
async def test_a_flood_of_useless_frames_costs_the_connection(
    peer: Peer, kind: int, flags: int, stream: int, payload: bytes
) -> None:
    async with peer.pool(tick_seconds=10.0) as pool:
        pool.submit(group := Recorder(2))
        visit = await peer.visit()
        await visit.requests(2)
        if kind == DATA:
            visit.send(HEADERS, END_HEADERS, 1, b"\x88")
        for _ in range(10_500):
            visit.send(kind, flags, stream, payload)
        await group.reported()
        assert group.failure(1).reason == "flood of useless frames"
        assert (await visit.ended())[-1].payload[4:] == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("part", [b"", b"\x00\x01x\x7f" + b"\x80" * 100])
async def test_an_endless_header_block_costs_the_connection(peer: Peer, part: bytes) -> None:
    async with peer.pool(tick_seconds=10.0) as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        await visit.request()
        visit.send(HEADERS, 0, 1, part)
        for _ in range(10_500):
            visit.send(CONTINUATION, 0, 1, part)
        await group.reported()
        assert group.failure().reason in ("flood of useless frames", "header block too large")


async def test_a_header_list_that_unpacks_too_large_costs_the_connection(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit(ack=False)
        await visit.request()
        entry = b"\x40\x01x\x7f\x81\x1e" + b"y" * 286
        visit.send(HEADERS, END_HEADERS, 1, b"\x88" + entry + b"\xbe" * 15_000)
        await group.reported()
        assert group.failure().reason == "header block cannot be decoded"


async def test_a_peer_that_floods_and_does_not_read_costs_the_connection(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2, timeout=60))
        visit = await peer.visit()
        await visit.requests(2)
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            while not group.reports:
                for _ in range(200):
                    visit.send(PING, 0, 0, bytes(8))
                await visit.writer.drain()
        await group.reported()
        assert {group.failure(index).kind for index in range(2)} == {FailureKind.UNKNOWN}


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(9), b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)])
async def test_a_peer_that_does_not_speak_http2_is_a_failed_connect(peer: Peer, noise: bytes) -> None:
    async with peer.pool(connect_attempts=1) as pool:
        pool.submit(group := Recorder(3))
        visit = await peer.raw_visit()
        visit.writer.write(noise)
        await group.reported()
        assert group.kinds() == [FailureKind.NOT_SENT] * 3
        assert group.failure().reason.startswith("connect failed: ")
