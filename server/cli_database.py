"""The commands that work on the database themselves: `tocsin migrate` and `tocsin key`."""

import argparse
from datetime import UTC, datetime
from typing import IO, Any

from methods.all import TABLE
from server.data_directory import DataDirectory
from server.postgres import database_url
from server.preparation import check_reachable
from server.settings import Settings
from storage import api_keys, migrations
from storage.database import Database

COMMANDS = ("migrate", "key")

_MIGRATE = """\
Brings the database to the schema of this release. `tocsin serve` does it by itself; run it apart when
several hosts are upgraded. Safe to run at any time and from several hosts at once.

examples:
  tocsin migrate
  tocsin migrate --check      # exit code 1 when something is pending; changes nothing"""

_KEY = """\
Makes, lists and revokes the keys of the API. A key is shown once, when it is made. A running server
notices a new and a revoked key within seconds.

examples:
  tocsin key create backend
  tocsin key create registrar --methods device_register,device_remove
  tocsin key list
  tocsin key revoke backend"""


class ApiKeyError(Exception):
    """A key cannot be made or revoked; the text says why."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", form: Any) -> None:
    """Add `migrate` and `key` to the command line."""
    migrate = commands.add_parser(
        "migrate", help="bring the database to this release", description=_MIGRATE, formatter_class=form
    )
    migrate.add_argument("--check", action="store_true", help="only say what is pending")
    key = commands.add_parser("key", help="make, list and revoke API keys", description=_KEY, formatter_class=form)
    actions = key.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it")
    create.add_argument("name", help="name of the key")
    create.add_argument(
        "--methods", type=_methods, default=[], help="the only methods it may call, with commas between"
    )
    actions.add_parser("revoke", help="make a key invalid").add_argument("name", help="name of the key")
    actions.add_parser("list", help="list the keys")


async def run(given: argparse.Namespace, settings: Settings, out: IO[str]) -> int:
    """Run one of these commands; the exit code. Starts the embedded PostgreSQL for its time when it must."""
    async with database_url(settings.database_url, DataDirectory(settings.data_path)) as url:
        await check_reachable(url)
        async with Database(url, max_connections=1, application="tocsin command") as database:
            if given.command == "migrate":
                return await _migrate(database, given.check, out)
            await migrations.apply(database)
            return await _key(database, given, out)


async def _migrate(database: Database, check: bool, out: IO[str]) -> int:
    steps = await (migrations.pending(database) if check else migrations.apply(database))
    for step in steps:
        out.write(f"{'pending' if check else 'applied'} {step.version:04} {step.name}\n")
    if not steps:
        out.write(f"nothing is pending: the database is at {await migrations.current(database):04}\n")
    return 1 if check and steps else 0


async def _key(database: Database, given: argparse.Namespace, out: IO[str]) -> int:
    if given.action == "list":
        for key in await api_keys.list_all(database):
            only = f"  only {', '.join(key.methods)}" if key.methods else ""
            state = f"revoked {_day(key.revoked_at)}" if key.revoked_at else "valid"
            out.write(f"{key.name:<30} created {_day(key.created_at)}  {state}{only}\n")
    elif given.action == "create":
        try:
            out.write(f"{await api_keys.create(database, given.name, given.methods)}\n")
        except api_keys.NameTakenError:
            raise ApiKeyError(f"there is a key named {given.name}: revoke it first, or choose another name") from None
    elif not await api_keys.revoke(database, given.name):
        raise ApiKeyError(f"there is no valid key named {given.name}: see `tocsin key list`")
    return 0


def _methods(text: str) -> list[str]:
    """Read the names of methods; a name that is none of ours is refused, because it would lock the key out."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TABLE]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no method {', '.join(unknown)}")
    return names


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
