"""The processes of a run: PostgreSQL, the emulators' side process, an API and two senders, killed and started again."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import psycopg

import server
from delivery.providers.credentials import parse_credential
from methods.context import ServerFacts
from server import preparation
from server.embedded import Embedded
from server.process import ApiOrders, WorkerOrders, program
from server.settings import Settings
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.bench.processes import tree
from tests.chaos import nursery
from tests.chaos.kept import READY_SECONDS, Kept, Life
from tests.chaos.nursery import Child, Nursery
from tests.chaos.script import SENDERS, Kill
from tests.chaos.side import Side
from tests.server.running import gone

API_KEY = "chaos-api-key-of-one-run"
_NICE = 10
_BATCH = 15  # most recipients of a batch: many batches, so that kills come between them
_FREEZE_SECONDS = 7.0  # longer than a lease: the frozen one wakes up to find its batches claimed by another
_STALL_SECONDS = 3.0
_OPTIONS = {"shared_buffers": "64MB", "max_wal_size": "256MB"}  # durable: fsync and synchronous_commit stay on


class Killed(msgspec.Struct):
    """A kill as it happened; `over_at` is when what was killed was at work again."""

    at: float
    kind: str
    name: str
    over_at: float = float("inf")


class World:
    """Everything that runs, and the record of what was killed when. Times are Unix seconds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lives: list[Life] = []
        self.kills: list[Killed] = []
        self.embedded = Embedded(directory / "postgres", _OPTIONS)
        self.url = ""
        self.side = Side({}, {}, {})
        self.arrivals = directory / "arrivals"
        self._postgres: Process | None = None
        self._postgres_up = asyncio.Event()
        self._kept: dict[str, Kept] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._settings = Settings(
            data_dir=str(directory / "data"),
            api_key=API_KEY,
            secret_key="chaos " * 8,
            lease_seconds=5.0,
            batch_size=_BATCH,
            poll_seconds=0.25,
            log_level="info",
            log_format="json",
            emulators="off",
        )

    @property
    def api_url(self) -> str:
        """Where the API listens, whichever process answers."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def ended_alone(self) -> list[str]:
        """Processes that ended without being killed."""
        return [life.name for life in self.lives if not life.killed and life.ended_at != float("inf")]

    def close(self) -> None:
        """Close the listening socket, which is there from the beginning."""
        self._listener.close()

    async def kill(self, kill: Kill) -> None:
        """Do it and wait until it is over: the next one of the same kind then finds something to kill."""
        killed = Killed(time.time(), kill.kind, "")
        if kill.kind == "cut":
            self.kills.append(killed)
            await asyncio.to_thread(self._cut)
        elif kill.kind == "postgres":
            await self._kill_postgres(killed)
        elif kill.kind == "stall":
            await self._stall_postgres(killed)
        else:
            await self._hit(killed, self._kept["api" if kill.kind == "api" else f"sender {kill.number + 1}"])
        killed.over_at = time.time()

    async def _hit(self, killed: Killed, kept: Kept) -> None:
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()
        killed.at = time.time()
        self.kills.append(killed)
        if killed.kind == "freeze":
            killed.name, process = kept.name, kept.signal(signal.SIGSTOP)
            await asyncio.sleep(_FREEZE_SECONDS)
            if process is not None:
                process.send_signal(signal.SIGCONT)
            return
        killed.name = kept.kill()
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()

    async def healthy(self) -> None:
        """Wait until everything runs."""
        async with asyncio.timeout(READY_SECONDS):
            await self._postgres_up.wait()
            for kept in self._kept.values():
                await kept.ready.wait()

    async def _kill_postgres(self, killed: Killed) -> None:
        await self._postgres_up.wait()
        process = self._postgres
        if process is None:
            return
        self._postgres_up.clear()
        _signal([process.pid], signal.SIGSTOP)  # so that it starts nobody between the look and the kill
        pids = tree(process.pid)
        killed.at = time.time()
        self.kills.append(killed)
        _signal(pids, signal.SIGKILL)
        await process.wait()
        for pid in pids:  # one that still dies holds the shared memory, and no server starts on that
            await gone(pid)
        await self._start_postgres()

    def _cut(self) -> None:
        with psycopg.connect(self.url, autocommit=True, application_name="chaos") as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tocsin %'"
            )

    async def _stall_postgres(self, killed: Killed) -> None:
        await self._postgres_up.wait()
        process = self._postgres
        if process is None:
            return
        pids = tree(process.pid)
        killed.at = time.time()
        self.kills.append(killed)
        _signal(pids, signal.SIGSTOP)
        await asyncio.sleep(_STALL_SECONDS)
        if process.returncode is None:
            _signal(pids, signal.SIGCONT)

    async def _start_postgres(self) -> None:
        await asyncio.to_thread(self.embedded.prepare)
        with self.embedded.open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *self.embedded.command(), **self.embedded.process_options(log)
            )
        self._postgres = process
        async with asyncio.timeout(READY_SECONDS):
            while not await asyncio.to_thread(self.embedded.accepts_as, process.pid):
                if process.returncode is not None:
                    raise RuntimeError(f"PostgreSQL does not start: {self.embedded.last_words()}")
                await asyncio.sleep(0.05)
        self._postgres_up.set()

    async def _stop_postgres(self) -> None:
        if self._postgres is not None and self._postgres.returncode is None:
            self._postgres.send_signal(Embedded.KILL_SIGNAL)
            await self._postgres.wait()

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything; leaving the stack ends everything."""
        stack.callback(self.close)
        log = stack.enter_context((self.directory / "log").open("ab"))
        stack.push_async_callback(self._stop_postgres)
        await self._start_postgres()
        self.url = await asyncio.to_thread(self.embedded.ensure_database)
        self._settings = msgspec.structs.replace(self._settings, database_url=self.url)
        self.side = await self._start_side(stack, log)
        await self._prepare()
        born = await self._start_nursery(stack, log)
        for name in ("api", *(f"sender {n + 1}" for n in range(SENDERS))):
            self._kept[name] = Kept(self.lives, name, self._starter(born))
        for kept in self._kept.values():
            await kept.run(stack)

    async def _prepare(self) -> None:
        async with Database(self.url, max_connections=1) as database:
            await preparation.migrate(database)
            vault = Vault(self._settings.secret_key.encode())
            for each in self.side.credentials.values():
                await credentials.put(database, vault, parse_credential(each), source="api")
        await asyncio.to_thread(self._watch_claims)

    def _watch_claims(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute((Path(__file__).parent / "claims.sql").read_bytes())

    async def _start_side(self, stack: AsyncExitStack, log: BinaryIO) -> Side:
        command = [sys.executable, "-P", "-m", "tests.chaos.side"]
        process = await _run(command, {**os.environ, "PYTHONPATH": str(_root())}, log)
        stack.push_async_callback(_end, process)
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipe")
        process.stdin.write(f"{self.arrivals}\n".encode())
        return msgspec.json.decode(await process.stdout.readline(), type=Side)

    async def _start_nursery(self, stack: AsyncExitStack, log: BinaryIO) -> Nursery:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        with theirs:
            number = theirs.fileno()
            environ = program("api_process", WorkerOrders("nursery", self._settings)).options["env"]
            command = nursery.command(number)
            process = await _run(command, environ, log, pass_fds=[number, self._listener.fileno()])
        stack.push_async_callback(_end, process)
        return Nursery(ours)

    def _starter(self, born: Nursery) -> Callable[[str], Awaitable[Child]]:
        async def start(name: str) -> Child:
            orders: ApiOrders | WorkerOrders = WorkerOrders(name, self._settings)
            kind = "sender"
            if name.startswith("api"):
                kind, facts = "api", ServerFacts("0", "chaos", time.time())
                orders = ApiOrders(name, self._settings, facts, self._listener.fileno())
            return await born.start(kind, msgspec.json.encode(orders))

        return start


async def _run(command: "list[str] | object", env: dict[str, str], log: BinaryIO, pass_fds: object = ()) -> Process:
    words = ["nice", "-n", str(_NICE), *command]  # type: ignore[misc]
    return await asyncio.create_subprocess_exec(
        *words,
        env=env,
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        pass_fds=pass_fds,  # type: ignore[arg-type]
    )


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _root() -> Path:
    return Path(server.__file__).resolve().parents[1]


@asynccontextmanager
async def new_world(directory: Path) -> AsyncIterator[World]:
    """A world that runs, ended with the block."""
    world = World(directory)
    async with AsyncExitStack() as stack:
        await world.start(stack)
        yield world
