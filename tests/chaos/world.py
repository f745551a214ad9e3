"""What runs: PostgreSQL, Redis, the emulators' side process, an API and two senders, killed and started again."""

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
from server.process import ApiOrders, WorkerOrders, program
from server.settings import Settings
from storage import credentials
from storage.database import Database
from storage.vault import Vault
from tests.chaos import nursery
from tests.chaos.kept import READY_SECONDS, Kept, Life
from tests.chaos.nursery import Child, Nursery
from tests.chaos.postgres_service import PostgresService
from tests.chaos.redis_service import RedisService
from tests.chaos.script import QUEUES, REDIS, SENDERS, SWITCH, Kill
from tests.chaos.side import Side

API_KEY = "chaos-api-key-of-one-run"
_BATCH = 15  # most recipients of a batch: many batches, so that kills come between them
_FREEZE_SECONDS = 2.0  # longer than a lease: the frozen one wakes up to find its batches claimed by another
_STOP_SECONDS = 30.0  # longer than a sender takes to end in good order


class Killed(msgspec.Struct):
    """A kill as it happened; `over_at` is when what was killed was at work again."""

    at: float
    kind: str
    name: str
    over_at: float = float("inf")


class World:
    """Everything that runs, and the record of what was killed when. Times are Unix seconds."""

    def __init__(
        self, directory: Path, queue: str = QUEUES[0], *, oldest_redis: bool = False, lease_seconds: float = 5.0
    ) -> None:
        self.directory = directory
        self.lease_seconds = lease_seconds
        self.lives: list[Life] = []
        self.kills: list[Killed] = []
        self.postgres = PostgresService(directory / "postgres")
        self.redis = RedisService(directory / "redis", oldest=oldest_redis) if queue != QUEUES[0] else None
        self.side = Side({}, {}, {})
        self.arrivals = directory / "arrivals"
        self._kept: dict[str, Kept] = {}
        self._on_redis = {_sender(n): queue == "redis" or (queue == "both" and n == 0) for n in range(SENDERS)}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._settings = Settings(
            data_dir=str(directory / "data"),
            api_key=API_KEY,
            secret_key="chaos " * 8,
            lease_seconds=lease_seconds,
            batch_size=_BATCH,
            poll_seconds=0.25,
            log_level="info",
            log_format="json",
            emulators="off",
        )

    @property
    def url(self) -> str:
        """The database."""
        return self.postgres.url

    @property
    def api_url(self) -> str:
        """Where the API listens, whichever process answers."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def ended_alone(self) -> list[str]:
        """Processes that ended without being killed."""
        return [life.name for life in self.lives if not (life.killed or life.stopped) and life.ended_at != float("inf")]

    def close(self) -> None:
        """Close the listening socket, which is there from the beginning."""
        self._listener.close()

    async def kill(self, kill: Kill) -> None:
        """Do it and wait until it is over: the next one of the same kind then finds something to kill."""
        killed = Killed(time.time(), kill.kind, "")

        def begun() -> None:
            killed.at = time.time()
            self.kills.append(killed)

        databases = {"cut": self.postgres.cut, "postgres": self.postgres.kill, "stall": self.postgres.stall}
        if kill.kind in databases:
            await databases[kill.kind](begun)
        elif kill.kind in REDIS:
            begun()
            await self._the_redis().harm(kill.kind, kill.seconds, kill.how)
        elif kill.kind == SWITCH:
            await self._switch(kill, begun)
        else:
            await self._hit(killed, self._kept["api" if kill.kind == "api" else _sender(kill.number)])
        killed.over_at = time.time()

    def _the_redis(self) -> RedisService:
        if self.redis is None:
            raise RuntimeError("this run has no Redis")
        return self.redis

    async def _switch(self, kill: Kill, begun: Callable[[], None]) -> None:
        """Start a sender anew with the other queue: as one that is told to stop, or that died."""
        name = _sender(kill.number)
        kept = self._kept[name]
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()
        begun()
        self._on_redis[name] = not self._on_redis[name]
        if kill.how == "stop":
            await kept.stop(_STOP_SECONDS)
        else:
            kept.kill()
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()

    async def _hit(self, killed: Killed, kept: Kept) -> None:
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()
        killed.at = time.time()
        self.kills.append(killed)
        if killed.kind == "freeze":
            killed.name, process = kept.name, kept.signal(signal.SIGSTOP)
            await asyncio.sleep(self.lease_seconds + _FREEZE_SECONDS)
            if process is not None:
                process.send_signal(signal.SIGCONT)
            return
        killed.name = kept.kill()
        async with asyncio.timeout(READY_SECONDS):
            await kept.ready.wait()

    async def healthy(self) -> None:
        """Wait until everything runs."""
        async with asyncio.timeout(READY_SECONDS):
            await self.postgres.up.wait()
            for kept in self._kept.values():
                await kept.ready.wait()

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything; leaving the stack ends everything."""
        stack.callback(self.close)
        log = stack.enter_context((self.directory / "log").open("ab"))
        stack.push_async_callback(self.postgres.stop)
        await self.postgres.start()
        if self.redis is not None:
            await self.redis.start(stack)
        self._settings = msgspec.structs.replace(self._settings, database_url=self.url)
        self.side = await self._start_side(stack, log)
        origins = {"webpush_origins": self.side.origins, "private_hosts_allowed": self.side.origins}
        self._settings = msgspec.structs.replace(self._settings, **origins)
        await self._prepare()
        born = await self._start_nursery(stack, log)
        for name in ("api", *map(_sender, range(SENDERS))):
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
            queue_url = self._the_redis().url if self._on_redis.get(name.rpartition("-")[0]) else ""
            settings = msgspec.structs.replace(self._settings, queue_url=queue_url)
            orders: ApiOrders | WorkerOrders = WorkerOrders(name, settings)
            kind = "sender"
            if name.startswith("api"):
                kind, facts = "api", ServerFacts("0", "chaos", time.time())
                orders = ApiOrders(name, self._settings, facts, self._listener.fileno())
            return await born.start(kind, msgspec.json.encode(orders))

        return start


async def _run(command: list[str], env: dict[str, str], log: BinaryIO, pass_fds: object = ()) -> Process:
    return await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        pass_fds=pass_fds,  # type: ignore[arg-type]
    )


def _sender(number: int) -> str:
    return f"sender {number + 1}"


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _root() -> Path:
    return Path(server.__file__).resolve().parents[1]


@asynccontextmanager
async def new_world(
    directory: Path, queue: str, *, oldest_redis: bool = False, lease_seconds: float = 5.0
) -> AsyncIterator[World]:
    """A world that runs, ended with the block."""
    world = World(directory, queue, oldest_redis=oldest_redis, lease_seconds=lease_seconds)
    async with AsyncExitStack() as stack:
        await world.start(stack)
        yield world
