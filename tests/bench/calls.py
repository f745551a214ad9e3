"""Load on the HTTP door: a client in a process of its own, with keep-alive connections and a clock.

`load` starts it and gathers what it saw. Closed loop (`rate` 0): each connection sends its next call when it has its
answer. Open loop: calls are due at random moments of the wanted rate, and latency counts from the moment a call was
due, so that a server that stalls is not spared the calls that it kept from being made.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import cast

import msgspec
import uvloop

from tests.bench.payloads import NOTIFICATION

API_KEY = "a key for benchmarks only"
_ROOT = "tests.bench.calls"


class Orders(msgspec.Struct):
    """What to send: `count` calls of `kind` for the numbers from `first` on; `rate` a second, 0 = as fast as can be.

    `users`: where there are only so many, calls go round among them; 0 = each number is a user of its own.
    """

    port: int
    kind: str
    count: int
    first: int = 0
    rate: float = 0.0
    connections: int = 16
    users: int = 0
    seed: int = 1


class Load(msgspec.Struct):
    """What came of it. `due_at` (Unix seconds) and `latencies` (seconds) are in the order of the numbers."""

    due_at: list[float]
    latencies: list[float]
    bad: list[str]
    seconds: float
    cpu_seconds: float

    def faults(self, kind: str) -> list[str]:
        """Answers that were not a result."""
        return [f"{kind}: {len(self.bad)} calls were not answered with a result: {self.bad[0]}"] if self.bad else []


def body_of(kind: str, number: int, users: int = 0) -> tuple[str, bytes]:
    """The method and the parameters of a call."""
    user = number * 7919 % users if users else number
    if kind == "register":
        params: dict[str, object] = {"provider": "apns", "platform": "ios", "token": f"ca11{number:060x}"}
        return "device_register", msgspec.json.encode(params | {"user": f"caller-{number}"})
    if kind == "list":
        return "device_list", b'{"filter":{"users":["%d"]}}' % user
    if kind == "page":
        return "device_list", b'{"limit":100}'
    push = {"recipient": {"users": [str(user)]}, "notification": NOTIFICATION, "uid": f"single-{number}"}
    if kind == "urgent":
        push["priority"] = "urgent"
    return "send_push_notification", msgspec.json.encode(push)


class Connection(asyncio.Protocol):
    """A keep-alive connection, one call at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Gather an answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length and self._answer is not None:
            answer, self._answer = self._answer, None
            self._received = b""
            answer.set_result(head.split(b" ", 2)[1] + b" " + body)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    async def call(self, request: bytes) -> bytes:
        """Send a request; its status and its body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        answer = self._answer
        self._transport.write(request)
        return await answer


def request_of(orders: Orders, position: int) -> bytes:
    """A whole HTTP/1.1 request."""
    method, body = body_of(orders.kind, orders.first + position, orders.users)
    head = f"POST /api/{method} HTTP/1.1\r\nhost: bench\r\nauthorization: apikey {API_KEY}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """Sends what the orders say."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._load = Load([0.0] * orders.count, [0.0] * orders.count, [], 0.0, 0.0)

    async def run(self) -> Load:
        """Send everything; what came of it."""
        orders = self._orders
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(orders.connections):
            _, made = await loop.create_connection(Connection, "127.0.0.1", orders.port)
            connections.append(made)
        due = self._due()
        cpu, started = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(self._line(connection, due))
        self._load.seconds = time.perf_counter() - started
        self._load.cpu_seconds = time.process_time() - cpu
        return self._load

    def _due(self) -> Iterator[tuple[int, float]]:
        """Each position with the time it is due, 0 = at once."""
        orders = self._orders
        if not orders.rate:
            return ((position, 0.0) for position in range(orders.count))
        chance = random.Random(orders.seed)
        waits = (chance.expovariate(orders.rate) for _ in range(orders.count))
        return enumerate(accumulate(waits, initial=time.time() + 0.2)) if orders.count else iter(())

    async def _line(self, connection: Connection, due: Iterator[tuple[int, float]]) -> None:
        for position, at in due:
            if position >= self._orders.count:
                return
            request = request_of(self._orders, position)
            if at:
                await asyncio.sleep(at - time.time())
            started = at or time.time()
            answer = await connection.call(request)
            self._load.latencies[position] = time.time() - started
            self._load.due_at[position] = started
            if not answer.startswith(b'200 {"result":'):
                self._load.bad.append(answer[:200].decode(errors="replace"))


async def load(orders: Orders) -> Load:
    """Run a client process."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", _ROOT]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        out, _ = await process.communicate(msgspec.json.encode(orders))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not out:
        raise RuntimeError(f"the client of {orders.kind} failed")
    return msgspec.json.decode(out, type=Load)


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(Client(given).run())))
    sys.stdout.buffer.flush()  # what cannot be written is an error here, and none at the interpreter's end
