"""Named credentials: rows with open settings and sealed secrets.

What settings and secrets hold is the business of `delivery.providers`; here they are JSON objects in bytes.
"""

import json
import logging
from collections.abc import Iterable, Sequence

import msgspec

from storage.database import Connection, Database, rows, values
from storage.queries import load as load_queries
from storage.vault import Vault, VaultError

_QUERIES = load_queries("credentials")
_LOG = logging.getLogger(__name__)


class CredentialConflictError(Exception):
    """The name is taken: by a credential of another provider, or by one that the settings declare."""


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential to be written: checked, with everything secret in `secrets`. `default` True makes it the default."""

    provider_id: str
    provider: str
    environment: str
    settings: bytes
    secrets: bytes
    default: bool = False

    def __repr__(self) -> str:
        return f"NewCredential(provider_id={self.provider_id!r}, provider={self.provider!r})"


class StoredCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as a worker needs it, with its secrets opened.

    Its version moves with every change; one that was removed and made again has another `created_at` (Unix seconds).
    """

    provider_id: str
    provider: str
    environment: str
    source: str
    is_default: bool
    version: int
    created_at: float
    settings: bytes
    secrets: bytes

    def __repr__(self) -> str:
        return f"StoredCredential(provider_id={self.provider_id!r}, provider={self.provider!r}, version={self.version})"


class PauseRow(msgspec.Struct, frozen=True):
    """A pause in force; times are Unix seconds."""

    scope: str
    kind: str
    reason: str
    since: int
    next_probe_at: int


class CredentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as an operator may see it: no secrets, with its pauses. Times are Unix seconds."""

    provider_id: str
    provider: str
    is_default: bool
    environment: str
    source: str
    enabled: bool
    settings: str
    created_at: float
    updated_at: float
    pauses: str

    def pause_rows(self) -> list[PauseRow]:
        """The pauses in force, by scope."""
        return msgspec.json.decode(self.pauses, type=list[PauseRow])


async def put(database: Database, vault: Vault, new: NewCredential, source: str = "api") -> None:
    """Write the whole state of a credential, lift its pauses, and remove the emulators' rows, all or nothing.

    Raises CredentialConflictError when the name is another provider's, or the settings' own.
    """
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.lock)
        await connection.execute(_QUERIES.remove_emulators)
        await _write(connection, vault, new, source)


async def put_emulator(database: Database, vault: Vault, new: NewCredential) -> bool:
    """Write a stand-in credential; False, and nothing is done, when a real one exists."""
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.lock)
        if await _has_real(connection):
            return False
        await _write(connection, vault, new, "emulator")
        return True


async def put_stand_in(database: Database, vault: Vault, new: NewCredential) -> None:
    """Write a stand-in credential beside whatever is there; it goes, as the emulators' do, with the next real one.

    Raises CredentialConflictError when the name is another provider's, or the settings' own.
    """
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.lock)
        await _write(connection, vault, new, "emulator")


async def has_real(database: Database) -> bool:
    """Whether any credential is there that is not an emulator's."""
    async with database.connection() as connection:
        return await _has_real(connection)


async def emulated(database: Database) -> set[str]:
    """The providers that an emulator stands in for."""
    return {row[0] for row in await database.values(_QUERIES.emulated, {})}


async def remove_emulators(database: Database) -> int:
    """Remove the emulators' credentials; how many there were."""
    return await database.execute(_QUERIES.remove_emulators, {})


async def remove(database: Database, provider_id: str) -> bool:
    """Remove a credential, promoting the oldest of its provider when it was the default; False when there is none.

    Raises CredentialConflictError when the settings declare it: it would come back with the next start.
    """
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.lock)
        if await _remove(connection, provider_id, ["api", "emulator"]):
            return True
        if await values(connection, _QUERIES.source, {"provider_id": provider_id}):
            raise CredentialConflictError("the settings declare this credential; remove it there")
        return False


async def switch(database: Database, *, provider_id: str | None, app: str | None, enabled: bool) -> list[str]:
    """Switch a credential, or all of an app (a bundle id, a Firebase project, an HMS app), on or off; their names."""
    parameters = {"provider_id": provider_id, "app": app, "enabled": enabled}
    return sorted(row[0] for row in await database.values(_QUERIES.switch, parameters))


