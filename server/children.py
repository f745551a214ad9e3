"""Child processes that are kept running: started in turn, started again when they die, stopped with grace."""

import asyncio
import logging
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0


class StartError(Exception):
    """A process ended, or stayed silent, before it was ready; the text says what to do."""


async def announced(process: Process) -> bytes:
    """Ready is a line on standard output; return it. StartError when the process ends without."""
    line = await process.stdout.readline() if process.stdout else b""
    if not line:
        raise StartError(f"a process ended with exit code {await process.wait()} while it started; the log says why")
    return line


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `orders` is written to standard input, which stays open: its end tells of our death.

    `ready` returns once the process does its work, with what it has to say, or raises StartError.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[Process], Awaitable[bytes]] = announced
    orders: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    start_seconds: float = 60.0
    grace_seconds: float = 20.0


class Child:
    """A program, kept running. Entering waits until it is ready for the first time; leaving stops it.

    `announcement` is what it said when it was ready. `broken` is called should the keeping itself fail.
    """

    def __init__(self, program: Program, broken: Callable[[], None]) -> None:
        self._program = program
        self._broken = broken
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.announcement = b""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it is ready; StartError or OSError when it cannot be."""
        try:
            await self._launch()
        except BaseException:
            self._signal(signal.SIGKILL)
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._program.name}")
        self._keeper.add_done_callback(self._keeper_ended)

    async def stop(self) -> None:
        """Tell it to stop and wait for that; kill it when its time is over."""
        self._stopping.set()
        self._signal(self._program.stop_signal)
        if self._keeper is None:
            if self._process is not None:
                await self._process.wait()
            return
        _, pending = await asyncio.wait([self._keeper], timeout=self._program.grace_seconds)
        if pending:
            _LOG.warning("a process does not stop in time and is killed", extra={"child": self._program.name})
            self.kill()
            await asyncio.wait([self._keeper])

    @property
    def name(self) -> str:
        """The name of the program."""
        return self._program.name

    @property
    def pid(self) -> int | None:
        """The process id, None while it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def kill(self) -> None:
        """End it at once, without grace; it is started again unless it is being stopped."""
        self._signal(self._program.kill_signal)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _launch(self) -> None:
        program = self._program
        pipe = asyncio.subprocess.DEVNULL if program.orders is None else PIPE
        self._process = await asyncio.create_subprocess_exec(
            *program.command, **{"stdin": pipe, "stdout": pipe, "start_new_session": True, **program.options}
        )
        if self._stopping.is_set():
            self._signal(program.stop_signal)
        if program.orders is not None and self._process.stdin is not None:
            self._process.stdin.write(program.orders + b"\n")
        try:
            async with asyncio.timeout(program.start_seconds):
                self.announcement = await program.ready(self._process)
        except TimeoutError:
            self.kill()
            raise StartError(f"{program.name} was not ready within {program.start_seconds:g} seconds") from None

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self._process is not None:
            began = time.monotonic()
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _SETTLED_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            facts = {"child": self._program.name, "exit_code": code, "again_in_seconds": pause}
            _LOG.error("a process ended by itself and is started again", extra=facts)
            if await self._stopped_within(pause):
                return
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await self._launch_again()

    async def _launch_again(self) -> None:
        try:
            await self._launch()
            _LOG.info("a process runs again", extra={"child": self._program.name, "pid": self.pid})
        except (StartError, OSError) as error:
            if not self._stopping.is_set():
                _LOG.error("a process did not start", extra={"child": self._program.name, "reason": str(error)})
            self.kill()

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def _keeper_ended(self, keeper: "asyncio.Task[None]") -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            _LOG.critical("the keeper of a process failed", extra={"child": self._program.name}, exc_info=error)
            self._broken()


@asynccontextmanager
async def together(children: Sequence[Child]) -> AsyncIterator[None]:
    """Start these at once; stop them at once. Raises the first StartError."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_all, [child.stop for child in children])
        await _all([child.start for child in children])
        yield


async def _all(steps: Sequence[Callable[[], Awaitable[None]]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(_awaited(step))
    except* (StartError, OSError) as failed:
        raise failed.exceptions[0] from None


async def _awaited(step: Callable[[], Awaitable[None]]) -> None:
    await step()
