"""Who may call: finds the key of a request and compares it with the ring of valid ones."""

import asyncio
import hmac
import logging
import time
from typing import Self
from urllib.parse import parse_qsl

from methods.context import Caller
from storage import api_keys
from storage.api_keys import KeyDigest, digest_of
from storage.database import Database, DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_SCHEMES = (b"apikey", b"bearer")
_MISS_INTERVAL_SECONDS = 1.0
_MAX_QUERY_FIELDS = 100


class KeyRing:
    """The digests of the valid keys; use as `async with KeyRing(database)`.

    A key that was made or revoked is noticed within `refresh_seconds`; a new one at once, by its first use, at most
    once a second. While the database cannot be reached the last known keys stay valid. `settings_key` is one more
    key, valid for as long as the process runs.
    """

    def __init__(self, database: Database, *, settings_key: str | None = None, refresh_seconds: float = 2.0) -> None:
        self._database = database
        self._refresh_seconds = refresh_seconds
        self._fixed = [KeyDigest("settings", digest_of(settings_key.encode()))] if settings_key else []
        self._digests: list[KeyDigest] = list(self._fixed)
        self._loading = asyncio.Lock()
        self._loaded_at = float("-inf")
        self._available = True
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return "KeyRing()"

    async def __aenter__(self) -> Self:
        await self.refresh()
        self._task = asyncio.create_task(self._run(), name="key ring")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def caller(self, key: bytes) -> Caller | None:
        """Return whose key this is, None when it is not valid."""
        digest = digest_of(key)
        if found := self._find(digest):
            return found
        async with self._loading:
            if time.monotonic() - self._loaded_at >= _MISS_INTERVAL_SECONDS:
                await self._load()
        return self._find(digest)

    async def refresh(self) -> None:
        """Read the valid keys now."""
        async with self._loading:
            await self._load()

    def _find(self, digest: bytes) -> Caller | None:
        """Compare with every key, each in constant time: how long it takes tells nothing about any of them."""
        found: KeyDigest | None = None
        for each in self._digests:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return None if found is None else Caller(found.name, frozenset(found.methods))

    async def _load(self) -> None:
        self._loaded_at = time.monotonic()
        try:
            self._digests = [*self._fixed, *await api_keys.valid_digests(self._database)]
            self._available = True
        except DatabaseUnavailableError:
            if self._available:
                _LOG.warning("the API keys cannot be read; the last known ones stay valid")
            self._available = False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            try:
                await self.refresh()
            except Exception as error:
                _LOG.error("refreshing the API keys failed", extra={"error": type(error).__name__})


def key_of(headers: dict[bytes, bytes], query: bytes) -> bytes | None:
    """Return the key of a request: header `X-API-Key`, else `Authorization: apikey K`, else `?api_key=K`."""
    if key := headers.get(b"x-api-key"):
        return key
    scheme, _, given = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() in _SCHEMES and given.strip():
        return given.strip()
    if b"api_key" in query:
        return _in_query(query)
    return None


def _in_query(query: bytes) -> bytes | None:
    try:
        fields = parse_qsl(query, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return None
    return next((value for name, value in fields if name == b"api_key"), None)
