"""Streams and windows: never more than the peer allows, and everything in the end."""

import pytest

from delivery.http2 import FailureKind
from tests.delivery.http2.http2_peer import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_STREAMS,
    RST_STREAM,
    WINDOW_UPDATE,
    Frame,
    Peer,
    Visit,
)
from tests.delivery.http2.http2_recorder import FCM_HEAD, Recorder


def heads(frames: list[Frame]) -> int:
    return sum(frame.kind == HEADERS for frame in frames)


async def serve_one_by_one(visit: Visit, count: int) -> None:
    """Answer requests singly and see that no second one is open meanwhile."""
    for _ in range(count):
        request = await visit.request()
        assert heads(await visit.barrier()) == 0
        visit.answer(request.stream)


async def test_a_limit_of_one_stream_is_kept(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(5))
        visit = await peer.visit({MAX_STREAMS: 1})
        await serve_one_by_one(visit, 5)
        await group.reported()
        assert group.kinds() == ["ok"] * 5


async def test_a_raised_limit_is_used_at_once(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(10))
        visit = await peer.visit({MAX_STREAMS: 1})
        await visit.request()
        visit.settings({MAX_STREAMS: 4})
        await visit.requests(3)
        assert heads(await visit.barrier()) == 0


async def test_a_shrunk_limit_holds_new_streams_back_until_enough_have_ended(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(10))
        visit = await peer.visit({MAX_STREAMS: 4})
        first = await visit.requests(4)
        visit.settings({MAX_STREAMS: 1})
        for request in first[:3]:
            visit.answer(request.stream)
        assert heads(await visit.barrier()) == 0
        visit.answer(first[3].stream)
        await serve_one_by_one(visit, 6)
        await group.reported()


async def test_a_limit_of_zero_sends_nothing_until_it_is_raised(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit({MAX_STREAMS: 0})
        assert heads(await visit.barrier()) == 0
        visit.settings({MAX_STREAMS: 1})
        visit.answer((await visit.request()).stream)
        await group.reported()


async def test_our_own_cap_holds_below_the_limit_of_the_peer(peer: Peer) -> None:
    async with peer.pool(streams_per_connection=3) as pool:
        pool.submit(Recorder(10))
        visit = await peer.visit({MAX_STREAMS: 100})
        await visit.requests(3)
        assert heads(await visit.barrier()) == 0


async def test_one_stream_first_until_the_first_answer(peer: Peer) -> None:
    async with peer.pool(one_stream_first=True) as pool:
        pool.submit(Recorder(10))
        visit = await peer.visit({MAX_STREAMS: 1000})
        request = await visit.request()
        assert heads(await visit.barrier()) == 0
        visit.answer(request.stream, 403, b"{}")
        await visit.requests(9)


async def test_one_stream_first_until_settings_raise_the_limit(peer: Peer) -> None:
    async with peer.pool(one_stream_first=True) as pool:
        pool.submit(Recorder(10))
        visit = await peer.visit({MAX_STREAMS: 1})
        await visit.request()
        visit.settings({MAX_STREAMS: 1000})
        await visit.requests(9)


async def test_the_connection_window_is_never_exceeded(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(100, bodies=b"x" * 1000))
        visit = await peer.visit()
        first = await visit.requests(65)
        assert heads(await visit.barrier()) == 0
        visit.window(0, 2000)
        second = await visit.requests(2)
        assert heads(await visit.barrier()) == 0
        visit.window(0, 1_000_000)
        for request in [*first, *second, *await visit.requests(33)]:
            visit.answer(request.stream)
        await group.reported()


async def test_the_last_bytes_of_a_window_are_used_when_nothing_else_can_open_it(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(66, bodies=b"x" * 1000))
        visit = await peer.visit()
        for request in await visit.requests(65):
            visit.answer(request.stream)
        stream, _ = await visit.head()
        part = await visit.until(DATA)
        assert (len(part.payload), part.flags) == (535, 0)
        visit.window(0, 1000)
        rest = await visit.until(DATA)
        assert (len(rest.payload), rest.flags) == (465, END_STREAM)
        visit.answer(stream)
        await group.reported()


async def test_a_body_larger_than_the_stream_window_finishes_later(peer: Peer) -> None:
    body = bytes(range(250)) * 2
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2, bodies=body))
        visit = await peer.visit({INITIAL_WINDOW: 200})
        parts = [await visit.until(DATA), await visit.until(DATA)]
        assert [(part.stream, len(part.payload), part.flags) for part in parts] == [(1, 200, 0), (3, 200, 0)]
        assert not [frame for frame in await visit.barrier() if frame.kind == DATA]
        visit.window(3, 300)
        last = await visit.until(DATA)
        assert (last.stream, last.payload, last.flags) == (3, body[200:], END_STREAM)
        visit.window(1, 100)
        assert len((await visit.until(DATA)).payload) == 100
        visit.window(1, 1000)
        assert (await visit.until(DATA)).payload == body[300:]
        visit.answer(1)
        visit.answer(3)
        await group.reported()
        assert group.kinds() == ["ok", "ok"]


