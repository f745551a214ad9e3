"""The database of a run: durable, killed whole, stopped for a while, its connections cut."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg

from server.embedded import Embedded
from tests.bench.processes import tree
from tests.chaos.kept import READY_SECONDS
from tests.server.running import gone

_STALL_SECONDS = 3.0
_OPTIONS = {"shared_buffers": "64MB", "max_wal_size": "256MB"}  # durable: fsync and synchronous_commit stay on


class PostgresService:
    """PostgreSQL with all its processes; a method that does it harm returns when it is over."""

    def __init__(self, directory: Path) -> None:
        self._embedded = Embedded(directory, _OPTIONS)
        self._process: Process | None = None
        self.url = ""
        self.up = asyncio.Event()

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        await asyncio.to_thread(self._embedded.prepare)
        with self._embedded.open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *self._embedded.command(), **self._embedded.process_options(log)
            )
        self._process = process
        async with asyncio.timeout(READY_SECONDS):
            while not await asyncio.to_thread(self._embedded.accepts_as, process.pid):
                if process.returncode is not None:
                    raise RuntimeError(f"PostgreSQL does not start: {self._embedded.last_words()}")
                await asyncio.sleep(0.05)
        self.url = self.url or await asyncio.to_thread(self._embedded.ensure_database)
        self.up.set()

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(Embedded.KILL_SIGNAL)
            await self._process.wait()

    async def kill(self, begun: Callable[[], None]) -> None:
        """SIGKILL to all its processes, and start it again."""
        await self.up.wait()
        process = self._process
        if process is None:
            return
        self.up.clear()
        _signal([process.pid], signal.SIGSTOP)  # so that it starts nobody between the look and the kill
        pids = tree(process.pid)
        begun()
        _signal(pids, signal.SIGKILL)
        await process.wait()
        for pid in pids:  # one that still dies holds the shared memory, and no server starts on that
            await gone(pid)
        await self.start()

    async def stall(self, begun: Callable[[], None]) -> None:
        """Let it stand still for three seconds."""
        await self.up.wait()
        process = self._process
        if process is None:
            return
        pids = tree(process.pid)
        begun()
        _signal(pids, signal.SIGSTOP)
        await asyncio.sleep(_STALL_SECONDS)
        if process.returncode is None:
            _signal(pids, signal.SIGCONT)

    async def cut(self, begun: Callable[[], None]) -> None:
        """End all connections of Tocsin."""
        begun()
        await asyncio.to_thread(self._cut)

    def _cut(self) -> None:
        with psycopg.connect(self.url, autocommit=True, application_name="chaos") as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tocsin %'"
            )


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
