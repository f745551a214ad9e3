"""The command line: `tocsin serve`, `work`, `migrate`, `call`, `emulate`, `key`, `doctor`.

Exit codes: 0 done, 1 failed (one line on standard error says why and what to do), 2 wrong usage.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from delivery.providers.credentials import CredentialError, UnsupportedCredentialError
from emulators import program as emulators
from server import VERSION, cli_call, cli_database, cli_key, cli_vapid, demo_start, doctor, logs, settings, variables
from server.children import StartError
from server.data_directory import DataDirectoryError
from server.embedded import EmbeddedError
from server.ports import PortError
from server.settings import Settings, SettingsError
from server.supervisor import Supervisor
from storage.database import DatabaseUnavailableError
from storage.migrations import MigrationError

_DESCRIPTION = """\
A self-hosted push notification server: one JSON endpoint, a durable queue, APNs, FCM, Web Push, HMS.

On an empty machine `tocsin serve` is enough: it brings its own PostgreSQL, makes an API key
and emulates the push services until you give it a credential."""

_EPILOGUE = """\
examples:
  tocsin serve
  tocsin call info
  tocsin call device_register '{"provider":"fcm","token":"…","platform":"android","user":"42"}'
  TOCSIN_DATABASE_URL=postgresql://tocsin:secret@db/tocsin tocsin serve

Settings are environment variables (TOCSIN_…); README.md lists them.
exit codes: 0 done, 1 failed, 2 wrong usage"""

_SERVE = """\
Runs the whole server: the API, the sender processes, and, when no TOCSIN_DATABASE_URL is set, an
embedded PostgreSQL in TOCSIN_DATA_DIR. Migrates the database first. SIGTERM or Ctrl-C stops it in
order; a second one at once.

With --demo it also serves a page at /demo/, with which a browser on this machine subscribes to Web Push
and gets one (examples/webpush/README.md). Never in production: the page asks nobody who they are.

examples:
  tocsin serve
  tocsin serve --demo
  TOCSIN_HOST=0.0.0.0 TOCSIN_PORT=9000 TOCSIN_LOG_FORMAT=json tocsin serve"""

_WORK = """\
Runs sender processes alone, on any number of hosts over one database. Needs TOCSIN_DATABASE_URL, and
TOCSIN_SECRET_KEY with the same value as that of `tocsin serve`.

example:
  TOCSIN_DATABASE_URL=postgresql://tocsin:secret@db/tocsin TOCSIN_SECRET_KEY_FILE=/run/secrets/key tocsin work"""

_EXPECTED = (
    SettingsError,
    DataDirectoryError,
    EmbeddedError,
    StartError,
    PortError,
    MigrationError,
    CredentialError,
    UnsupportedCredentialError,
    cli_call.CallError,
    cli_key.ApiKeyError,
)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser("tocsin", description=_DESCRIPTION, epilog=_EPILOGUE, formatter_class=_FORMAT)
    top.add_argument("--version", action="version", version=f"tocsin {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, text in (
        ("serve", "run the whole server", _SERVE),
        ("work", "run sender processes alone", _WORK),
    ):
        command = commands.add_parser(name, help=summary, description=text, formatter_class=_FORMAT)
        if name == "serve":
            command.add_argument("--demo", action="store_true", help="serve a page that receives Web Push, at /demo/")
    cli_database.add_commands(commands, _FORMAT)
    cli_call.add_command(commands, _FORMAT)
    doctor.add_command(commands, _FORMAT)
    emulators.add_arguments(
        commands.add_parser("emulate", help="run an emulated push service", formatter_class=_FORMAT)
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    given = parser().parse_args(arguments)
    try:
        return _run(given, os.environ)
    except DatabaseUnavailableError as error:
        return _failed(f"the database cannot be used: {error}. Check TOCSIN_DATABASE_URL and the server it names")
    except _EXPECTED as error:
        return _failed(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _failed("stopped before it was done")


def _run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if given.command == "emulate":
        logs.configure("info", "text", "emulator")
        return _emulate(given)
    found = settings.read(environ)
    logs.configure(found.log_level, found.log_format, "tocsin")
    if given.command == "doctor":
        return doctor.run(given, found, environ, sys.stdout)
    for warning in variables.unknown(environ):
        sys.stderr.write(f"tocsin: warning: {warning}\n")
    if given.command == "call":
        return cli_call.run(given, found, sys.stdin, sys.stdout)
    if given.command == "key" and given.action == "vapid":
        return cli_vapid.run(given, sys.stdout)
    if given.command in cli_database.COMMANDS:
        return asyncio.run(cli_database.run(given, found, sys.stdout))
    if given.command == "serve" and given.demo:
        demo_start.check_host(found.host)
    return _supervise(given, found, environ)


def _emulate(given: argparse.Namespace) -> int:
    try:
        asyncio.run(emulators.run(given.kind, given))
    except (OSError, ValueError) as error:
        return _failed(str(error))
    return 0


def _supervise(given: argparse.Namespace, found: Settings, environ: Mapping[str, str]) -> int:
    def say(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    if given.command == "serve":
        return asyncio.run(Supervisor(found, environ, say, demo=given.demo).serve())
    if not found.database_url:
        raise SettingsError("TOCSIN_DATABASE_URL: `tocsin work` needs it, the URL of the database that serve uses")
    return asyncio.run(Supervisor(found, environ, say).work())


def _failed(text: str) -> int:
    sys.stderr.write("".join(f"tocsin: {line}\n" for line in text.splitlines()))
    return 1


_FORMAT = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    sys.exit(main())
