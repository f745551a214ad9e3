"""Answers in every legal shape, and some illegal ones."""

from collections.abc import AsyncIterator

import pytest

from delivery.http2 import FailureKind, Pool
from tests.delivery.http2.http2_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    Peer,
    Visit,
)
from tests.delivery.http2.http2_recorder import Recorder


@pytest.fixture
async def pool(peer: Peer) -> AsyncIterator[Pool]:
    async with peer.pool() as pool:
        yield pool


async def start(pool: Pool, peer: Peer, count: int = 1) -> tuple[Recorder, Visit]:
    """Requests that wait for their answers on streams 1, 3 and so on."""
    pool.submit(group := Recorder(count))
    visit = await peer.visit()
    await visit.requests(count)
    return group, visit


async def test_an_error_brings_status_fields_and_body(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.answer(1, 410, b'{"reason":"Unregistered"}', [("apns-id", "abc"), ("retry-after", "5")])
    await group.reported()
    answer = group.answer()
    assert (answer.status, answer.body) == (410, b'{"reason":"Unregistered"}')
    assert (answer.header(b"apns-id"), answer.header(b"retry-after"), answer.header(b"x")) == (b"abc", b"5", None)
    assert all(not name.startswith(b":") for name, _ in answer.headers)


async def test_an_error_without_body_is_complete(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.answer(1, 503)
    await group.reported()
    assert (group.answer().status, group.answer().body) == (503, b"")


async def test_answers_come_in_any_order(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer, 10)
    for stream in (5, 19, 1, 3, 17, 7, 9, 15, 11, 13):
        visit.answer(stream, body=b"%d" % stream)
    await group.reported()
    assert [group.report(index) for index in range(10)] == [b"%d" % (2 * index + 1) for index in range(10)]


@pytest.mark.parametrize("status", [200, 400])
async def test_a_body_in_many_data_frames_is_put_together(pool: Pool, peer: Peer, status: int) -> None:
    group, visit = await start(pool, peer, 2)
    for stream in (1, 3):
        visit.send(HEADERS, END_HEADERS, stream, visit.block(status))
    for part in (b"one ", b"two ", b"", b"three"):
        visit.send(DATA, 0, 1, part)
        visit.send(DATA, 0, 3, part)
    visit.send(DATA, END_STREAM, 1)
    visit.send(DATA, END_STREAM, 3, b" four")
    await group.reported()
    bodies = [report if isinstance(report, bytes) else group.answer(index).body for index, report in group.reports]
    assert bodies == [b"one two three", b"one two three four"]


async def test_an_empty_data_frame_ends_the_stream_as_fcm_does(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.send(HEADERS, END_HEADERS, 1, visit.block(200))
    visit.send(DATA, 0, 1, b'{"name":"x"}')
    visit.send(DATA, END_STREAM, 1)
    await group.reported()
    assert group.report() == b'{"name":"x"}'


async def test_padding_is_taken_off(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer, 2)
    visit.send(HEADERS, END_HEADERS | PADDED | 0x20, 1, b"\x03" + bytes(5) + visit.block(200) + bytes(3))
    visit.send(DATA, END_STREAM | PADDED, 1, b"\x04body" + bytes(4))
    visit.answer(3)
    await group.reported()
    assert [group.report(index) for index in range(2)] == [b"body", b""]


async def test_padding_longer_than_its_frame_ends_the_connection(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.send(DATA, PADDED, 1, b"\x05body")
    await group.reported()
    assert group.failure().kind is FailureKind.UNKNOWN


async def test_a_header_block_may_continue_over_several_frames(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    block = visit.block(400, [("x-long", "y" * 100)])
    visit.send(HEADERS, END_STREAM, 1, block[:10])
    visit.send(CONTINUATION, 0, 1, block[10:20])
    visit.send(CONTINUATION, END_HEADERS, 1, block[20:])
    await group.reported()
    assert group.answer().header(b"x-long") == b"y" * 100


@pytest.mark.parametrize(("kind", "stream"), [(CONTINUATION, 3), (DATA, 1), (SETTINGS, 0), (0x77, 1)])
async def test_nothing_may_come_between_a_header_block_and_its_continuation(
    pool: Pool, peer: Peer, kind: int, stream: int
) -> None:
    group, visit = await start(pool, peer, 2)
    visit.send(HEADERS, 0, 1, visit.block(200)[:1])
    visit.send(kind, 0, stream)
    await group.reported()
    assert group.kinds() == [FailureKind.UNKNOWN] * 2


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b"", b"body"])
async def test_trailers_are_no_second_head(pool: Pool, peer: Peer, status: int, body: bytes) -> None:
    group, visit = await start(pool, peer, 2)
    visit.send(HEADERS, END_HEADERS, 1, visit.block(status))
    if body:
        visit.send(DATA, 0, 1, body)
    visit.send(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01x\x01y")
    visit.answer(3)
    await group.reported()
    assert group.report(1) == b""
    assert (group.report() if status == 200 else group.answer().body) == body


async def test_interim_answers_are_passed_over(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.send(HEADERS, END_HEADERS, 1, visit.block(103, [("link", "x")]))
    visit.send(HEADERS, END_HEADERS, 1, visit.block(100))
    visit.answer(1, 201, fields=[("location", "/m/1")])
    await group.reported()
    assert (group.answer().status, group.answer().header(b"location")) == (201, b"/m/1")


async def test_unknown_frames_settings_and_priorities_are_ignored(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.send(0x77, 0xFF, 1, b"what")
    visit.send(0x78, 0, 0, b"")
    visit.send(PRIORITY, 0, 1, bytes(5))
    visit.settings({0x4242: 7, 6: 100, 8: 1})
    visit.answer(1)
    await group.reported()
    assert group.report() == b""


async def test_blocks_before_our_settings_are_acknowledged_may_use_the_header_table(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(3))
        visit = await peer.visit(ack=False)
        await visit.requests(3)
        visit.send(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x40\x01x\x01y")
        visit.send(HEADERS, END_HEADERS | END_STREAM, 3, b"\x8c\xbe")
        visit.send(SETTINGS, 1)
        visit.send(HEADERS, END_HEADERS | END_STREAM, 5, b"\x20\x8c\x00\x01x\x01z")
        await group.reported()
        assert group.report(0) == b""
        assert group.answer(1).headers == [(b"x", b"y")]
        assert group.answer(2).headers == [(b"x", b"z")]


async def test_a_table_size_update_before_a_plain_200_is_understood(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer, 2)
    visit.send(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x88")
    visit.send(HEADERS, END_HEADERS | END_STREAM, 3, b"\x88\x00\x01x\x01y")
    await group.reported()
    assert group.kinds() == ["ok", "ok"]


@pytest.mark.parametrize("block", [b"\xbe", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x40\x05ab", b"\x80"])
async def test_a_header_block_that_cannot_be_decoded_ends_the_connection(pool: Pool, peer: Peer, block: bytes) -> None:
    group, visit = await start(pool, peer)
    visit.send(HEADERS, END_HEADERS | END_STREAM, 1, block)
    await group.reported()
    assert group.failure().reason == "header block cannot be decoded"
    assert (await visit.ended())[-1].payload[4:] == b"\0\0\0\x09"


@pytest.mark.parametrize(
    "script",
    [
        [(HEADERS, END_HEADERS | END_STREAM, b"\x00\x01x\x01y")],
        [(HEADERS, END_HEADERS | END_STREAM, b"\x00\x07:status\x03200\x89")],
        [(HEADERS, END_HEADERS | END_STREAM, b"\x08\x03abc")],
        [(HEADERS, END_HEADERS | END_STREAM, b"\x08\x03100")],
        [(HEADERS, END_HEADERS, b"\x08\x03101")],
        [(DATA, END_STREAM, b"no head")],
        [(HEADERS, END_HEADERS, b"\x8c"), (HEADERS, END_HEADERS, b"\x00\x01x\x01y")],
        [(HEADERS, END_HEADERS, b"\x88"), (HEADERS, END_HEADERS, b"\x88")],
    ],
)
async def test_a_malformed_answer_costs_its_stream_only(
    pool: Pool, peer: Peer, script: list[tuple[int, int, bytes]]
) -> None:
    group, visit = await start(pool, peer, 2)
    for kind, flags, payload in script:
        visit.send(kind, flags, 1, payload)
    visit.answer(3)
    await group.reported()
    assert group.kinds() == [FailureKind.UNKNOWN, "ok"]
    assert (await visit.until(RST_STREAM)).stream == 1


@pytest.mark.parametrize("status", [200, 500])
async def test_a_body_beyond_the_limit_is_cut_and_its_stream_cancelled(peer: Peer, status: int) -> None:
    async with peer.pool(max_body_bytes=100) as pool:
        group, visit = await start(pool, peer, 2)
        visit.send(HEADERS, END_HEADERS, 1, visit.block(status))
        for _ in range(5):
            visit.send(DATA, 0, 1, b"x" * 60)
        visit.answer(3, body=b"y" * 101)
        await group.reported()
        body = group.report(0) if status == 200 else group.answer(0).body
        assert body == b"x" * 100
        assert group.report(1) == b"y" * 100
        assert (await visit.until(RST_STREAM)).stream == 1


async def test_a_pushed_stream_ends_the_connection(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer)
    visit.send(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x88")
    await group.reported()
    assert "pushed" in group.failure().reason
    assert (await visit.ended())[-1].kind == GOAWAY


@pytest.mark.parametrize("stream", [2, 99])
@pytest.mark.parametrize(
    ("kind", "payload"), [(HEADERS, b"\x88"), (DATA, b""), (RST_STREAM, bytes(4)), (8, b"\0\0\0\1")]
)
async def test_frames_on_streams_never_opened_end_the_connection(
    pool: Pool, peer: Peer, stream: int, kind: int, payload: bytes
) -> None:
    group, visit = await start(pool, peer)
    visit.send(kind, END_HEADERS if kind == HEADERS else 0, stream, payload)
    await group.reported()
    assert "never opened" in group.failure().reason


@pytest.mark.parametrize(
    ("kind", "stream", "payload"),
    [
        (DATA, 0, b""), (HEADERS, 0, b"\x88"), (SETTINGS, 1, b""), (6, 1, bytes(8)), (GOAWAY, 1, bytes(8)),
        (SETTINGS, 0, bytes(5)), (6, 0, bytes(7)), (RST_STREAM, 1, bytes(3)), (8, 0, bytes(5)), (GOAWAY, 0, bytes(7)),
        (PRIORITY, 1, bytes(4)), (CONTINUATION, 1, b""), (0x99, 0, bytes(16_385)),
    ],
)  # fmt: skip
async def test_frames_of_a_wrong_size_or_on_a_wrong_stream_end_the_connection(
    pool: Pool, peer: Peer, kind: int, stream: int, payload: bytes
) -> None:
    group, visit = await start(pool, peer)
    visit.send(kind, END_HEADERS if kind == HEADERS else 0, stream, payload)
    await group.reported()
    assert group.failure().kind is FailureKind.UNKNOWN
    assert (await visit.ended())[-1].kind == GOAWAY


async def test_frames_cut_at_every_byte_are_put_together(pool: Pool, peer: Peer) -> None:
    group, visit = await start(pool, peer, 3)
    sent: list[bytes | bytearray | memoryview] = []
    write, visit.writer.write = visit.writer.write, sent.append  # type: ignore[method-assign,assignment]
    visit.answer(1, body=b"first")
    visit.answer(3, 400, b"second", [("a", "b")])
    visit.answer(5)
    for byte in b"".join(sent):
        write(bytes((byte,)))
        await visit.writer.drain()
    await group.reported()
    assert (group.report(0), group.answer(1).body, group.report(2)) == (b"first", b"second", b"")
