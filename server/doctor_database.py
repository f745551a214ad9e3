"""The checks of `tocsin doctor` on the database: clock, schema, API keys, credentials and their push services."""

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import httpx

from delivery.guard import Allowed
from delivery.providers.credentials import CredentialError
from delivery.providers.registry import build_provider
from methods.device_advice import advice
from server.data_directory import DataDirectory
from server.findings import Finding, fail, ok, warn
from server.settings import Settings
from storage import api_keys, credentials, migrations, provision, upkeep
from storage.credentials import StoredCredential
from storage.database import Database
from storage.vault import Vault

_CLOCK_SECONDS = 2.0
_PROVIDER_CLOCK_SECONDS = 60.0
_CHECK_SECONDS = 20.0
_CLOCK_URL = "https://oauth2.googleapis.com/"
_CLOCK_ADVICE = "set the clocks by NTP: provider tokens and leases depend on them"


async def examine(
    database: Database, settings: Settings, data: DataDirectory, *, offline: bool
) -> AsyncIterator[Finding]:
    """Run them in turn; without the schema there is nothing more to look at."""
    yield await _clock(database)
    schema = await _schema(database)
    yield schema
    if schema.verdict != "ok":
        return
    yield await _api_keys(database, settings)
    async for finding in _credentials(database, settings, data, offline=offline):
        yield finding
    for each in advice(await upkeep.device_report(database)):
        yield warn("devices", each.said, each.todo)


async def _clock(database: Database) -> Finding:
    before = time.time()
    theirs = await provision.clock(database)
    apart = theirs - (before + time.time()) / 2
    said = f"the database's clock is {abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} ours"
    return ok("clock", said) if abs(apart) <= _CLOCK_SECONDS else warn("clock", said, _CLOCK_ADVICE)


async def _schema(database: Database) -> Finding:
    try:
        missing = await migrations.pending(database)
    except migrations.MigrationError as error:
        return fail("schema", str(error), "use the release that fits, or restore the database")
    if missing:
        return fail("schema", f"{len(missing)} migrations are pending", "run `tocsin migrate`, or start `tocsin serve`")
    return ok("schema", f"at {await migrations.current(database):04}")


async def _api_keys(database: Database, settings: Settings) -> Finding:
    if settings.api_key:
        return ok("API keys", "one is given by the settings")
    valid = await api_keys.valid_keys(database)
    if not valid:
        advice = "run `tocsin key create NAME`, unless the hosts that run `tocsin serve` have TOCSIN_API_KEY"
        return warn("API keys", "there is none in the database, and no TOCSIN_API_KEY here", advice)
    return ok("API keys", f"{len(valid)} valid")


async def _credentials(
    database: Database, settings: Settings, data: DataDirectory, *, offline: bool
) -> AsyncIterator[Finding]:
    key = settings.secret_key or data.secret_key(create=False)
    listed = await credentials.listed(database)
    opened = {each.provider_id: each for each in await credentials.load(database, Vault(key.encode()))} if key else {}
    if not listed:
        yield warn("credentials", "there is none", "set one with provider_put, or in the settings")
    real = False
    for row in listed:
        name = f"{row.provider} {row.provider_id}"
        stored = opened.get(row.provider_id)
        if stored is None:
            yield fail("credentials", f"{name} does not open", "set the TOCSIN_SECRET_KEY that it was sealed with")
        elif row.source == "emulator":
            yield warn("credentials", f"{name} is emulated: no push reaches a real device", "set a real credential")
        else:
            real = True
            yield ok("credentials", f"{name} opens") if offline else await _try(name, stored, settings)
    if real and not offline:
        yield await _provider_clock()


async def _try(name: str, stored: StoredCredential, settings: Settings) -> Finding:
    """Try a credential as `provider_check` does."""
    try:
        allowed = Allowed.parse(settings.private_hosts_allowed)
        async with asyncio.timeout(_CHECK_SECONDS), build_provider(stored, allowed=allowed) as provider:
            steps = await provider.check()
    except TimeoutError:
        return fail("credentials", f"{name}: no answer", "see that this host may connect to the push service")
    except CredentialError as error:
        return fail("credentials", f"{name}: {error}", "set it anew with provider_put")
    bad = [f"{step}: {said}" for step, said in steps.items() if said.partition(":")[0] != "ok"]
    if bad:
        return fail("credentials", f"{name}: {'; '.join(bad)}", "docs/credentials.md says what each step needs")
    return ok("credentials", f"{name} is taken by its push service")


async def _provider_clock() -> Finding:
    """Compare with the Date header of Google, whose tokens (like Apple's) are refused when the clock is off."""
    try:
        async with httpx.AsyncClient(timeout=_CHECK_SECONDS) as client:
            answer = await client.head(_CLOCK_URL)
        apart = parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
    except (httpx.HTTPError, KeyError, ValueError):
        return warn("clock", "no push service could be asked for the time", _CLOCK_ADVICE)
    said = f"{abs(apart):.0f} s from that of the push services"
    return ok("clock", said) if abs(apart) <= _PROVIDER_CLOCK_SECONDS else fail("clock", said, _CLOCK_ADVICE)