async def sync_declared(database: Database, vault: Vault, declared: Sequence[NewCredential]) -> list[str]:
    """Make the rows of the settings those that are declared; the names of those that changed.

    What has not changed keeps its version, so that workers keep their connections over a restart of the server. A
    row that the API made is taken over. Raises CredentialConflictError when a name is another provider's.
    """
    async with database.transaction() as connection:
        await connection.execute(_QUERIES.lock)
        wanted = {new.provider_id for new in declared}
        found = {name for (name,) in await values(connection, _QUERIES.declared_ids, {})}
        gone = sorted(found - wanted)
        for provider_id in gone:
            await _remove(connection, provider_id, ["settings"])
        known = {stored.provider_id: stored for stored in await _load(connection, vault)}
        changed = [new for new in declared if not _same(known.get(new.provider_id), new)]
        if declared:
            await connection.execute(_QUERIES.remove_emulators)
        for new in changed:
            await _write(connection, vault, new, "settings")
        return gone + [new.provider_id for new in changed]


async def load(database: Database, vault: Vault) -> list[StoredCredential]:
    """All credentials with their secrets. One that does not open with our key is left out and logged."""
    async with database.connection() as connection:
        return await _load(connection, vault)


async def listed(database: Database) -> list[CredentialRow]:
    """All credentials by provider and name, without secrets."""
    return await database.rows(_QUERIES.list, {}, CredentialRow)


async def _write(connection: Connection, vault: Vault, new: NewCredential, source: str) -> None:
    names = {"provider": new.provider, "provider_id": new.provider_id}
    if new.default:
        await connection.execute(_QUERIES.clear_default, names)
    params = {
        **names,
        "environment": new.environment,
        "source": source,
        "settings": new.settings.decode(),
        "secrets": vault.seal(new.secrets, _purpose(new.provider_id)),
    }
    if not await values(connection, _QUERIES.put, params):
        raise CredentialConflictError("this provider_id is another provider's, or the settings declare it")
    await connection.execute(_QUERIES.set_pace, names)
    await connection.execute(_QUERIES.drop_pace, names)
    await connection.execute(_QUERIES.resume, names)
    await connection.execute(_QUERIES.revive, names)


async def _remove(connection: Connection, provider_id: str, sources: Iterable[str]) -> bool:
    removed = await values(connection, _QUERIES.remove, {"provider_id": provider_id, "sources": list(sources)})
    for (provider,) in removed:
        await connection.execute(_QUERIES.promote, {"provider": provider})
    return bool(removed)


async def _has_real(connection: Connection) -> bool:
    return bool((await values(connection, _QUERIES.has_real, {}))[0][0])


class _SealedRow(msgspec.Struct):
    provider_id: str
    provider: str
    environment: str
    source: str
    is_default: bool
    version: int
    created_at: float
    settings: str
    secrets: bytes


async def _load(connection: Connection, vault: Vault) -> list[StoredCredential]:
    opened = []
    for row in await rows(connection, _QUERIES.load, {}, _SealedRow):
        try:
            secrets = vault.open(row.secrets, _purpose(row.provider_id))
        except VaultError:
            _LOG.error("a credential was sealed with another secret key", extra={"provider_id": row.provider_id})
            continue
        opened.append(
            StoredCredential(
                provider_id=row.provider_id,
                provider=row.provider,
                environment=row.environment,
                source=row.source,
                is_default=row.is_default,
                version=row.version,
                created_at=row.created_at,
                settings=row.settings.encode(),
                secrets=secrets,
            )
        )
    return opened


def _same(stored: StoredCredential | None, new: NewCredential) -> bool:
    """Whether writing `new` as the settings' own would change anything."""
    return (
        stored is not None
        and stored.source == "settings"
        and (stored.is_default or not new.default)
        and (stored.provider, stored.environment) == (new.provider, new.environment)
        and json.loads(stored.settings) == json.loads(new.settings)
        and json.loads(stored.secrets) == json.loads(new.secrets)
    )


def _purpose(provider_id: str) -> str:
    return f"credential:{provider_id}"
