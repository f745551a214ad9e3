"""A `tocsin` program in a process of its own, for the tests: its log is JSON lines, waited for, never slept for."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

_PATIENCE_SECONDS = 60.0
_ROOT = Path(__file__).parents[2]


def environment(data: Path, **settings: str) -> dict[str, str]:
    """The environment of a server on free ports, with one sender and its data there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    given = {
        "TOCSIN_DATA_DIR": str(data),
        "TOCSIN_PORT": "0",
        "TOCSIN_EMULATOR_PORTS": "0",
        "TOCSIN_WORKERS": "1",
        "TOCSIN_LOG_FORMAT": "json",
    }
    return {**kept, **given, **{f"TOCSIN_{name.upper()}": value for name, value in settings.items()}}


class Running:
    """The program; what it prints is read line by line."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []  # what the log had so far, for a failure's report
        self.pids: dict[str, int] = {}
        self.greeting = ""

    @property
    def url(self) -> str:
        """Where it said that it is."""
        return self.greeting.partition("ready on ")[2].partition("\n")[0]

    @property
    def key(self) -> str:
        """The API key that it printed, '' when it printed none."""
        return next((word for word in self.greeting.split() if word.startswith("tk_")), "")

    async def ready(self) -> None:
        """Wait until it has said that it is ready, and what to try."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while "curl" not in self.greeting:
                line = await self.process.stdout.readline()
                assert line, f"it ended instead: {await self.rest()}"
                self.greeting += line.decode()
        await self.logged("a process runs", child="api-1")

    async def logged(self, message: str, **facts: object) -> dict[str, Any]:
        """Wait for the next line of the log with this message and these facts; return it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while line := await self.process.stderr.readline():
                found = self._noted(line)
                if found.get("message") == message and facts.items() <= found.items():
                    return found
        raise AssertionError(f"it ended without saying {message!r}: {self.lines}")

    async def rest(self) -> str:
        """What the log says until the program ends."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while line := await self.process.stderr.readline():
                self._noted(line)
        return "".join(self.lines)

    def _noted(self, line: bytes) -> dict[str, Any]:
        self.lines.append(line.decode())
        found: dict[str, Any] = orjson.loads(line) if line.startswith(b"{") else {}
        if found.get("message") in {"a process runs", "a process runs again"}:
            self.pids[found["child"]] = found["pid"]
        return found

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; return the exit code."""
        await self.rest()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running(command: str, environ: Mapping[str, str]) -> AsyncIterator[Running]:
    """Start `tocsin <command>`; it is killed at the end if it still runs."""
    words = [sys.executable, "-P", "-m", "server.cli", *command.split()]
    environ = {**environ, "PYTHONPATH": str(_ROOT)}
    process = await asyncio.create_subprocess_exec(*words, env=environ, stdout=PIPE, stderr=PIPE, cwd=_ROOT.parent)
    try:
        yield Running(process)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def gone(pid: int) -> None:
    """Wait until there is no process of this id, which need not be a child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
