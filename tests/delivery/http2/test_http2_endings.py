"""Requests that get no answer, and connections that end: what is reported, and that it is reported once."""

import pytest

from delivery.http2 import FailureKind, streams
from tests.delivery.http2.http2_peer import DATA, GOAWAY, INITIAL_WINDOW, Peer
from tests.delivery.http2.http2_recorder import FCM_HEAD, Recorder

REFUSED_STREAM = 7
ENHANCE_YOUR_CALM = b"\0\0\0\x0b"


@pytest.mark.parametrize("code", [0, 2, 8])
async def test_a_reset_stream_is_unknown_and_the_others_go_on(peer: Peer, code: int) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2))
        visit = await peer.visit()
        await visit.requests(2)
        visit.reset(1, code)
        visit.answer(3)
        await group.reported()
        assert group.kinds() == [FailureKind.UNKNOWN, "ok"]
        assert pool.stats.resets == 1


async def test_a_refused_stream_goes_again_by_itself(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2))
        visit = await peer.visit()
        await visit.requests(2)
        visit.reset(1, REFUSED_STREAM)
        visit.answer(3)
        again = await visit.request()
        assert (again.stream, again.path) == (5, b"/3/device/0000")
        visit.answer(5)
        await group.reported()
        assert group.kinds() == ["ok", "ok"]


async def test_a_stream_refused_again_and_again_is_reported(peer: Peer) -> None:
    async with peer.pool(refused_attempts=2) as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        for _ in range(3):
            visit.reset((await visit.request()).stream, REFUSED_STREAM)
        await group.reported()
        assert group.kinds() == [FailureKind.REFUSED]


async def test_a_refused_stream_prefers_another_connection(peer: Peer) -> None:
    async with peer.pool(max_connections=2, streams_per_connection=40) as pool:
        pool.submit(group := Recorder(80))
        first = await peer.visit()
        refused = (await first.requests(40))[0]
        second = await peer.visit()
        for request in (await second.requests(40))[1:]:
            second.answer(request.stream)
        first.reset(refused.stream, REFUSED_STREAM)
        assert (await second.request()).path == refused.path
        await group.reported(39)


async def test_goaway_sends_higher_streams_again_and_waits_for_lower_ones(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(4))
        first = await peer.visit()
        await first.requests(4)
        first.goaway(3, 0, b'{"reason":"Shutdown"}')
        second = await peer.visit()
        assert [request.path for request in await second.requests(2)] == [b"/3/device/0002", b"/3/device/0003"]
        second.answer(1)
        second.answer(3)
        await group.reported(2)
        first.answer(3)
        first.answer(1)
        await group.reported()
        assert group.kinds() == ["ok"] * 4
        assert (await first.ended())[-1].kind == GOAWAY
        assert pool.stats.last_goaway == "Shutdown (code 0)"


async def test_a_graceful_goaway_lets_everything_finish_and_the_second_says_what_was_lost(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(3))
        first = await peer.visit()
        await first.requests(3)
        first.goaway(2**31 - 1)
        await first.barrier()
        assert pool.in_flight == 3
        pool.submit(late := Recorder(1, head=FCM_HEAD))
        second = await peer.visit()
        second.answer((await second.request()).stream)
        await late.reported()
        first.goaway(1)
        first.answer(1)
        for request in await second.requests(2):
            second.answer(request.stream)
        await group.reported()
        assert group.kinds() == ["ok"] * 3


async def test_a_connection_lost_after_goaway_leaves_lower_streams_unknown(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2))
        first = await peer.visit()
        await first.requests(2)
        first.goaway(1, 11, b"too_many_pings\x00\xff")
        first.writer.close()
        await group.reported(1)
        assert group.failure().kind is FailureKind.UNKNOWN
        assert "too_many_pings" in group.failure().reason
        second = await peer.visit()
        second.answer((await second.request()).stream)
        await group.reported()
        assert group.report(1) == b""
        assert "http2 goaway" in [record.getMessage() for record in caplog.records]


async def test_a_lost_connection_leaves_written_requests_unknown_and_keeps_waiting_ones(peer: Peer) -> None:
    async with peer.pool(streams_per_connection=2) as pool:
        pool.submit(group := Recorder(3))
        first = await peer.visit()
        await first.requests(2)
        first.drop()
        await group.reported(2)
        assert {group.failure(index).kind for index in (0, 1)} == {FailureKind.UNKNOWN}
        assert group.failure(0).reason.startswith("connection lost")
        second = await peer.visit()
        second.answer((await second.request()).stream)
        await group.reported()
        assert group.report(2) == b""


async def test_a_request_whose_body_was_not_written_whole_is_not_sent(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2, head=FCM_HEAD, bodies=[b"short", b"x" * 500]))
        visit = await peer.visit({INITIAL_WINDOW: 200})
        await visit.request()
        await visit.until(DATA)
        visit.drop()
        await group.reported()
        assert group.kinds() == [FailureKind.UNKNOWN, FailureKind.NOT_SENT]


async def test_stream_ids_that_run_out_lead_to_a_new_connection(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LAST_ID", 9)
    async with peer.pool() as pool:
        pool.submit(group := Recorder(7))
        first = await peer.visit()
        for request in await first.requests(5):
            first.answer(request.stream)
        second = await peer.visit()
        for request in await second.requests(2):
            second.answer(request.stream)
        await group.reported()
        assert group.kinds() == ["ok"] * 7
        assert (await first.ended())[-1].kind == GOAWAY
