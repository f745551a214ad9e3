"""The two queue engines side by side: PostgreSQL alone, and with the order of service in Redis.

    python -m tests.bench.queues --devices 300000 --singles 20000

For each engine, on a database of its own and against an nginx of its own: single pushes that lie in the queue are sent
by one sender and by two; a broadcast; and single pushes at a steady rate through the API, timed to their arrival. What
is first done by new processes or on a new database is done once before it is measured, and every second round begins
with the other engine. PostgreSQL is the baseline of the ratios.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

import msgspec

from tests.bench.broadcasting import Shape, Stage, broadcast, stage
from tests.bench.installation import Postgres, postgres
from tests.bench.latency import Phases
from tests.bench.payloads import NOTIFICATION
from tests.bench.processes import metered
from tests.bench.report import Figure, Report, main, milliseconds, parser, percentile
from tests.bench.seeding import Seed
from tests.redis_server import redis_server

ENGINES = ("PostgreSQL", "Redis")
_ACCEPTING = 8
_COLUMNS = ["engine", "singles/s, 1 sender", "sender ms/1,000", "database ms/1,000", "redis ms/1,000", "2 senders"]
_COLUMNS += ["broadcast/s", "p50 ms at rate", "p99 ms"]
# The uids of a run begin alike; with an upper bound that is a range of their index. Between claim and settlement:
_SPAN = b"""
select extract(epoch from max(o.settled_at) - min(o.started_at))::float8, count(*)
from pushes p join outcomes o on o.push_id = p.id
where p.uid >= %(name)s and p.uid < %(name)s || '~'
"""
_UNDONE = b"""
select exists (select from pushes where uid >= %(name)s and uid < %(name)s || '~' and state <> 'done')
"""


class Engine(msgspec.Struct):
    """What one engine did: pushes a second, CPU milliseconds for 1,000, seconds until arrival (sorted)."""

    name: str
    singles: float = 0.0
    cpu: list[float] = []
    pair: float = 0.0
    broadcast: float = 0.0
    arrived: list[float] = []
    faults: list[str] = []

    def cells(self) -> list[str]:
        """Columns of the table; PostgreSQL alone has no CPU of Redis."""
        cpu = [f"{each:.0f}" for each in self.cpu] + [""] * (3 - len(self.cpu))
        times = [milliseconds(percentile(self.arrived, share)) for share in (0.5, 0.99)]
        return [self.name, f"{self.singles:,.0f}", *cpu, f"{self.pair:,.0f}", f"{self.broadcast:,.0f}", *times]


async def measure(args: argparse.Namespace) -> Report:
    """Every engine, one after the other, in turns."""
    engines = []
    async with postgres(args.directory) as database:
        for number in range(args.rounds):
            for name in ENGINES if number % 2 == 0 else reversed(ENGINES):
                with redis_of(name, args.persistence) as (url, pids):
                    engines.append(await _engine(name, url, pids, database, args))
    report = Report(f"Queue engines, {args.devices:,} devices, {args.singles:,} single pushes", _COLUMNS)
    for each in engines:
        report.rows.append(each.cells())
        report.faults += [f"{each.name}: {fault}" for fault in each.faults]
    report.figures = list(_figures(engines, args))
    report.notes.append("a single push counts from the first claim to the last settlement, and must have arrived once")
    return report


def _figures(engines: list[Engine], args: argparse.Namespace) -> Iterator[Figure]:
    for what, title in (("singles", "single pushes, 1 sender"), ("pair", "2 senders"), ("broadcast", "broadcast")):
        base, other = (sum(getattr(each, what) for each in engines if each.name == name) for name in ENGINES)
        yield Figure(f"{title}: Redis against PostgreSQL", "(none)", f"{other / base:.2f} x")
    for name in ENGINES:
        arrived = sorted(seconds for each in engines if each.name == name for seconds in each.arrived)
        shown = f"{milliseconds(percentile(arrived, 0.99))} ms"
        yield Figure(f"single push at {args.rate:g}/s: p99 to the provider, {name}", "(none)", shown)


@contextmanager
def redis_of(name: str, persistence: str) -> Iterator[tuple[str, list[int]]]:
    """Address and process of an empty Redis: clones of a database have one name, so they would share its keys."""
    if name != "Redis":
        yield "", []
        return
    with redis_server(persistence=persistence) as redis:
        yield redis.url, [redis.pid]


async def _engine(name: str, url: str, redis: list[int], database: Postgres, args: argparse.Namespace) -> Engine:
    found = Engine(name)
    busy = args.warm_up + int(args.rate * args.busy_seconds)
    seed = Seed(args.devices, "apns", apart=busy + args.singles)
    shape = Shape(senders=0, sink=args.sink, log_level=args.log_level)
    settings = {"queue_url": url, "max_queue": 10 * args.singles + 100_000}
    async with stage(database, seed, shape, **settings) as at:
        numbers = range(args.devices + busy, args.devices + busy + args.singles)
        await singles(at, 1, numbers[: args.warm_up], [], found)
        found.singles, found.cpu = await singles(at, 1, numbers, redis, found)
        found.pair, _ = await singles(at, 2, numbers, redis, found)
        async with _sending(at, 1):
            warmed = await broadcast(at)
            outcome = await broadcast(at)
            found.broadcast = outcome.rate
            found.faults += warmed.faults + outcome.faults
            async with at.server.api() as (port, pid):
                phases = Phases(at, port, pid)
                await phases.steady("send", args.warm_up, 100)
                seen = await phases.steady("send", busy - args.warm_up, args.rate)
            found.arrived = seen.arrived
            found.faults += seen.faults
    return found


async def singles(
    at: Stage, senders: int, numbers: range, redis: list[int], found: Engine
) -> tuple[float, list[float]]:
    """Queue single pushes to these devices and then send them: pushes a second, CPU of sender, database and Redis."""
    mark = at.sink.mark()
    name = await _accept(at, numbers)
    async with _sending(at, senders) as pids:
        roots = {"sender": pids, "database": [at.database_pid]} | ({"redis": redis} if redis else {})
        async with metered(roots) as meter:
            while await at.server.value(_UNDONE, name=name):  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # what it waits for happens in other processes
            meter.stop()
    [(seconds, settled)] = await at.server.database.values(_SPAN, {"name": name})
    if settled != len(numbers):
        found.faults.append(f"{settled} outcomes of {len(numbers)} single pushes")
    arrivals = Counter((status, token) for status, token, _ in await at.sink.arrivals(mark, len(numbers)))
    wanted = Counter((200, at.seed.token(number).encode()) for number in numbers)
    if arrivals != wanted:
        wrong = sum((arrivals - wanted).values()) + sum((wanted - arrivals).values())
        found.faults.append(f"{wrong} single pushes were lost, doubled or answered wrongly")
    return len(numbers) / seconds, [each.cpu_per_thousand(len(numbers)) for each in meter.usage().values()]


async def _accept(at: Stage, numbers: range) -> str:
    """Put single pushes into the queue while nobody sends; how their uids begin."""
    name = f"{uuid4().hex}-"
    left = iter(numbers)

    async def accept() -> None:
        for number in left:
            await at.server.call(
                "send_push_notification",
                uid=f"{name}{number}",
                recipient={"apns_tokens": [at.seed.token(number)]},
                notification=NOTIFICATION,
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(_ACCEPTING):
            group.create_task(accept())
    return name


@asynccontextmanager
async def _sending(at: Stage, count: int) -> AsyncIterator[list[int]]:
    async with at.server.senders(count) as pids:
        at.sender_pids = pids
        yield pids


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 300_000)
    made.add_argument("--singles", type=int, default=20_000, help="single pushes in the queue")
    made.add_argument("--rate", type=float, default=500, help="single pushes a second through the API")
    made.add_argument("--warm-up", type=int, default=300, help="pushes that nobody measures")
    made.add_argument("--busy-seconds", type=float, default=10)
    made.add_argument("--rounds", type=int, default=2, help="times that both engines run, in turns")
    made.add_argument("--persistence", choices=["none", "everysec", "always"], default="everysec")
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
