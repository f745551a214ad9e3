"""What must be so before the processes start: the database's schema, the keys, the credentials."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from delivery.providers.credentials import parse_credential
from delivery.providers.declared import declared_credentials
from server.data_directory import DataDirectory
from server.settings import Settings, SettingsError
from storage import api_keys, credentials, migrations, provision
from storage.database import Database, DatabaseUnavailableError
from storage.vault import Vault

_LOG = logging.getLogger(__name__)
_FIRST_KEY_NAME = "first"


class Prepared(msgspec.Struct, frozen=True):
    """`new_key`: the API key that this start made, '' if none; `real`: whether there is a real credential."""

    new_key: str
    real: bool

    def __repr__(self) -> str:
        return f"Prepared(real={self.real})"


async def check_reachable(url: str) -> None:
    """See that the database can be reached and is new enough; DatabaseUnavailableError says why not."""
    version = await asyncio.to_thread(provision.reach, url)
    if version < provision.OLDEST_VERSION:
        raise DatabaseUnavailableError(
            f"it is PostgreSQL {version}; version {provision.OLDEST_VERSION} or newer is needed"
        )


def with_secret_key(settings: Settings, data: DataDirectory, *, create: bool) -> Settings:
    """The settings with the secret key: as given, else from the data directory; SettingsError when there is none.

    `create` makes one there: for the program that also writes the credentials, or the others could not open them.
    """
    key = settings.secret_key or data.secret_key(create=create)
    if not key:
        raise SettingsError(
            "TOCSIN_SECRET_KEY: set it to the secret key of `tocsin serve`, which sealed the credentials"
        )
    return msgspec.structs.replace(settings, secret_key=key)


async def migrate(database: Database) -> list[migrations.Migration]:
    """Apply what is missing, with a line in the log for each."""
    done = await migrations.apply(database)
    for step in done:
        _LOG.info("migration applied", extra={"version": step.version, "migration": step.name})
    return done


async def require_migrated(database: Database) -> None:
    """See that nothing is pending; MigrationError says what to do."""
    if missing := await migrations.pending(database):
        raise migrations.MigrationError(f"{len(missing)} migrations are pending: run `tocsin migrate` first")


async def require_open(database: Database, settings: Settings, sources: Collection[str]) -> None:
    """See that the secret key opens one of the credentials of these sources, if there are any; else SettingsError."""
    sealed = {row.provider_id for row in await credentials.listed(database) if row.source in sources}
    if not sealed:
        return
    opened = await credentials.load(database, Vault(settings.secret_key.encode()))
    if sealed.isdisjoint(each.provider_id for each in opened):
        raise SettingsError(
            "TOCSIN_SECRET_KEY: it opens none of the credentials in the database; set the secret key that sealed them. "
            "If that is lost, start `tocsin serve` with a credential in its settings (TOCSIN_APNS_…, TOCSIN_FCM_…)"
        )


async def prepare(database: Database, settings: Settings, data: DataDirectory, environ: Mapping[str, str]) -> Prepared:
    """Migrate, make the first API key, write the declared credentials; the settings hold the secret key by now.

    Raises SettingsError when there are credentials and the secret key opens none.
    """
    declared = declared_credentials(environ)
    await migrate(database)
    if not declared:  # a declared one is sealed with this key; emulators' rows are made anew by every start
        await require_open(database, settings, {"api"})
    new_key = await first_key(database, settings, data)
    vault = Vault(settings.secret_key.encode())
    changed = await credentials.sync_declared(database, vault, declared)
    if changed:
        _LOG.info("declared credentials changed", extra={"provider_ids": ",".join(changed)})
    return Prepared(new_key, await credentials.has_real(database))


async def first_key(database: Database, settings: Settings, data: DataDirectory) -> str:
    """Make an API key when there is none at all, and keep it in the data directory; '' when there is one."""
    if settings.api_key or await api_keys.any_exists(database):
        return ""
    try:
        key = await api_keys.create(database, _FIRST_KEY_NAME)
    except api_keys.NameTakenError:
        return ""  # another host that starts at this moment was first
    data.save_api_key(key)
    return key


async def put_emulators(database: Database, settings: Settings, params: Sequence[Mapping[str, Any]]) -> bool:
    """Write the emulators' credentials; False when a real one is there and nothing was written."""
    vault = Vault(settings.secret_key.encode())
    written = [await credentials.put_emulator(database, vault, parse_credential(each)) for each in params]
    return all(written)
