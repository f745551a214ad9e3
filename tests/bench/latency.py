"""From the API call to the arrival at the provider: single pushes through the real door and a real sender.

    python -m tests.bench.latency --devices 1000000

Three times: idle (about twenty a second), at 500 a second, and urgent ones while a broadcast to all devices runs. Each
push goes to a user of its own; nginx notes the arrival, with a clock of milliseconds. Latency counts from the moment a
call was due to be made.
"""

import argparse
import asyncio
from uuid import uuid4

import msgspec

from tests.bench.broadcasting import Shape, Stage, check, finished, stage
from tests.bench.calls import Load, Orders, load
from tests.bench.installation import postgres
from tests.bench.payloads import NOTIFICATION
from tests.bench.processes import Usage, metered
from tests.bench.report import Figure, Report, main, milliseconds, parser, percentile
from tests.bench.seeding import TOPIC, Seed

_SHARES = (0.5, 0.99, 0.999)
_LEAD_SECONDS = 1.0
_WINDOW = b"""
select extract(epoch from accepted_at)::float8, extract(epoch from finished_at)::float8 from pushes where uid = %(uid)s
"""


class Seen(msgspec.Struct):
    """What a phase saw, sorted: seconds until the answer of the API, and until the arrival at the provider."""

    answered: list[float]
    arrived: list[float]
    usage: dict[str, Usage]
    faults: list[str]

    def cells(self, name: str) -> list[str]:
        """Columns of the table."""
        answers = [milliseconds(percentile(self.answered, share)) for share in _SHARES[:2]]
        arrivals = [milliseconds(percentile(self.arrived, share)) for share in _SHARES]
        most = milliseconds(self.arrived[-1]) if self.arrived else ""
        roles = ("api", "sender", "database")
        cpu = [f"{self.usage[role].cpu_per_thousand(len(self.arrived)):.0f}" if self.usage else "" for role in roles]
        return [name, f"{len(self.arrived):,}", *answers, *arrivals, most, *cpu]


class Phases:
    """Sends pushes to users that no other phase uses."""

    def __init__(self, at: Stage, port: int, api_pid: int) -> None:
        self._at = at
        self._port = port
        self._roots = {"api": [api_pid], "sender": at.sender_pids, "database": [at.database_pid]}
        self._next = at.seed.count

    async def steady(self, kind: str, count: int, rate: float) -> Seen:
        """Singles at this rate with nothing beside them."""
        mark, orders = self._at.sink.mark(), self._orders(kind, count, rate)
        async with metered(self._roots) as meter:
            made = await load(orders)
            await self._all_done(orders)
        return await self._seen(orders, made, mark, meter.usage())

    async def beside_broadcast(self, rate: float, seconds: float) -> Seen:
        """Urgent ones while a broadcast runs; those outside its time are not counted."""
        at = self._at
        mark, orders = at.sink.mark(), self._orders("urgent", int(rate * seconds), rate)
        uid = f"beside-{uuid4().hex}"
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(load(orders))
            await asyncio.sleep(_LEAD_SECONDS)  # so that the client is connected when the broadcast begins
            await at.server.call(
                "send_push_notification", uid=uid, recipient={"channels": [TOPIC]}, notification=NOTIFICATION
            )
            await finished(at.server.database, uid)
        made = sending.result()
        await self._all_done(orders)
        began, ended = (await at.server.database.values(_WINDOW, {"uid": uid}))[0]
        faults, _ = await check(at, uid, mark)
        seen = await self._seen(orders, made, mark, {}, (began, ended))
        seen.faults += faults
        return seen

    def _orders(self, kind: str, count: int, rate: float) -> Orders:
        first, self._next = self._next, self._next + count
        return Orders(self._port, kind, count, first=first, rate=rate, connections=32)

    async def _all_done(self, orders: Orders) -> None:
        query = b"select uid from pushes where uid like 'single-%%' and state <> 'done' limit 1"
        while await self._at.server.database.values(query, {}):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # what it waits for happens in other processes

    async def _seen(
        self,
        orders: Orders,
        made: Load,
        mark: int,
        usage: dict[str, Usage],
        window: tuple[float, float] = (0.0, 1e12),
    ) -> Seen:
        arrivals: dict[int, list[float]] = {}
        faults = made.faults(orders.kind)
        seed = self._at.seed
        for status, token, moment in await self._at.sink.arrivals(mark, orders.count):
            number = int(token[-8:], 16)
            if number < seed.count:
                continue
            arrivals.setdefault(number, []).append(moment)
            if status != 200 or seed.token(number).encode() != token:
                faults.append(f"a single push was answered {status} or had a wrong token")
        arrived, answered = [], []
        for position, due_at in enumerate(made.due_at):
            moments = arrivals.get(orders.first + position, [])
            if len(moments) != 1:
                faults.append(f"push {position} arrived {len(moments)} times")
            elif window[0] <= due_at <= window[1]:
                arrived.append(moments[0] - due_at)
                answered.append(made.latencies[position])
        return Seen(sorted(answered), sorted(arrived), usage, faults[:5])


