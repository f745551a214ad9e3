"""Who may call: finds the key of a request, and looks it up in the ring of valid ones."""

import asyncio
import logging
import math
import time
from typing import Self
from urllib.parse import parse_qsl

from methods.all import TABLE
from methods.callers import Caller, CallRate
from methods.device_keys import PREFIX, DeviceKeys
from methods.groups import permitted
from methods.networks import read_network
from storage import api_keys
from storage.api_keys import ValidKey, digest_of
from storage.database import Database, DatabaseUnavailableError
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_SCHEMES = (b"apikey", b"bearer")
_LOADS_PER_SECOND, _LOADS_AT_ONCE = 5, 10  # for keys that are not known: whoever tries keys costs no more than that
_MAX_QUERY_FIELDS = 100


class KeyRing:
    """The valid keys, by their digests; use as `async with KeyRing(database)`.

    A key that was made or revoked is noticed within `refresh_seconds`; a new one at once, by its first use, unless too
    many that do not exist are being tried; one that expires, at its time. While the database cannot be reached the last
    known keys stay valid. `settings_key` is one more key, valid for as long as the process runs. With a `vault`, device
    keys are taken too. Use of a key is noted every `note_seconds`, and kept to the hour.
    """

    def __init__(
        self,
        database: Database,
        *,
        settings_key: str | None = None,
        vault: Vault | None = None,
        refresh_seconds: float = 2.0,
        note_seconds: float = 60.0,
    ) -> None:
        self._database = database
        self._device_keys = DeviceKeys(vault) if vault else None
        self._refresh_seconds = refresh_seconds
        self._note_seconds = note_seconds
        self._fixed = {digest_of(settings_key.encode()): Caller("settings")} if settings_key else {}
        self._keys: dict[bytes, ValidKey] = {}
        self._callers: dict[bytes, Caller] = dict(self._fixed)
        self._used: set[bytes] = set()
        self._loading = asyncio.Lock()
        self._misses = CallRate(_LOADS_PER_SECOND, _LOADS_AT_ONCE)
        self._noted_at = float("-inf")
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
        """Return whose key this is, None when it is not valid; DatabaseUnavailableError only for a device key."""
        digest = digest_of(key)
        if found := self._find(digest):
            return found
        if key.startswith(PREFIX) and self._device_keys:
            return await self._app(self._device_keys, key)
        async with self._loading:
            if (found := self._find(digest)) is None and not self._misses.wait(time.monotonic()):
                await self._load()
        return found or self._find(digest)

    async def refresh(self) -> None:
        """Read the valid keys now, and note which were used when that is due."""
        async with self._loading:
            await self._load()
            if self._used and time.monotonic() - self._noted_at >= self._note_seconds:
                await self._note()

    def _find(self, digest: bytes) -> Caller | None:
        """Look a digest up. How long that takes tells nothing of any key: nobody can aim at a digest of SHA-256."""
        found = self._callers.get(digest)
        if found is None or found.expires_at <= time.time():
            return None
        self._used.add(digest)
        return found

    async def _app(self, keys: DeviceKeys, key: bytes) -> Caller | None:
        claim = keys.read(key, time.time())
        if claim is None or await api_keys.device_key_ended(self._database, claim.user, claim.issued_at):
            return None
        return claim.caller

    async def _load(self) -> None:
        try:
            found = await api_keys.valid_keys(self._database)
        except DatabaseUnavailableError:
            if self._available:
                _LOG.warning("the API keys cannot be read; the last known ones stay valid")
            self._available = False
            return
        self._available = True
        # a key that did not change keeps its caller, and with it what is left of its rate
        callers = {key.digest: self._callers[key.digest] if self._is_known(key) else caller_of(key) for key in found}
        self._callers = callers | self._fixed
        self._keys = {key.digest: key for key in found}

    def _is_known(self, key: ValidKey) -> bool:
        return self._keys.get(key.digest) == key

    async def _note(self) -> None:
        self._noted_at = time.monotonic()
        used, self._used = self._used, set()
        try:
            await api_keys.note_uses(self._database, used)
        except DatabaseUnavailableError:
            self._used |= used

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            try:
                await self.refresh()
            except Exception as error:
                _LOG.error("refreshing the API keys failed", extra={"error": type(error).__name__})


def caller_of(key: ValidKey) -> Caller:
    """Return who calls with this key."""
    return Caller(
        key.name,
        permitted(key.methods, TABLE),
        credentials=frozenset(key.credentials),
        addresses=tuple(read_network(text) for text in key.addresses),
        rate=CallRate(key.rate, max(1, key.burst)) if key.rate else None,
        expires_at=key.expires_at or math.inf,
    )


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
