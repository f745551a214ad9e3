"""A `tocsin` program of a run: its log is a file, and its end may be that of the whole host."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from tests.bench.processes import tree

_READY_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class Program:
    """A `tocsin` program on a host; its log is a file."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def said(self, message: str) -> None:
        """Wait until its log has this message."""
        async with asyncio.timeout(_READY_SECONDS):
            while message not in self.log.read_text():
                if self.process.returncode is not None:
                    raise RuntimeError(f"a program ended: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(_LOOK_SECONDS)

    def count(self, message: str) -> int:
        """How often its log has this message."""
        return self.log.read_text().count(message)

    async def kill(self) -> None:
        """SIGKILL to all of its processes at once, as when a machine loses its power."""
        for pid in tree(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()
