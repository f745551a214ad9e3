"""The HTTP door at work: what clients may take of it, and what is answered to those that take more."""

import asyncio
import socket
import struct

import pytest

from server.door import Rules, most_connections, open_files
from tests.contract.serving import listening
from tests.server.raw import Bodies, answer_to, connected, head_of, statuses

_GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
_LAST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def _post(length: int, *headers: bytes) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"host: a", b"content-length: %d" % length, *headers, b"", b""])


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with listening(Bodies()) as port, connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(_post(2) + b"{}")
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(1) == b"2"


async def test_a_request_byte_by_byte_is_understood() -> None:
    app = Bodies()
    async with listening(app) as port:
        sent = _post(5, b"connection: close") + b"hello"
        answer = await answer_to(port, *(sent[each : each + 1] for each in range(len(sent))))
    assert statuses(answer) == [200]
    assert app.taken == [b"hello"]


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    app = Bodies()
    async with listening(app) as port:
        bodies = [b"x" * each for each in range(20)]
        sent = b"".join(_post(len(body)) + body for body in bodies) + _LAST
        answer = await answer_to(port, sent)
    assert statuses(answer) == [200] * 21
    assert app.taken == [*bodies, b""]


async def test_a_pipeline_without_end_is_refused_after_what_may_wait() -> None:
    app = Bodies()
    async with listening(app) as port:
        answer = await answer_to(port, _GET * 1000)
    found = statuses(answer)
    assert found[-1] == 400
    assert set(found[:-1]) == {200}
    assert len(found) <= 103


async def test_a_client_that_says_it_sends_no_more_is_answered() -> None:
    async with listening(Bodies()) as port:
        assert statuses(await answer_to(port, _GET, half_close=True)) == [200]


