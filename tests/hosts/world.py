"""What runs: PostgreSQL, push services, the API on the first host, `tocsin work` on each. Times are Unix seconds."""

import asyncio
import itertools
import os
import shlex
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from server.embedded import Embedded
from tests.hosts.network import DATABASE_PORT, Network, network_of
from tests.hosts.program import Program
from tests.hosts.services import Arrival, Order, Services

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 5.0
_API_KEY = "hosts-api-key-of-one-run"
_PORT = 10_000 + os.getpid() % 10_000  # of the API
_READY_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_OPTIONS = {"shared_buffers": "64MB", "max_wal_size": "512MB"}  # durable: fsync and synchronous_commit stay on
_DEVICES = """
insert into devices (id, provider, platform, token, user_id, created_at, updated_at, registered_at)
select (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid, %(provider)s,
       %(platform)s, md5(%(topic)s::text || n) || md5(n::text), %(topic)s::text || '-' || n, t, t, t
from (select n, now() - interval '1 day' as t from generate_series(%(first)s::bigint, %(last)s::bigint) n) s
"""
_TOPIC = """
insert into device_topics (topic, device_id)
select %(topic)s::text, id from devices where starts_with(user_id, %(topic)s::text || '-')
"""


class _Embedded(Embedded):
    """On a port of the run's own, which may be listened to on an address of the network."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory, {**_OPTIONS, "listen_addresses": address, "port": str(DATABASE_PORT)})

    def url(self, database: str = "tocsin") -> str:
        """The connection string, by the Unix socket."""
        return f"{super().url(database)}&port={DATABASE_PORT}"


class World:
    """The installation of a run; `tree` is the folder whose code runs, `settings` what all its programs are told."""

    def __init__(self, network: Network, directory: Path, settings: Mapping[str, str]) -> None:
        self.network = network
        self.directory = directory
        self.tree = ROOT
        self.hosts: dict[int, Program] = {}
        self.services = Services({}, {})
        self.embedded = _Embedded(directory / "postgres", network.database_address)
        self.api: Program | None = None
        self.postgres = 0  # its process id
        self._settings = settings
        self._numbers = itertools.count(1)
        self._notes = directory / "arrivals"
        self._http = httpx.AsyncClient(timeout=30.0, headers={"X-API-Key": _API_KEY}, trust_env=False)

    # Programs

    async def start_host(self, host: int, environ: Mapping[str, str] | None = None) -> None:
        """Run `tocsin work` on a host and wait until it sends."""
        self.hosts[host] = await self.run(host, ["work"], environ)
        await self.hosts[host].said('"sending"')

    async def start_api(self) -> None:
        """Run `tocsin serve` without senders on the first host."""
        self.api = await self.run(1, ["serve"], {"TOCSIN_WORKERS": "0"})
        await self.api.said('"api-1"')
        async with asyncio.timeout(_READY_SECONDS):
            await self._answering()

    async def migrate(self) -> None:
        """Run `tocsin migrate`."""
        program = await self.run(1, ["migrate"])
        if await program.process.wait():
            raise RuntimeError(f"migrate failed: {program.log.read_text()}")

    async def run(self, host: int, words: Sequence[str], environ: Mapping[str, str] | None = None) -> Program:
        """Start a `tocsin` program of the tree on a host."""
        log = self.directory / f"{next(self._numbers):02}-host-{host}-{words[0]}.log"
        command = self.network.inside(host, [sys.executable, "-P", "-m", "server.cli", *words])
        given = self._environment(host) | dict(environ or {})
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=self.tree, env=given, stdin=DEVNULL, stdout=file, stderr=file
            )
        return Program(process, log)

    async def stop(self) -> None:
        """Stop what runs of it."""
        await self._http.aclose()
        for program in [*self.hosts.values(), *([self.api] if self.api else [])]:
            await program.kill()

    def _environment(self, host: int) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
        data = self.directory / f"data-{host}"
        data.mkdir(exist_ok=True)
        given = {
            "TOCSIN_DATABASE_URL": self.network.database_url(host, "tocsin"),
            "TOCSIN_DATA_DIR": str(data),
            "TOCSIN_SECRET_KEY": "many hosts " * 4,
            "TOCSIN_API_KEY": _API_KEY,
            "TOCSIN_HOST": self.network.address(host),
            "TOCSIN_PORT": str(_PORT),
            "TOCSIN_EMULATORS": "off",
            "TOCSIN_LOG_FORMAT": "json",
            "TOCSIN_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "TOCSIN_WORKERS": "1",
            "TOCSIN_BATCH_SIZE": "25",
            "PYTHONPATH": str(self.tree),
        }
        place = self.network.database_address or "127.0.0.1"
        return {**kept, **given, **{name: value.format(address=place) for name, value in self._settings.items()}}

    # Calls

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call the API; RuntimeError when it answers with an error."""
        answer = (
            await self._http.post(
                f"http://{self.network.address(1)}:{_PORT}/api", json={"method": method, "params": params}
            )
        ).json()
        if "result" not in answer:
            raise RuntimeError(f"{method}: {answer}")
        found: dict[str, Any] = answer["result"]
        return found

    async def send(self, uid: str, recipient: Mapping[str, object], **params: Any) -> float:
        """Send a push to APNs that says its uid; when the answer came."""
        notification = {
            "apns": {"payload": {"aps": {"alert": "x"}, "run": uid}},
            "fcm": {"message": {"data": {"run": uid}}},
        }
        await self.call("send_push_notification", uid=uid, recipient=recipient, notification=notification, **params)
        return time.time()

    async def status(self, uid: str) -> dict[str, Any]:
        """push_status."""
        return await self.call("push_status", uid=uid)

    async def done(self, uid: str, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until nothing of a push is pending; its status then, or after so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = await self.status(uid)
            if found["state"] in ("done", "cancelled") and not found["ledger"].get("pending"):
                return found
            await asyncio.sleep(0.1)
        return await self.status(uid)

    async def order(self, path: str, body: object, provider: str = "apns") -> None:
        """Tell a push service's control port something."""
        url = f"{self.services.control[provider]}{path}"
        (await self._http.post(url, content=msgspec.json.encode(body))).raise_for_status()

    async def behave(self, delay_ms: int = 100, **action: object) -> None:
        """Have APNs answer after so long, and everything with this action."""
        await self.order("/faults", [{"action": {"delay_ms": delay_ms, **action}}])

    def arrivals(self, uid: str | None = None) -> list[Arrival]:
        """What came to the push services, of one push or of all."""
        with self._notes.open("rb") as notes:
            found = [msgspec.json.decode(line, type=Arrival) for line in notes if line.endswith(b"\n")]
        return [each for each in found if uid is None or each.uid == uid]

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Wait for a condition; whether it came."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def sql(self, statement: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement beside everything; its rows."""
        with psycopg.connect(self.embedded.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def register(self, topic: str, first: int, count: int, provider: str = "apns") -> None:
        """Put devices with numbers from `first` into a topic of their own."""
        platform = "android" if provider == "fcm" else "ios"
        facts = {"topic": topic, "provider": provider, "platform": platform, "first": first, "last": first + count - 1}
        self.sql(_DEVICES, facts)
        self.sql(_TOPIC, {"topic": topic})
        self.sql("analyze devices, device_topics")  # what PostgreSQL does by itself within a minute

    def tokens(self, topic: str) -> list[str]:
        """The tokens of a topic's devices."""
        query = "select d.token from device_topics t join devices d on d.id = t.device_id where t.topic = %(topic)s"
        return [row[0] for row in self.sql(query, {"topic": topic})]

    async def _answering(self) -> None:
        while True:
            with suppress(httpx.HTTPError):
                if (await self._http.get(f"http://{self.network.address(1)}:{_PORT}/ready")).status_code == 200:
                    return
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def new_world(
    directory: Path,
    hosts: int,
    *,
    tree: Path = ROOT,
    loopback: bool = False,
    settings: Mapping[str, str] | None = None,
    beside: str = "",
) -> AsyncIterator[World]:
    """An installation with its database, services, credentials and API; no host sends yet.

    `beside` is a command that runs meanwhile.
    """
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(network_of(hosts, loopback=loopback))
        world = World(network, directory, settings or {})
        world.tree = tree
        await _start_postgres(stack, world)
        await network.reach(world.embedded.url())
        if beside:
            words = shlex.split(beside.format(address=network.database_address or "127.0.0.1"))
            other = await asyncio.create_subprocess_exec(*words, cwd=directory, stdout=DEVNULL)
            stack.push_async_callback(_end, other, signal.SIGTERM)
        world.services = await _start_services(stack, world)
        stack.push_async_callback(world.stop)
        await world.start_api()
        for credential in world.services.credentials.values():
            await world.call("provider_put", **credential)
        yield world


async def _start_postgres(stack: AsyncExitStack, world: World) -> None:
    embedded = world.embedded
    await asyncio.to_thread(embedded.prepare)
    if world.network.database_address:
        with (embedded.directory / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
    with embedded.open_log() as log:
        process = await asyncio.create_subprocess_exec(*embedded.command(), **embedded.process_options(log))
    world.postgres = process.pid
    stack.push_async_callback(_end, process, Embedded.KILL_SIGNAL)
    async with asyncio.timeout(_READY_SECONDS):
        while not await asyncio.to_thread(embedded.accepts_as, process.pid):
            if process.returncode is not None:
                raise RuntimeError(f"PostgreSQL does not start: {embedded.last_words()}")
            await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.to_thread(embedded.ensure_database)


async def _start_services(stack: AsyncExitStack, world: World) -> Services:
    command = [sys.executable, "-P", "-m", "tests.hosts.services"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environ)
    stack.push_async_callback(_end, process, signal.SIGKILL)
    assert process.stdin is not None
    assert process.stdout is not None
    order = Order(world.network.services_address, str(world.directory / "arrivals"))
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    return msgspec.json.decode(await process.stdout.readline(), type=Services)


async def _end(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
    await process.wait()
