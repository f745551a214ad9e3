"""What requests look like on the wire, and how plain answers come back."""

import asyncio

import pytest

from delivery.http2 import Group, Head
from tests.delivery.http2.http2_peer import MAX_STREAMS, TABLE_SIZE, Peer, Visit
from tests.delivery.http2.http2_recorder import APNS_HEAD, FCM_HEAD, Recorder


async def answer_all(visit: Visit, count: int, body: bytes = b"") -> list[bytes]:
    paths = []
    for request in await visit.requests(count):
        paths.append(request.path)
        visit.answer(request.stream, body=body)
    return paths


async def test_a_request_carries_pseudo_fields_shared_fields_own_fields_and_id_in_order(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder())
        visit = await peer.visit()
        request = await visit.request()
        assert request.headers == [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"api.push.example"),
            (b":path", b"/3/device/0000"),
            *APNS_HEAD.fields,
            (b"apns-expiration", b"1700000000"),
            (b"apns-id", b"id-0"),
        ]
        assert request.body == b"{}"
        visit.answer(request.stream)
        await group.reported()
        assert group.report() == b""


async def test_every_request_of_a_group_differs_only_in_path_and_id(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(50))
        visit = await peer.visit()
        requests = await visit.requests(50)
        assert [request.path for request in requests] == [b"/3/device/%04x" % index for index in range(50)]
        assert [dict(request.headers)[b"apns-id"] for request in requests] == [b"id-%d" % i for i in range(50)]
        assert {tuple(request.headers[4:-1]) for request in requests} == {tuple(requests[0].headers[4:-1])}
        for request in requests:
            visit.answer(request.stream)
        await group.reported()
        assert group.kinds() == ["ok"] * 50


async def test_repeated_fields_cost_one_byte_after_the_first_request(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(2))
        visit = await peer.visit()
        await visit.requests(2)
        first, second = [len(frame.payload) for frame in visit.seen if frame.kind == 1]
        assert second < 45 < first


async def test_a_fixed_path_and_a_body_for_each_request(peer: Peer) -> None:
    bodies = [b"body %d" % index * index for index in range(1, 20)]
    async with peer.pool() as pool:
        pool.submit(group := Recorder(19, head=FCM_HEAD, bodies=bodies))
        visit = await peer.visit()
        requests = await visit.requests(19)
        assert [request.body for request in requests] == bodies
        assert {request.path for request in requests} == {FCM_HEAD.path}
        for request in requests:
            visit.answer(request.stream, body=b'{"name":"%d"}' % request.stream)
        await group.reported()
        assert [report for _, report in group.reports] == [b'{"name":"%d"}' % request.stream for request in requests]


async def test_a_new_head_changes_the_fields_in_the_middle_of_a_connection(peer: Peer) -> None:
    renewed = Head(b"fcm.example", FCM_HEAD.path, [(b"authorization", b"Bearer other")], scheme=b"http")
    async with peer.pool() as pool:
        groups = [Recorder(3, head=head) for head in (FCM_HEAD, renewed, FCM_HEAD)]
        for group in groups:
            pool.submit(group)
        visit = await peer.visit()
        tokens = [dict(request.headers)[b"authorization"] for request in await visit.requests(9)]
        assert tokens == [b"Bearer t"] * 3 + [b"Bearer other"] * 3 + [b"Bearer t"] * 3


@pytest.mark.parametrize("size", [0, 40, 100, 4096, 65_536])
async def test_the_header_table_size_of_the_peer_is_obeyed(peer: Peer, size: int) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(4))
        visit = await peer.visit({TABLE_SIZE: size})
        visit.decoder.max_allowed_table_size = size
        assert len(await answer_all(visit, 4)) == 4
        await group.reported()


async def test_the_header_table_may_shrink_while_the_connection_is_in_use(peer: Peer) -> None:
    async with peer.pool() as pool:
        _, visit = await asyncio.gather(pool.warm_up(), peer.visit())
        for size in (4096, 200, 0):
            visit.settings({TABLE_SIZE: size})
            await visit.barrier()
            visit.decoder.max_allowed_table_size = size
            pool.submit(group := Recorder(3))
            await answer_all(visit, 3)
            await group.reported()