async def test_a_window_made_negative_by_settings_must_be_paid_back_first(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(1, bodies=b"x" * 500))
        visit = await peer.visit({INITIAL_WINDOW: 200})
        assert len((await visit.until(DATA)).payload) == 200
        visit.settings({INITIAL_WINDOW: 50})
        visit.window(1, 150)
        assert not [frame for frame in await visit.barrier() if frame.kind == DATA]
        visit.window(1, 7)
        assert len((await visit.until(DATA)).payload) == 7


async def test_a_raised_initial_window_lets_open_streams_go_on(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(1, bodies=b"x" * 500))
        visit = await peer.visit({INITIAL_WINDOW: 200})
        await visit.until(DATA)
        visit.settings({INITIAL_WINDOW: 500})
        last = await visit.until(DATA)
        assert (len(last.payload), last.flags) == (300, END_STREAM)


async def test_an_initial_window_of_zero_sends_the_head_and_waits(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(1))
        visit = await peer.visit({INITIAL_WINDOW: 0})
        stream, _ = await visit.head()
        assert not [frame for frame in await visit.barrier() if frame.kind == DATA]
        visit.window(stream, 2)
        assert (await visit.until(DATA)).payload == b"{}"
        visit.answer(stream)
        await group.reported()


async def test_a_large_body_goes_in_frames_of_the_size_every_peer_takes(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(1, bodies=b"x" * 40_000))
        visit = await peer.visit()
        request = await visit.request()
        assert len(request.body) == 40_000
        assert [len(frame.payload) for frame in visit.seen if frame.kind == DATA] == [16_384, 16_384, 7_232]
        visit.answer(request.stream)
        await group.reported()


async def test_an_answer_before_the_body_is_out_ends_the_stream(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(1, bodies=b"x" * 500))
        visit = await peer.visit({INITIAL_WINDOW: 200})
        stream, _ = await visit.head()
        visit.answer(stream, 413, b"too large")
        await group.reported()
        assert group.answer().status == 413
        assert (await visit.until(RST_STREAM)).stream == stream
        assert not [frame for frame in await visit.barrier() if frame.kind == DATA]


async def test_received_bodies_are_paid_back_as_window(peer: Peer) -> None:
    async with peer.pool() as pool:
        visit = None
        for _ in range(6):
            pool.submit(group := Recorder(100, head=FCM_HEAD))
            visit = visit or await peer.visit()
            for request in await visit.requests(100):
                visit.answer(request.stream, body=b"x" * 16_000)
            await group.reported()
        assert visit is not None
        await visit.barrier()
        updates = [int.from_bytes(frame.payload, "big") for frame in visit.seen if frame.kind == WINDOW_UPDATE]
        assert len(updates) == 2
        assert 8_000_000 < updates[1] < 9_600_000


@pytest.mark.parametrize(("stream", "increment"), [(0, 0), (0, 2**31 - 1)])
async def test_a_bad_window_update_ends_the_connection(peer: Peer, stream: int, increment: int) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        await visit.request()
        visit.window(stream, increment)
        await group.reported()
        assert group.failure().kind is FailureKind.UNKNOWN
        assert (await visit.ended())[-1].kind == GOAWAY


async def test_a_window_update_of_zero_costs_its_stream_only(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2))
        visit = await peer.visit()
        first, second = await visit.requests(2)
        visit.window(first.stream, 0)
        visit.answer(second.stream)
        await group.reported()
        assert group.kinds() == [FailureKind.UNKNOWN, "ok"]


@pytest.mark.parametrize("settings", [{INITIAL_WINDOW: 2**31}, {5: 100}, {5: 2**24}, {2: 1}])
async def test_settings_out_of_range_end_the_connection(peer: Peer, settings: dict[int, int]) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        await visit.request()
        visit.settings(settings)
        await group.reported()
        assert group.failure().kind is FailureKind.UNKNOWN
        assert (await visit.ended())[-1].kind == GOAWAY


async def test_settings_are_acknowledged_and_pings_answered_with_their_payload(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder())
        visit = await peer.visit()
        assert (await visit.until(4)).flags == 1
        visit.send(6, 0, 0, b"payload!")
        assert (await visit.until(6)).payload == b"payload!"
