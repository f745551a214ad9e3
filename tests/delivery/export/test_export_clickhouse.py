"""The way into ClickHouse, against a server that speaks its HTTP interface and drops what it was given before."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from delivery.export.clickhouse import ClickHouseError, ClickHouseExport
from delivery.feed import Reader
from storage.database import Database
from storage.feed import Stream
from tests.delivery.http_peer import Request, serving
from tests.delivery.recording import OPTIONS, add_outcome, add_receipt, device, read_all


@dataclass
class FakeClickHouse:
    """Stores rows; a block whose token it knows is answered and not stored. `answers` in turn, then 200.

    An answer of 0 stores the block and says nothing: the connection ends.
    """

    port: int = 0
    answers: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def url(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}/analytics/outcomes"

    async def answer(self, request: Request) -> bytes:
        self.headers = request.headers
        query = dict(parse_qsl(urlsplit(request.target).query))
        self.queries.append(query)
        self.tokens.append(query["insert_deduplication_token"])
        status = self.answers.pop(0) if self.answers else 200
        if status in (0, 200):
            self._store(query["insert_deduplication_token"], request.body)
        if status == 0:
            return b""
        code = "" if status == 200 else "x-clickhouse-exception-code: 60\r\n"
        return f"HTTP/1.1 {status} Said\r\n{code}content-length: 0\r\n\r\n".encode()

    def _store(self, token: str, body: bytes) -> None:
        if token not in self._known:
            self._known.add(token)
            self.rows += [json.loads(line) for line in body.decode().splitlines()]


@asynccontextmanager
async def running(*answers: int) -> AsyncIterator[FakeClickHouse]:
    fake = FakeClickHouse(answers=list(answers))
    async with serving(fake.answer) as fake.port:
        yield fake


async def export(database: Database, url: str) -> None:
    """Store what is new, as a process that just started."""
    async with ClickHouseExport(database, url, from_start=True) as consumer:
        for stream in consumer.streams:
            await read_all(Reader(database, consumer, stream, OPTIONS))


async def test_events_are_stored_as_rows(database: Database) -> None:
    await add_outcome(database, 1, devices=[device(1), device(2)])
    await add_receipt(database, "a")
    async with running() as fake:
        await export(database, fake.url())
    assert [row["id"] for row in fake.rows][:2] == ["1-1-0", "1-1-1"]
    assert [row["outcome"] for row in fake.rows] == ["accepted", "accepted", "delivered"]
    assert fake.queries[0]["database"] == "analytics"
    assert fake.queries[0]["query"] == "INSERT INTO outcomes FORMAT JSONEachRow"
    assert fake.queries[0]["async_insert"] == "0"


async def test_the_user_goes_into_header_fields_and_not_into_the_url(database: Database) -> None:
    await add_outcome(database, 1)
    async with running() as fake:
        await export(database, fake.url("writer:a%2Fb@"))
    assert (fake.headers["x-clickhouse-user"], fake.headers["x-clickhouse-key"]) == ("writer", "a/b")
    assert "authorization" not in fake.headers
    assert base64.b64encode(b"a/b").decode() not in str(fake.queries)


async def test_a_block_whose_answer_was_lost_is_not_stored_twice(database: Database) -> None:
    await add_outcome(database, 1)
    async with running(0) as fake:
        with pytest.raises(httpx.HTTPError):
            await export(database, fake.url())
        await add_outcome(database, 2)
        await export(database, fake.url())
    assert fake.tokens[0] == fake.tokens[1]
    assert len(set(fake.tokens)) == 2
    assert [row["id"] for row in fake.rows] == ["1-1-0", "2-1-0"]


async def test_a_block_that_is_refused_is_sent_again(database: Database) -> None:
    await add_outcome(database, 1)
    async with running(500, 404) as fake:
        for _ in range(2):
            with pytest.raises(ClickHouseError, match="error 60"):
                await export(database, fake.url())
        await export(database, fake.url())
    assert [row["id"] for row in fake.rows] == ["1-1-0"]


async def test_a_large_page_goes_in_blocks_with_tokens_of_their_own(database: Database) -> None:
    tokens = "\n".join(f"token-{number}" for number in range(20_001))
    await add_outcome(database, 1, tokens=tokens)
    async with running(200, 500) as fake:
        with pytest.raises(ClickHouseError):
            await export(database, fake.url())
        await export(database, fake.url())
    assert len(set(fake.tokens)) == 2
    assert len(fake.rows) == len({row["id"] for row in fake.rows}) == 20_001


async def test_a_stream_has_tokens_of_its_own(database: Database) -> None:
    await add_outcome(database, 1)
    await add_receipt(database, "a")
    async with running() as fake:
        await export(database, fake.url())
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    assert tuple(token.split("-")[0] for token in fake.tokens) == streams


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clickhouse://host/a/b",
        "http://host/",
        "http://host/analytics",
        "http://host/analytics/outcomes/more",
        "http://host/analytics/outcomes;drop",
        "http://host/analytics/outcomes?x=1",
        "http://host:0/analytics/outcomes",
        "http://host:port/analytics/outcomes",
    ],
)
async def test_a_url_that_names_no_table_is_refused(database: Database, url: str) -> None:
    with pytest.raises(ValueError, match="is expected"):
        ClickHouseExport(database, url)
