"""Time: overdue requests, silent peers, idle connections."""

import asyncio

from delivery.http2 import FailureKind
from tests.delivery.http2.http2_peer import (
    DATA,
    GOAWAY,
    PING,
    RST_STREAM,
    Peer,
)
from tests.delivery.http2.http2_recorder import Recorder

REFUSED_STREAM = 7
ENHANCE_YOUR_CALM = b"\0\0\0\x0b"


async def test_a_timeout_leaves_a_tombstone_for_the_late_answer(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(slow := Recorder(3, timeout=0.02))
        pool.submit(group := Recorder(1))
        visit = await peer.visit()
        await visit.requests(4)
        await slow.reported()
        assert [(slow.failure(index).kind, slow.failure(index).reason) for index in range(3)] == [
            (FailureKind.UNKNOWN, "no answer in time")
        ] * 3
        assert (await visit.until(RST_STREAM)).payload == b"\0\0\0\x08"
        visit.answer(1, 400, b"late")
        visit.answer(3, body=b"late too")
        visit.reset(5, 0)
        visit.window(5, 1)
        visit.answer(7)
        await group.reported()
        assert group.report() == b""
        assert len(slow.reports) == 3
        assert pool.stats.timeouts == 3
        assert pool.stats.opened == 1


async def test_timeouts_are_those_of_each_group(peer: Peer) -> None:
    async with peer.pool(request_timeout=0.02) as pool:
        pool.submit(patient := Recorder(2, timeout=60))
        pool.submit(hasty := Recorder(2))
        visit = await peer.visit()
        await visit.requests(4)
        await hasty.reported()
        visit.answer(1)
        visit.answer(3)
        await patient.reported()
        assert patient.kinds() == ["ok", "ok"]


async def test_a_silent_peer_is_pinged_and_given_up(peer: Peer) -> None:
    async with peer.pool(ping_timeout=0.02) as pool:
        pool.submit(group := Recorder(2))
        visit = await peer.visit()
        await visit.requests(2)
        await visit.until(PING)
        await group.reported()
        assert [group.failure(index).reason for index in range(2)] == ["no answer to PING"] * 2


async def test_a_peer_that_answers_pings_is_kept(peer: Peer) -> None:
    async with peer.pool(ping_timeout=0.3) as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        await visit.request()
        ping = await visit.until(PING)
        visit.send(PING, 1, 0, ping.payload)
        visit.answer(1)
        await group.reported()
        assert group.report() == b""


async def test_an_idle_connection_is_pinged(peer: Peer) -> None:
    async with peer.pool(ping_idle_seconds=0.02) as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit())
        for _ in range(3):
            ping = await visit.until(PING)
            visit.send(PING, 1, 0, ping.payload)
        assert pool.stats.open == 1


async def test_an_idle_connection_gets_no_more_pings_than_allowed(peer: Peer) -> None:
    async with peer.pool(ping_idle_seconds=0.02, idle_ping_limit=2) as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit())
        for _ in range(2):
            ping = await visit.until(PING)
            visit.send(PING, 1, 0, ping.payload)
        assert [frame.kind for frame in await visit.ended() if frame.kind in (PING, GOAWAY)] == [GOAWAY]


async def test_an_idle_connection_is_closed_if_asked_for(peer: Peer) -> None:
    async with peer.pool(idle_close_seconds=0.02) as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit())
        assert (await visit.ended())[-1].kind == GOAWAY
        assert pool.stats.failed_connects == 0


async def test_a_connection_that_never_gets_a_window_is_replaced(peer: Peer) -> None:
    async with peer.pool(request_timeout=0.05, ping_idle_seconds=0.01, ping_timeout=0.2) as pool:
        pool.submit(group := Recorder(66, bodies=b"x" * 1000, timeout=60))
        first = await peer.visit()
        for request in await first.requests(65):
            first.answer(request.stream)
        await first.until(DATA)
        first.answer(131)
        await group.reported()
        pool.submit(more := Recorder(1))
        second = await peer.visit()
        second.answer((await second.request()).stream)
        await more.reported()
