import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message

from methods.context import Context
from methods.errors import TooManyRequestsError
from methods.method import Empty, NoParams, declare
from server.app import Limits
from server.door import Rules
from tests.contract.serving import Served, in_process, listening, served

_BATCH = b'{"method":"batch","params":{"commands":[]}}'


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_body_without_a_length_is_refused_at_the_limit(database_url: str) -> None:
    async with served(database_url, Limits(max_body_bytes=100)) as server, in_process(server.app) as client:
        headers = {"X-API-Key": server.key}
        taken = await client.post("/api", headers=headers, content=_chunks(_BATCH, b" " * (100 - len(_BATCH))))
        refused = await client.post("/api", headers=headers, content=_chunks(_BATCH, b" " * (101 - len(_BATCH))))
    assert (taken.status_code, refused.status_code) == (200, 413)


async def _asked(server: Served, messages: list[Message], headers: dict[bytes, bytes] | None = None) -> list[Message]:
    """Call the application with these messages of the client; its own messages come back."""
    sent: list[Message] = []
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    async def send(message: Message) -> None:
        sent.append(message)

    given = {b"x-api-key": server.key.encode(), **(headers or {})}
    scope = {"type": "http", "method": "POST", "path": "/api", "query_string": b"", "headers": list(given.items())}
    await server.app(scope, receive, send)
    return sent


async def test_a_body_that_is_announced_too_long_is_not_read(database_url: str) -> None:
    async with served(database_url) as server:
        answer = await _asked(server, [], {b"content-length": b"1048577"})
    assert answer[0]["status"] == 413


async def test_the_rest_of_a_body_that_is_too_long_is_not_read(database_url: str) -> None:
    async with served(database_url) as server:
        chunk = {"type": "http.request", "body": b" " * 600_000, "more_body": True}
        answer = await _asked(server, [chunk, chunk])
    assert answer[0]["status"] == 413


async def test_a_client_that_hangs_up_is_not_answered(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with served(database_url) as server:
        part = {"type": "http.request", "body": b"{", "more_body": True}
        assert await _asked(server, [part, {"type": "http.disconnect"}]) == []
    assert caplog.records == []


async def test_a_client_that_never_ends_its_body_is_answered_408(database_url: str) -> None:
    rules = Rules(body_seconds=0.01)
    async with served(database_url) as server, listening(server.app, rules) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /api HTTP/1.1\r\nhost: a\r\nx-api-key: {server.key}\r\ncontent-length: 10\r\n\r\n"
        writer.write(head.encode() + b"{")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_hanging_up_in_the_middle_of_a_body_leaves_nothing_in_the_log(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(database_url) as server, listening(server.app) as port:
        for body in (b"", b'{"method":'):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST /api HTTP/1.1\r\nhost: a\r\nx-api-key: {server.key}\r\ncontent-length: 100\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.transport.abort()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health")).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_slashes_are_folded(database_url: str) -> None:
    async with served(database_url) as server, in_process(server.app) as client:
        headers = {"X-API-Key": server.key}
        answers = [
            await client.post(f"http://127.0.0.1{path}", headers=headers, content=b'{"method":"nope"}')
            for path in ("//api", "/api//", "///api///nope")
        ]
        health = await client.get("http://127.0.0.1//health")
    assert [answer.json()["error"]["code"] for answer in answers] == [104, 104, 104]
    assert health.status_code == 200


async def full(ctx: Context, params: NoParams) -> Empty:
    """Have no room."""
    raise TooManyRequestsError("the queue is full", retry_after_seconds=1.2)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/api", b'{"method":"full"}', {}, 200),
        ("/api/full", b"", {}, 200),
        ("/api/full", b"", {"X-Centrifugo-Error-Mode": "transport"}, 429),
    ],
)
async def test_too_many_requests_say_when_to_try_again_in_a_header(
    database_url: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with served(database_url, table={"full": declare(full)}) as server, in_process(server.app) as client:
        answer = await client.post(path, content=body, headers={"X-API-Key": server.key, **headers})
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "2")


async def test_too_many_requests_of_a_strict_call_keep_their_code(database_url: str) -> None:
    async with served(database_url, table={"full": declare(full)}) as server, in_process(server.app) as client:
        content = b'{"jsonrpc":"2.0","method":"full","id":1}'
        answer = await client.post("/api", content=content, headers={"X-API-Key": server.key})
    assert answer.json()["error"] == {
        "code": 111,
        "message": "too many requests",
        "data": {"detail": "the queue is full", "retry_after": 1.2},
    }