async def measure(args: argparse.Namespace) -> Report:
    """The three phases, one after the other on the same server."""
    columns = ["phase", "pushes", "API p50 ms", "API p99", "arrival p50 ms", "p99", "p99.9", "most"]
    report = Report(
        f"From API call to arrival at the provider, {args.devices:,} stored devices",
        [*columns, "api ms/1,000", "sender ms/1,000", "database ms/1,000"],
    )
    counts = {"idle": args.idle_pushes, "busy": int(args.rate * args.busy_seconds)}
    urgent = args.urgent_rate * args.urgent_seconds
    seed = Seed(args.devices, "apns", apart=sum(counts.values()) + int(urgent) + args.warm_up + 1)
    shape = Shape(sink=args.sink, log_level=args.log_level)
    async with postgres(args.directory) as database, stage(database, seed, shape) as at, at.server.api() as (port, pid):
        phases = Phases(at, port, pid)
        await phases.steady("send", args.warm_up, 100)  # nobody measures the first prepared statements of a process
        seen = {
            "idle, 20/s": await phases.steady("send", counts["idle"], 20),
            f"{args.rate:g}/s": await phases.steady("send", counts["busy"], args.rate),
            "urgent during a broadcast": await phases.beside_broadcast(args.urgent_rate, args.urgent_seconds),
        }
    for name, each in seen.items():
        report.rows.append(each.cells(name))
        report.faults += each.faults
    idle, busy, beside = seen.values()
    report.figures = [
        _figure("single push, idle: p50 to the provider", idle.arrived, 0.5, 10),
        _figure("single push, idle: p99 to the provider", idle.arrived, 0.99, 30),
        _figure(f"single push at {args.rate:g}/s: p99 to the provider", busy.arrived, 0.99, None),
        _figure("urgent push during a broadcast: p99 to the provider", beside.arrived, 0.99, 100),
    ]
    report.notes.append("arrivals are noted in whole milliseconds, cut off: a latency may be up to 1 ms longer")
    return report


def _figure(what: str, sorted_seconds: list[float], share: float, limit: float | None) -> Figure:
    found = percentile(sorted_seconds, share) * 1000
    target = f"< {limit:g} ms" if limit else "(none)"
    return Figure(what, target, f"{found:.1f} ms", found < limit if limit else None)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, 1_000_000)
    made.add_argument("--warm-up", type=int, default=300, help="pushes that nobody measures")
    made.add_argument("--idle-pushes", type=int, default=800)
    made.add_argument("--rate", type=float, default=500, help="pushes a second of the second phase")
    made.add_argument("--busy-seconds", type=float, default=20)
    made.add_argument("--urgent-rate", type=float, default=50, help="urgent pushes a second beside the broadcast")
    made.add_argument("--urgent-seconds", type=float, default=15)
    return made.parse_args()


if __name__ == "__main__":
    main(measure, _arguments())
