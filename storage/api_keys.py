"""The keys of the API: only their SHA-256 digests are stored; 256 random bits need no slower hash.

Of the keys that apps have nothing is stored but when those of a user were ended.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence

import msgspec

from storage.database import Connection, Database, values
from storage.ids import new_id
from storage.queries import load

_QUERIES = load("api_keys")
_PREFIX = "tk_"


class NameTakenError(Exception):
    """A key of that name is in use: revoke it first, or choose another name."""


class KeyGoneError(Exception):
    """The key that was to be replaced is not valid any more."""


class KeyBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may do, and for how long; an empty list means all.

    `methods` are names of methods and of groups (`@send`), `credentials` provider_ids, `addresses` networks; `rate` is
    calls a second in each API process and `burst` how many at once, 0 without a limit; `expires_at` is Unix seconds,
    0 for never.
    """

    methods: list[str] = msgspec.field(default_factory=list)
    credentials: list[str] = msgspec.field(default_factory=list)
    addresses: list[str] = msgspec.field(default_factory=list)
    rate: float = 0.0
    burst: int = 0
    expires_at: float = 0.0


class FoundKey(KeyBounds, frozen=True, kw_only=True):
    """A valid key."""

    id: str
    name: str


class ApiKey(FoundKey, frozen=True, kw_only=True):
    """A key as it may be shown; times in Unix seconds, 0 where there is none. `last_used_at` is told to the hour."""

    created_at: int
    revoked_at: int
    last_used_at: int


class ValidKey(FoundKey, frozen=True, kw_only=True):
    """A valid key as the door looks it up."""

    digest: bytes

    def __repr__(self) -> str:
        return f"ValidKey({self.name!r})"


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key).digest()


async def create(database: Database, name: str, methods: Sequence[str] = ()) -> str:
    """Make a key that is bound by nothing but `methods`; as `add`."""
    return await add(database, name, KeyBounds(methods=list(methods)))


async def add(database: Database, name: str, bounds: KeyBounds) -> str:
    """Make a key and return it: the only time that it can be seen.

    The name of a key that was revoked or has expired may be used again. Raises NameTakenError when a valid one has it.
    """
    async with database.connection() as connection:
        return await _add(connection, name, bounds)


async def replace(
    database: Database, name: str, bounds: KeyBounds, *, replaced_id: str, overlap_seconds: float
) -> tuple[str, float]:
    """Make a key in the place of another, which stays valid for so long; return it, and when the other one ends.

    Raises NameTakenError, or KeyGoneError when the other one is not valid; then nothing was changed.
    """
    async with database.transaction() as connection:
        key = await _add(connection, name, bounds)
        ending = await values(connection, _QUERIES.end_later, {"id": replaced_id, "seconds": overlap_seconds})
        if not ending:
            raise KeyGoneError
        return key, float(ending[0][0])


async def _add(connection: Connection, name: str, bounds: KeyBounds) -> str:
    key = _PREFIX + secrets.token_urlsafe(32)
    params = {"id": new_id(), "name": name, "digest": digest_of(key.encode()), **msgspec.structs.asdict(bounds)}
    if not (await connection.execute(_QUERIES.create, params)).rowcount:
        raise NameTakenError(name)
    return key


async def list_all(database: Database) -> list[ApiKey]:
    """Return every key, those that are not valid too, by name."""
    return await database.rows(_QUERIES.list_all, {}, ApiKey)


async def find(database: Database, name: str) -> FoundKey | None:
    """Return the valid key of that name; None: there is none."""
    return await database.row(_QUERIES.find, {"name": name}, FoundKey)


async def revoke(database: Database, name: str) -> bool:
    """Make a key invalid; False when there is no valid key of that name."""
    return await database.execute(_QUERIES.revoke, {"name": name}) > 0


async def any_exists(database: Database) -> bool:
    """Whether there is a key that was not revoked."""
    return bool((await database.values(_QUERIES.any_exists, {}))[0][0])


async def valid_keys(database: Database) -> list[ValidKey]:
    """Return the keys that are valid now."""
    return await database.rows(_QUERIES.valid_keys, {}, ValidKey)


async def note_uses(database: Database, digests: Collection[bytes]) -> None:
    """Note that keys are in use."""
    await database.execute(_QUERIES.note_uses, {"digests": list(digests)})


async def end_device_keys(database: Database, user: str, now: float) -> None:
    """Take no device key any more that this user was given before `now` (Unix seconds); "" means every user."""
    await database.execute(_QUERIES.end_device_keys, {"user": user, "now": now})


async def device_key_ended(database: Database, user: str, issued_at: float) -> bool:
    """Whether a device key that this user was given then is not taken any more."""
    found = await database.values(_QUERIES.device_key_ended, {"user": user, "issued_at": issued_at})
    return bool(found[0][0])


async def device_owners(database: Database, device_id: str) -> list[str] | None:
    """Return the users of a device, "" where it has no main one; None: there is no such device."""
    found = await database.values(_QUERIES.device_owners, {"id": device_id})
    return list(found[0][0]) if found else None
