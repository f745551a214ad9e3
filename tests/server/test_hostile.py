"""Hostile input on the wire: each is refused or cut, none is half applied, and the next client is served."""

import asyncio
import resource
from contextlib import suppress

import pytest

from server.app import Limits
from server.door import Rules
from tests.contract.serving import Served, in_process, listening, served
from tests.server.raw import answer_to, connected, head_of, statuses

_BODY = b'{"method":"device_register","params":{"provider":"fcm","token":"t","platform":"android"}}'
_KEY = b"{key}"
_TARGET = b"POST /api HTTP/1.1\r\n"
_CALL = _TARGET + b"host: a\r\nx-api-key: {key}\r\n"
_LENGTH = b"content-length: %d\r\n" % len(_BODY)
_CHUNKED = _CALL + b"transfer-encoding: chunked\r\n\r\n"
_GOOD = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"

_MALFORMED: dict[str, tuple[bytes, list[int]]] = {
    "no method": (_CALL.replace(b"POST", b"") + _LENGTH + b"\r\n" + _BODY, [400]),
    "unknown method": (_CALL.replace(b"POST", b"PUSH") + _LENGTH + b"\r\n" + _BODY, [400]),
    "method in lower case": (_CALL.replace(b"POST", b"post") + _LENGTH + b"\r\n" + _BODY, [400]),
    "unknown version": (_CALL.replace(b"1.1", b"1.7") + _LENGTH + b"\r\n" + _BODY, [400]),
    "version of HTTP/2": (_CALL.replace(b"1.1", b"2.0") + _LENGTH + b"\r\n" + _BODY, [400]),
    "no version": (b"POST /api\r\n\r\n", [400]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", [400]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, [400]),
    "length and chunks": (_CALL + _LENGTH + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + _BODY, [400]),
    "chunks and length": (_CALL + b"transfer-encoding: chunked\r\n" + _LENGTH + b"\r\n0\r\n\r\n" + _BODY, [400]),
    "two lengths": (_CALL + _LENGTH + b"content-length: 1\r\n\r\n" + _BODY, [400]),
    "two equal lengths": (_CALL + _LENGTH + _LENGTH + b"\r\n" + _BODY, [400]),
    "negative length": (_CALL + b"content-length: -1\r\n\r\n" + _BODY, [400]),
    "length with a sign": (_CALL + b"content-length: +1\r\n\r\n" + _BODY, [400]),
    "length of words": (_CALL + b"content-length: many\r\n\r\n" + _BODY, [400]),
    "length beyond 64 bits": (_CALL + b"content-length: 99999999999999999999999\r\n\r\n" + _BODY, [400]),
    "unknown encoding": (_CALL + b"transfer-encoding: gzip\r\n\r\n" + _BODY, [400]),
    "chunked is not last": (_CALL + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400]),
    "chunk of no size": (_CHUNKED + b"zz\r\n" + _BODY, [400]),
    "chunk of negative size": (_CHUNKED + b"-5\r\n" + _BODY, [400]),
    "chunk longer than it says": (_CHUNKED + b"1\r\n" + _BODY + b"\r\n0\r\n\r\n", [400]),
    "chunk beyond 64 bits": (_CHUNKED + b"f" * 20 + b"\r\n" + _BODY, [400]),
    "good chunks, then a bad one": (_CHUNKED + b"%x\r\n" % len(_BODY) + _BODY + b"\r\nnope\r\n\r\n", [400]),
    "NUL in a header": (_CALL + b"x: a\x00b\r\n" + _LENGTH + b"\r\n" + _BODY, [400]),
    "NUL in a header's name": (_CALL + b"x\x00: a\r\n" + _LENGTH + b"\r\n" + _BODY, [400]),
    "a header over two lines": (_CALL + b"x: a\r\n b\r\n" + _LENGTH + b"\r\n" + _BODY, [400]),
    "space before the colon": (_CALL + b"content-length : 5\r\n\r\n" + _BODY, [400]),
    "bare line feeds": (_CALL.replace(b"\r\n", b"\n") + b"\n", [400]),
    "a header without a colon": (_CALL + b"nonsense\r\n\r\n", [400]),
    "no slash": (_CALL.replace(b"/api", b"api") + _LENGTH + b"\r\n" + _BODY, [400]),
    "bytes in the target": (_CALL.replace(b"/api", b"/\xff\xfe") + _LENGTH + b"\r\n" + _BODY, [400]),
    "a proxy's target": (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", [400]),
    "a target without end": (_CALL.replace(b"/api", b"/" + b"a" * 1_000_000), [414]),
    "a megabyte of header": (_CALL + b"x: " + b"a" * 1_000_000, [431]),
    "good, bad, good": (_GOOD + _CALL + b"content-length: x\r\n\r\n" + _GOOD, [200, 400]),
    "good, then noise": (_GOOD * 3 + b"\x00\x01\x02", [200, 200, 200, 400]),
}


async def _is_well(server: Served, port: int) -> None:
    """The next connection is served, and nothing was registered."""
    assert statuses(await answer_to(port, _GOOD, half_close=True)) == [200]
    async with in_process(server.app) as client:
        listed = await client.post("/api/device_list", headers={"X-API-Key": server.key})
    assert listed.json() == {"result": {"items": []}}


@pytest.mark.parametrize("name", _MALFORMED)
async def test_malformed_http_is_refused(name: str, database_url: str) -> None:
    sent, expected = _MALFORMED[name]
    async with served(database_url) as server, listening(server.app) as port:
        assert statuses(await answer_to(port, sent.replace(_KEY, server.key.encode()))) == expected
        await _is_well(server, port)


@pytest.mark.parametrize("how", ["half closed", "reset"])
async def test_a_body_shorter_than_its_length_does_nothing(how: str, database_url: str) -> None:
    async with served(database_url) as server, listening(server.app) as port:
        sent = _CALL.replace(_KEY, server.key.encode()) + b"content-length: %d\r\n\r\n" % (len(_BODY) + 1) + _BODY
        if how == "half closed":
            assert statuses(await answer_to(port, sent, half_close=True)) == [400]
        else:
            async with connected(port) as (_, writer):
                writer.write(sent)
                await writer.drain()
        await _is_well(server, port)


async def test_an_absolute_target_is_a_target(database_url: str) -> None:
    async with served(database_url) as server, listening(server.app) as port:
        sent = b"GET http://elsewhere/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        assert statuses(await answer_to(port, sent)) == [200]


_TOO_LONG = [
    (b"content-length: 2000000\r\n\r\n", b"x" * 65536),
    (b"transfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
]


@pytest.mark.parametrize(("framing", "part"), _TOO_LONG, ids=["with a length", "chunked"])
async def test_a_body_that_is_too_long_is_answered_413_before_its_end(
    framing: bytes, part: bytes, database_url: str
) -> None:
    async with served(database_url, Limits(max_body_bytes=100_000)) as server, listening(server.app) as port:
        head = _CALL.replace(_KEY, server.key.encode()) + framing
        async with connected(port) as (reader, writer):
            writer.write(head + part * 2)
            assert b" 413 " in await head_of(reader)
            assert await reader.read() == b""
        await _is_well(server, port)


async def test_a_body_that_will_be_too_long_is_refused_instead_of_asked_for(database_url: str) -> None:
    async with served(database_url) as server, listening(server.app) as port:
        head = _CALL.replace(_KEY, server.key.encode()) + b"expect: 100-continue\r\ncontent-length: 2000000\r\n\r\n"
        assert statuses(await answer_to(port, head)) == [413]


async def test_a_body_without_a_key_is_not_asked_for(database_url: str) -> None:
    async with served(database_url) as server, listening(server.app) as port:
        head = _TARGET + b"host: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
        assert statuses(await answer_to(port, head)) == [401]


async def test_a_short_body_that_was_not_wanted_does_not_cost_the_connection(database_url: str) -> None:
    async with served(database_url) as server, listening(server.app) as port, connected(port) as (reader, writer):
        writer.write(_TARGET + b"host: a\r\ncontent-length: 10\r\n\r\n")
        assert b" 401 " in await head_of(reader)
        writer.write(b"0123456789" + _GOOD)
        assert b" 200 " in await head_of(reader)


async def _stream_until_cut(port: int, head: bytes) -> bytes:
    """Send a body without end; what came back."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with connected(port) as (reader, writer):
        writer.write(head)
        with suppress(ConnectionError):
            while not writer.transport.is_closing():
                writer.write(chunk)
                await writer.drain()
        with suppress(ConnectionError):
            return await reader.read(1000)
    return b""


async def test_fifty_bodies_without_end_take_no_more_memory_than_their_limit(database_url: str) -> None:
    rules = Rules(linger_seconds=0.2, linger_bytes=1 << 20)
    async with served(database_url) as server, listening(server.app, rules) as port:
        head = _CHUNKED.replace(_KEY, server.key.encode())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(_stream_until_cut(port, head))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        await _is_well(server, port)
    assert grown < 250_000  # KiB: 50 bodies of a megabyte each, and as much again on its way, here on both sides