async def test_an_offer_to_upgrade_is_passed_over_and_the_body_is_read() -> None:
    app = Bodies()
    async with listening(app) as port:
        offer = [b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAA"]
        answer = await answer_to(port, _post(5, *offer) + b"he", b"llo" + _GET + _LAST)
    assert statuses(answer) == [200, 200, 200]
    assert app.taken == [b"hello", b"", b""]


async def test_an_offer_to_upgrade_with_a_chunked_body_is_passed_over() -> None:
    app = Bodies()
    async with listening(app) as port:
        head = (
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        answer = await answer_to(port, head, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" + _LAST)
    assert statuses(answer) == [200, 200]
    assert app.taken == [b"hello", b""]


async def test_trailers_are_no_headers() -> None:
    app = Bodies()
    async with listening(app) as port:
        head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        answer = await answer_to(port, head + b"1\r\na\r\n0\r\nx-api-key: k\r\n\r\n")
    assert statuses(answer) == [200]
    assert b"x-api-key" not in dict(app.scopes[0]["headers"])


async def test_the_word_to_continue_comes_when_the_body_is_wanted() -> None:
    async with listening(Bodies()) as port, connected(port) as (reader, writer):
        writer.write(_post(2, b"expect: 100-continue", b"connection: close"))
        assert await head_of(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert statuses(await reader.read()) == [200]


async def test_a_head_answers_without_a_body() -> None:
    async with listening(Bodies()) as port:
        answer = await answer_to(port, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_failing_application_is_answered_500_without_a_word_of_its_error() -> None:
    def fail(body: bytes) -> bytes:
        raise RuntimeError("password")

    async with listening(Bodies(fail)) as port:
        answer = await answer_to(port, _GET)
    assert statuses(answer) == [500]
    assert b"password" not in answer


async def test_headers_that_do_not_come_end_the_connection() -> None:
    async with listening(Bodies(), Rules(header_seconds=0.05)) as port:
        assert await answer_to(port) == b""
        assert await answer_to(port, b"POST / HTTP/1.1\r\nhost: a\r\nx-y") == b""


async def test_later_headers_that_do_not_come_end_the_connection_after_the_answers_before() -> None:
    async with listening(Bodies(), Rules(header_seconds=0.05)) as port:
        assert statuses(await answer_to(port, _GET + b"POST / HT")) == [200]


async def test_a_body_that_does_not_come_is_answered_408_and_nothing_is_done() -> None:
    app = Bodies()
    async with listening(app, Rules(body_seconds=0.05)) as port:
        assert statuses(await answer_to(port, _post(10) + b"hello")) == [408]
    assert app.taken == []


async def test_a_body_may_take_as_long_as_its_size_at_the_least_rate() -> None:
    app = Bodies()
    rules = Rules(body_seconds=0.05, bytes_per_second=1)
    async with listening(app, rules) as port, connected(port) as (reader, writer):
        writer.write(_post(101, b"connection: close") + b"x" * 100)
        await app.asked.wait()
        assert await _expires(port)
        writer.write(b"x")
        assert statuses(await reader.read()) == [200]


async def test_a_body_is_not_late_while_the_application_does_not_take_it() -> None:
    app = Bodies()
    app.gate.clear()
    async with listening(app, Rules(body_seconds=0.01)) as port, connected(port) as (reader, writer):
        writer.write(_post(1 << 20, b"connection: close"))
        writer.write(b"x" * (1 << 20))
        await app.asked.wait()
        assert await _expires(port)
        app.gate.set()
        assert statuses(await reader.read()) == [200]


async def _expires(port: int) -> bool:
    """Wait until the door has ended a connection that sent nothing of its body, and so looked at all of them."""
    async with connected(port) as (reader, writer):
        writer.write(b"POST /late HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
        return b"408" in await reader.read()


async def test_an_idle_connection_is_closed() -> None:
    async with listening(Bodies(), Rules(idle_seconds=0.05)) as port:
        assert statuses(await answer_to(port, _GET)) == [200]


async def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    size = 32 << 20  # more than any socket takes
    app = Bodies(lambda body: b"x" * (size if body else 1))
    rules = Rules(write_seconds=0.05, bytes_per_second=1 << 30, max_connections=1)
    async with listening(app, rules) as port, connected(port) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # a client that does not read
        writer.write(_post(1) + b"x")
        await app.asked.wait()
        assert await _answered(port)


async def test_answers_are_not_made_for_a_client_that_does_not_read() -> None:
    app = Bodies(lambda body: b"x" * (8 << 20))
    async with listening(app) as port, connected(port) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(_GET * 50)
        await app.asked.wait()
        for _ in range(5):
            assert statuses(await answer_to(port, _LAST)) == [200]
    assert len(app.taken) < 15


@pytest.mark.parametrize(
    "headers",
    [
        [b"x: " + b"y" * 40_000],
        [b"x%d: %s" % (each, b"y" * 1000) for each in range(40)],
        [b"x%d: y" % each for each in range(200)],
    ],
    ids=["one", "some", "many"],
)
async def test_headers_without_measure_are_answered_431(headers: list[bytes]) -> None:
    async with listening(Bodies()) as port:
        assert statuses(await answer_to(port, _post(0, *headers))) == [431]


async def test_headers_without_end_are_answered_431() -> None:
    async with listening(Bodies()) as port:
        parts = [b"GET / HTTP/1.1\r\nhost: a\r\nx: "] + [b"y" * 16_384] * 64
        assert statuses(await answer_to(port, *parts)) == [431]


async def test_trailers_without_end_are_refused() -> None:
    app = Bodies()
    async with listening(app) as port:
        head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: "
        assert statuses(await answer_to(port, head, *([b"y" * 16_384] * 64))) == [400]
    assert app.taken == []


async def test_connections_over_the_limit_are_told_to_come_again() -> None:
    async with listening(Bodies(), Rules(max_connections=2)) as port:
        async with connected(port) as first, connected(port) as second:
            for reader, writer in (first, second):
                writer.write(_GET)
                assert b"200" in await head_of(reader)
            refused = await answer_to(port, _GET)
        assert statuses(refused) == [503]
        assert b"\r\nretry-after: 1\r\n" in refused
        assert await _answered(port)


async def _answered(port: int) -> bool:
    """Wait until a request is answered again: the door notices a moment later that a client is gone."""
    found: list[int] = []
    while found != [200]:
        found = statuses(await answer_to(port, _LAST))
    return True


async def test_requests_over_the_limit_are_told_to_come_again() -> None:
    app = Bodies()
    app.gate.clear()
    async with listening(app, Rules(max_requests=1)) as port, connected(port) as (reader, writer):
        writer.write(_LAST)
        await app.asked.wait()
        refused = await answer_to(port, _LAST)
        app.gate.set()
        assert statuses(await reader.read()) == [200]
    assert statuses(refused) == [503]
    assert b"\r\nretry-after: 1\r\n" in refused


async def test_five_hundred_idle_connections_leave_room_for_a_request() -> None:
    open_files()
    async with listening(Bodies()) as port:
        idle = []
        for each in range(500):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{each % 5 + 1}", 0))
            writer.write(_GET)
            assert b"200" in await head_of(reader)
            idle.append(writer)
        assert statuses(await answer_to(port, _LAST)) == [200]
        for writer in idle:
            writer.transport.abort()


async def test_a_connection_that_is_reset_is_forgotten() -> None:
    async with listening(Bodies(), Rules(max_connections=1)) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(_post(10))
        assert await _answered(port)


def test_the_open_files_bound_the_connections() -> None:
    files = open_files()
    assert most_connections(16) == 16
    assert most_connections(files * 2) < files
