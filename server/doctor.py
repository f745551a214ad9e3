"""`tocsin doctor`: looks at everything a server needs and says what to do about what is not well."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import IO, Any

import msgspec

from server import doctor_database, doctor_host
from server.children import StartError
from server.data_directory import DataDirectory, DataDirectoryError
from server.embedded import EmbeddedError
from server.findings import Finding, fail, ok, warn
from server.postgres import database_url
from server.settings import Settings
from storage import provision
from storage.database import Database, DatabaseUnavailableError

_TEXT = """\
Checks the settings, the data directory, the port, the queue's Redis if there is one, the database, its schema
and clock, the keys, and each credential against its push service (nothing is sent to anybody). Each line says ok,
warn or fail, and what to do. Exits with 1 when something failed.

examples:
  tocsin doctor
  tocsin doctor --json"""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `doctor` to the command line."""
    doctor = commands.add_parser("doctor", help="check everything", description=_TEXT, formatter_class=form)
    doctor.add_argument("--json", action="store_true", help="print a JSON list")
    doctor.add_argument("--offline", action="store_true", help="do not connect to the push services")


def run(given: argparse.Namespace, settings: Settings, environ: Mapping[str, str], out: IO[str]) -> int:
    """Examine and print; 1 when a check failed, else 0."""
    findings = asyncio.run(_all(settings, environ, given.offline))
    if given.json:
        out.write(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode() + "\n")
    else:
        out.write("".join(_line(each) for each in findings))
    return 1 if any(each.verdict == "fail" for each in findings) else 0


def _line(finding: Finding) -> str:
    advice = f"\n{'':<24}{finding.advice}" if finding.advice else ""
    return f"{finding.verdict:<6}{finding.check:<18}{finding.said}{advice}\n"


async def _all(settings: Settings, environ: Mapping[str, str], offline: bool) -> list[Finding]:
    return [finding async for finding in examine(settings, environ, offline=offline)]


async def examine(settings: Settings, environ: Mapping[str, str], *, offline: bool) -> AsyncIterator[Finding]:
    """Run the checks in turn; what depends on something that failed is left out."""
    from server import doctor_queue  # only here: the client of Redis costs every other command 20 MB

    data = DataDirectory(settings.data_path)
    for finding in doctor_host.examine(settings, environ, data):
        yield finding
    async for found in doctor_queue.examine(settings):
        yield found
    if not settings.database_url and not (data.postgres / "PG_VERSION").exists():
        yield warn("database", "there is none yet", "`tocsin serve` makes an embedded one at its first start")
        return
    async with AsyncExitStack() as stack:
        database, finding = await _open(stack, settings, data)
        yield finding
        if database is not None:
            async for each in doctor_database.examine(database, settings, data, offline=offline):
                yield each


async def _open(stack: AsyncExitStack, settings: Settings, data: DataDirectory) -> tuple[Database | None, Finding]:
    advice = "check TOCSIN_DATABASE_URL, and that its server runs and lets this host in"
    try:
        url = await stack.enter_async_context(database_url(settings.database_url, data))
        version = await asyncio.to_thread(provision.reach, url)
        if version < provision.OLDEST_VERSION:
            needed = f"PostgreSQL {provision.OLDEST_VERSION} or newer is needed: upgrade it"
            return None, fail("database", f"PostgreSQL {version}", needed)
        database = await stack.enter_async_context(Database(url, max_connections=2, application="tocsin doctor"))
    except DatabaseUnavailableError as error:
        return None, fail("database", f"cannot be used: {error}", advice)
    except (DataDirectoryError, EmbeddedError, StartError) as error:
        return None, fail("database", str(error), "see above; the log is `postgres/log` in the data directory")
    where = "of the settings" if settings.database_url else f"embedded, in {data.postgres}"
    return database, ok("database", f"PostgreSQL {version}, {where}")
