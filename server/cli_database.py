"""The commands that work on the database themselves: `tocsin migrate` and `tocsin key`."""

import argparse
from typing import IO, Any

from server import cli_key
from server.data_directory import DataDirectory
from server.postgres import database_url
from server.preparation import check_reachable
from server.settings import Settings
from storage import migrations
from storage.database import Database

COMMANDS = ("migrate", "key")

_MIGRATE = """\
Brings the database to the schema of this release. `tocsin serve` does it by itself; run it apart when
several hosts are upgraded. Safe to run at any time and from several hosts at once.

examples:
  tocsin migrate
  tocsin migrate --check      # exit code 1 when something is pending; changes nothing"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `migrate` and `key` to the command line."""
    migrate = commands.add_parser(
        "migrate", help="bring the database to this release", description=_MIGRATE, formatter_class=form
    )
    migrate.add_argument("--check", action="store_true", help="only say what is pending")
    cli_key.add_command(commands, form)


async def run(given: argparse.Namespace, settings: Settings, out: IO[str]) -> int:
    """Run one of these commands; the exit code. Starts the embedded PostgreSQL for its time when it must."""
    async with database_url(settings.database_url, DataDirectory(settings.data_path)) as url:
        await check_reachable(url)
        async with Database(url, max_connections=1, application="tocsin command") as database:
            if given.command == "migrate":
                return await _migrate(database, given.check, out)
            await migrations.apply(database)
            return await cli_key.run(database, given, out)


async def _migrate(database: Database, check: bool, out: IO[str]) -> int:
    steps = await (migrations.pending(database) if check else migrations.apply(database))
    for step in steps:
        out.write(f"{'pending' if check else 'applied'} {step.version:04} {step.name}\n")
    if not steps:
        out.write(f"nothing is pending: the database is at {await migrations.current(database):04}\n")
    return 1 if check and steps else 0
