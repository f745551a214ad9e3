"""Programs that are killed and started again, and the record of their lives."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec

from tests.chaos.nursery import Child

READY_SECONDS = 60.0


class Life(msgspec.Struct):
    """One process from its start to its end; `name` is its `application_name` in the database.

    `stopped`: it was told to stop, and ended in good order unless it was killed as well.
    """

    name: str
    started_at: float
    ended_at: float = float("inf")
    killed: bool = False
    stopped: bool = False


class Kept:
    """A program that is started again whenever it ends."""

    def __init__(self, lives: list[Life], name: str, start: Callable[[str], Awaitable[Child]]) -> None:
        self._lives = lives
        self._name = name
        self._start = start
        self._process: Child | None = None
        self._life: Life | None = None
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    @property
    def name(self) -> str:
        """The name of the process that runs now."""
        return self._life.name if self._life is not None else ""

    async def run(self, stack: AsyncExitStack) -> None:
        """Start it and keep it until the stack is left."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self._name}")
        stack.push_async_callback(self._stop)
        async with asyncio.timeout(READY_SECONDS):
            await self.ready.wait()

    def kill(self) -> str:
        """SIGKILL; the name of what was killed."""
        if self._process is None or self._life is None or self._process.has_ended:
            return ""
        self._life.killed = True
        self._life.ended_at = time.time()
        self.ready.clear()
        self._process.kill()
        return self._life.name

    async def stop(self, most_seconds: float) -> str:
        """SIGTERM, and SIGKILL when it does not end in time; its name."""
        process, life = self._process, self._life
        if process is None or life is None or process.has_ended:
            return ""
        life.stopped = True
        self.ready.clear()
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(most_seconds):
                await process.wait()
        except TimeoutError:
            self.kill()
        return life.name

    def signal(self, number: signal.Signals) -> Child | None:
        """Send a signal; the process that got it."""
        if self._process is None or self._process.has_ended:
            return None
        self._process.send_signal(number)
        return self._process

    async def _keep(self) -> None:
        while True:
            life = Life(f"{self._name}-{len(self._lives)}", time.time())
            self._lives.append(life)
            process = await self._start(life.name)
            self._process, self._life = process, life
            try:
                if await process.heard() and not life.killed:
                    self.ready.set()
                await process.wait()
                process.close()
            finally:
                process.kill()
            life.ended_at = min(life.ended_at, time.time())
            self.ready.clear()
            if not life.killed:
                await asyncio.sleep(0.2)  # as a supervisor would: one that cannot start must not spin

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._process is not None:
            await self._process.wait()
            self._process.close()
