"""One broadcast to every device of a topic, measured from its acceptance to its last settled outcome, and checked."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from storage.database import Database
from tests.bench.installation import Postgres, Server, server_on
from tests.bench.payloads import CONTENTS, NOTIFICATION, NOTIFICATIONS
from tests.bench.processes import Usage, metered, peak_resident_bytes
from tests.bench.seeding import DEAD, TOPIC, Seed
from tests.bench.sinks import Sink, sink_of

_POLL_SECONDS = 0.05
_TIMES = b"""
select extract(epoch from planned_at - accepted_at)::float8, extract(epoch from finished_at - accepted_at)::float8
from pushes where uid = %(uid)s
"""
_STATE = b"select state from pushes where uid = %(uid)s"
_DEAD = b"select count(*) from devices where state = 'dead'"
_PRIVATE_HOSTS = "127.0.0.1 localhost"
_STATUSES = {"apns": (200, 410), "fcm": (200, 404), "webpush": (201, 410), "hms": (200, 200)}
"""What a sink answers to what it takes, and about a dead token."""


class Shape(msgspec.Struct, frozen=True):
    """How a broadcast is sent: sender processes, connections of a credential, streams of each, way, faults.

    `transport` is the provider's own choice when it is ''.
    """

    senders: int = 1
    connections: int = 4
    streams: int = 100
    tls: bool = True
    faults: bool = False
    transport: str = ""
    sink: str = "nginx"
    log_level: str = "error"


class Outcome(msgspec.Struct):
    """What came of a broadcast. Times are seconds from its acceptance; `faults` is what was lost or doubled."""

    count: int
    seconds: float
    planned_seconds: float
    usage: dict[str, Usage]
    faults: list[str]
    requests: int

    @property
    def rate(self) -> float:
        """Devices a second, from acceptance to the last settled outcome."""
        return self.count / self.seconds

    @property
    def sender_cpu(self) -> float:
        """Milliseconds of the sender's CPU for 1,000 devices."""
        return self.usage["sender"].cpu_per_thousand(self.count)

    def cells(self) -> list[str]:
        """Columns of a table, see COLUMNS."""
        cpu = [f"{self.usage[name].cpu_per_thousand(self.count):.1f}" for name in ("sender", "database", "sink")]
        peak = self.usage["sender"].peak_bytes / 1e6
        return [f"{self.count:,}", f"{self.seconds:.1f}", f"{self.rate:,.0f}", *cpu, f"{peak:.0f}"]


COLUMNS = ["pushes", "seconds", "pushes/s", "sender ms/1,000", "database ms/1,000", "sink ms/1,000", "sender peak MB"]


class Stage(msgspec.Struct):
    """A server on seeded devices, its senders running, and its sink."""

    server: Server
    seed: Seed
    sink: Sink
    sender_pids: list[int]
    database_pid: int
    folder: Path


@asynccontextmanager
async def stage(database: Postgres, seed: Seed, shape: Shape, **settings: Any) -> AsyncIterator[Stage]:
    """Set everything up, with credentials that lead to the sink."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-sink-")))
        url = await stack.enter_async_context(database.seeded(seed))
        made = sink_of(shape.sink, folder, streams=shape.streams, tls=shape.tls, faults=shape.faults)
        sink = await stack.enter_async_context(made)
        chosen = {"log_level": shape.log_level, "private_hosts_allowed": _PRIVATE_HOSTS} | settings
        server = await stack.enter_async_context(server_on(url, **chosen))
        providers = sorted({*seed.counts(), *(["apns"] if seed.apart else [])})
        way = {"max_connections": shape.connections, "default": True}
        fields = sink.credentials(providers, **way)
        if shape.transport:
            fields = [each | {"transport": shape.transport} for each in fields]
        await server.put_credentials(fields)
        pids = await stack.enter_async_context(server.senders(shape.senders))
        yield Stage(server, seed, sink, pids, database.pid, folder)


async def broadcast(at: Stage, content: str = "payloads") -> Outcome:
    """Send one push to the topic and wait for its end; `content` is one of CONTENTS."""
    uid = f"broadcast-{uuid4().hex}"
    mark = at.sink.mark()
    roots = {"sender": at.sender_pids, "database": [at.database_pid], "sink": at.sink.pids}
    async with metered(roots) as meter:
        says = {"notification": NOTIFICATIONS.get(at.seed.provider, NOTIFICATION)} | CONTENTS[content]
        await at.server.call("send_push_notification", uid=uid, recipient={"channels": [TOPIC]}, **says)
        await finished(at.server.database, uid)
        meter.stop()
    usage = meter.usage()
    usage["sender"].peak_bytes = max(map(peak_resident_bytes, at.sender_pids))
    planned, seconds = (await at.server.database.values(_TIMES, {"uid": uid}))[0]
    faults, requests = await check(at, uid, mark)
    return Outcome(at.seed.count, seconds, planned, usage, faults, requests)


async def finished(database: Database, uid: str) -> None:
    """Wait until a push is done."""
    while (await database.values(_STATE, {"uid": uid}))[0][0] != "done":  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)  # what it waits for happens in other processes


async def check(at: Stage, uid: str, mark: int) -> tuple[list[str], int]:
    """Compare what the sink got with what the server says: the faults found, and the number of requests."""
    dead = at.seed.dead() if at.sink.faults else 0
    ledger = (await at.server.call("push_status", uid=uid))["ledger"]
    settled = {name: count for name, count in ledger.items() if count and name != "planned"}
    wanted = {name: count for name, count in (("accepted", at.seed.count - dead), ("failed", dead)) if count}
    faults = []
    if settled != wanted or ledger["planned"] != at.seed.count:
        faults.append(f"the ledger says {ledger}; {wanted} of {at.seed.count} was expected")
    buried = await at.server.value(_DEAD)
    if buried != dead:
        faults.append(f"{buried} devices are marked dead; {dead} have dead tokens")
    arrivals = await at.sink.arrivals(mark, at.seed.count)
    faults += await asyncio.to_thread(_compare, at.seed, arrivals, at.sink.faults)
    return faults, at.sink.requests(mark)


def _compare(seed: Seed, arrivals: Iterator[tuple[int, bytes, float]], faulty: bool) -> list[str]:
    """Each device must have had one final answer, and the right one."""
    final = bytearray(seed.count)
    strange = 0
    for status, token, _ in arrivals:
        if status == 503 and faulty:
            continue
        number = _number(token)
        if seed.count <= number < seed.count + seed.apart:
            continue  # a single push beside the broadcast
        if number >= seed.count or seed.token(number).encode() != token or status != _status(seed, number, faulty):
            strange += 1
        else:
            final[number] = min(final[number] + 1, 255)
    lost = final.count(0)
    doubled = seed.count - lost - final.count(1)
    return [
        f"{count} {what}"
        for count, what in (
            (lost, "devices never got it"),
            (doubled, "devices got it more than once"),
            (strange, "requests with a wrong token or answer"),
        )
        if count
    ]


def _number(token: bytes) -> int:
    try:
        return int(token[-8:], 16)
    except ValueError:
        return 1 << 40


def _status(seed: Seed, number: int, faulty: bool) -> int:
    taken, dead = _STATUSES[seed.provider_of(number)]
    return dead if faulty and seed.token(number).startswith(DEAD) else taken
