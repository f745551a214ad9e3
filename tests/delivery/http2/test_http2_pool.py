"""The pool: how many connections, what waits, what is reported when nothing can be sent."""

import asyncio
import time

import pytest

from delivery.http2 import Answer, ConnectFailed, Failure, FailureKind, Head, Origin, Pool
from tests.delivery.http2.http2_peer import GOAWAY, MAX_STREAMS, Peer, pool_options
from tests.delivery.http2.http2_recorder import APNS_HEAD, FCM_HEAD, Recorder


@pytest.fixture
async def nowhere() -> Origin:
    """An origin that refuses connections."""
    async with Peer() as peer:
        return peer.origin


async def test_no_connection_is_opened_without_work(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(0))
        await asyncio.sleep(0)
        assert pool.stats.opened == 0
        assert peer.waiting == 0


async def test_more_work_than_streams_opens_more_connections_up_to_the_limit(peer: Peer) -> None:
    async with peer.pool(max_connections=3, streams_per_connection=100) as pool:
        pool.submit(group := Recorder(1000))
        visits = [await peer.visit() for _ in range(3)]
        for visit in visits:
            await visit.requests(100)
        assert pool.in_flight == 300
        assert pool.queued == 700
        assert peer.waiting == 0
        assert pool.stats.open == 3
        assert not group.reports


async def test_a_little_work_does_not_open_a_connection_for_each_request(peer: Peer) -> None:
    async with peer.pool(max_connections=10) as pool:
        for _ in range(20):
            pool.submit(Recorder())
        visit = await peer.visit()
        await visit.requests(20)
        await visit.barrier()
        assert pool.stats.opened == 1
        assert peer.waiting == 0


async def test_a_full_window_opens_more_connections(peer: Peer) -> None:
    async with peer.pool(max_connections=2) as pool:
        pool.submit(Recorder(200, bodies=b"x" * 1000))
        first = await peer.visit({MAX_STREAMS: 1000})
        await first.requests(65)
        second = await peer.visit({MAX_STREAMS: 1000})
        await second.requests(65)


async def test_nothing_new_is_opened_while_the_first_connection_warms_up(peer: Peer) -> None:
    async with peer.pool(max_connections=5, one_stream_first=True) as pool:
        pool.submit(Recorder(500))
        visit = await peer.visit()
        request = await visit.request()
        await visit.barrier()
        assert (pool.stats.opened, peer.waiting) == (1, 0)
        visit.answer(request.stream)
        await visit.requests(99)
        await peer.visit()


async def test_waiting_requests_are_shared_between_open_connections(peer: Peer) -> None:
    async with peer.pool(max_connections=2, streams_per_connection=50) as pool:
        pool.submit(group := Recorder(100))
        visits = [await peer.visit() for _ in range(2)]
        for visit in visits:
            for request in await visit.requests(50):
                visit.answer(request.stream)
        await group.reported()
        pool.submit(Recorder(10))
        assert [len(await visit.requests(5)) for visit in visits] == [5, 5]


async def test_free_slots_shrink_with_what_waits_and_come_back(peer: Peer) -> None:
    async with peer.pool(backlog=10) as pool:
        assert pool.free_slots() == 10
        pool.submit(group := Recorder(12))
        assert pool.free_slots() == 0
        room = asyncio.ensure_future(pool.wait_for_room())
        visit = await peer.visit({MAX_STREAMS: 4})
        requests = await visit.requests(4)
        assert await room == 2
        assert pool.capacity() == 4
        for request in requests:
            visit.answer(request.stream)
        assert await pool.wait_for_room(at_least=5) == 10 - pool.queued
        for request in await visit.requests(4):
            visit.answer(request.stream)
        for request in await visit.requests(4):
            visit.answer(request.stream)
        await group.reported()
        assert pool.free_slots() == 10


async def test_a_cancelled_group_is_reported_and_what_is_written_runs_on(peer: Peer) -> None:
    async with peer.pool(streams_per_connection=2) as pool:
        pool.submit(group := Recorder(5))
        pool.submit(other := Recorder(1, head=FCM_HEAD))
        visit = await peer.visit()
        first, second = await visit.requests(2)
        pool.cancel(group)
        assert [(index, report) for index, report in group.reports] == [
            (index, Failure(FailureKind.NOT_SENT, "cancelled")) for index in (2, 3, 4)
        ]
        assert pool.queued == 1
        visit.answer(first.stream)
        visit.reset(second.stream, 7)
        await group.reported()
        assert group.kinds()[:2] == ["ok", FailureKind.REFUSED]
        visit.answer((await visit.request()).stream)
        await other.reported()


async def test_requests_beyond_their_expiry_are_not_written(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(stale := Recorder(3, expires_at=time.time() - 1))
        pool.submit(fresh := Recorder(1, expires_at=time.time() + 60))
        visit = await peer.visit()
        visit.answer((await visit.request()).stream)
        await fresh.reported()
        await stale.reported()
        assert stale.kinds() == [FailureKind.EXPIRED] * 3


async def test_expiry_is_noticed_while_no_connection_can_take_anything(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2, expires_at=time.time() + 0.05))
        await peer.raw_visit()
        await group.reported()
        assert group.kinds() == [FailureKind.EXPIRED] * 2


