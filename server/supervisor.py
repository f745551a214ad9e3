"""`tocsin serve` and `tocsin work`: builds what is needed, keeps the processes running, ends them in order."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager

import msgspec

from methods.context import ServerFacts
from server import VERSION, demo_start, greeting, preparation
from server.children import Child, together
from server.data_directory import DataDirectory
from server.embedded import Embedded
from server.emulator_process import Emulated
from server.ports import emulator_ports, listen
from server.postgres import run_embedded
from server.process import ApiOrders, EmulatorOrders, WorkerOrders, program
from server.settings import Settings
from storage import credentials
from storage.database import Database

_LOG = logging.getLogger(__name__)


class Supervisor:
    """The parent of all processes. A second signal ends everything at once; so does a fault in the supervision."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None], *, demo: bool = False
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._say = say
        self._demo = demo
        self._data = DataDirectory(settings.data_path)
        self._stop = asyncio.Event()
        self._started = False
        self._failed = False
        self._children: list[Child] = []

    async def serve(self) -> int:
        """Run the whole server until a signal comes; the exit code. Raises what keeps it from starting."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._signals())
            listener = stack.enter_context(listen(self._settings.host, self._settings.port))
            settings = await self._with_database(stack)
            settings = preparation.with_secret_key(settings, self._data, create=True)
            port = listener.getsockname()[1]
            async with Database(settings.database_url, max_connections=1) as database:
                prepared = await preparation.prepare(database, settings, self._data, self._environ)
                emulated, settings = await self._emulate(stack, database, settings, prepared.real, port)
                if self._demo:
                    await demo_start.put_credential(database, settings, self._data)
            queue = "redis" if settings.queue_url else "postgresql"
            facts = ServerFacts(VERSION, settings.server_name, time.time(), emulated, queue)
            await self._run(stack, [*self._apis(settings, facts, listener), *self._workers(settings)])
            stack.callback(listener.close)  # first of all, so that whoever comes late is refused, not left waiting
            self._say(greeting.ready(settings, port, prepared.new_key, self._data, emulated, demo=self._demo))
            await self._until_stopped()
        return 1 if self._failed else 0

    async def work(self) -> int:
        """Run sender processes alone until a signal comes; the exit code."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._signals())
            settings = preparation.with_secret_key(self._settings, self._data, create=False)
            await preparation.check_reachable(settings.database_url)
            async with Database(settings.database_url, max_connections=1) as database:
                await preparation.require_migrated(database)
                await preparation.require_open(database, settings, {"api", "settings", "emulator"})
            await self._run(stack, self._workers(settings))
            _LOG.info("sending", extra={"processes": len(self._children)})
            await self._until_stopped()
        return 1 if self._failed else 0

    async def _until_stopped(self) -> None:
        self._started = True
        await self._stop.wait()
        _LOG.info("stopping")

    async def _with_database(self, stack: AsyncExitStack) -> Settings:
        """The settings with the database's URL, of the embedded one when none is given."""
        if self._settings.database_url:
            await preparation.check_reachable(self._settings.database_url)
            return self._settings
        stack.enter_context(self._data.locked())
        embedded = Embedded(self._data.postgres)
        child = await stack.enter_async_context(run_embedded(embedded, self._broken))
        self._children.append(child)
        _LOG.info("a process runs", extra={"child": child.name, "pid": child.pid})
        url = await asyncio.to_thread(embedded.ensure_database)
        return msgspec.structs.replace(self._settings, database_url=url)

    async def _emulate(
        self, stack: AsyncExitStack, database: Database, settings: Settings, real: bool, port: int
    ) -> tuple[dict[str, str], Settings]:
        """Start the emulators if they are wanted: control ports by provider, and settings with which to reach them.

        Subscriptions of the emulated push service are at a private address, which nobody else's may be.
        """
        if settings.emulators == "off" or (settings.emulators == "auto" and real):
            await credentials.remove_emulators(database)
            return {}, settings
        self._data.ensure()
        ports = emulator_ports(settings.emulator_ports, port)
        orders = EmulatorOrders("emulators", settings, str(self._data.emulators), ports)
        child = Child(program("emulator_process", orders), self._broken)
        await self._run(stack, [child])
        said = msgspec.json.decode(child.announcement, type=Emulated)
        if not await preparation.put_emulators(database, settings, said.credentials):
            _LOG.warning("the emulators run, but a real credential is there and is the one that is used")
            return {}, settings
        _LOG.warning("EMULATED PROVIDERS: no push reaches a real device until a credential is set (provider_put)")
        return said.control, _reaching(settings, said.webpush_host)

    def _apis(self, settings: Settings, facts: ServerFacts, listener: socket.socket) -> Iterator[Child]:
        number = listener.fileno()
        for index in range(settings.api_processes):
            orders = ApiOrders(f"api-{index + 1}", settings, facts, number, self._demo)
            yield Child(program("api_process", orders, pass_fds=[number]), self._broken)

    def _workers(self, settings: Settings) -> list[Child]:
        orders = [WorkerOrders(f"sender-{index + 1}", settings) for index in range(settings.worker_count)]
        return [Child(program("worker_process", each), self._broken) for each in orders]

    async def _run(self, stack: AsyncExitStack, children: list[Child]) -> None:
        self._children += children
        await stack.enter_async_context(together(children))
        for child in children:
            _LOG.info("a process runs", extra={"child": child.name, "pid": child.pid})

    def _broken(self) -> None:
        self._failed = True
        self._stop.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def received() -> None:
            if self._stop.is_set():
                _LOG.warning("a second signal: everything is ended at once")
                self._failed = True
                for child in self._children:
                    child.kill()
            elif not self._started and task is not None:
                task.cancel()
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, received)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _reaching(settings: Settings, webpush_host: str) -> Settings:
    """Settings with which subscriptions at this `host:port` are taken and sent to."""
    return msgspec.structs.replace(
        settings,
        webpush_origins=f"{settings.webpush_origins} {webpush_host}".strip(),
        private_hosts_allowed=f"{settings.private_hosts_allowed} {webpush_host}".strip(),
    )
