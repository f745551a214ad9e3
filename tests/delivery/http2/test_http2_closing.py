"""Closing a pool, and what is left behind."""

import asyncio

import pytest

from delivery.http2 import ConnectFailed, Failure, FailureKind, Pool
from tests.delivery.http2.http2_peer import DATA, GOAWAY, Peer, pool_options
from tests.delivery.http2.http2_recorder import FCM_HEAD, Recorder


async def test_close_waits_for_answers_and_reports_what_waits(peer: Peer) -> None:
    async with peer.pool(streams_per_connection=2) as pool:
        pool.submit(group := Recorder(5))
        visit = await peer.visit()
        await visit.requests(2)
        closing = asyncio.ensure_future(pool.close(grace=60))
        await group.reported(3)
        assert [index for index, _ in group.reports] == [2, 3, 4]
        visit.answer(1)
        visit.answer(3)
        last = (await visit.ended())[-1]
        visit.writer.close()
        await closing
        assert last.kind == GOAWAY
        assert group.kinds() == ["ok", "ok"] + [FailureKind.NOT_SENT] * 3


async def test_close_reports_unanswered_requests_when_grace_is_over(peer: Peer) -> None:
    pool = Pool(peer.origin, pool_options())
    pool.submit(group := Recorder(2))
    visit = await peer.visit()
    await visit.requests(2)
    await pool.close(grace=0.01)
    assert [group.failure(index).reason for index in range(2)] == ["pool closing"] * 2
    assert group.failure().kind is FailureKind.UNKNOWN


async def test_a_closed_pool_reports_what_is_submitted(peer: Peer) -> None:
    pool = Pool(peer.origin, pool_options())
    await pool.close()
    pool.submit(group := Recorder(2))
    pool.resubmit(group, 1)
    assert [report for _, report in group.reports] == [Failure(FailureKind.NOT_SENT, "pool closing")] * 3
    assert pool.free_slots() == 0
    assert await pool.wait_for_room() == 0
    with pytest.raises(ConnectFailed):
        await pool.warm_up()


async def test_close_gives_up_connects_under_way(peer: Peer) -> None:
    pool = Pool(peer.origin, pool_options())
    pool.submit(group := Recorder())
    visit = await peer.raw_visit()
    await pool.close()
    assert group.kinds() == [FailureKind.NOT_SENT]
    await visit.ended()


async def test_close_does_not_wait_for_a_peer_that_does_not_read(peer: Peer) -> None:
    pool = Pool(peer.origin, pool_options())
    pool.submit(group := Recorder(1, bodies=b"x" * 8_000_000))
    visit = await peer.visit({4: 2**31 - 1})
    visit.window(0, 2**30)
    await visit.until(DATA)
    visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await pool.close(grace=0.01)
    assert len(group.reports) == 1
    visit.drop()


async def test_a_peer_that_reads_slowly_holds_new_requests_back(peer: Peer) -> None:
    async with peer.pool() as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit({4: 2**31 - 1}))
        visit.window(0, 2**30)
        await visit.barrier()
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        pool.submit(large := Recorder(1, bodies=b"x" * 8_000_000))
        await asyncio.sleep(0)
        pool.submit(small := Recorder(1, head=FCM_HEAD))
        await asyncio.sleep(0)
        assert (pool.in_flight, pool.queued) == (1, 1)
        visit.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(2):
            visit.answer((await visit.request()).stream)
        await large.reported()
        await small.reported()


async def test_groups_and_connections_leave_nothing_behind(peer: Peer) -> None:
    async with peer.pool() as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit())
        for _ in range(20):
            pool.submit(group := Recorder(100, timeout=0.01))
            for request in await visit.requests(100):
                visit.answer(request.stream, body=b"{}")
            await group.reported()
        assert (pool.queued, pool.in_flight) == (0, 0)
        assert pool.stats.streams_peak == 100
