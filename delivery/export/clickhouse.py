"""Every event straight into a table of ClickHouse, over its HTTP interface (https://clickhouse.com/docs/interfaces/http).

Blocks carry `insert_deduplication_token`: a block that is sent again because its answer was lost is not stored again,
within the table's deduplication window (docs/outcomes.md).
"""

import re
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from delivery.export.lines import lines
from delivery.feed import Moving
from storage.database import Database
from storage.feed import Place, Span, Stream

_BLOCK_LINES = 20_000
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}")
_SECONDS = 60.0


class ClickHouseError(Exception):
    """ClickHouse did not take a block; the text is its HTTP status and its own error code."""


class ClickHouseExport:
    """A consumer of the record (delivery/feed.py): `http(s)://user:password@host:port/database/table`.

    The cursor moves when all blocks of a page are stored. Use as `async with`; raises ValueError for another URL.
    """

    name = "export_clickhouse"
    streams: tuple[Stream, ...] = ("outcomes", "receipts")
    repeats = True

    def __init__(self, database: Database, url: str, *, from_start: bool = False) -> None:
        parts, names = _parts(url)
        self.from_start = from_start
        self._database = database
        self._query = {
            "database": names[0],
            "query": f"INSERT INTO {names[1]} FORMAT JSONEachRow",
            "async_insert": "0",  # an answer means that the block is stored
            "input_format_skip_unknown_fields": "1",  # a table may leave out what nobody asks for
        }
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._url = f"{parts.scheme}://{host}{port}/"
        self._headers = {"Content-Type": "application/x-ndjson"}
        if parts.username:
            self._headers |= {
                "X-ClickHouse-User": unquote(parts.username),
                "X-ClickHouse-Key": unquote(parts.password or ""),
            }
        self._client = httpx.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False)

    def __repr__(self) -> str:
        return "ClickHouseExport()"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def take(self, span: Span, moving: Moving) -> None:
        """Store a page, then move the cursor; raises ClickHouseError or httpx.HTTPError when it is not stored."""
        number = 0
        async for block in lines(self._database, span, _BLOCK_LINES):
            await self._store(block, f"{span.stream}-{_name(span.after)}-{_name(span.upto)}-{number}")
            number += 1
        async with moving():
            pass

    async def _store(self, block: bytes, token: str) -> None:
        query = {**self._query, "insert_deduplication_token": token}
        answer = await self._client.post(self._url, params=query, content=block, headers=self._headers)
        code = answer.headers.get("x-clickhouse-exception-code", "")
        if answer.status_code != httpx.codes.OK or code:
            raise ClickHouseError(f"HTTP status {answer.status_code}, error {code or 'unknown'}")


def _name(place: Place) -> str:
    return f"{place.xact}.{place.batch_id}.{place.attempt}"


def _parts(url: str) -> tuple[SplitResult, list[str]]:
    try:
        parts = urlsplit(url)
        names = parts.path.strip("/").split("/")
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or len(names) != 2 or not all(_IDENTIFIER.fullmatch(name) for name in names):
        raise ValueError("http://user:password@host:8123/database/table is expected")
    return parts, names