async def test_requests_wait_for_the_first_settings(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(5))
        visit = await peer.raw_visit()
        await visit.greet({MAX_STREAMS: 2})
        await visit.requests(2)
        assert [frame.kind for frame in await visit.barrier() if frame.kind < 2] == []


async def test_urgent_groups_overtake_what_waits(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(Recorder(4, head=FCM_HEAD))
        pool.submit(Recorder(1, urgent=True))
        visit = await peer.visit({MAX_STREAMS: 1})
        assert (await visit.request()).path == b"/3/device/0000"


async def test_many_requests_of_many_sizes_arrive_whole_under_load(peer: Peer) -> None:
    count = 3000
    bodies = [b"%d" % index * (index % 50) for index in range(count)]
    async with peer.pool() as pool:
        pool.submit(group := Recorder(count, bodies=bodies))
        visit = await peer.visit()
        for index in range(count):
            request = await visit.request()
            assert (request.path, request.body) == (b"/3/device/%04x" % index, bodies[index])
            visit.window(0, max(1, len(request.body)))
            visit.answer(request.stream, body=b"x" * (index % 3))
        await group.reported()
        assert [report for _, report in sorted(group.reports)] == [b"x" * (index % 3) for index in range(count)]


async def test_wants_headers_gets_the_fields_of_a_200(peer: Peer) -> None:
    async with peer.pool() as pool:
        pool.submit(group := Recorder(2, wants_headers=True))
        visit = await peer.visit()
        for request in await visit.requests(2):
            visit.answer(request.stream, fields=[("apns-id", f"real-{request.stream}")])
        await group.reported()
        assert [group.answer(index).header(b"apns-id") for index in range(2)] == [b"real-1", b"real-3"]


async def test_a_callback_that_raises_harms_no_other_request(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def on_ok(self, index: int, body: bytes) -> None:
            super().on_ok(index, body)
            if index == 0:
                raise ValueError

    async with peer.pool() as pool:
        pool.submit(group := Broken(3))
        visit = await peer.visit()
        await answer_all(visit, 3)
        await group.reported()
        assert group.kinds() == ["ok"] * 3
        assert [record.getMessage() for record in caplog.records] == ["callback of a group failed"]


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\0b"])
def test_a_head_refuses_line_breaks(value: bytes) -> None:
    with pytest.raises(ValueError, match="not fit"):
        Head(b"host", b"/", [(b"x", value)])


@pytest.mark.parametrize("name", [b"Upper", b""])
def test_a_head_refuses_names_that_are_not_lower_case(name: bytes) -> None:
    with pytest.raises(ValueError, match="not fit"):
        Head(b"host", b"/", [(name, b"v")])


@pytest.mark.parametrize("path", [b"a b", b"a\r\n", b"\xff", b"x" * 3000])
def test_a_group_refuses_paths_that_could_be_misread(path: bytes) -> None:
    with pytest.raises(ValueError, match="visible"):
        Group(FCM_HEAD, 1, b"", paths=[path])


def test_a_group_refuses_sequences_of_another_length_than_its_count() -> None:
    with pytest.raises(ValueError, match="one entry"):
        Group(FCM_HEAD, 2, [b"only one"])


def test_a_head_does_not_show_its_secrets() -> None:
    assert "Bearer" not in repr(FCM_HEAD)


async def test_requests_submitted_in_one_turn_are_one_write(peer: Peer) -> None:
    async with peer.pool() as pool:
        await asyncio.gather(pool.warm_up(), peer.visit())
        visit_groups = [Recorder() for _ in range(20)]
        for group in visit_groups:
            pool.submit(group)
        assert pool.queued == 20
        assert pool.in_flight == 0
        await asyncio.sleep(0)
        assert pool.queued == 0
        assert pool.in_flight == 20
