"""The keys of the API: only their SHA-256 digests are stored; 256 random bits need no slower hash."""

import hashlib
import secrets
from collections.abc import Sequence

import msgspec

from storage.database import Database
from storage.ids import new_id
from storage.queries import load

_QUERIES = load("api_keys")
_PREFIX = "tk_"


class NameTakenError(Exception):
    """A key of that name is in use: revoke it first, or choose another name."""


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it may be shown; times in Unix seconds, `revoked_at` 0 while it is valid."""

    id: str
    name: str
    methods: list[str]
    created_at: int
    revoked_at: int


class KeyDigest(msgspec.Struct, frozen=True):
    """A valid key as the door compares it."""

    name: str
    digest: bytes
    methods: list[str] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        return f"KeyDigest({self.name!r})"


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key).digest()


async def create(database: Database, name: str, methods: Sequence[str] = ()) -> str:
    """Make a key and return it: the only time that it can be seen. `methods` are what it may call; none named: all.

    A name that was revoked may be used again. Raises NameTakenError when a valid key has it.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    params = {"id": new_id(), "name": name, "digest": digest_of(key.encode()), "methods": list(methods)}
    if not await database.execute(_QUERIES.create, params):
        raise NameTakenError(name)
    return key


async def list_all(database: Database) -> list[ApiKey]:
    """Return every key, revoked ones too, by name."""
    return await database.rows(_QUERIES.list_all, {}, ApiKey)


async def revoke(database: Database, name: str) -> bool:
    """Make a key invalid; False when there is no valid key of that name."""
    return await database.execute(_QUERIES.revoke, {"name": name}) > 0


async def any_exists(database: Database) -> bool:
    """Whether there is a key that is valid."""
    return bool((await database.values(_QUERIES.any_exists, {}))[0][0])


async def valid_digests(database: Database) -> list[KeyDigest]:
    """Return the digests of the keys that are valid now."""
    return await database.rows(_QUERIES.valid_digests, {}, KeyDigest)