async def test_resubmit_sends_one_request_again_first_with_the_new_head(peer: Peer) -> None:
    renewed = Head(APNS_HEAD.authority, APNS_HEAD.path, [(b"authorization", b"bearer new")], id_name=b"apns-id")

    class Renewing(Recorder):
        def on_answer(self, index: int, answer: Answer) -> None:
            super().on_answer(index, answer)
            pool.resubmit(self, index, avoid=answer.connection, head=renewed)

    async with peer.pool() as pool:
        pool.submit(group := Renewing(3))
        visit = await peer.visit({MAX_STREAMS: 1})
        visit.answer((await visit.request()).stream, 403)
        again = await visit.request()
        assert again.path == b"/3/device/0000"
        assert dict(again.headers)[b"authorization"] == b"bearer new"
        visit.answer(again.stream)
        for _ in range(2):
            visit.answer((await visit.request()).stream)
        await group.reported(4)
        assert [index for index, _ in group.reports] == [0, 0, 1, 2]


async def test_a_head_that_does_not_fit_the_group_is_refused(peer: Peer) -> None:
    async with peer.pool() as pool:
        with pytest.raises(ValueError, match="id_name"):
            pool.resubmit(Recorder(), 0, head=FCM_HEAD)


async def test_a_retired_connection_takes_no_more_and_closes_when_drained(peer: Peer) -> None:
    class Retiring(Recorder):
        def on_answer(self, index: int, answer: Answer) -> None:
            super().on_answer(index, answer)
            answer.connection.retire("ExpiredProviderToken")

    async with peer.pool(streams_per_connection=2) as pool:
        pool.submit(group := Retiring(3))
        first = await peer.visit()
        one, two = await first.requests(2)
        first.answer(one.stream, 403)
        second = await peer.visit()
        second.answer((await second.request()).stream)
        await group.reported(2)
        first.answer(two.stream)
        await group.reported()
        last = (await first.ended())[-1]
        assert (last.kind, last.payload) == (GOAWAY, bytes(8))
        assert pool.stats.open == 1
        assert pool.stats.failed_connects == 0


async def test_failed_connects_are_tried_again_and_then_reported(nowhere: Origin) -> None:
    jitters = iter([0.0] * 10)
    async with Pool(nowhere, pool_options(connect_attempts=3), jitter=lambda: next(jitters)) as pool:
        pool.submit(group := Recorder(3))
        await group.reported()
        assert group.kinds() == [FailureKind.NOT_SENT] * 3
        assert "Errno" in group.failure().reason
        assert pool.stats.failed_connects == 3
        assert pool.stats.last_error is not None
        assert pool.free_slots() == 32


async def test_a_pool_that_fails_recovers_when_the_origin_does(peer: Peer) -> None:
    async with peer.pool(connect_attempts=1) as pool:
        pool.submit(lost := Recorder())
        (await peer.raw_visit()).drop()
        await lost.reported()
        assert lost.kinds() == [FailureKind.NOT_SENT]
        pool.submit(group := Recorder())
        visit = await peer.visit()
        visit.answer((await visit.request()).stream)
        await group.reported()
        assert pool.free_slots() == 1000


async def test_a_connection_that_ends_before_its_first_answer_counts_as_a_failed_connect(peer: Peer) -> None:
    async with peer.pool(connect_attempts=2, streams_per_connection=1) as pool:
        pool.submit(group := Recorder(4))
        for _ in range(2):
            visit = await peer.visit()
            await visit.request()
            visit.drop()
        await group.reported()
        assert group.kinds() == [FailureKind.UNKNOWN] * 2 + [FailureKind.NOT_SENT] * 2


async def test_a_peer_that_never_greets_is_given_up(peer: Peer) -> None:
    async with peer.pool(connect_attempts=1, connect_timeout=0.05) as pool:
        pool.submit(group := Recorder())
        visit = await peer.raw_visit()
        await group.reported()
        assert group.failure().reason == "connect failed: connect timed out"
        await visit.ended()


async def test_no_more_connects_than_allowed_in_a_minute(peer: Peer) -> None:
    async with peer.pool(connects_per_minute=2, connect_attempts=100) as pool:
        pool.submit(group := Recorder(expires_at=time.time() + 0.2))
        for _ in range(2):
            (await peer.raw_visit()).drop()
        await group.reported()
        assert group.kinds() == [FailureKind.EXPIRED]
        assert peer.waiting == 0


async def test_warm_up_opens_a_connection(peer: Peer) -> None:
    async with peer.pool() as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit({MAX_STREAMS: 7}))
        assert pool.capacity() == 7
        await pool.warm_up()
        assert pool.stats.opened == 1
        assert visit.seen


async def test_warm_up_says_why_it_failed(nowhere: Origin) -> None:
    async with Pool(nowhere, pool_options(), jitter=lambda: 1.0) as pool:
        with pytest.raises(ConnectFailed, match="Errno"):
            await pool.warm_up()
        with pytest.raises(ConnectFailed, match="waiting before the next connect"):
            await pool.warm_up()
